"""Conditions of a Deployment's status: when they move, and which of their times."""

from typing import Any

from sandbox.kubernetes.controllers.meta import Obj, seconds_since, timestamp

NEW_REPLICA_SET = "NewReplicaSetCreated"
FOUND_REPLICA_SET = "FoundNewReplicaSet"
UPDATED = "ReplicaSetUpdated"
AVAILABLE = "NewReplicaSetAvailable"
TIMED_OUT = "ProgressDeadlineExceeded"
PAUSED = "DeploymentPaused"
RESUMED = "DeploymentResumed"
CREATE_FAILED = "ReplicaSetCreateError"

NO_DEADLINE = 2**31 - 1
"""`progressDeadlineSeconds` of this value means none."""


def get_condition(status: Obj, kind: str) -> Obj | None:
    """The condition of that type."""
    found: list[Obj] = [one for one in status.get("conditions") or [] if one["type"] == kind]
    return found[0] if found else None


def new_condition(kind: str, status: str, reason: str, message: str) -> Obj:
    """A condition that became so now."""
    moment = timestamp()
    return {
        "type": kind,
        "status": status,
        "lastUpdateTime": moment,
        "lastTransitionTime": moment,
        "reason": reason,
        "message": message,
    }


def set_condition(status: dict[str, Any], new: Obj) -> None:
    """Put a condition last, unless one of the same status and reason is there; that one stays as it is."""
    current = get_condition(status, new["type"])
    if current and (current["status"], current["reason"]) == (new["status"], new["reason"]):
        return
    if current and current["status"] == new["status"]:
        new = {**new, "lastTransitionTime": current["lastTransitionTime"]}
    remove_condition(status, new["type"])
    status["conditions"] = [*(status.get("conditions") or []), new]


def remove_condition(status: dict[str, Any], kind: str) -> None:
    """Drop a condition."""
    status["conditions"] = [one for one in status.get("conditions") or [] if one["type"] != kind]


def deadline(deployment: Obj) -> int | None:
    """Seconds without progress after which the rollout counts as failed; None for never."""
    seconds: int | None = deployment["spec"].get("progressDeadlineSeconds")
    return None if seconds is None or seconds == NO_DEADLINE else seconds


def is_complete(deployment: Obj, status: Obj) -> bool:
    """Tell whether every replica is new and available, and no old one is left."""
    wanted = deployment["spec"]["replicas"]
    counts = [status.get(name, 0) for name in ("updatedReplicas", "replicas", "availableReplicas")]
    observed: int = status.get("observedGeneration", 0)
    return counts == [wanted] * 3 and observed >= deployment["metadata"]["generation"]


def has_progressed(deployment: Obj, new: Obj) -> bool:
    """Tell whether the new status is a step on from the present one."""
    old = deployment.get("status", {})

    def count(status: Obj, name: str) -> int:
        value: int = status.get(name, 0)
        return value

    old_left = count(old, "replicas") - count(old, "updatedReplicas")
    new_left = count(new, "replicas") - count(new, "updatedReplicas")
    more = ("updatedReplicas", "readyReplicas", "availableReplicas")
    return new_left < old_left or any(count(new, name) > count(old, name) for name in more)


def has_timed_out(deployment: Obj, status: Obj) -> bool:
    """Tell whether the rollout has gone without progress for longer than its deadline."""
    progressing, seconds = get_condition(status, "Progressing"), deadline(deployment)
    if progressing is None or seconds is None or progressing["reason"] == AVAILABLE:
        return False
    return progressing["reason"] == TIMED_OUT or seconds_since(progressing["lastUpdateTime"]) > seconds


def seconds_to_deadline(deployment: Obj) -> float | None:
    """When to look again whether the rollout is stuck; None when there is no need to."""
    status = deployment.get("status", {})
    progressing, seconds = get_condition(status, "Progressing"), deadline(deployment)
    if progressing is None or seconds is None or progressing["reason"] == TIMED_OUT or is_complete(deployment, status):
        return None
    left = seconds - seconds_since(progressing["lastUpdateTime"])
    return max(left, 0.0) + 1.0 if left >= 1 else 0.2
