"""Places pods on nodes as they appear, and again whenever something changed that may help."""

import asyncio
from fractions import Fraction
from typing import Any

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.controllers.meta import Obj, condition, is_terminating, timestamp
from sandbox.kubernetes.controllers.pods import is_finished
from sandbox.kubernetes.controllers.recorder import SeriesRecorder
from sandbox.kubernetes.controllers.scheduling import messages
from sandbox.kubernetes.controllers.scheduling.filters import Refusal, Situation, allocatable, free, refusal, situation
from sandbox.kubernetes.controllers.workqueue import Key
from sandbox.kubernetes.errors import ApiError
from sandbox.kubernetes.resources import NAMESPACES, NODES, PODS, PVCS

MANAGER = "kube-scheduler"
NAME = "default-scheduler"


class Scheduler:
    """The default scheduler, without preemption: a pod of higher priority waits like any other."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._recorder = SeriesRecorder(cluster, NAME, f"{NAME}-sandbox")
        self._queue: asyncio.Queue[Key] = asyncio.Queue()
        self._waiting: dict[Key, int | None] = {}
        self._placed: dict[Key, tuple[Any, Any]] = {}
        self._nodes: dict[str, Obj] = {}

    async def run(self) -> None:
        """Schedule until cancelled."""
        events = self._cluster.subscribe(NODES, PVCS, PODS)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._work())
            async for kind, resource, obj in events:
                if resource is PODS:
                    self._pod_changed(kind, obj)
                elif resource is PVCS or self._node_changed(kind, obj):
                    self._retry()

    def _pod_changed(self, kind: str, pod: Obj) -> None:
        meta = pod["metadata"]
        key = (meta["namespace"], meta["name"])
        if _is_ours(pod) and kind != "DELETED":
            if self._waiting.get(key) != meta.get("generation"):
                self._waiting.pop(key, None)
                self._queue.put_nowait(key)
            return
        self._waiting.pop(key, None)
        use = None if kind == "DELETED" or is_finished(pod) else (pod["spec"].get("nodeName"), meta.get("labels"))
        before = self._placed.pop(key, None)
        if use:
            self._placed[key] = use
        if use != before:
            self._retry()  # room became free, or a pod that others want to be near was placed

    def _node_changed(self, kind: str, node: Obj) -> bool:
        """Tell whether the node offers something else than before."""
        name, offer = node["metadata"]["name"], _offer(node)
        if kind == "DELETED":
            return self._nodes.pop(name, None) is not None
        before, self._nodes[name] = self._nodes.get(name), offer
        return before != offer

    def _retry(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for key in waiting:
            self._queue.put_nowait(key)

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            pod = self._cluster.get(PODS, *key)
            if pod is not None and _is_ours(pod):
                try:
                    self._schedule(key, pod)
                except ApiError:
                    self._waiting[key] = pod["metadata"].get("generation")
            await asyncio.sleep(0)

    def _schedule(self, key: Key, pod: Obj) -> None:
        if pod["spec"].get("schedulingGates"):
            text = "Scheduling is blocked due to non-empty scheduling gates"
            self._waiting[key] = pod["metadata"].get("generation")
            self._mark(pod, "SchedulingGated", text)
            return
        nodes = self._cluster.list(NODES)
        state = situation(pod, nodes, self._cluster.list(PODS), self._cluster.list(NAMESPACES))
        blocked = self._claims_problem(pod)
        if blocked and nodes:
            self._failed(key, pod, messages.no_start(len(nodes), blocked))
            return
        refusals: dict[str, Refusal] = {}
        for node in nodes:
            found = refusal(state, node)
            if found:
                refusals[node["metadata"]["name"]] = found
        fitting = [node for node in nodes if node["metadata"]["name"] not in refusals]
        if not fitting:
            self._failed(key, pod, messages.no_fit(refusals))
            return
        best = max(fitting, key=lambda node: (_score(state, node), _reversed_name(node)))
        self._bind(pod, best["metadata"]["name"])

    def _claims_problem(self, pod: Obj) -> str | None:
        """What is wrong with the pod's PersistentVolumeClaims, if anything."""
        namespace = pod["metadata"]["namespace"]
        for volume in pod["spec"].get("volumes") or []:
            claim = volume.get("persistentVolumeClaim")
            if not claim:
                continue
            found = self._cluster.get(PVCS, namespace, claim["claimName"])
            if found is None:
                return f'persistentvolumeclaim "{claim["claimName"]}" not found'
            if is_terminating(found):
                return f'persistentvolumeclaim "{claim["claimName"]}" is being deleted'
            if found.get("status", {}).get("phase") != "Bound":
                return messages.UNBOUND_CLAIMS
        return None

    def _bind(self, pod: Obj, node: str) -> None:
        meta = pod["metadata"]

        def place(one: Obj) -> None:
            one["spec"]["nodeName"] = node

        placed = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": timestamp()}
        self._cluster.update(PODS, meta["namespace"], meta["name"], place, manager=MANAGER)
        self._set_condition(pod, placed)
        text = f"Successfully assigned {meta['namespace']}/{meta['name']} to {node}"
        self._recorder.record(pod, "Normal", "Scheduled", "Binding", text)

    def _failed(self, key: Key, pod: Obj, message: str) -> None:
        self._waiting[key] = pod["metadata"].get("generation")
        self._recorder.record(pod, "Warning", "FailedScheduling", "Scheduling", message)
        self._mark(pod, "Unschedulable", message)

    def _mark(self, pod: Obj, reason: str, message: str) -> None:
        before = condition(pod, "PodScheduled")
        same = before is not None and before["status"] == "False"
        refused = {
            "type": "PodScheduled",
            "observedGeneration": pod["metadata"].get("generation", 1),
            "status": "False",
            "lastProbeTime": None,
            "lastTransitionTime": before["lastTransitionTime"] if before and same else timestamp(),
            "reason": reason,
            "message": message,
        }
        self._set_condition(pod, refused)

    def _set_condition(self, pod: Obj, new: Obj) -> None:
        meta = pod["metadata"]

        def change(one: Obj) -> None:
            others = [other for other in one["status"].get("conditions") or [] if other["type"] != "PodScheduled"]
            one["status"]["conditions"] = [*others, new]

        self._cluster.update(PODS, meta["namespace"], meta["name"], change, manager=MANAGER, subresource="status")


def _is_ours(pod: Obj) -> bool:
    spec = pod["spec"]
    mine = spec.get("schedulerName", NAME) == NAME
    return mine and not spec.get("nodeName") and not is_finished(pod) and not is_terminating(pod)


def _offer(node: Obj) -> Obj:
    """What of a node decides whether pods fit; heartbeats and conditions do not."""
    return {
        "labels": node["metadata"].get("labels"),
        "taints": node["spec"].get("taints"),
        "unschedulable": node["spec"].get("unschedulable"),
        "allocatable": node.get("status", {}).get("allocatable"),
    }


def _score(state: Situation, node: Obj) -> Fraction:
    """How empty the node is: pods go where most is left, as with the default scoring."""
    whole, left = allocatable(node), free(state, node)
    shares = [left[name] / whole[name] for name in ("cpu", "memory") if whole.get(name)]
    return sum(shares, Fraction(0)) / len(shares) if shares else Fraction(0)


def _reversed_name(node: Obj) -> tuple[int, ...]:
    return tuple(-ord(letter) for letter in node["metadata"]["name"])
