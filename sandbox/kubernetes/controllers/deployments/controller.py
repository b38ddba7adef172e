"""Brings Deployments to their specs: one reconciliation, in the order of a real cluster's controller."""

from collections.abc import Callable, Sequence
from typing import Any

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.controllers.deployments import conditions as cond
from sandbox.kubernetes.controllers.deployments import rolling
from sandbox.kubernetes.controllers.deployments import status as statuses
from sandbox.kubernetes.controllers.deployments.keeper import Keeper, StatusMoved
from sandbox.kubernetes.controllers.meta import Obj, controller_of, is_terminating, selects
from sandbox.kubernetes.controllers.pods import is_finished
from sandbox.kubernetes.controllers.workqueue import Key, own_key, run_controller
from sandbox.kubernetes.resources import DEPLOYMENTS, PODS, REPLICASETS


class Deployments:
    """The Deployment controller."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._keeper = Keeper(cluster)

    async def run(self) -> None:
        """Reconcile until cancelled."""
        sources: dict[Any, Callable[[Obj], list[Key]]] = {
            DEPLOYMENTS: own_key,
            REPLICASETS: self._keys_of_replica_set,
            PODS: self._keys_of_pod,
        }
        await run_controller(self._cluster, sources, self.reconcile)

    def _keys_of_replica_set(self, replica_set: Obj) -> list[Key]:
        namespace, reference = replica_set["metadata"]["namespace"], controller_of(replica_set)
        if reference:
            return [(namespace, reference["name"])] if reference["kind"] == "Deployment" else []
        labels = replica_set["metadata"].get("labels")
        return [
            (namespace, one["metadata"]["name"])
            for one in self._cluster.list(DEPLOYMENTS, namespace)
            if selects(one["spec"]["selector"], labels)
        ]

    def _keys_of_pod(self, pod: Obj) -> list[Key]:
        """Only `Recreate` waits for pods, and then for their end."""
        namespace, reference = pod["metadata"]["namespace"], controller_of(pod)
        if not reference or reference["kind"] != "ReplicaSet":
            return []
        replica_set = self._cluster.get(REPLICASETS, namespace, reference["name"])
        return self._keys_of_replica_set(replica_set) if replica_set else []

    def reconcile(self, key: Key) -> float | None:
        """Take the next step of one Deployment; return when its deadline has to be looked at."""
        deployment = self._cluster.get(DEPLOYMENTS, *key)
        if deployment is None:
            return None
        owned = self._keeper.claim(deployment)
        try:
            if is_terminating(deployment):
                self._keeper.write_status(deployment, statuses.calculated(deployment, owned, None))
                return None
            self._check_paused(deployment)
            if deployment["spec"].get("paused") or self._is_scaling(deployment, owned):
                self._scale(deployment, owned)
                return None
            if rolling.is_rolling(deployment):
                return self._roll(deployment, owned)
            return self._recreate(deployment, owned)
        except StatusMoved:
            return None

    # --- strategies ------------------------------------------------------------------------------------------

    def _roll(self, deployment: Obj, owned: list[Obj]) -> float | None:
        new, old = self._keeper.split(deployment, owned, create=True)
        assert new is not None  # create=True
        everything = [*old, new]
        size = new["spec"]["replicas"]
        if size != rolling.wanted(deployment):
            bigger = rolling.new_size(deployment, everything, new)
            target = rolling.wanted(deployment) if size > rolling.wanted(deployment) else bigger
            if self._keeper.resize(deployment, new, target):
                return self._finish(deployment, everything, new)
        running = rolling.active(old)
        sizes = rolling.old_sizes(deployment, running, new) if running else {}
        moved = [self._keeper.resize(deployment, one, sizes[name]) for one in running if (name := _name(one)) in sizes]
        if not any(moved) and cond.is_complete(deployment, deployment.get("status", {})):
            self._keeper.clean_up(deployment, old)
        return self._finish(deployment, everything, new)

    def _recreate(self, deployment: Obj, owned: list[Obj]) -> float | None:
        new, old = self._keeper.split(deployment, owned, create=False)
        running = rolling.active(old)
        shrunk = [self._keeper.resize(deployment, one, 0) for one in running]
        if any(shrunk):
            return self._finish(deployment, [*old, new], new)
        if self._old_pods_run(deployment, old):
            return self._finish(deployment, [*old, new], new)
        if new is None:
            new, old = self._keeper.split(deployment, owned, create=True)
        if new is not None:
            self._keeper.resize(deployment, new, rolling.wanted(deployment))
        if cond.is_complete(deployment, deployment.get("status", {})):
            self._keeper.clean_up(deployment, old)
        return self._finish(deployment, [*old, new], new)

    def _old_pods_run(self, deployment: Obj, old: list[Obj]) -> bool:
        if rolling.status_count(old, "replicas"):
            return True
        gone = {one["metadata"]["uid"] for one in old}
        for pod in self._cluster.list(PODS, deployment["metadata"]["namespace"]):
            reference = controller_of(pod)
            if reference and reference["uid"] in gone and not is_finished(pod):
                return True
        return False

    def _is_scaling(self, deployment: Obj, owned: list[Obj]) -> bool:
        new, old = self._keeper.split(deployment, owned, create=False)
        wanted = str(rolling.wanted(deployment))
        notes = [(one["metadata"].get("annotations") or {}).get(rolling.DESIRED) for one in rolling.active([*old, new])]
        return any(note is not None and note != wanted for note in notes)

    def _scale(self, deployment: Obj, owned: list[Obj]) -> None:
        new, old = self._keeper.split(deployment, owned, create=False)
        one = rolling.only_one(old, new)
        if one is not None:
            if one["spec"]["replicas"] != rolling.wanted(deployment):
                self._keeper.resize(deployment, one, rolling.wanted(deployment))
        elif rolling.is_saturated(deployment, new):
            for each in rolling.active(old):
                self._keeper.resize(deployment, each, 0)
        elif rolling.is_rolling(deployment):
            sizes = rolling.proportional_sizes(deployment, old, new)
            for each in [*old, *([new] if new else [])]:
                if _name(each) in sizes:
                    self._keeper.resize(deployment, each, sizes[_name(each)])
        if deployment["spec"].get("paused"):
            self._keeper.clean_up(deployment, old)
        self._keeper.write_status(deployment, statuses.calculated(deployment, [*old, new], new))

    # --- status ----------------------------------------------------------------------------------------------

    def _finish(self, deployment: Obj, everything: Sequence[Obj | None], new: Obj | None) -> float | None:
        status = statuses.of_rollout(deployment, everything, new)
        if status == deployment.get("status"):
            return cond.seconds_to_deadline(deployment)
        self._keeper.write_status(deployment, status)
        return None

    def _check_paused(self, deployment: Obj) -> None:
        progressing = cond.get_condition(deployment.get("status", {}), "Progressing")
        if cond.deadline(deployment) is None or (progressing and progressing["reason"] == cond.TIMED_OUT):
            return
        paused, noted = (
            bool(deployment["spec"].get("paused")),
            bool(progressing and progressing["reason"] == cond.PAUSED),
        )
        if paused == noted:
            return
        reason, text = (cond.PAUSED, "Deployment is paused") if paused else (cond.RESUMED, "Deployment is resumed")
        status = dict(deployment.get("status", {}))
        cond.set_condition(status, cond.new_condition("Progressing", "Unknown", reason, text))
        self._keeper.write_status(deployment, status)
        raise StatusMoved


def _name(obj: Obj) -> str:
    name: str = obj["metadata"]["name"]
    return name
