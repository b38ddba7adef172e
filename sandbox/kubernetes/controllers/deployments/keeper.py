"""What the Deployment controller does to ReplicaSets and to the Deployment itself: every write is here."""

from collections.abc import Callable

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.controllers.deployments import conditions as cond
from sandbox.kubernetes.controllers.deployments import revisions
from sandbox.kubernetes.controllers.meta import (
    MANAGER,
    Obj,
    controller_of,
    is_controlled_by,
    is_terminating,
    may_be_claimed_by,
    owner_reference,
    selects,
)
from sandbox.kubernetes.controllers.recorder import Recorder
from sandbox.kubernetes.errors import ApiError
from sandbox.kubernetes.resources import DEPLOYMENTS, REPLICASETS


class StatusMoved(Exception):
    """The Deployment was written: this reconciliation's copy is stale, the write's own event brings the next."""


class Keeper:
    """Reads and writes a Deployment's ReplicaSets and its status."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._recorder = Recorder(cluster, "deployment-controller")

    def claim(self, deployment: Obj) -> list[Obj]:
        """The ReplicaSets it controls, orphans adopted."""
        namespace, selector = deployment["metadata"]["namespace"], deployment["spec"]["selector"]
        claimed: list[Obj] = []
        for one in self._cluster.list(REPLICASETS, namespace, where=may_be_claimed_by(deployment)):
            if is_controlled_by(one, deployment):
                claimed.append(one)
            elif (
                controller_of(one) is None
                and not is_terminating(deployment)
                and selects(selector, one["metadata"].get("labels"))
            ):
                reference = owner_reference(deployment)
                claimed.append(
                    self._change(one, lambda obj, new=reference: _adopt(obj, new))  # type: ignore[misc]
                )
        return claimed

    def split(self, deployment: Obj, owned: list[Obj], *, create: bool) -> tuple[Obj | None, list[Obj]]:
        """The new ReplicaSet, brought up to date or created, and the old ones."""
        new = revisions.find_new(deployment, owned)
        old = [one for one in owned if new is None or one["metadata"]["uid"] != new["metadata"]["uid"]]
        if new is not None:
            return self._refresh(deployment, new, old), old
        return (self._create(deployment, old) if create else None), old

    def _refresh(self, deployment: Obj, new: Obj, old: list[Obj]) -> Obj:
        annotations = revisions.annotations_of_new(deployment, new, revisions.next_revision(old))
        seconds = deployment["spec"].get("minReadySeconds", 0)
        if annotations != new["metadata"].get("annotations") or seconds != new["spec"].get("minReadySeconds", 0):

            def change(one: Obj) -> None:
                one["metadata"]["annotations"] = annotations
                one["spec"]["minReadySeconds"] = seconds

            return self._change(new, change)

        def found(status: Obj) -> None:
            if cond.deadline(deployment) is not None and cond.get_condition(status, "Progressing") is None:
                text = f'Found new replica set "{new["metadata"]["name"]}"'
                cond.set_condition(status, cond.new_condition("Progressing", "True", cond.FOUND_REPLICA_SET, text))

        self.mark(deployment, revisions.revision(new), found)
        return new

    def _create(self, deployment: Obj, old: list[Obj]) -> Obj:
        planned = revisions.new_replica_set(deployment, old)
        name = planned["metadata"]["name"]
        try:
            created = self._cluster.create(REPLICASETS, planned, manager=MANAGER)
        except ApiError as error:
            self._creation_failed(deployment, name, error)
            raise
        size = planned["spec"]["replicas"]
        if size > 0:
            self._recorder.normal(deployment, "ScalingReplicaSet", f"Scaled up replica set {name} from 0 to {size}")

        def made(status: Obj) -> None:
            if cond.deadline(deployment) is not None:
                text = f'Created new replica set "{name}"'
                cond.set_condition(status, cond.new_condition("Progressing", "True", cond.NEW_REPLICA_SET, text))

        self.mark(deployment, revisions.next_revision(old), made)
        return created

    def _creation_failed(self, deployment: Obj, name: str, error: ApiError) -> None:
        if error.reason == "AlreadyExists":  # another template has the same hash: take the next one
            status = dict(deployment.get("status", {}))
            status["collisionCount"] = status.get("collisionCount", 0) + 1
            self.write_status(deployment, status)
            return
        text = f'Failed to create new replica set "{name}": {error.message}'
        if cond.deadline(deployment) is not None:
            status = dict(deployment.get("status", {}))
            cond.set_condition(status, cond.new_condition("Progressing", "False", cond.CREATE_FAILED, text))
            self.write_status(deployment, status)
        self._recorder.warning(deployment, "ReplicaSetCreateError", text)

    def resize(self, deployment: Obj, one: Obj, size: int) -> bool:
        """Give a ReplicaSet its size; True when that changed it."""
        before: int = one["spec"]["replicas"]
        notes = revisions.size_annotations(deployment)
        if before == size and notes.items() <= (one["metadata"].get("annotations") or {}).items():
            return False

        def change(obj: Obj) -> None:
            obj["spec"]["replicas"] = size
            obj["metadata"]["annotations"] = {**(obj["metadata"].get("annotations") or {}), **notes}

        one.update(self._change(one, change))
        if before != size:
            direction = "up" if size > before else "down"
            text = f"Scaled {direction} replica set {one['metadata']['name']} from {before} to {size}"
            self._recorder.normal(deployment, "ScalingReplicaSet", text)
        return before != size

    def mark(self, deployment: Obj, number: int, change_status: Callable[[Obj], None]) -> None:
        """Note the revision on the Deployment, and what `change_status` adds.

        Raises:
            StatusMoved: something had to be written.
        """
        status = dict(deployment.get("status", {}))
        change_status(status)
        if status == deployment.get("status", {}) and revisions.revision(deployment) == number:
            return

        def change(one: Obj) -> None:
            one["status"] = status
            one["metadata"].setdefault("annotations", {})[revisions.REVISION] = str(number)

        meta = deployment["metadata"]
        self._cluster.update(
            DEPLOYMENTS, meta["namespace"], meta["name"], change, manager=MANAGER, subresource="status"
        )
        raise StatusMoved

    def clean_up(self, deployment: Obj, old: list[Obj]) -> None:
        """Delete the old ReplicaSets that `revisionHistoryLimit` has no room for."""
        for one in revisions.surplus(deployment, old):
            self._cluster.delete(REPLICASETS, one["metadata"]["namespace"], one["metadata"]["name"])

    def write_status(self, deployment: Obj, status: Obj) -> None:
        """Replace the Deployment's status."""
        meta = deployment["metadata"]
        self._cluster.update(
            DEPLOYMENTS,
            meta["namespace"],
            meta["name"],
            lambda one: one.update(status=status),
            manager=MANAGER,
            subresource="status",
        )

    def _change(self, replica_set: Obj, mutate: Callable[[Obj], None]) -> Obj:
        meta = replica_set["metadata"]
        changed = self._cluster.update(REPLICASETS, meta["namespace"], meta["name"], mutate, manager=MANAGER)
        return changed or replica_set


def _adopt(obj: Obj, reference: Obj) -> None:
    obj["metadata"]["ownerReferences"] = [*(obj["metadata"].get("ownerReferences") or []), reference]
