"""Keeps NIMCaches: a claim, and a Job that fetches the model into it."""

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.controllers.meta import Obj, is_terminating, owner_reference
from sandbox.kubernetes.controllers.operators.nim.conditions import with_condition
from sandbox.kubernetes.controllers.operators.nim.finalizers import MANAGER, is_kept
from sandbox.kubernetes.controllers.recorder import Recorder
from sandbox.kubernetes.controllers.workqueue import Key, keys_of_owner, own_key, run_controller
from sandbox.kubernetes.resources import JOBS, PVCS, SERVICEACCOUNTS, Resource

MODEL_STORE = "/model-store"
ACCOUNT, CONTAINER = "nim-cache-sa", "nim-cache-ctr"
USER, GROUP = 1000, 2000
GPU_NODES = {"feature.node.kubernetes.io/pci-10de.present": "true"}
"""Where a Job runs whose cache names no nodes: node feature discovery, which the GPU operator brings, sets it."""


class NimCaches:
    """The NIMCache controller."""

    def __init__(self, cluster: Cluster, resource: Resource) -> None:
        self._cluster, self._resource = cluster, resource
        self._recorder = Recorder(cluster, "nimcache-controller")
        self._seen: dict[str, tuple[int, bool]] = {}
        """By uid: the last generation, and whether it was being deleted. What the status says starts no new look."""

    async def run(self) -> None:
        """Reconcile until cancelled."""
        owner = keys_of_owner(self._resource.kind)
        sources = {self._resource: self._keys_of_changed, JOBS: owner, PVCS: owner}
        await run_controller(self._cluster, sources, self.reconcile)

    def _keys_of_changed(self, cache: Obj) -> list[Key]:
        meta = cache["metadata"]
        seen = (meta["generation"], is_terminating(cache))
        if self._seen.get(meta["uid"]) == seen:
            return []
        self._seen[meta["uid"]] = seen
        return own_key(cache)

    def reconcile(self, key: Key) -> None:
        """Bring one cache's claim, Job and status to where they should be."""
        cache = self._cluster.get(self._resource, *key)
        if cache is None or not is_kept(self._cluster, self._resource, cache):
            return
        if self._cluster.get(SERVICEACCOUNTS, key[0], ACCOUNT) is None:
            account = {"metadata": {"name": ACCOUNT, "namespace": key[0]}}
            self._cluster.create(SERVICEACCOUNTS, account, manager=MANAGER)
        status: Obj = dict(cache.get("status") or {})
        if self._ensure_claim(cache):
            text = "The PVC has been created for caching NIM model"
            status = _changed(status, "PVC-Created", "NIM_CACHE_PVC_CREATED", True, "PVCCreated", text)
        job = self._cluster.get(JOBS, key[0], f"{key[1]}-job")
        if job is not None:
            status = next_status(status, job, claim_name(cache))
        elif status.get("state") != "Ready":
            self._cluster.create(JOBS, caching_job(cache), manager=MANAGER)
            text = "The Job to cache NIM has been created"
            status = _changed(status, "Started", "NIM_CACHE_JOB_CREATED", True, "JobCreated", text)
        self._write_status(cache, status)

    def _ensure_claim(self, cache: Obj) -> bool:
        """Create the claim if it is missing and wanted; whether it was created."""
        meta, wanted = cache["metadata"], cache["spec"]["storage"].get("pvc") or {}
        there = self._cluster.get(PVCS, meta["namespace"], claim_name(cache))
        if there is not None or not wanted.get("create"):
            return False
        self._cluster.create(PVCS, claim(cache), manager=MANAGER)
        return True

    def _write_status(self, cache: Obj, status: Obj) -> None:
        meta, before = cache["metadata"], (cache.get("status") or {}).get("state")
        if status.get("state") != before:
            text = f"NIMCache {meta['name']} reconcile success, new state: {status['state']}"
            self._recorder.normal(cache, status["state"], text)

        def change(one: Obj) -> None:
            one["status"] = status

        self._cluster.update(
            self._resource, meta["namespace"], meta["name"], change, manager=MANAGER, subresource="status"
        )


def claim_name(cache: Obj) -> str:
    """Name of the claim that keeps the model."""
    given: str = (cache["spec"]["storage"].get("pvc") or {}).get("name", "")
    return given or f"{cache['metadata']['name']}-pvc"


