"""The status of a Deployment, from its ReplicaSets."""

from collections.abc import Sequence
from typing import Any

from sandbox.kubernetes.controllers.deployments import conditions as cond
from sandbox.kubernetes.controllers.deployments import rolling
from sandbox.kubernetes.controllers.meta import Obj


def calculated(deployment: Obj, replica_sets: Sequence[Obj | None], new: Obj | None) -> Obj:
    """Counts and the Available condition; counts of zero are left out, as Go's encoder does."""
    available = rolling.status_count(replica_sets, "availableReplicas")
    current = deployment.get("status", {})
    counts = {
        "replicas": rolling.status_count(replica_sets, "replicas"),
        "updatedReplicas": rolling.status_count([new], "replicas"),
        "readyReplicas": rolling.status_count(replica_sets, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(rolling.spec_replicas(replica_sets) - available, 0),
    }
    status: dict[str, Any] = {"observedGeneration": deployment["metadata"]["generation"]}
    status |= {name: count for name, count in counts.items() if count}
    status["terminatingReplicas"] = rolling.status_count(replica_sets, "terminatingReplicas")
    if current.get("collisionCount"):
        status["collisionCount"] = current["collisionCount"]
    status["conditions"] = list(current.get("conditions") or [])
    if available >= rolling.wanted(deployment) - rolling.limits(deployment).unavailable:
        good = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        good = ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    cond.set_condition(status, cond.new_condition("Available", *good))
    return status


def of_rollout(deployment: Obj, replica_sets: Sequence[Obj | None], new: Obj | None) -> Obj:
    """The status while a rollout is on its way: counts, progress, its deadline, failures of ReplicaSets."""
    status = calculated(deployment, replica_sets, new)
    current = cond.get_condition(deployment.get("status", {}), "Progressing")
    if cond.deadline(deployment) is None:
        cond.remove_condition(status, "Progressing")
    else:
        done = current is not None and current["reason"] == cond.AVAILABLE
        if not (done and status.get("replicas", 0) == status.get("updatedReplicas", 0)):
            _judge_progress(deployment, status, current, new)
    failures = [cond.get_condition(one.get("status", {}), "ReplicaFailure") for one in [new, *replica_sets] if one]
    failure = next((one for one in failures if one), None)
    if failure is None:
        cond.remove_condition(status, "ReplicaFailure")
    else:
        moment = failure["lastTransitionTime"]
        cond.set_condition(
            status,
            {
                **cond.new_condition("ReplicaFailure", failure["status"], failure["reason"], failure["message"]),
                "lastUpdateTime": moment,
                "lastTransitionTime": moment,
            },
        )
    return status


def _judge_progress(deployment: Obj, status: Obj, current: Obj | None, new: Obj | None) -> None:
    what = f'ReplicaSet "{new["metadata"]["name"]}"' if new else f'Deployment "{deployment["metadata"]["name"]}"'
    if cond.is_complete(deployment, status):
        text = f"{what} has successfully progressed."
        cond.set_condition(status, cond.new_condition("Progressing", "True", cond.AVAILABLE, text))
    elif cond.has_progressed(deployment, status):
        step = cond.new_condition("Progressing", "True", cond.UPDATED, f"{what} is progressing.")
        if current:
            if current["status"] == "True":
                step["lastTransitionTime"] = current["lastTransitionTime"]
            cond.remove_condition(status, "Progressing")
        cond.set_condition(status, step)
    elif cond.has_timed_out(deployment, status):
        text = f"{what} has timed out progressing."
        cond.set_condition(status, cond.new_condition("Progressing", "False", cond.TIMED_OUT, text))
