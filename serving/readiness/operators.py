"""Readiness of what operators run: RayService, LeaderWorkerSet, NIMService; and of Jobs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from serving.readiness.model import Phase, Readiness
from serving.readiness.pods import slowest
from serving.snapshot import Object, being_deleted, condition, is_true


def judge_ray_service(workload: Object, pods: Sequence[Object]) -> Readiness:
    """Judges a RayService: its applications run on the cluster of the wanted generation, and no other comes up."""
    status = workload.get("status") or {}
    wanted = _ray_workers(workload)
    ready = sum(1 for pod in _alive(pods) if _label(pod, "ray.io/node-type") == "worker" and is_true(pod, "Ready"))
    if not _observed(workload):
        return _not_observed(wanted, "KubeRay has")
    active = status.get("activeServiceStatus") or {}
    pending = status.get("pendingServiceStatus") or {}
    applications = dict(_applications(active))
    running = bool(applications) and all(state == "RUNNING" for state in applications.values())
    upgrading = is_true(workload, "UpgradeInProgress") or bool(pending.get("rayClusterName"))
    if is_true(workload, "Ready") and running and not upgrading:
        return Readiness(True, Phase.READY, wanted, wanted, f"ready: application {', '.join(applications)} runs")
    coming = dict(_applications(pending)) or applications
    phase, detail = slowest(_alive(pods))
    if phase in (Phase.PENDING_NODE, Phase.PULLING, Phase.FETCHING, Phase.RESTARTING):
        return Readiness(False, phase, ready, wanted, detail)
    if coming:
        shown = ", ".join(f"{name} {state or 'NOT_STARTED'}" for name, state in coming.items())
        return Readiness(False, Phase.LOADING, ready, wanted, f"the Ray cluster is up; application {shown}")
    return Readiness(False, phase, ready, wanted, f"the Ray cluster comes up: {detail}")


def judge_leader_worker_set(workload: Object, pods: Sequence[Object]) -> Readiness:
    """Judges a LeaderWorkerSet; its counts are groups of pods."""
    status = workload.get("status") or {}
    replicas = (workload.get("spec") or {}).get("replicas")
    wanted = 1 if replicas is None else int(replicas)
    ready, updated = int(status.get("readyReplicas") or 0), int(status.get("updatedReplicas") or 0)
    total = int(status.get("replicas") or 0)
    if not _observed(workload):
        return _not_observed(wanted, "the LeaderWorkerSet controller has")
    done = total == updated == ready == wanted and not is_true(workload, "UpdateInProgress")
    if done and (is_true(workload, "Available") or wanted == 0):
        return Readiness(True, Phase.READY, wanted, wanted, f"ready: {wanted} of {wanted} groups")
    phase, detail = slowest(_alive(pods))
    if 0 < ready < wanted:
        message = f"ready: {ready} of {wanted} groups; next: {detail}"
        return Readiness(False, Phase.PARTLY_READY, ready, wanted, message)
    return Readiness(False, phase, min(ready, wanted), wanted, detail)


def judge_nim_service(workload: Object, pods: Sequence[Object]) -> Readiness:
    """Judges a NIMService."""
    status = workload.get("status") or {}
    wanted = int((workload.get("spec") or {}).get("replicas") or 1)
    ready = sum(1 for pod in _alive(pods) if is_true(pod, "Ready"))
    # The status does not say which generation it is of: what it says of a release without pods is old.
    if str(status.get("state")) == "Ready" and _observed(workload) and ready >= wanted:
        return Readiness(True, Phase.READY, wanted, wanted, f"ready: {wanted} of {wanted}")
    if not pods:
        reported = condition(workload, "Failed" if is_true(workload, "Failed") else "Ready")
        said = " ".join(str(reported.get("message") or "").split())
        told = f"{status.get('state') or 'nothing yet'}{f': {said}' if said else ''}"
        return Readiness(False, Phase.STARTING, 0, wanted, f"the NIM operator says {told}")
    phase, detail = slowest(_alive(pods))
    return Readiness(False, phase, min(ready, wanted), wanted, detail)


def judge_job(workload: Object, pods: Sequence[Object]) -> Readiness:
    """Judges a Job: ready means complete."""
    status, spec = workload.get("status") or {}, workload.get("spec") or {}
    completions = spec.get("completions")
    wanted = int(completions if completions is not None else 1)
    done = int(status.get("succeeded") or 0)
    if is_true(workload, "Complete"):
        return Readiness(True, Phase.READY, wanted, wanted, "complete")
    if is_true(workload, "Failed"):
        reason = condition(workload, "Failed").get("reason") or "failed"
        return Readiness(False, Phase.RESTARTING, done, wanted, f"failed: {reason}")
    phase, detail = slowest([pod for pod in _alive(pods) if (pod.get("status") or {}).get("phase") != "Succeeded"])
    return Readiness(False, phase, done, wanted, detail)


def _observed(workload: Object) -> bool:
    """Whether the controller has taken up the present generation; one that does not say so is believed."""
    generation = int((workload.get("metadata") or {}).get("generation") or 0)
    status = workload.get("status") or {}
    said = [entry.get("observedGeneration") for entry in status.get("conditions") or ()]
    seen = [value for value in (status.get("observedGeneration"), *said) if value is not None]
    return bool(status) and (not seen or max(seen) >= generation)


def _not_observed(wanted: int, who: str) -> Readiness:
    return Readiness(False, Phase.STARTING, 0, wanted, f"{who} not taken up the new generation yet")


def _applications(service: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, entry in (service.get("applicationStatuses") or {}).items():
        yield str(name), str((entry or {}).get("status") or "")


def _ray_workers(workload: Object) -> int:
    cluster = (workload.get("spec") or {}).get("rayClusterConfig") or {}
    return sum(int(group.get("replicas") or 0) for group in cluster.get("workerGroupSpecs") or ()) or 1


def _alive(pods: Sequence[Object]) -> list[Object]:
    return [pod for pod in pods if not being_deleted(pod)]


def _label(pod: Object, name: str) -> str:
    return str(((pod.get("metadata") or {}).get("labels") or {}).get(name, ""))
