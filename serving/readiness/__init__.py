"""Is the wanted generation of a workload ready, and if not, what is it doing? Pure: judged from snapshots."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from serving.diagnosis import diagnose
from serving.readiness.deployment import judge_deployment
from serving.readiness.model import Phase, Readiness
from serving.readiness.operators import judge_job, judge_leader_worker_set, judge_nim_service, judge_ray_service
from serving.readiness.pods import current_pods, pod_phase
from serving.snapshot import Object, Snapshot, is_true, name_of

__all__ = ["Phase", "Readiness", "current_pods", "judge", "pod_phase"]

_JUDGES: dict[str, Callable[[Object, Sequence[Object]], Readiness]] = {
    "Deployment": judge_deployment,
    "RayService": judge_ray_service,
    "LeaderWorkerSet": judge_leader_worker_set,
    "NIMService": judge_nim_service,
    "Job": judge_job,
}

PLURALS = {kind: f"{kind.lower()}s" for kind in _JUDGES}
"""Where a snapshot keeps workloads of a kind."""


def judge(workload: Object, pods: Sequence[Object], snapshot: Snapshot | None = None) -> Readiness:
    """Judges a workload and its pods.

    Args:
        workload: Deployment, RayService, LeaderWorkerSet, NIMService or Job, as the API server returns it; an object
            that does not say its kind counts as a Deployment.
        pods: Pods that belong to it, old ones included.
        snapshot: Events, logs and other objects for the diagnosis; its own pods and workloads of the kind are not
            looked at.
    """
    kind = str(workload.get("kind") or "Deployment")
    judged = _JUDGES[kind](workload, pods)
    if judged.ready:
        return judged
    current = {name_of(pod) for pod in current_pods(workload, pods)}
    relevant = [pod for pod in pods if name_of(pod) in current or is_true(pod, "Ready")]
    seen = snapshot or Snapshot()
    objects = {**seen.objects, PLURALS[kind]: [workload]}
    return replace(judged, diagnosis=diagnose(replace(seen, pods=relevant, objects=objects)))
