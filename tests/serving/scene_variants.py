"""Neighbours of the recorded scenes: the same objects with another failure in them, said as kubelet, scheduler, API
server, registries and engines say it."""

import copy
import functools
import json
from collections.abc import Callable, Sequence
from typing import Any

from serving.diagnosis import Diagnosis, diagnose
from serving.snapshot import Snapshot
from tests.serving.conftest import DATA

Entry = dict[str, Any]
NAMESPACE = "inference"
LATE = "2026-11-22T12:13:40Z"


@functools.cache
def _scene(name: str) -> str:
    (path,) = (DATA / "scenes").glob(f"{name}-*.json")
    return path.read_text()


def last(name: str) -> Entry:
    """The last snapshot of a scene, with the scene's nodes."""
    document = json.loads(_scene(name))
    entry: Entry = document["timeline"][-1] | {"nodes": document["nodes"]}
    return entry


def judged(entry: Entry) -> Diagnosis | None:
    return diagnose(Snapshot.read(entry))


def pod_of(entry: Entry) -> Entry:
    pod: Entry = entry["pods"][0]
    return pod


def event(entry: Entry, reason: str, message: str, **more: Any) -> Entry:
    """Adds an event about the first pod, or about what `kind` and `name` say."""
    pod = entry["pods"][0] if entry["pods"] else {"metadata": {"name": "none", "uid": "none"}}
    kind, name = more.get("kind", "Pod"), more.get("name", pod["metadata"]["name"])
    when = more.get("when", "2026-11-22T12:12:40Z")
    entry["events"].append(
        {
            "metadata": {"name": f"{name}.{reason}", "namespace": NAMESPACE, "creationTimestamp": when},
            "involvedObject": {"kind": kind, "name": name, "namespace": NAMESPACE, "uid": pod["metadata"]["uid"]},
            "reason": reason,
            "message": message,
            "type": more.get("type", "Warning"),
            "source": {"component": more.get("source", "kubelet")},
            "firstTimestamp": when,
            "lastTimestamp": when,
        }
    )
    return entry


def without_events(entry: Entry, *reasons: str) -> Entry:
    entry["events"] = [one for one in entry["events"] if one["reason"] not in reasons]
    return entry


def in_time(entry: Entry) -> Entry:
    """The same before any progress deadline."""
    for deployment in entry.get("deployments", []):
        conditions = deployment["status"].get("conditions", [])
        deployment["status"]["conditions"] = [c for c in conditions if c.get("reason") != "ProgressDeadlineExceeded"]
    return entry


def waiting(reason: str, message: str, base: str = "08") -> Entry:
    """A container that waits."""
    entry = without_events(last(base), "Failed", "BackOff")
    state = {"waiting": {"reason": reason, "message": message}}
    pod_of(entry)["status"]["containerStatuses"][0]["state"] = state
    return event(entry, "Failed", f"Error: {message}")


def pulling(message: str, reason: str = "ImagePullBackOff", *, told: str = "event") -> Entry:
    """An image that does not come: the message in the event (as kubelets before 1.32), in the state, or in both."""
    entry = without_events(last("06a"), "Failed", "BackOff")
    pod = pod_of(entry)
    image = pod["spec"]["containers"][0]["image"]
    text = message if told != "event" else ""
    waits = {
        "reason": reason,
        "message": f'Back-off pulling image "{image}"' + (f": ErrImagePull: {text}" if text else ""),
    }
    pod["status"]["containerStatuses"][0]["state"] = {"waiting": waits}
    if told != "state":
        event(entry, "Failed", f'Failed to pull image "{image}": {message}')
    return event(entry, "Failed", f"Error: {reason}")


