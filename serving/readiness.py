"""Is the wanted generation of a workload ready, and if not, what is it doing? Pure: judged from snapshots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from serving.diagnosis import Diagnosis, diagnose
from serving.snapshot import Container, Object, Snapshot, being_deleted, condition, containers, is_true, name_of


class Phase(StrEnum):
    """What a workload that is on its way does now; values are for people."""

    STARTING = "starting"
    PENDING_NODE = "waiting for a node"
    PULLING = "pulling image"
    FETCHING = "fetching weights"
    LOADING = "loading"
    WARMING = "warming up"
    PARTLY_READY = "partly ready"
    OLD_PODS = "old pods go"
    READY = "ready"
    RESTARTING = "restarting"


@dataclass(frozen=True)
class Readiness:
    """The judgement of one moment.

    Attributes:
        ready: Whether the wanted generation serves with all replicas and the old one is gone.
        ready_replicas: Pods of the wanted generation that are ready.
        wanted: Pods that should be.
        message: One line for people: what happens now.
        diagnosis: What is wrong, if anything; ``final`` tells whether waiting can help.
    """

    ready: bool
    phase: Phase
    ready_replicas: int
    wanted: int
    message: str
    diagnosis: Diagnosis | None = None

    @property
    def final_failure(self) -> Diagnosis | None:
        """What the workload cannot leave by itself; None as long as waiting may help."""
        return self.diagnosis if self.diagnosis is not None and self.diagnosis.final else None


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


def judge(workload: Object, pods: Sequence[Object], snapshot: Snapshot | None = None) -> Readiness:
    """Judges a Deployment and its pods.

    Args:
        workload: The Deployment, as the API server returns it.
        pods: Pods that its selector finds, old ones included.
        snapshot: Events, logs and other objects for the diagnosis; its own pods and Deployments are not looked at.
    """
    judged = _judge(workload, pods)
    if judged.ready:
        return judged
    current = {name_of(pod) for pod in current_pods(workload, pods)}
    relevant = [pod for pod in pods if name_of(pod) in current or is_true(pod, "Ready")]
    seen = snapshot or Snapshot()
    objects = {**seen.objects, "deployments": [workload]}
    return replace(judged, diagnosis=diagnose(replace(seen, pods=relevant, objects=objects)))


def _judge(workload: Object, pods: Sequence[Object]) -> Readiness:
    spec, status = workload.get("spec") or {}, workload.get("status") or {}
    replicas = spec.get("replicas")
    wanted = 1 if replicas is None else int(replicas)
    current = current_pods(workload, pods)
    ready_pods = sum(1 for pod in current if is_true(pod, "Ready") and not being_deleted(pod))
    observed = int(status.get("observedGeneration") or 0) >= int(workload["metadata"].get("generation") or 0)
    updated = int(status.get("updatedReplicas") or 0)
    total = int(status.get("replicas") or 0)
    available = int(status.get("availableReplicas") or 0)
    if not observed:
        message = "the cluster has not taken up the new generation yet"
        return Readiness(False, Phase.STARTING, 0, wanted, message)
    if updated == wanted and total == updated and available >= updated:
        message = f"ready: {wanted} of {wanted}" if wanted else "scaled to zero"
        return Readiness(True, Phase.READY, wanted, wanted, message)
    if updated >= wanted > 0 and ready_pods >= wanted and total > updated:
        message = f"ready: {ready_pods} of {wanted}; {total - updated} old pods still go"
        return Readiness(False, Phase.OLD_PODS, ready_pods, wanted, message)
    phase, detail = _slowest(current)
    if 0 < ready_pods < wanted:
        return Readiness(
            False, Phase.PARTLY_READY, ready_pods, wanted, f"ready: {ready_pods} of {wanted}; next: {detail}"
        )
    return Readiness(False, phase, ready_pods, wanted, detail)


def current_pods(workload: Object, pods: Sequence[Object]) -> list[Object]:
    """Returns the pods of the workload's present template.

    Their labels are those of the template; where several ReplicaSets share these, the newest one's pods count.
    """
    template = ((workload.get("spec") or {}).get("template") or {}).get("metadata") or {}
    labels: Mapping[str, str] = template.get("labels") or {}
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


def _slowest(pods: Sequence[Object]) -> tuple[Phase, str]:
    judged = [pod_phase(pod) for pod in pods]
    unready = [entry for entry in judged if entry[0] is not Phase.READY]
    if not unready:
        return Phase.STARTING, "no pod of the new generation exists yet" if not judged else "pods are ready"
    return min(unready, key=lambda entry: _ORDER.index(entry[0]))


def _template_hash(pod: Object) -> str:
    labels: Mapping[str, str] = pod["metadata"].get("labels") or {}
    return labels.get("pod-template-hash", "")
