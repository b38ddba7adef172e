"""What `kubectl get pods` shows: the one status that sums up a pod."""

from collections.abc import Mapping
from typing import Any

from sandbox.kubernetes.api.printing import age, since

Pod = Mapping[str, Any]


def _statuses(pod: Pod, kind: str) -> list[Mapping[str, Any]]:
    return list(pod["status"].get(kind) or ())


def _init_status(pod: Pod) -> str:
    """How far the init containers are; empty when they are through."""
    statuses = _statuses(pod, "initContainerStatuses")
    for index, one in enumerate(statuses):
        state = one["state"]
        ended, waiting = state.get("terminated"), state.get("waiting")
        if ended and ended.get("exitCode") == 0:
            continue
        if ended:
            if ended.get("reason"):
                return f"Init:{ended['reason']}"
            return f"Init:Signal:{ended['signal']}" if ended.get("signal") else f"Init:ExitCode:{ended['exitCode']}"
        if waiting and waiting.get("reason") not in (None, "", "PodInitializing"):
            return f"Init:{waiting['reason']}"
        return f"Init:{index}/{len(pod['spec'].get('initContainers', ()))}"
    return ""


def _container_status(pod: Pod, otherwise: str) -> str:
    reason, running = otherwise, False
    for one in reversed(_statuses(pod, "containerStatuses")):
        state = one["state"]
        waiting, ended = state.get("waiting"), state.get("terminated")
        if waiting and waiting.get("reason"):
            reason = waiting["reason"]
        elif ended and ended.get("reason"):
            reason = ended["reason"]
        elif ended:
            reason = f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"
        elif one.get("ready") and state.get("running"):
            running = True
    if reason == "Completed" and running:
        ready = any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ()))
        return "Running" if ready else "NotReady"
    return str(reason)


def pod_status(pod: Pod) -> str:
    """A pod's status in one word."""
    status = pod["status"]
    reason = status.get("reason") or status.get("phase", "Unknown")
    if any(
        one["type"] == "PodScheduled" and one.get("reason") == "SchedulingGated" for one in status.get("conditions", ())
    ):
        reason = "SchedulingGated"
    reason = _init_status(pod) or _container_status(pod, reason)
    if "deletionTimestamp" in pod["metadata"]:
        if status.get("reason") == "NodeLost":
            return "Unknown"
        if status.get("phase") not in ("Succeeded", "Failed"):
            return "Terminating"
    return reason


def _ready(pod: Pod) -> str:
    statuses = _statuses(pod, "containerStatuses")
    ready = sum(bool(one.get("ready") and one["state"].get("running")) for one in statuses)
    return f"{ready}/{len(pod['spec']['containers'] or ())}"


def _restarts(pod: Pod) -> str:
    kind = "initContainerStatuses" if _init_status(pod) else "containerStatuses"
    statuses = _statuses(pod, kind)
    count = sum(one.get("restartCount", 0) for one in statuses)
    ends = [one.get("lastState", {}).get("terminated", {}).get("finishedAt") for one in statuses]
    last = max((one for one in ends if one), default=None)
    return f"{count} ({since(last)} ago)" if count and last else str(count)


def _gates(pod: Pod) -> str:
    gates = [one["conditionType"] for one in pod["spec"].get("readinessGates", ())]
    if not gates:
        return "<none>"
    true = {one["type"] for one in pod["status"].get("conditions", ()) if one["status"] == "True"}
    return f"{len(true.intersection(gates))}/{len(gates)}"


POD_COLUMNS = (
    ("Name", lambda pod: pod["metadata"]["name"]),
    ("Ready", _ready),
    ("Status", pod_status),
    ("Restarts", _restarts),
    ("Age", age),
    ("IP", lambda pod: pod["status"].get("podIP") or "<none>", 1),
    ("Node", lambda pod: pod["spec"].get("nodeName") or "<none>", 1),
    ("Nominated Node", lambda pod: pod["status"].get("nominatedNodeName") or "<none>", 1),
    ("Readiness Gates", _gates, 1),
)
"""Name, cell and priority of each column."""