def crashing(log: str, code: int = 1, reason: str = "Error", **more: Any) -> Entry:
    """A container that ends again and again with this log."""
    entry = last("10a")
    pod = pod_of(entry)
    status = pod["status"]["containerStatuses"][0]
    status["lastState"]["terminated"] |= {"exitCode": code, "reason": reason, "message": more.get("message", "")}
    status["restartCount"] = more.get("restarts", 3)
    pod["spec"]["containers"][0] |= more.get("container", {})
    body = {"status": 200, "body": log}
    entry["logs"][pod["metadata"]["name"]]["vllm"] = {"current": body, "previous": body}
    return entry


def fetching(log: str, code: int = 1, reason: str = "Error", message: str = "") -> Entry:
    """An init container that fails with this log."""
    entry = last("15a")
    pod = pod_of(entry)
    status = pod["status"]["initContainerStatuses"][0]
    for ended in (status["state"]["terminated"], status["lastState"]["terminated"]):
        ended |= {"exitCode": code, "reason": reason, "message": message}
    entry["logs"][pod["metadata"]["name"]]["fetch"]["current"]["body"] = log
    return entry


def mounting(*messages: str, reason: str = "FailedMount") -> Entry:
    entry = without_events(last("17a"), "FailedMount")
    for message in messages:
        event(entry, reason, message)
    return entry


def claiming(reason: str, message: str, spec: Entry | None = None, *, pod_says: str = "") -> Entry:
    """A claim that is not bound, and what the scheduler says of its pod."""
    entry = last("18a")
    claim = entry["persistentvolumeclaims"][0]
    claim["spec"] |= spec or {}
    entry["events"] = [e for e in entry["events"] if e["involvedObject"]["kind"] != "PersistentVolumeClaim"]
    if message:
        event(entry, reason, message, kind="PersistentVolumeClaim", name=claim["metadata"]["name"])
    return says(entry, pod_says) if pod_says else entry


def refused(message: str) -> Entry:
    """Pods that the API server does not let a ReplicaSet create."""
    entry = last("19a")
    for owner in (*entry["deployments"], *entry["replicasets"]):
        for condition in owner["status"]["conditions"]:
            if condition["type"] == "ReplicaFailure":
                condition["message"] = message
    for one in entry["events"]:
        if one["reason"] == "FailedCreate":
            one["message"] = f"Error creating: {message}"
    return entry


def says(entry: Entry, message: str) -> Entry:
    """Lets the scheduler say this of the first pod."""
    for condition in pod_of(entry)["status"]["conditions"]:
        condition["message"] = message
    for one in entry["events"]:
        if one["reason"] == "FailedScheduling":
            one["message"] = message
    return entry


def pending(message: str, *, asks: dict[str, str] | None = None, taints: Sequence[str] = (), **spec: Any) -> Entry:
    """A pod without node, before any deadline.

    Args:
        message: The scheduler's sentence after the number of nodes.
        asks: Its requests; by default 8 GPUs, more than the node has.
        taints: Of the node: ``key=value:effect``.
        spec: Further fields of the pod's spec.
    """
    preemption = "no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for"
    entry = in_time(says(last("02"), f"0/1 nodes are available: {message}. {preemption} scheduling."))
    pod = pod_of(entry)
    pod["spec"] |= spec
    if asks is not None:
        pod["spec"]["containers"][0]["resources"] = {"requests": asks}
    if taints:
        entry["nodes"][0]["spec"]["taints"] = [_taint(text) for text in taints]
    return entry


def _taint(text: str) -> Entry:
    key, _, effect = text.partition(":")
    key, _, value = key.partition("=")
    return {"key": key, "effect": effect} | ({"value": value} if value else {})


def probed(code: int, kind: str = "startup", *, failed: str = "", killing: bool = True, restarts: int = 4) -> Entry:
    """A container that the kubelet ended for its probe."""
    entry = last("13a")
    pod = pod_of(entry)
    container, status = pod["spec"]["containers"][0], pod["status"]["containerStatuses"][0]
    status["lastState"]["terminated"]["exitCode"] = code
    status["restartCount"] = restarts
    if kind == "liveness":
        container["livenessProbe"] = container.pop("startupProbe")
    for one in entry["events"]:
        one["message"] = one["message"].replace("Startup probe", f"{kind.title()} probe")
        one["message"] = one["message"].replace("startup probe", f"{kind} probe")
        if failed and one["reason"] == "Unhealthy":
            one["message"] = f"{kind.title()} probe failed: {failed}"
    return entry if killing else without_events(entry, "Killing")


