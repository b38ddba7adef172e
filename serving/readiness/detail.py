"""What a workload on its way does, in detail: bytes fetched, shards loaded, the node autoscaler's words. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from serving.findings.autoscalers import words_about
from serving.findings.wording import last_match, one_line
from serving.quantities import human
from serving.readiness.model import Phase, Readiness
from serving.snapshot import Container, Object, Snapshot, being_deleted, containers, is_true, name_of

_FETCHED = re.compile(r"fetched (\d+) of (\d+) bytes")
_SHARDS = re.compile(r"(?:Loading|Multi-thread loading)[^\n]*?:\s+(\d+)% Completed \| (\d+)/(\d+)")
_WARMS = re.compile(
    r"Capturing CUDA graph|Capturing the model|torch\.compile takes|Compiling a graph|Dynamo bytecode|Graph capturing|"
    r"warm(?:ing)?[ -]?up|GPU KV cache size|neuronx-cc",
    re.IGNORECASE,
)


def with_details(readiness: Readiness, snapshot: Snapshot) -> Readiness:
    """Returns the judgement with what events and logs add to it; the same if they add nothing."""
    if readiness.ready:
        return readiness
    for pod in snapshot.pods:
        if being_deleted(pod) or is_true(pod, "Ready"):
            continue
        found = _of_pod(readiness, pod, snapshot)
        if found is not None:
            return found
    return readiness


def to_read(readiness: Readiness, pods: Sequence[Object]) -> Iterator[tuple[str, str]]:
    """Yields pod and container whose log would tell how far they are."""
    if readiness.phase not in (Phase.FETCHING, Phase.LOADING, Phase.WARMING, Phase.PARTLY_READY):
        return
    for pod in pods:
        if not being_deleted(pod) and not is_true(pod, "Ready") and (container := _working(pod)) is not None:
            yield name_of(pod), container.name


def _working(pod: Object) -> Container | None:
    """The container that the pod waits for: the first that runs and is not ready."""
    for container in containers(pod):
        if container.running and (container.init or not container.status.get("ready")):
            return container
    return None


def _of_pod(readiness: Readiness, pod: Object, snapshot: Snapshot) -> Readiness | None:
    name = name_of(pod)
    if readiness.phase is Phase.PENDING_NODE:
        said = words_about(snapshot, pod)
        return (
            replace(readiness, message=f"{readiness.message} Node autoscaler: {one_line(said, 250)}") if said else None
        )
    if readiness.phase is Phase.PULLING:
        events = [event for event in snapshot.events_of("Pod", name) if event.get("reason") in ("Pulling", "Pulled")]
        if not events or events[-1].get("reason") != "Pulling":
            return None  # its volumes are being mounted, or the image is there
        said = one_line(str(events[-1].get("message")))
        return replace(readiness, message=f"{name}: {said[:1].lower()}{said[1:]}")
    container = _working(pod)
    if container is None:
        return None
    log = snapshot.run_log(name, container.name, "current")
    if container.init and (fetched := last_match(_FETCHED, log)):
        done, total = int(fetched[1]), int(fetched[2])
        share = min(1.0, done / total) if total else 0.0
        message = f"{name}: fetching weights, {human(done)} of {human(total)} ({share:.0%})"
        return replace(readiness, message=message, share=share)
    return _of_engine(readiness, name, log) if readiness.phase is Phase.LOADING else None


def _of_engine(readiness: Readiness, name: str, log: str) -> Readiness | None:
    warms, shards = last_match(_WARMS, log), last_match(_SHARDS, log)
    if warms and (shards is None or warms.start() > shards.start()):
        message = f"{name}: warming up ({one_line(_line(log, warms), 120)})"
        return replace(readiness, phase=Phase.WARMING, message=message)
    if shards:
        message = f"{name}: loading weights, {shards[2]} of {shards[3]} shards ({shards[1]}%)"
        return replace(readiness, message=message, share=int(shards[1]) / 100)
    return None


def _line(text: str, match: re.Match[str]) -> str:
    begin = text.rfind("\n", 0, match.start()) + 1
    end = text.find("\n", match.end())
    return text[begin : end if end >= 0 else len(text)]
