"""What load an endpoint is put under: how many requests per second, for how long, with which lengths.

The scenarios are those of the benchmark chart of AI on EKS (awslabs/ai-on-eks-charts, charts/benchmark-charts): the
same rates, durations, lengths and arrivals, so that results can be put beside each other; ``quick`` is ours.
"""

import random
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from serving.errors import InputError

Arrivals = Literal["constant", "poisson"]

_FROZEN = ConfigDict(frozen=True, extra="forbid")


class ScenarioName(StrEnum):
    """What a load test is to find out."""

    QUICK = "quick"
    BASELINE = "baseline"
    SATURATION = "saturation"
    SWEEP = "sweep"
    PRODUCTION = "production"


class Lengths(BaseModel):
    """How many tokens: a normal distribution, clamped."""

    model_config = _FROZEN

    mean: int = Field(ge=1)
    std_dev: int = Field(default=0, ge=0)
    min: int = Field(ge=1)
    max: int = Field(ge=1)

    @classmethod
    def exactly(cls, tokens: int) -> "Lengths":
        """Always the same length."""
        return cls(mean=tokens, min=tokens, max=tokens)

    def sample(self, source: random.Random) -> int:
        """Draws one length."""
        return max(self.min, min(self.max, round(source.gauss(self.mean, self.std_dev))))


class Sweep(BaseModel):
    """Rates that are found first: a burst shows what the endpoint can take, the stages lead up to that.

    Attributes:
        requests: Size of the burst.
        probe_seconds: Longest time for it.
        stages: Rates to try.
        percentile: Of the completions per second that the burst showed: which one counts as the limit.
    """

    model_config = _FROZEN

    requests: int = Field(default=2000, ge=1)
    probe_seconds: int = Field(default=60, ge=1)
    stages: int = Field(default=5, ge=1, le=50)
    percentile: int = Field(default=95, ge=1, le=100)


class Scenario(BaseModel):
    """A load.

    Attributes:
        rates: Requests per second, one stage each, in order; empty if `sweep` finds them.
        stage_seconds: How long each is kept.
        workers: Processes that send, where a Job does.
        seed: Of all that is random: the same seed sends the same load.
    """

    model_config = _FROZEN

    name: ScenarioName
    input: Lengths
    output: Lengths
    arrivals: Arrivals = "constant"
    rates: tuple[float, ...] = ()
    stage_seconds: int = Field(ge=1)
    workers: int = Field(default=8, ge=1)
    sweep: Sweep | None = None
    seed: int = 42

    @property
    def seconds(self) -> float:
        """How long it takes at least: nothing is waited for but the stages."""
        if self.sweep is not None and not self.rates:
            return self.sweep.probe_seconds + self.sweep.stages * self.stage_seconds
        return len(self.rates) * self.stage_seconds

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt and answer together."""
        return self.input.max + self.output.max


_VARYING = {
    "input": Lengths(mean=512, std_dev=128, min=128, max=2048),
    "output": Lengths(mean=256, std_dev=64, min=32, max=512),
}

SCENARIOS: dict[ScenarioName, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            name=ScenarioName.QUICK,
            input=Lengths.exactly(64),
            output=Lengths.exactly(32),
            rates=(1, 2, 4),
            stage_seconds=10,
            workers=2,
        ),
        Scenario(
            name=ScenarioName.BASELINE,
            input=Lengths.exactly(512),
            output=Lengths.exactly(128),
            rates=(1,),
            stage_seconds=300,
            workers=4,
        ),
        Scenario(name=ScenarioName.SATURATION, **_VARYING, rates=(5, 10, 20, 40), stage_seconds=180),
        Scenario(name=ScenarioName.SWEEP, **_VARYING, stage_seconds=180, sweep=Sweep()),
        Scenario(
            name=ScenarioName.PRODUCTION,
            input=Lengths(mean=1024, std_dev=512, min=128, max=4096),
            output=Lengths(mean=512, std_dev=256, min=50, max=2048),
            arrivals="poisson",
            rates=(15,),
            stage_seconds=600,
        ),
    )
}
"""quick: half a minute, to see that it works. baseline: no two requests meet, the best that the endpoint can do.
saturation: up to more than most can take. sweep: finds the limit by itself. production: mixed lengths in bursts."""


def scenario_for(
    name: ScenarioName,
    *,
    rates: Sequence[float] = (),
    stage_seconds: int | None = None,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
) -> Scenario:
    """Returns a scenario with what differs from it.

    Args:
        name: The scenario.
        rates: Requests per second instead of its own; a sweep then looks for none.
        stage_seconds: Duration of each rate instead of its own.
        input_tokens: Tokens of every prompt, instead of a distribution.
        output_tokens: Tokens of every answer, likewise.
    """
    changes: dict[str, object] = {}
    if rates:
        changes |= {"rates": tuple(rates), "sweep": None}
    if stage_seconds is not None:
        changes["stage_seconds"] = stage_seconds
    if input_tokens is not None:
        changes["input"] = Lengths.exactly(input_tokens)
    if output_tokens is not None:
        changes["output"] = Lengths.exactly(output_tokens)
    return SCENARIOS[name].model_copy(update=changes)


def require_fits(scenario: Scenario, longest: int | None, endpoint: str) -> None:
    """Raises if the endpoint would refuse the longest of the requests.

    Args:
        scenario: The load.
        longest: Longest prompt plus answer that the endpoint takes, tokens; None if it does not say.
        endpoint: For the message.

    Raises:
        InputError: ``benchmark.too-long``.
    """
    if longest is None or scenario.longest <= longest:
        return
    raise InputError(
        f"Scenario {scenario.name} sends up to {scenario.input.max} tokens and asks for up to {scenario.output.max}, "
        f"endpoint {endpoint} takes {longest} together.",
        fix="Lower load.input_tokens and load.output_tokens, or deploy with a larger engine.max_model_len.",
        code="benchmark.too-long",
    )


def arrivals(scenario: Scenario, rate: float, stage: int) -> Iterator[float]:
    """Yields when the requests of a stage are due, seconds from its start."""
    source = random.Random(f"{scenario.seed}-arrivals-{stage}")  # noqa: S311  a load, not a secret
    due, number = 0.0, 0
    while due < scenario.stage_seconds:
        yield due
        number += 1
        # Not by adding up intervals, whose rounding would add a request.
        due = due + source.expovariate(rate) if scenario.arrivals == "poisson" else number / rate


def stages_up_to(limit: float, sweep: Sweep, *, geometric: bool = True) -> tuple[float, ...]:
    """Returns the rates of a sweep: from one request per second to the limit, closer together near it.

    Args:
        limit: Requests per second that the endpoint could take.
        sweep: How many stages.
        geometric: Halve the distance to the limit from stage to stage; else keep it.
    """
    low, count = min(1.0, limit), sweep.stages
    if count == 1:
        return (round(limit, 3),)
    if geometric:
        shares = [1 - 0.5**step for step in range(count - 1)] + [1.0]
    else:
        shares = [step / (count - 1) for step in range(count)]
    return tuple(dict.fromkeys(round(low + (limit - low) * share, 3) for share in shares))
