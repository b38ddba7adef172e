"""PodDisruptionBudgets: how many of the selected pods may go now."""

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.controllers.deployments.rolling import scaled
from sandbox.kubernetes.controllers.meta import MANAGER, Obj, controller_of, is_terminating, selects, timestamp
from sandbox.kubernetes.controllers.pods import is_active, is_ready
from sandbox.kubernetes.controllers.workqueue import Key, own_key, run_controller
from sandbox.kubernetes.resources import PDBS, PODS, REPLICASETS


class DisruptionBudgets:
    """Keeps the status of PodDisruptionBudgets."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await run_controller(self._cluster, {PDBS: own_key, PODS: self._keys_of_pod}, self.reconcile)

    def _keys_of_pod(self, pod: Obj) -> list[Key]:
        namespace, labels = pod["metadata"]["namespace"], pod["metadata"].get("labels")
        budgets = self._cluster.list(PDBS, namespace)
        return [key for one in budgets if selects(one["spec"].get("selector"), labels) for key in own_key(one)]

    def reconcile(self, key: Key) -> None:
        """Count the pods of one budget."""
        budget = self._cluster.get(PDBS, *key)
        if budget is None or is_terminating(budget):
            return
        selector = budget["spec"].get("selector")
        pods = [pod for pod in self._cluster.list(PODS, key[0]) if selects(selector, pod["metadata"].get("labels"))]
        status = budget_status(budget, pods, self._expected(pods))

        def change(one: Obj) -> None:
            before = {other["type"]: other for other in one.get("status", {}).get("conditions") or []}
            for new in status["conditions"]:
                old = before.get(new["type"])
                if old and old["status"] == new["status"]:
                    new["lastTransitionTime"] = old["lastTransitionTime"]
            one["status"] = status

        self._cluster.update(PDBS, *key, change, manager=MANAGER, subresource="status")

    def _expected(self, pods: list[Obj]) -> int:
        """How many pods their controllers want, together."""
        wanted: dict[str, int] = {}
        for pod in pods:
            reference = controller_of(pod)
            if reference and reference["kind"] == "ReplicaSet":
                owner = self._cluster.get(REPLICASETS, pod["metadata"]["namespace"], reference["name"])
                wanted[reference["uid"]] = owner["spec"]["replicas"] if owner else 0
            else:
                wanted[pod["metadata"]["uid"]] = int(is_active(pod))
        return sum(wanted.values())


def budget_status(budget: Obj, pods: list[Obj], expected: int) -> Obj:
    """The status of a budget over these pods."""
    spec = budget["spec"]
    healthy = sum(is_ready(pod) and is_active(pod) for pod in pods)
    if "maxUnavailable" in spec:
        desired = max(expected - scaled(spec["maxUnavailable"], expected, up=True), 0)
    else:
        desired = scaled(spec.get("minAvailable", 1), expected, up=True)
    allowed = max(healthy - desired, 0) if expected else 0
    condition = {
        "type": "DisruptionAllowed",
        "status": "True" if allowed else "False",
        "observedGeneration": budget["metadata"]["generation"],
        "lastTransitionTime": timestamp(),
        "reason": "SufficientPods" if allowed else "InsufficientPods",
        "message": "",
    }
    return {
        "observedGeneration": budget["metadata"]["generation"],
        "disruptionsAllowed": allowed,
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
        "conditions": [condition],
    }
