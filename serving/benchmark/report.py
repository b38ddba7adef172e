"""A load test as people read it: markdown, and rows of a table."""

from collections.abc import Sequence

from serving.benchmark.comparison import NOTABLE_PERCENT, Change, changes
from serving.benchmark.result import BenchmarkResult, Spread, StageResult
from serving.diagnosis import to_text
from serving.errors import InferenceError, RolloutError

_VIA = {
    "service": "the endpoint's Service",
    "proxy": "the API server's proxy, whose time is in every figure",
}


def result_markdown(
    result: BenchmarkResult, before: BenchmarkResult | None, problems: Sequence[str], *, uri: str, charts: str = ""
) -> str:
    """Returns the report of a load test.

    Args:
        result: What came of it.
        before: The result of the same load before; None if there is none.
        problems: Limits that it does not keep to.
        uri: Where the result stands.
        charts: Address of the picture; empty: none.
    """
    heading = f"# {result.endpoint} under load: {result.scenario.name}"
    parts = [heading, *_verdict(result, problems), _facts(result, uri), "## By rate", _stages(result)]
    if charts:
        parts.append(f"![Throughput and latency by rate]({charts})")
    if before is not None:
        parts += [f"## Beside the result of {before.started_at}", _comparison(before, result)]
    if errors := _errors(result):
        parts += ["## Requests that failed", errors]
    return "\n\n".join(parts)


def failure_markdown(namespace: str, endpoint: str, error: InferenceError) -> str:
    """Returns the report of a load test that came to nothing, with what its pod said: the pod is gone."""
    parts = [f"# {endpoint} was not measured", f"**{error.what}**"]
    found = error.diagnosis if isinstance(error, RolloutError) else None
    if found is not None:
        parts.append(f"```text\n{to_text(found).replace('```', '')}```")
    else:
        parts += [f"**Likely cause.** {error.cause}"] if error.cause else []
        parts += [f"**What to do.** {error.fix}"] if error.fix else []
    parts.append(_table(["", ""], [["Endpoint", f"`{namespace}/{endpoint}`"], ["Code", f"`{error.code}`"]]))
    return "\n\n".join(parts)


def rows(result: BenchmarkResult) -> list[dict[str, str]]:
    """Returns the stages as rows of a table artifact."""
    return [
        {
            "rate asked": f"{stage.rate:g}/s",
            "rate sent": f"{stage.sent_rate:.2f}/s",
            "answers": str(stage.succeeded),
            "failed": str(stage.failed),
            "requests/s": f"{stage.requests_per_second:.2f}",
            "output tokens/s": f"{stage.output_tokens_per_second:.1f}",
            "input tokens/s": f"{stage.input_tokens_per_second:.1f}",
            **_columns("first token", stage.first_token),
            **_columns("between tokens", stage.inter_token),
            **_columns("answer", stage.latency),
        }
        for stage in result.stages
    ]


def _columns(name: str, spread: Spread | None) -> dict[str, str]:
    if spread is None:
        return {}
    return {f"{name} p50": milliseconds(spread.p50), f"{name} p99": milliseconds(spread.p99)}


def _verdict(result: BenchmarkResult, problems: Sequence[str]) -> list[str]:
    if problems:
        return ["**Not within its limits:**", "\n".join(f"- {problem}" for problem in problems)]
    best = result.best
    if not result.succeeded:
        return ["**No request was answered.**"]
    most = f"{best.requests_per_second:.2f} requests per second"
    if best.output_tokens_per_second:
        most = f"{best.output_tokens_per_second:.1f} output tokens per second, {most}"
    return [f"At best **{most}**, at {best.rate:g} asked for.{_not_kept_up(result)}"]


def _not_kept_up(result: BenchmarkResult) -> str:
    late = [stage.rate for stage in result.stages if stage.sent_rate < 0.9 * stage.rate]
    if not late:
        return ""
    return f" From {min(late):g} requests per second on, fewer were sent than asked for: all connections were waiting."


def _facts(result: BenchmarkResult, uri: str) -> str:
    load = result.scenario
    table = {
        "Endpoint": f"`{result.namespace}/{result.endpoint}` in {result.cluster or 'the cluster'}",
        "Model": f"{result.model} @ `{result.commit}`",
        "Release": f"`{result.release}`, {result.framework} on {result.accelerator}, {result.replicas} replica(s)",
        "Image": f"`{result.image}`",
        "Load": f"{_lengths(result)}, {load.arrivals} arrivals, {load.stage_seconds} s for each rate",
        "Made by": f"{result.engine}, through {_VIA.get(result.via, result.via)}",
        "Run": f"{result.started_at}, {result.seconds:.0f} s",
        "Stored": f"`{uri}`",
    }
    return _table(["", ""], [[name, value] for name, value in table.items()])


def _lengths(result: BenchmarkResult) -> str:
    asked, given = result.scenario.input, result.scenario.output
    texts = [
        str(one.mean) if one.min == one.max else f"{one.mean} ± {one.std_dev} ({one.min} to {one.max})"
        for one in (asked, given)
    ]
    return f"prompts of {texts[0]} tokens, answers of {texts[1]}"


def _stages(result: BenchmarkResult) -> str:
    found = rows(result)
    names = list(dict.fromkeys(name for row in found for name in row))
    return _table(names, [[row.get(name, "") for name in names] for row in found])


def _comparison(before: BenchmarkResult, now: BenchmarkResult) -> str:
    found = changes(before, now)
    if not found:
        return "Both have no rate in common."
    lines = [
        [f"{one.rate:g}/s", one.figure.name, _value(one, one.before), _value(one, one.now), _judged(one)]
        for one in found
    ]
    text = _table(["rate", "figure", "before", "now", "change"], lines)
    if (before.release, before.commit) != (now.release, now.commit):
        text = f"That was release `{before.release}`, commit `{before.commit[:12]}`.\n\n{text}"
    return text


def _judged(change: Change) -> str:
    shown = f"{change.percent:+.0f} %"
    if abs(change.worse_by) < NOTABLE_PERCENT:
        return shown
    return f"**{shown}, {'worse' if change.worse_by > 0 else 'better'}**"


def _value(change: Change, value: float) -> str:
    return milliseconds(value) if change.figure.unit else f"{value:.1f}"


def _errors(result: BenchmarkResult) -> str:
    counted: dict[str, int] = {}
    for stage in result.stages:
        for error, count in stage.errors.items():
            counted[error] = counted.get(error, 0) + count
    most = sorted(counted.items(), key=lambda item: -item[1])
    return "\n".join(f"- {count} times: {_one_line(error)}" for error, count in most)


def _one_line(text: str) -> str:
    return " ".join(text.replace("|", "/").split())[:300]


def milliseconds(seconds: float) -> str:
    """Returns a time as it reads well: ``7.3 ms``, ``1.24 s``."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    head = f"| {' | '.join(header)} |\n| {' | '.join('---' for _ in header)} |"
    return "\n".join([head, *(f"| {' | '.join(line)} |" for line in lines)])


def stage_line(stage: StageResult) -> str:
    """Returns one stage on one line, for the log."""
    text = f"{stage.rate:g}/s: {stage.succeeded} answers ({stage.requests_per_second:.2f}/s), {stage.failed} failed"
    if stage.output_tokens_per_second:
        text += f", {stage.output_tokens_per_second:.1f} output tokens/s"
    if stage.first_token is not None:
        text += f", first token p50 {milliseconds(stage.first_token.p50)}, p99 {milliseconds(stage.first_token.p99)}"
    return text
