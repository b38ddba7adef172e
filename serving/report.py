"""What people read after a run, as markdown. Pure."""

from collections.abc import Mapping
from typing import Any

from serving.calling import PORT, call_example, dashboard_example, gateway_example, logs_example
from serving.diagnosis import Diagnosis, to_json
from serving.errors import InferenceError, PreflightError, RolloutError, SmokeTestError
from serving.record import ReleaseRecord
from serving.spec import EndpointSpec

SHOWN_ANSWER = 600


def ready_markdown(
    release: ReleaseRecord, moved_bytes: int, seconds: Mapping[str, float], gap: float | None = None
) -> str:
    """The report of an endpoint that answers.

    Args:
        release: What the endpoint serves now.
        moved_bytes: Bytes read from the Hub by this run.
        seconds: Seconds per step, in order.
        gap: Seconds for which the endpoint did not answer; None if it always did.
    """
    spec = release.spec
    rows = {
        "Endpoint": f"`{spec.namespace}/{spec.name}`",
        "Model": f"{release.model.repo_id} @ `{release.model.commit}` ({release.model.revision})",
        "Framework": f"{spec.framework} on {spec.accelerator}, {spec.replicas} replica(s)",
        "Image": f"`{release.image}`",
        "Weights": f"{spec.weights} from `{release.staged_uri}`" if release.staged_uri else spec.weights.value,
        "Staged": f"{release.staged_bytes:,} bytes, {moved_bytes:,} moved by this run",
        "Release": f"`{release.id}`, {release.deployed_at}",
    }
    if gap is not None:
        rows["Gap"] = f"{gap:.1f} s without an answer: the old release gave its accelerators to this one"
    if spec.preset:
        rows["Preset"] = f"`{spec.preset}`"
    parts = [f"# {spec.name} answers", _table(rows), _smoke(release), _timings(seconds), _how_to_call(spec)]
    return "\n\n".join(part for part in parts if part)


def failure_markdown(spec: EndpointSpec, error: InferenceError, gap: float | None = None) -> str:
    """The report of a deploy that failed: what, why, and what to do.

    Args:
        spec: The endpoint.
        error: Why.
        gap: Seconds for which the endpoint did not answer, until its old release served again; None if it always did.
    """
    rows = {
        "Endpoint": f"`{spec.namespace}/{spec.name}`",
        "Model": f"{spec.model.repo_id} ({spec.model.revision})",
        "Framework": f"{spec.framework} on {spec.accelerator}",
        "Code": f"`{error.code}`",
    }
    if gap is not None:
        rows["Gap"] = f"{gap:.1f} s without an answer: the old release had given its accelerators to this one"
    if spec.preset:
        rows["Preset"] = f"`{spec.preset}`"
    diagnosis = error.diagnosis if isinstance(error, RolloutError) else None
    parts = [f"# {spec.name} was not deployed"]
    if isinstance(error, PreflightError) and len(error.problems) > 1:
        parts += [f"{number}. {problem}" for number, problem in enumerate(error.problems, 1)]
    else:
        parts.append(f"**{error.what}**")
    if diagnosis is not None:
        parts += _diagnosis(diagnosis)
        rows["Topic"] = diagnosis.topic.value
    else:
        parts += [f"**Likely cause.** {error.cause}"] if error.cause else []
        parts += [f"**What to do.** {error.fix}"] if error.fix else []
    if isinstance(error, SmokeTestError):
        report = error.report
        parts.append(f"## What it got\n\n> **{report.prompt}**\n\n{_fenced(_cut(report.answer) or '(nothing)')}")
    parts += [_table(rows), f"## Logs\n\n```bash\n{logs_example(spec)}\n```"]
    return "\n\n".join(parts)


def failure_data(spec: EndpointSpec, error: InferenceError) -> dict[str, Any]:
    """The same for programs, as plain data."""
    found: dict[str, Any] = {
        "endpoint": spec.name,
        "namespace": spec.namespace,
        "model": spec.model.repo_id,
        "framework": spec.framework.value,
        "accelerator": spec.accelerator.value,
        "preset": spec.preset,
        "code": error.code,
        "message": str(error),
        "what": error.what,
        "cause": error.cause,
        "fix": error.fix,
    }
    if isinstance(error, PreflightError):
        found["problems"] = [{"code": one.code, "message": str(one)} for one in error.problems]
    if isinstance(error, RolloutError) and error.diagnosis is not None:
        found["diagnosis"] = to_json(error.diagnosis)
    if isinstance(error, SmokeTestError):
        report = error.report
        found["smoke"] = {"prompt": report.prompt, "answer": _cut(report.answer), "problems": list(report.problems)}
    return found


def _diagnosis(found: Diagnosis) -> list[str]:
    kind = "cannot heal by itself" if found.final else "may still heal by itself"
    parts = [f"**Cause.** {found.cause}", f"`{found.category.value}` / `{found.reason}`: {kind}."]
    if found.fixes:
        fixes = "\n".join(f"{number}. {fix}" for number, fix in enumerate(found.fixes, 1))
        parts.append(f"## What to do\n\n{fixes}")
    if found.evidence:
        parts.append("## Evidence")
        parts += [f"`{entry.where}`\n\n{_fenced(entry.what)}" for entry in found.evidence]
    return parts


def _how_to_call(spec: EndpointSpec) -> str:
    parts = [f"## Call it\n\nInside the cluster: `http://{spec.name}.{spec.namespace}.svc:{PORT}`"]
    parts.append(f"```bash\n{call_example(spec)}\n```")
    if front := gateway_example(spec):
        parts.append(f"Through the AIBrix gateway:\n\n```bash\n{front}\n```")
    if board := dashboard_example(spec):
        parts.append(f"Ray's dashboard, then at http://localhost:8265:\n\n```bash\n{board}\n```")
    parts.append(f"## Logs\n\n```bash\n{logs_example(spec)}\n```")
    return "\n\n".join(parts)


def _smoke(release: ReleaseRecord) -> str:
    smoke = release.smoke
    if smoke is None:
        return ""
    timing = f"{smoke.seconds:.2f} s"
    if smoke.first_token_seconds is not None:
        timing += f", first token after {smoke.first_token_seconds:.2f} s"
    if smoke.tokens_per_second is not None:
        timing += f", {smoke.tokens_per_second:.1f} tokens per second"
    return f"## Smoke test ({timing})\n\n> **{smoke.prompt}**\n\n{_fenced(_cut(smoke.answer))}"


def _cut(answer: str) -> str:
    text = answer.strip()
    return text if len(text) <= SHOWN_ANSWER else text[:SHOWN_ANSWER] + " …"


def _timings(seconds: Mapping[str, float]) -> str:
    """A chart, which Prefect's UI draws, and the figures for whoever reads the text."""
    longest = max(seconds.values(), default=0.0)
    if longest <= 0:
        return ""
    names = ", ".join(f'"{name}"' for name in seconds)
    chart = [
        "```mermaid",
        "xychart-beta horizontal",
        f"    x-axis [{names}]",
        f'    y-axis "seconds" 0 --> {longest:.2f}',
        f"    bar [{', '.join(f'{value:.2f}' for value in seconds.values())}]",
        "```",
    ]
    figures = [
        "| step | seconds |",
        "| --- | ---: |",
        *(f"| {name} | {value:.2f} |" for name, value in seconds.items()),
    ]
    return "\n\n".join((f"## Time ({sum(seconds.values()):.0f} s)", "\n".join(chart), "\n".join(figures)))


def _table(rows: Mapping[str, str]) -> str:
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())])


def _fenced(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}"
