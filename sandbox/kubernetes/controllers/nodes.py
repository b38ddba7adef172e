"""The node lifecycle: what becomes of a node that stopped reporting, and of the pods on it."""

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.controllers.meta import (
    MANAGER,
    Obj,
    condition,
    is_terminating,
    seconds_since,
    timestamp,
)
from sandbox.kubernetes.controllers.pods import is_finished, is_ready
from sandbox.kubernetes.controllers.recorder import Recorder
from sandbox.kubernetes.controllers.scheduling.filters import tolerates
from sandbox.kubernetes.controllers.workqueue import Key, own_key, run_controller
from sandbox.kubernetes.resources import NODES, PODS

UNREACHABLE = "node.kubernetes.io/unreachable"
NOT_READY = "node.kubernetes.io/not-ready"


class NodeLifecycle:
    """Marks lost nodes and their pods, and evicts pods when there is another node to go to."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._recorder = Recorder(cluster, "node-controller")
        self._evictions = Recorder(cluster, "taint-eviction-controller")
        self._known: dict[str, bool] = {}

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await run_controller(self._cluster, {NODES: self._all_nodes, PODS: self._node_of}, self.reconcile)

    def _all_nodes(self, node: Obj) -> list[Key]:
        """A node that goes or comes changes what becomes of the pods on the others."""
        others = [one for other in self._cluster.list(NODES) for one in own_key(other)]
        return [*own_key(node), *others]

    def _node_of(self, pod: Obj) -> list[Key]:
        name = pod["spec"].get("nodeName")
        return [("", name)] if name else []

    def reconcile(self, key: Key) -> float | None:
        """Look at one node; return when its next pod is due for eviction."""
        node = self._cluster.get(NODES, *key)
        pods = [pod for pod in self._cluster.list(PODS) if pod["spec"].get("nodeName") == key[1]]
        if node is None:
            self._known.pop(key[1], None)
            for pod in pods:
                self._collect(pod)
            return None
        ready = is_node_ready(node)
        if self._known.get(key[1]) is None and ready:
            self._recorder.normal(
                node, "RegisteredNode", f"Node {key[1]} event: Registered Node {key[1]} in Controller"
            )
        if self._known.get(key[1]) is True and not ready:
            self._recorder.normal(node, "NodeNotReady", f"Node {key[1]} status is now: NodeNotReady")
        self._known[key[1]] = ready
        evicting = not ready and any(is_node_ready(one) for one in self._cluster.list(NODES))
        node = self._taint(node, ready=ready, evicting=evicting)
        if ready:
            return None
        for pod in pods:
            self._mark_not_ready(pod)
        return self._evict(node, pods) if evicting else None

    def _taint(self, node: Obj, *, ready: bool, evicting: bool) -> Obj:
        """With every node lost, nothing is evicted: there would be nowhere to go."""
        unknown = (condition(node, "Ready") or {"status": "Unknown"})["status"] == "Unknown"
        key = UNREACHABLE if unknown else NOT_READY
        effects = [] if ready else ["NoSchedule", *(["NoExecute"] if evicting else [])]
        taints = node["spec"].get("taints") or []
        kept = [one for one in taints if one["key"] not in (UNREACHABLE, NOT_READY)]
        ours = [one for one in taints if one["key"] == key and one["effect"] in effects]
        missing = [effect for effect in effects if effect not in {one["effect"] for one in ours}]
        wanted = [*kept, *ours, *({"key": key, "effect": effect, "timeAdded": timestamp()} for effect in missing)]
        if wanted == taints:
            return node

        def change(one: Obj) -> None:
            one["spec"]["taints"] = wanted
            if not wanted:
                del one["spec"]["taints"]

        return self._cluster.update(NODES, "", node["metadata"]["name"], change, manager=MANAGER) or node

    def _mark_not_ready(self, pod: Obj) -> None:
        if not is_ready(pod):
            return

        def change(one: Obj) -> None:
            for each in one["status"]["conditions"]:
                if each["type"] == "Ready":
                    each.update(status="False", lastTransitionTime=timestamp())

        meta = pod["metadata"]
        self._cluster.update(PODS, meta["namespace"], meta["name"], change, manager=MANAGER, subresource="status")
        self._recorder.warning(pod, "NodeNotReady", "Node is not ready")

    def _evict(self, node: Obj, pods: list[Obj]) -> float | None:
        taints = [one for one in node["spec"].get("taints") or [] if one["effect"] == "NoExecute"]
        waits = []
        for pod in pods:
            if is_terminating(pod) or is_finished(pod):
                continue
            left = seconds_to_eviction(pod, taints)
            if left is not None and left <= 0:
                text = "Taint manager: deleting due to NoExecute taint"
                self._disrupt(pod, "DeletionByTaintManager", text)
                meta = pod["metadata"]
                self._evictions.normal(
                    pod, "TaintManagerEviction", f"Marking for deletion Pod {meta['namespace']}/{meta['name']}"
                )
                self._cluster.delete(PODS, meta["namespace"], meta["name"])
            elif left is not None:
                waits.append(left)
        return min(waits, default=None)

    def _collect(self, pod: Obj) -> None:
        """Remove a pod whose node is gone: no kubelet will ever end it."""
        meta = pod["metadata"]
        self._disrupt(pod, "DeletionByPodGC", "PodGC: node no longer exists")
        self._cluster.delete(PODS, meta["namespace"], meta["name"], grace_seconds=0)

    def _disrupt(self, pod: Obj, reason: str, message: str) -> None:
        meta = pod["metadata"]

        def change(one: Obj) -> None:
            others = [each for each in one["status"].get("conditions") or [] if each["type"] != "DisruptionTarget"]
            target = {
                "type": "DisruptionTarget",
                "observedGeneration": meta.get("generation", 1),
                "status": "True",
                "lastProbeTime": None,
                "lastTransitionTime": timestamp(),
                "reason": reason,
                "message": message,
            }
            one["status"]["conditions"] = [*others, target]

        self._cluster.update(PODS, meta["namespace"], meta["name"], change, manager=MANAGER, subresource="status")


def is_node_ready(node: Obj) -> bool:
    """Tell whether the node's Ready condition is true."""
    ready = condition(node, "Ready")
    return ready is not None and ready["status"] == "True"


def seconds_to_eviction(pod: Obj, taints: list[Obj]) -> float | None:
    """Seconds until the taints drive the pod away; None for never, 0 or less for now."""
    waits: list[float] = []
    for taint in taints:
        matching = [one for one in pod["spec"].get("tolerations") or [] if tolerates([one], taint)]
        if not matching:
            return 0.0
        limits = [one["tolerationSeconds"] for one in matching if "tolerationSeconds" in one]
        if limits:
            added = taint.get("timeAdded")
            waits.append(min(limits) - (seconds_since(added) if added else 0.0))
    return min(waits, default=None)
