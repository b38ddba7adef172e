"""A result beside the one before it, and held against the limits that a run was given."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pydantic import Field

from serving.benchmark.result import BenchmarkResult, Spread, StageResult
from serving.forms import FormGroup

SpreadOf = Callable[[StageResult], Spread | None]

SAME_RATE = 0.02
"""Rates that differ by less count as the same: sweeps find theirs anew each time."""

NOTABLE_PERCENT = 10.0
"""Changes below this are noise on a shared cluster."""


class Limits(FormGroup):
    """What a result must keep to, or the run fails. Empty fields limit nothing."""

    max_failed_percent: float = Field(default=1, ge=0, le=100, description="Requests that may fail, percent")
    max_ttft_seconds: float | None = Field(
        default=None, gt=0, title="Longest time to first token", description="p99 at every rate, seconds"
    )
    max_itl_seconds: float | None = Field(
        default=None, gt=0, title="Longest time between tokens", description="p99 at every rate, seconds"
    )
    min_output_tokens_per_second: float | None = Field(
        default=None, gt=0, description="Tokens per second that the best rate must reach"
    )
    max_regression_percent: float | None = Field(
        default=None, gt=0, description="How much slower than the result before any figure may be, percent"
    )


@dataclass(frozen=True)
class Figure:
    """One number of a stage, and whether more of it is better."""

    name: str
    unit: str
    more_is_better: bool


THROUGHPUT = Figure("output tokens per second", "", True)
REQUESTS = Figure("requests per second", "", True)
FIRST_P50 = Figure("first token, p50", "s", False)
FIRST_P99 = Figure("first token, p99", "s", False)
INTER_P50 = Figure("between tokens, p50", "s", False)
INTER_P99 = Figure("between tokens, p99", "s", False)
LATENCY_P99 = Figure("whole answer, p99", "s", False)


@dataclass(frozen=True)
class Change:
    """One figure at one rate, before and now.

    Attributes:
        percent: Change; positive is more.
    """

    rate: float
    figure: Figure
    before: float
    now: float

    @property
    def percent(self) -> float:
        """How much more it is, percent."""
        return 100.0 * (self.now - self.before) / self.before

    @property
    def worse_by(self) -> float:
        """How much worse it is, percent; negative if it is better."""
        return -self.percent if self.figure.more_is_better else self.percent


def comparable(before: BenchmarkResult, now: BenchmarkResult) -> bool:
    """Whether two results are of the same load on the same endpoint, made and sent in the same way."""

    def terms(result: BenchmarkResult) -> tuple[object, ...]:
        scenario = result.scenario
        load = (scenario.input, scenario.output, scenario.arrivals, scenario.rates, scenario.stage_seconds)
        place = (result.cluster, result.namespace, result.endpoint)
        return (*place, result.engine, result.via, scenario.name, *load, scenario.sweep)

    return terms(before) == terms(now)


def changes(before: BenchmarkResult, now: BenchmarkResult) -> list[Change]:
    """Returns the figures of both results at the rates that both have, by rate."""
    return [
        Change(stage.rate, figure, old, new)
        for stage in now.stages
        if (earlier := _at(before.stages, stage.rate)) is not None
        for figure, new in figures(stage)
        if (old := dict(figures(earlier)).get(figure)) is not None and old > 0
    ]


def figures(stage: StageResult) -> list[tuple[Figure, float]]:
    """Returns the figures that a stage is compared by: those of streams where it has them, else of whole answers."""
    found: list[tuple[Figure, float]] = []
    if stage.output_tokens_per_second:
        found.append((THROUGHPUT, stage.output_tokens_per_second))
    else:
        found.append((REQUESTS, stage.requests_per_second))
    for spread, p50, p99 in (
        (stage.first_token, FIRST_P50, FIRST_P99),
        (stage.inter_token, INTER_P50, INTER_P99),
    ):
        if spread is not None:
            found += [(p50, spread.p50), (p99, spread.p99)]
    if stage.first_token is None and stage.latency is not None:
        found.append((LATENCY_P99, stage.latency.p99))
    return found


def violations(now: BenchmarkResult, before: BenchmarkResult | None, limits: Limits) -> list[str]:
    """Returns one sentence for each limit that the result does not keep to."""
    found = list(_failures(now, limits))
    found += _too_slow(now, "first token", limits.max_ttft_seconds, lambda stage: stage.first_token)
    found += _too_slow(now, "time between two tokens", limits.max_itl_seconds, lambda stage: stage.inter_token)
    least, best = limits.min_output_tokens_per_second, now.best
    if least is not None and best.output_tokens_per_second < least:
        found.append(
            f"{best.output_tokens_per_second:.1f} output tokens per second at best, at least {least:g} are wanted."
        )
    if limits.max_regression_percent is not None and before is not None:
        found += [
            f"{change.figure.name} at {change.rate:g} requests per second is {change.worse_by:.0f} % worse than before "
            f"({_shown(change.before, change.figure)} → {_shown(change.now, change.figure)}), allowed are "
            f"{limits.max_regression_percent:g} %."
            for change in changes(before, now)
            if change.worse_by > limits.max_regression_percent
        ]
    return found


def _failures(now: BenchmarkResult, limits: Limits) -> Iterator[str]:
    sent = now.succeeded + now.failed
    percent = 100.0 * now.failed / sent if sent else 100.0
    if percent > limits.max_failed_percent:
        errors = {error: count for stage in now.stages for error, count in stage.errors.items()}
        most = f", mostly: {next(iter(errors))}" if errors else ""
        allowed = f"allowed are {limits.max_failed_percent:g} %"
        yield f"{now.failed} of {sent} requests failed ({percent:.1f} %){most}; {allowed}."


def _too_slow(
    now: BenchmarkResult, name: str, most: float | None, of: Callable[[StageResult], Spread | None]
) -> Iterator[str]:
    if most is None:
        return
    for stage in now.stages:
        spread = of(stage)
        if spread is not None and spread.p99 > most:
            yield f"{name}, p99, is {spread.p99:.3f} s at {stage.rate:g} requests per second, allowed are {most:g} s."


def _at(stages: Sequence[StageResult], rate: float) -> StageResult | None:
    return next((stage for stage in stages if abs(stage.rate - rate) <= SAME_RATE * max(rate, stage.rate)), None)


def _shown(value: float, figure: Figure) -> str:
    return f"{value:.3f} s" if figure.unit else f"{value:.1f}"
