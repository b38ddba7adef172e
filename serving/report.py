"""What people read after a run, as markdown. Pure."""

from collections.abc import Mapping

from serving.errors import InferenceError
from serving.record import EndpointRecord
from serving.spec import EndpointSpec

SHOWN_ANSWER = 600
BAR_WIDTH = 30


def ready_markdown(record: EndpointRecord, moved_bytes: int, seconds: Mapping[str, float]) -> str:
    """The report of an endpoint that answers.

    Args:
        record: What stands behind the endpoint now.
        moved_bytes: Bytes read from the Hub by this run.
        seconds: Seconds per step, in order.
    """
    spec, release = record.spec, record.current
    rows = {
        "Endpoint": f"`{spec.namespace}/{spec.name}`",
        "Model": f"{release.model.repo_id} @ `{release.model.commit}` ({release.model.revision})",
        "Framework": f"{spec.framework} on {spec.accelerator}, {spec.replicas} replica(s)",
        "Image": f"`{release.image}`",
        "Weights": f"{spec.weights} from `{release.staged_uri}`" if release.staged_uri else spec.weights.value,
        "Staged": f"{release.staged_bytes:,} bytes, {moved_bytes:,} moved by this run",
        "Release": f"`{release.id}`, {release.deployed_at}",
    }
    if spec.preset:
        rows["Preset"] = f"`{spec.preset}`"
    parts = [f"# {spec.name} answers", _table(rows), _smoke(record), _timings(seconds), _how_to_call(spec)]
    return "\n\n".join(part for part in parts if part)


def failure_markdown(spec: EndpointSpec, error: InferenceError) -> str:
    """The report of a deploy that failed: what, why, and what to do."""
    rows = {"Endpoint": f"`{spec.namespace}/{spec.name}`", "Model": spec.model.repo_id, "Code": f"`{error.code}`"}
    if spec.preset:
        rows["Preset"] = f"`{spec.preset}`"
    parts = [f"# {spec.name} was not deployed", f"**{error.what}**"]
    if error.cause:
        parts.append(f"**Likely cause.** {error.cause}")
    if error.fix:
        parts.append(f"**What to do.** {error.fix}")
    parts.append(_table(rows))
    return "\n\n".join(parts)


def call_example(spec: EndpointSpec) -> str:
    """Shell commands that ask the endpoint a question from outside the cluster."""
    body = f'{{"model": "{spec.served_model_name}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'
    return (
        f"kubectl port-forward -n {spec.namespace} svc/{spec.name} 8000\n"
        "curl http://localhost:8000/v1/chat/completions -H 'Content-Type: application/json' \\\n"
        f"  -d '{body}'"
    )


def logs_example(spec: EndpointSpec) -> str:
    """Shell command that shows the engine's log."""
    return f"kubectl logs -n {spec.namespace} -l app.kubernetes.io/component={spec.name} --tail 100"


def _how_to_call(spec: EndpointSpec) -> str:
    inside = f"Inside the cluster: `http://{spec.name}.{spec.namespace}.svc:8000`"
    return (
        f"## Call it\n\n{inside}\n\n```bash\n{call_example(spec)}\n```\n\n## Logs\n\n```bash\n{logs_example(spec)}\n```"
    )


def _smoke(record: EndpointRecord) -> str:
    smoke = record.current.smoke
    if smoke is None:
        return ""
    answer = smoke.answer.strip()
    if len(answer) > SHOWN_ANSWER:
        answer = answer[:SHOWN_ANSWER] + " …"
    return f"## Smoke test ({smoke.seconds:.2f} s)\n\n> **{smoke.prompt}**\n\n{_fenced(answer)}"


def _timings(seconds: Mapping[str, float]) -> str:
    longest = max(seconds.values(), default=0.0)
    if longest <= 0:
        return ""
    width = max(len(name) for name in seconds)
    lines = [
        f"{name:<{width}}  {value:7.2f} s  {'█' * max(1, round(BAR_WIDTH * value / longest))}"
        for name, value in seconds.items()
    ]
    return "## Time\n\n```text\n" + "\n".join(lines) + "\n```"


def _table(rows: Mapping[str, str]) -> str:
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())])


def _fenced(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}"