def unready(failed: str) -> Entry:
    entry = without_events(last("14"), "Unhealthy")
    return event(entry, "Unhealthy", f"Readiness probe failed: {failed}")


def taken_off(message: str, reason: str = "Evicted") -> Entry:
    """A pod that its node ended, with no replacement yet."""
    entry = last("01") | {"requests": []}
    pod = pod_of(entry)
    ended = {"terminated": {"exitCode": 137, "reason": "Error"}}
    pod["status"] = {
        "phase": "Failed",
        "reason": reason,
        "message": message,
        "conditions": [
            {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet", "message": message},
            {"type": "Ready", "status": "False", "reason": "PodFailed"},
            {"type": "PodScheduled", "status": "True"},
        ],
        "containerStatuses": [{"name": "vllm", "state": ended, "lastState": {}, "ready": False, "restartCount": 0}],
    }
    return entry


def moved(entry: Entry, status: Entry, *, node: str = "") -> Entry:
    """A replacement for a pod on a lost node, with the node's taint manager having asked the old one to go."""
    old = pod_of(entry)
    new = copy.deepcopy(old)
    new["metadata"] |= {"name": f"{old['metadata']['name'][:-5]}new12", "uid": "new"}
    new["spec"].pop("nodeName")
    if node:
        new["spec"]["nodeName"] = node
    new["status"] = status
    old["metadata"]["deletionTimestamp"] = "2026-11-22T12:15:45Z"
    old["status"]["conditions"].append(
        {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": "2026-11-22T12:15:35Z",
        }
    )
    other = copy.deepcopy(last("02")["nodes"][0])
    other["metadata"]["name"] = "node-b"
    other["status"]["allocatable"].pop("nvidia.com/gpu")
    entry["nodes"].append(other)
    entry["pods"] = [old, new]
    return entry


def ray(
    status: str = "", message: str = "", *, ready: tuple[str, str] = ("", ""), part: str = "pendingServiceStatus"
) -> Entry:
    """A RayService whose application is in this state, or whose Ready condition has this reason and message."""
    entry = last("25a")
    written = entry["rayservices"][0]["status"]
    state = written.pop("pendingServiceStatus")
    state["applicationStatuses"] = {"llm": {"status": status, "message": message}} if status else {}
    written[part] = state
    if ready[0]:
        written["conditions"][0] |= {"reason": ready[0], "message": ready[1]}
    return entry


def job(
    reason: str, message: str, log: str | None = None, *, code: int = 1, ended: str = "Error", pods: bool = True
) -> Entry:
    entry = last("29a")
    for condition in entry["jobs"][0]["status"]["conditions"]:
        condition |= {"reason": reason, "message": message}
    for pod in entry["pods"]:
        pod["status"]["containerStatuses"][0]["state"]["terminated"] |= {"exitCode": code, "reason": ended}
        if log is not None:
            entry["logs"][pod["metadata"]["name"]]["fetch"]["current"]["body"] = log
    return entry if pods else entry | {"pods": [], "logs": {}}


def asked(base: str, *requests: tuple[str, int, Any, Any]) -> Entry:
    """Requests to the endpoint: path, status, response, and the body that was sent."""
    begin = f"/api/v1/namespaces/{NAMESPACE}/services/http:chat:http/proxy"
    return last(base) | {
        "requests": [
            {
                "method": "POST" if body else "GET",
                "path": begin + path,
                "status": status,
                "response": said,
                "body": body,
            }
            for path, status, said, body in requests
        ]
    }


def changed(entry: Entry, change: Callable[[Entry], object]) -> Entry:
    change(entry)
    return entry
