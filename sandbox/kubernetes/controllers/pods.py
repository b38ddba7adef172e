"""What controllers read in a pod."""

from sandbox.kubernetes.controllers.meta import Obj, condition, is_terminating, parse_time, seconds_since

FINISHED = ("Succeeded", "Failed")


def phase(pod: Obj) -> str:
    """The pod's phase."""
    found: str = pod.get("status", {}).get("phase", "Pending")
    return found


def is_finished(pod: Obj) -> bool:
    """Tell whether all containers have ended for good."""
    return phase(pod) in FINISHED


def is_active(pod: Obj) -> bool:
    """Tell whether the pod counts as a replica."""
    return not is_finished(pod) and not is_terminating(pod)


def is_stopping(pod: Obj) -> bool:
    """Tell whether the pod is deleted and its containers have not ended yet."""
    return is_terminating(pod) and not is_finished(pod)


def is_ready(pod: Obj) -> bool:
    """Tell whether the pod's Ready condition is true."""
    ready = condition(pod, "Ready")
    return ready is not None and ready["status"] == "True"


def is_available(pod: Obj, min_ready_seconds: int) -> bool:
    """Tell whether the pod has been ready for at least `min_ready_seconds`."""
    ready = condition(pod, "Ready")
    if ready is None or ready["status"] != "True":
        return False
    return min_ready_seconds == 0 or seconds_since(ready["lastTransitionTime"]) >= min_ready_seconds


def seconds_to_available(pods: list[Obj], min_ready_seconds: int) -> float | None:
    """Seconds until the next of the ready pods becomes available; None when none is waiting for that."""
    waiting = [pod for pod in pods if is_ready(pod) and not is_available(pod, min_ready_seconds)]
    since = [condition(pod, "Ready") for pod in waiting]
    return min((min_ready_seconds - seconds_since(one["lastTransitionTime"]) for one in since if one), default=None)


def deletion_rank(pod: Obj) -> tuple[object, ...]:
    """Sort key: the pods that a scale-down removes first come first."""
    ready = condition(pod, "Ready")
    since = parse_time(ready["lastTransitionTime"]).timestamp() if ready and is_ready(pod) else 0.0
    restarts = sum(one.get("restartCount", 0) for one in pod.get("status", {}).get("containerStatuses") or [])
    cost = (pod["metadata"].get("annotations") or {}).get("controller.kubernetes.io/pod-deletion-cost", "0")
    return (
        bool(pod["spec"].get("nodeName")),
        {"Pending": 0, "Unknown": 1}.get(phase(pod), 2),
        is_ready(pod),
        int(cost) if cost.lstrip("-").isdigit() else 0,
        -since,
        -restarts,
        -parse_time(pod["metadata"]["creationTimestamp"]).timestamp(),
        pod["metadata"]["name"],
    )


def pod_from_template(template: Obj, owner: Obj, reference: Obj) -> Obj:
    """A new pod of a controller's template."""
    meta = template.get("metadata") or {}
    created: Obj = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": owner["metadata"]["name"] + "-",
            "namespace": owner["metadata"]["namespace"],
            "ownerReferences": [reference],
        },
        "spec": template["spec"],
    }
    for part in ("labels", "annotations", "finalizers"):
        if meta.get(part):
            created["metadata"][part] = meta[part]
    return created
