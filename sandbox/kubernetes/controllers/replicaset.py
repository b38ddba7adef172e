"""ReplicaSets: as many pods as wanted, and a status that says how they fare."""

from typing import Any

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.controllers.meta import (
    MANAGER,
    Obj,
    controller_of,
    is_controlled_by,
    is_terminating,
    may_be_claimed_by,
    owner_reference,
    selects,
    timestamp,
)
from sandbox.kubernetes.controllers.pods import (
    deletion_rank,
    is_active,
    is_available,
    is_ready,
    is_stopping,
    pod_from_template,
    seconds_to_available,
)
from sandbox.kubernetes.controllers.recorder import Recorder
from sandbox.kubernetes.controllers.workqueue import Key, own_key, run_controller
from sandbox.kubernetes.errors import ApiError
from sandbox.kubernetes.resources import PODS, REPLICASETS

BURST = 500
"""Pods created or deleted in one go, at most."""


class ReplicaSets:
    """The ReplicaSet controller."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._recorder = Recorder(cluster, "replicaset-controller")

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await run_controller(self._cluster, {REPLICASETS: own_key, PODS: self._keys_of_pod}, self.reconcile)

    def _keys_of_pod(self, pod: Obj) -> list[Key]:
        namespace, reference = pod["metadata"]["namespace"], controller_of(pod)
        if reference:
            return [(namespace, reference["name"])] if reference["kind"] == "ReplicaSet" else []
        labels = pod["metadata"].get("labels")
        return [
            (namespace, one["metadata"]["name"])
            for one in self._cluster.list(REPLICASETS, namespace)
            if selects(one["spec"]["selector"], labels)
        ]

    def reconcile(self, key: Key) -> float | None:
        """Bring one ReplicaSet's pods and status to where they should be.

        Raises:
            ApiError: a pod could not be created or deleted; the status says so.
        """
        replica_set = self._cluster.get(REPLICASETS, *key)
        if replica_set is None:
            return None
        pods = self._claim(replica_set)
        active = [pod for pod in pods if is_active(pod)]
        failure = None if is_terminating(replica_set) else self._scale(replica_set, active)
        status = replica_set_status(replica_set, pods, failure)
        if status != replica_set.get("status"):
            self._cluster.update(
                REPLICASETS, *key, lambda one: one.update(status=status), manager=MANAGER, subresource="status"
            )
        if failure:
            raise failure
        return seconds_to_available(active, replica_set["spec"].get("minReadySeconds", 0))

    def _claim(self, replica_set: Obj) -> list[Obj]:
        """The pods it controls; orphans that its selector takes are adopted, strangers released."""
        namespace, selector = replica_set["metadata"]["namespace"], replica_set["spec"]["selector"]
        claimed: list[Obj] = []
        for pod in self._cluster.list(PODS, namespace, where=may_be_claimed_by(replica_set)):
            fits = selects(selector, pod["metadata"].get("labels"))
            if is_controlled_by(pod, replica_set):
                if fits or is_terminating(pod):
                    claimed.append(pod)
                else:
                    self._set_owner(pod, replica_set, owned=False)
            elif fits and controller_of(pod) is None and is_active(pod) and not is_terminating(replica_set):
                claimed.append(self._set_owner(pod, replica_set, owned=True))
        return claimed

    def _set_owner(self, pod: Obj, replica_set: Obj, *, owned: bool) -> Obj:
        reference = owner_reference(replica_set)

        def change(one: Obj) -> None:
            others = [ref for ref in one["metadata"].get("ownerReferences") or [] if ref["uid"] != reference["uid"]]
            one["metadata"]["ownerReferences"] = [*others, reference] if owned else others

        meta = pod["metadata"]
        return self._cluster.update(PODS, meta["namespace"], meta["name"], change, manager=MANAGER) or pod

    def _scale(self, replica_set: Obj, active: list[Obj]) -> ApiError | None:
        missing = replica_set["spec"]["replicas"] - len(active)
        if missing > 0:
            return self._create(replica_set, min(missing, BURST))
        for pod in sorted(active, key=deletion_rank)[: min(-missing, BURST)]:
            name = pod["metadata"]["name"]
            self._cluster.delete(PODS, replica_set["metadata"]["namespace"], name)
            self._recorder.normal(replica_set, "SuccessfulDelete", f"Deleted pod: {name}")
        return None

    def _create(self, replica_set: Obj, count: int) -> ApiError | None:
        """Create pods in growing batches, so that a refusal costs one try and not hundreds."""
        batch = 1
        while count > 0:
            for _ in range(min(batch, count)):
                pod = pod_from_template(replica_set["spec"]["template"], replica_set, owner_reference(replica_set))
                try:
                    created = self._cluster.create(PODS, pod, manager=MANAGER)
                except ApiError as error:
                    self._recorder.warning(replica_set, "FailedCreate", f"Error creating: {error.message}")
                    return error
                self._recorder.normal(replica_set, "SuccessfulCreate", f"Created pod: {created['metadata']['name']}")
                count -= 1
            batch *= 2
        return None


def replica_set_status(replica_set: Obj, pods: list[Obj], failure: ApiError | None) -> Obj:
    """The status of a ReplicaSet with these pods, as they were before this reconciliation changed them."""
    spec = replica_set["spec"]
    active = [pod for pod in pods if is_active(pod)]
    template_labels = (spec["template"].get("metadata") or {}).get("labels", {})
    counts = {
        "fullyLabeledReplicas": sum(
            template_labels.items() <= pod["metadata"].get("labels", {}).items() for pod in active
        ),
        "readyReplicas": sum(is_ready(pod) for pod in active),
        "availableReplicas": sum(is_available(pod, spec.get("minReadySeconds", 0)) for pod in active),
    }
    status: dict[str, Any] = {"replicas": len(active), **{name: count for name, count in counts.items() if count}}
    status["terminatingReplicas"] = sum(is_stopping(pod) for pod in pods)
    status["observedGeneration"] = replica_set["metadata"]["generation"]
    conditions = list(replica_set.get("status", {}).get("conditions") or [])
    if failure is None:
        conditions = [one for one in conditions if one["type"] != "ReplicaFailure"]
    elif not any(one["type"] == "ReplicaFailure" for one in conditions):
        conditions.append(
            {
                "type": "ReplicaFailure",
                "status": "True",
                "lastTransitionTime": timestamp(),
                "reason": "FailedCreate",
                "message": failure.message,
            }
        )
    return {**status, "conditions": conditions} if conditions else status
