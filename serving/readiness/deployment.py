"""Readiness of a Deployment: the wanted generation with all its replicas, and nothing of an older one."""

from collections.abc import Sequence

from serving.readiness.model import Phase, Readiness
from serving.readiness.pods import current_pods, slowest
from serving.snapshot import Object, being_deleted, is_true


def judge_deployment(workload: Object, pods: Sequence[Object]) -> Readiness:
    """Judges a Deployment and its pods."""
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
    phase, detail = slowest(current)
    if 0 < ready_pods < wanted:
        return Readiness(
            False, Phase.PARTLY_READY, ready_pods, wanted, f"ready: {ready_pods} of {wanted}; next: {detail}"
        )
    return Readiness(False, phase, ready_pods, wanted, detail)
