"""What one pod does now, and which pods belong to the wanted generation."""

from collections.abc import Mapping, Sequence
from typing import Any

from serving.frameworks.labels import GATEWAY_MODEL_LABEL
from serving.readiness.model import Phase
from serving.snapshot import Container, Object, being_deleted, condition, containers, is_true, name_of

_ORDER = (
    Phase.STARTING,
    Phase.PENDING_NODE,
    Phase.PULLING,
    Phase.FETCHING,
    Phase.RESTARTING,
    Phase.LOADING,
    Phase.WARMING,
    Phase.READY,
)


def current_pods(workload: Object, pods: Sequence[Object]) -> list[Object]:
    """Returns the pods of the workload's present template.

    Their labels are those of the template, but for the one that a candidate's pods are kept without; where several
    ReplicaSets share these, the newest one's pods count. Kinds without a template of that form keep no old pods under
    the same labels: there all of them count.
    """
    if workload.get("kind", "Deployment") != "Deployment":
        return list(pods)
    template = ((workload.get("spec") or {}).get("template") or {}).get("metadata") or {}
    given: Mapping[str, str] = template.get("labels") or {}
    labels = {name: value for name, value in given.items() if name != GATEWAY_MODEL_LABEL}
    matching = [pod for pod in pods if labels.items() <= (pod["metadata"].get("labels") or {}).items()]
    alive = [pod for pod in matching if not being_deleted(pod)] or matching
    if not alive:
        return []
    newest = max(alive, key=lambda pod: str(pod["metadata"].get("creationTimestamp") or ""))
    generation = _template_hash(newest)
    return [pod for pod in matching if _template_hash(pod) == generation]


def pod_phase(pod: Object) -> tuple[Phase, str]:
    """Returns what one pod does now, and a line about it."""
    name = name_of(pod)
    if is_true(pod, "Ready"):
        return Phase.READY, f"{name} is ready"
    if not (pod.get("spec") or {}).get("nodeName"):
        scheduled = condition(pod, "PodScheduled")
        reason = scheduled.get("message") or "not scheduled yet"
        return Phase.PENDING_NODE, f"{name} waits for a node: {reason}"
    for container in containers(pod):
        phase, detail = _container_phase(container)
        if phase is not Phase.READY:
            return phase, f"{name}: {detail}"
    return Phase.WARMING, f"{name}: started, not ready yet"


def _container_phase(container: Container) -> tuple[Phase, str]:
    state: Mapping[str, Any] = container.status.get("state") or {}
    if container.init:
        ended = state.get("terminated")
        if ended and ended.get("exitCode") == 0:
            return Phase.READY, ""
        if container.running:
            return Phase.FETCHING, f"init container {container.name} runs"
    if container.waiting:
        reason = container.waiting.get("reason") or "waiting"
        if reason in ("ContainerCreating", "PodInitializing"):
            return Phase.PULLING, f"volumes and image {container.spec.get('image')} are being prepared"
        if "Image" in reason:
            return Phase.PULLING, f"image {container.spec.get('image')}: {reason}"
        return Phase.RESTARTING, f"container {container.name} waits: {reason}"
    if state.get("terminated"):
        code = state["terminated"].get("exitCode")
        return Phase.RESTARTING, f"container {container.name} ended with exit code {code}"
    if not state:
        return Phase.STARTING, f"container {container.name} is not started yet"
    if container.status.get("ready"):
        return Phase.READY, ""
    again = f", restarted {container.restarts} times" if container.restarts else ""
    if container.status.get("started"):
        return Phase.WARMING, f"container {container.name} is up and not ready yet{again}"
    return Phase.LOADING, f"container {container.name} loads the model{again}"


def slowest(pods: Sequence[Object]) -> tuple[Phase, str]:
    """Returns what the pod does that is furthest from ready."""
    judged = [pod_phase(pod) for pod in pods]
    unready = [entry for entry in judged if entry[0] is not Phase.READY]
    if not unready:
        return Phase.STARTING, "no pod of the new generation exists yet" if not judged else "pods are ready"
    return min(unready, key=lambda entry: _ORDER.index(entry[0]))


def _template_hash(pod: Object) -> str:
    labels: Mapping[str, str] = pod["metadata"].get("labels") or {}
    return labels.get("pod-template-hash", "")
