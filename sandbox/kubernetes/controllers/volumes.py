"""PersistentVolumeClaims: bound to a volume that fits, or said why not."""

from collections.abc import Mapping
from typing import Any

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.controllers.meta import MANAGER, Obj, is_terminating
from sandbox.kubernetes.controllers.recorder import Recorder
from sandbox.kubernetes.controllers.workqueue import Key, own_key, run_controller
from sandbox.kubernetes.disks import PROVISIONER, is_disk
from sandbox.kubernetes.quantities import parse
from sandbox.kubernetes.resources import PVCS, PVS, STORAGECLASSES

RETRY_SECONDS = 15.0
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


class Volumes:
    """Binds claims to existing volumes, and to new disks where their class has these for its provisioner."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._recorder = Recorder(cluster, "persistentvolume-controller")

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await run_controller(self._cluster, {PVCS: own_key, PVS: self._all_claims}, self.reconcile)

    def _all_claims(self, _: Obj) -> list[Key]:
        return [key for claim in self._cluster.list(PVCS) for key in own_key(claim)]

    def reconcile(self, key: Key) -> float | None:
        """Bind one claim, or say why it cannot be; return when to say so again."""
        claim = self._cluster.get(PVCS, *key)
        if claim is None:
            self._release(key)
            return None
        if is_terminating(claim) or claim.get("status", {}).get("phase") == "Bound":
            return None
        volume = self._find(claim) or self._provision(claim)
        if volume is not None:
            self._bind(claim, volume)
            return None
        self._explain(claim)
        return RETRY_SECONDS

    def _class_of(self, claim: Obj) -> str:
        named: str | None = claim["spec"].get("storageClassName")
        if named is not None:
            return named
        defaults = [
            one["metadata"]["name"]
            for one in self._cluster.list(STORAGECLASSES)
            if (one["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"
        ]
        return defaults[-1] if defaults else ""

    def _find(self, claim: Obj) -> Obj | None:
        """The smallest free volume that fits, or the one that the claim or the volume names."""
        fitting = [volume for volume in self._cluster.list(PVS) if fits(claim, volume, self._class_of(claim))]
        return min(fitting, key=lambda one: parse(one["spec"]["capacity"]["storage"]), default=None)

    def _provision(self, claim: Obj) -> Obj | None:
        """A new disk, where the claim's class has them."""
        name, meta = self._class_of(claim), claim["metadata"]
        found = self._cluster.get(STORAGECLASSES, "", name) if name else None
        if found is None or found["provisioner"] != PROVISIONER:
            return None
        disk = f"pvc-{meta['uid']}"
        volume = {
            "metadata": {"name": disk, "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
            "spec": {
                "accessModes": claim["spec"]["accessModes"],
                "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
                "storageClassName": name,
                "persistentVolumeReclaimPolicy": found.get("reclaimPolicy", "Delete"),
                "csi": {"driver": PROVISIONER, "volumeHandle": disk},
            },
        }
        created = self._cluster.create(PVS, volume, manager=MANAGER)
        self._recorder.normal(claim, "ProvisioningSucceeded", f"Successfully provisioned volume {disk}")
        return created

    def _bind(self, claim: Obj, volume: Obj) -> None:
        meta, name = claim["metadata"], volume["metadata"]["name"]

        def take(one: Obj) -> None:
            one["spec"]["claimRef"] = {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
            }

        def point(one: Obj) -> None:
            one["spec"]["volumeName"] = name
            notes = one["metadata"].setdefault("annotations", {})
            notes["pv.kubernetes.io/bind-completed"] = "yes"

        def bound(one: Obj) -> None:
            spec = volume["spec"]
            one["status"] = {"phase": "Bound", "accessModes": spec["accessModes"], "capacity": spec["capacity"]}

        self._cluster.update(PVS, "", name, take, manager=MANAGER)
        self._set_phase(name, "Bound")
        self._cluster.update(PVCS, meta["namespace"], meta["name"], point, manager=MANAGER)
        self._cluster.update(PVCS, meta["namespace"], meta["name"], bound, manager=MANAGER, subresource="status")

    def _set_phase(self, volume: str, phase: str) -> None:
        def change(one: Obj) -> None:
            one.setdefault("status", {})["phase"] = phase

        self._cluster.update(PVS, "", volume, change, manager=MANAGER, subresource="status")

    def _explain(self, claim: Obj) -> None:
        name = self._class_of(claim)
        if not name:
            text = "no persistent volumes available for this claim and no storage class is set"
            self._recorder.normal(claim, "FailedBinding", text)
        elif self._cluster.get(STORAGECLASSES, "", name) is None:
            text = f'storageclass.storage.k8s.io "{name}" not found'
            self._recorder.warning(claim, "ProvisioningFailed", text)
        else:
            text = (
                f"the sandbox provisions no volumes but {PROVISIONER}'s: create a PersistentVolume, or use an emptyDir"
            )
            self._recorder.warning(claim, "ProvisioningFailed", text)

    def _release(self, key: Key) -> None:
        """The claim is gone: its volume keeps its data, and nobody else gets it; a disk that is not to stay goes."""
        for volume in self._cluster.list(PVS):
            reference = volume["spec"].get("claimRef") or {}
            bound = volume.get("status", {}).get("phase") == "Bound"
            if not bound or (reference.get("namespace"), reference.get("name")) != key:
                continue
            self._set_phase(volume["metadata"]["name"], "Released")
            if is_disk(volume) and volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete":
                self._cluster.delete(PVS, "", volume["metadata"]["name"])


def fits(claim: Obj, volume: Obj, storage_class: str) -> bool:
    """Tell whether a volume can serve a claim."""
    wanted, offered = claim["spec"], volume["spec"]
    meta = claim["metadata"]
    reserved: Mapping[str, Any] | None = offered.get("claimRef")
    if reserved and (reserved.get("namespace"), reserved.get("name")) != (meta["namespace"], meta["name"]):
        return False
    if reserved and reserved.get("uid") not in (None, meta["uid"]):
        return False
    if wanted.get("volumeName") not in (None, volume["metadata"]["name"]):
        return False
    if storage_class != (offered.get("storageClassName") or "") and not reserved:
        return False
    enough = parse(offered["capacity"]["storage"]) >= parse(wanted["resources"]["requests"]["storage"])
    return enough and set(wanted.get("accessModes") or []) <= set(offered.get("accessModes") or [])