def claim(cache: Obj) -> Obj:
    """The claim."""
    wanted = cache["spec"]["storage"]["pvc"]
    spec: Obj = {
        "accessModes": [wanted["volumeAccessMode"]],
        "resources": {"requests": {"storage": wanted["size"]}},
    }
    if wanted.get("storageClass"):
        spec["storageClassName"] = wanted["storageClass"]
    name = cache["metadata"]["name"]
    more = {"app.kubernetes.io/instance": name, "app.kubernetes.io/part-of": "nim-cache"}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _owned(cache, claim_name(cache), {**_labels(cache), **more}),
        "spec": spec,
    }


def caching_job(cache: Obj) -> Obj:
    """The Job: the NIM's own image, told to fetch its model and end."""
    spec, source = cache["spec"], cache["spec"]["source"]["ngc"]
    secret = source.get("authSecret")
    container: Obj = {
        "name": CONTAINER,
        "image": source["modelPuller"],
        "command": ["download-to-cache"],
        "env": [{"name": "NIM_CACHE_PATH", "value": MODEL_STORE}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "nim-cache-volume", "mountPath": MODEL_STORE},
            {"name": "scratch", "mountPath": "/scratch"},
        ],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "runAsUser": spec.get("userID", USER),
            "runAsGroup": spec.get("groupID", GROUP),
        },
    }
    if secret:
        container["envFrom"] = [{"secretRef": {"name": secret}}]
    if spec.get("resources"):
        container["resources"] = {"requests": spec["resources"], "limits": spec["resources"]}
    pod: Obj = {
        "restartPolicy": "Never",
        "serviceAccountName": ACCOUNT,
        "nodeSelector": spec.get("nodeSelector") or GPU_NODES,
        "tolerations": spec.get("tolerations") or [],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": spec.get("userID", USER),
            "fsGroup": spec.get("groupID", GROUP),
        },
        "containers": [container],
        "volumes": [
            {"name": "nim-cache-volume", "persistentVolumeClaim": {"claimName": claim_name(cache)}},
            {"name": "scratch", "emptyDir": {}},
        ],
    }
    if source.get("pullSecret"):
        pod["imagePullSecrets"] = [{"name": source["pullSecret"]}]
    template = {
        "metadata": {"labels": _labels(cache), "annotations": {"sidecar.istio.io/inject": "false"}},
        "spec": pod,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _owned(cache, f"{cache['metadata']['name']}-job", {}),
        "spec": {"backoffLimit": 5, "ttlSecondsAfterFinished": 600, "template": template},
    }


def next_status(status: Obj, job: Obj, claim: str) -> Obj:
    """The cache's status after a look at its Job: one failed pod fails it, and a later success makes up for that."""
    state, counts = status.get("state"), job.get("status") or {}
    done, running = "NIM_CACHE_JOB_COMPLETED", "NIM_CACHE_JOB_PENDING"
    if state == "Ready":
        return status
    if counts.get("succeeded"):
        text = "The Job to cache NIM has successfully completed"
        return {**_changed(status, "Ready", done, True, "JobCompleted", text), "pvc": claim}
    if counts.get("failed") and state != "Failed":
        return _changed(status, "Failed", done, False, "JobFailed", "The Job to cache NIM has failed")
    if counts.get("active") and state != "InProgress":
        return _changed(status, "InProgress", running, False, "JobRunning", "The Job to cache NIM is in progress")
    if not counts.get("active") and state != "Pending":
        return _changed(status, "Pending", running, True, "JobPending", "The Job to cache NIM is in pending state")
    return status


def _changed(status: Obj, state: str, kind: str, value: bool, reason: str, message: str) -> Obj:
    conditions = with_condition(status.get("conditions") or [], kind, value, reason, message)
    return {**status, "conditions": conditions, "profiles": [], "state": state}


def _labels(cache: Obj) -> dict[str, str]:
    return {
        "app": "k8s-nim-operator",
        "app.kubernetes.io/name": cache["metadata"]["name"],
        "app.kubernetes.io/managed-by": "k8s-nim-operator",
    }


def _owned(cache: Obj, name: str, labels: dict[str, str]) -> Obj:
    namespace = cache["metadata"]["namespace"]
    return {"name": name, "namespace": namespace, "labels": labels, "ownerReferences": [owner_reference(cache)]}
