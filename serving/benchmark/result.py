"""What came of a load test, whichever engine made the load. Seconds everywhere."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from serving.benchmark.scenario import Scenario

SHOWN_ERRORS = 5


class Spread(BaseModel):
    """How values are spread, seconds."""

    model_config = ConfigDict(frozen=True)

    mean: float
    p50: float
    p90: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread | None":
        """Returns the spread of some values; None if there are none."""
        ordered = sorted(values)
        if not ordered:
            return None
        p50, p90, p99 = (percentile(ordered, share) for share in (0.5, 0.9, 0.99))
        return cls(mean=math.fsum(ordered) / len(ordered), p50=p50, p90=p90, p99=p99, max=ordered[-1])


def percentile(ordered: Sequence[float], share: float) -> float:
    """Returns a percentile of sorted values, interpolated between the two that are nearest."""
    place = (len(ordered) - 1) * share
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


class StageResult(BaseModel):
    """One rate.

    Attributes:
        rate: Requests per second that were asked for.
        sent_rate: Requests per second that were sent: less where the generator had no connection free.
        seconds: From the first request to the end of the last answer; at least as long as the rate was kept.
        requests_per_second: Answers that came, by that time; the other throughputs likewise.
        latency: Of whole answers.
        first_token: Until the first piece of the answer; None where answers are no streams.
        inter_token: Between two pieces of an answer.
        per_output_token: From the first token to the last, by token.
        delay: How late requests were sent.
        errors: How often each kind of failure came, the most frequent first.
    """

    model_config = ConfigDict(frozen=True)

    rate: float
    sent_rate: float
    seconds: float
    succeeded: int
    failed: int
    requests_per_second: float
    output_tokens_per_second: float
    input_tokens_per_second: float
    latency: Spread | None = None
    first_token: Spread | None = None
    inter_token: Spread | None = None
    per_output_token: Spread | None = None
    delay: Spread | None = None
    errors: dict[str, int] = {}


class BenchmarkResult(BaseModel):
    """A load test of one release.

    Attributes:
        cluster: What people call the cluster.
        engine: What made the load: ``built-in``, or inference-perf with its image.
        via: How it reached the endpoint: ``service``, or ``proxy`` (the API server's, whose time counts).
        started_at: ISO 8601, UTC.
        flow_run: Id of the run; empty outside Prefect.
    """

    model_config = ConfigDict(frozen=True)

    version: int = 1
    cluster: str
    namespace: str
    endpoint: str
    release: str
    model: str
    commit: str
    framework: str
    accelerator: str
    replicas: int
    image: str
    scenario: Scenario
    engine: str
    via: str
    started_at: str
    seconds: float
    flow_run: str = ""
    stages: tuple[StageResult, ...]

    @property
    def best(self) -> StageResult:
        """The stage with the most output; of equals the first."""
        return max(self.stages, key=lambda stage: (stage.output_tokens_per_second, stage.requests_per_second))

    @property
    def succeeded(self) -> int:
        """Answers that came, in all stages."""
        return sum(stage.succeeded for stage in self.stages)

    @property
    def failed(self) -> int:
        """Answers that did not."""
        return sum(stage.failed for stage in self.stages)


@dataclass(frozen=True)
class Sample:
    """One request and its answer.

    Attributes:
        due: When it was to be sent, seconds from the stage's start.
        sent: When it was.
        seconds: Until the end of the answer.
        error: Why there is no answer; empty if there is one.
        first: Seconds until the first piece with text; None if the answer was no stream.
        gaps: Seconds between its pieces.
    """

    due: float
    sent: float
    seconds: float
    error: str = ""
    first: float | None = None
    gaps: Sequence[float] = field(default=(), repr=False)
    input_tokens: int = 0
    output_tokens: int = 0


def summarize(rate: float, samples: Sequence[Sample], at_least_seconds: float = 0.0) -> StageResult:
    """Returns what the samples of one stage say.

    Args:
        rate: Requests per second that were asked for.
        samples: At least one.
        at_least_seconds: How long the rate was kept: a stage whose answers came sooner was no shorter for that.
    """
    good = [sample for sample in samples if not sample.error]
    first_sent = min(sample.sent for sample in samples)
    last_sent = max(sample.sent for sample in samples)
    answered = max(sample.sent + sample.seconds for sample in samples) - first_sent
    seconds = max(answered, at_least_seconds, 1e-9)
    counted = Counter(sample.error for sample in samples if sample.error)
    # The first request stands at the beginning of the first interval: as many intervals as further requests.
    sent_rate = (len(samples) - 1) / (last_sent - first_sent) if last_sent > first_sent else rate
    return StageResult(
        rate=rate,
        sent_rate=sent_rate,
        seconds=seconds,
        succeeded=len(good),
        failed=len(samples) - len(good),
        requests_per_second=len(good) / seconds,
        output_tokens_per_second=sum(sample.output_tokens for sample in good) / seconds,
        input_tokens_per_second=sum(sample.input_tokens for sample in good) / seconds,
        latency=Spread.of(sample.seconds for sample in good),
        first_token=Spread.of(sample.first for sample in good if sample.first is not None),
        inter_token=Spread.of(gap for sample in good for gap in sample.gaps),
        per_output_token=Spread.of(
            (sample.seconds - sample.first) / (sample.output_tokens - 1)
            for sample in good
            if sample.first is not None and sample.output_tokens > 1
        ),
        delay=Spread.of(max(0.0, sample.sent - sample.due) for sample in samples),
        errors=dict(counted.most_common(SHOWN_ERRORS)),
    )
