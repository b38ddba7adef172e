"""Keeps NIMServices: once the cache is ready, a Deployment that reads it; the NIM itself says what it serves."""

import aiohttp

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.controllers.meta import Obj, condition
from sandbox.kubernetes.controllers.operators.nim import made
from sandbox.kubernetes.controllers.operators.nim.conditions import with_condition
from sandbox.kubernetes.controllers.operators.nim.finalizers import MANAGER, is_kept
from sandbox.kubernetes.controllers.pods import is_active, is_ready
from sandbox.kubernetes.controllers.recorder import Recorder
from sandbox.kubernetes.controllers.workqueue import Key, keys_of_owner, own_key, run_controller
from sandbox.kubernetes.objects.custom import served
from sandbox.kubernetes.resources import CRDS, DEPLOYMENTS, PODS, SERVICEACCOUNTS, SERVICES, Resource

CACHES = "nimcaches.apps.nvidia.com"
POLL_SECONDS = 0.5
"""How often what is not ready is looked at besides; the operator looks every 30 seconds."""
ANSWER_SECONDS = 2.0


class NimServices:
    """The NIMService controller."""

    def __init__(self, cluster: Cluster, resource: Resource) -> None:
        self._cluster, self._resource = cluster, resource
        self._recorder = Recorder(cluster, "nimservice-controller")

    async def run(self) -> None:
        """Reconcile until cancelled."""
        async with aiohttp.ClientSession() as self._session:
            owner = keys_of_owner(self._resource.kind)
            sources = {self._resource: own_key, DEPLOYMENTS: owner, SERVICES: owner}
            await run_controller(self._cluster, sources, self.reconcile)

    async def reconcile(self, key: Key) -> float | None:
        """Bring one NIMService's objects and status to where they should be."""
        service = self._cluster.get(self._resource, *key)
        if service is None or not is_kept(self._cluster, self._resource, service):
            return None
        self._sync(SERVICEACCOUNTS, made.account(service))
        self._sync(SERVICES, made.kubernetes_service(service))
        claim = self._claim_of_cache(service)
        if claim is None:
            return POLL_SECONDS
        self._sync(DEPLOYMENTS, made.deployment(service, claim))
        deployment = self._cluster.get(DEPLOYMENTS, *key)
        why = unfinished(deployment) if deployment is not None else "it is not there yet"
        model = await self._model(service) if not why else None
        if why or model is None:
            self._not_ready(service, "NotReady", why or f"NIM {key[1]} does not tell its model yet")
            return POLL_SECONDS
        self._ready(service, model)
        return None

    def _claim_of_cache(self, service: Obj) -> str | None:
        """Name of the claim with the model; None while the cache is not ready, which the status says then."""
        name: str = ((service["spec"].get("storage") or {}).get("nimCache") or {}).get("name", "")
        definition = self._cluster.get(CRDS, "", CACHES)
        kind = served(definition)[0] if definition else None
        cache = self._cluster.get(kind, service["metadata"]["namespace"], name) if kind else None
        status = (cache or {}).get("status") or {}
        if cache is None:
            self._failed(service, "NIMCacheNotFound", f"NIMCache {name} not found")
        elif status.get("state") == "Failed":
            # The operator looks for a condition that its caches never have: what failed stands in the cache alone.
            self._failed(service, "NIMCacheFailed", (condition(cache, "Failed") or {}).get("message", ""))
        elif status.get("state") != "Ready":
            self._not_ready(service, "NIMCacheNotReady", f"NIMCache {name} not ready")
        else:
            found: str = status["pvc"]
            return found
        return None

    def _sync(self, kind: Resource, wanted: Obj) -> None:
        """Create an object, or give one that is there what the present spec says."""
        meta = wanted["metadata"]
        there = self._cluster.get(kind, meta["namespace"], meta["name"])
        if there is None:
            self._cluster.create(kind, wanted, manager=MANAGER)
            return
        if (there["metadata"].get("annotations") or {}).get(made.HASH) == meta["annotations"][made.HASH]:
            return

        def change(one: Obj) -> None:
            one["metadata"]["annotations"] = (one["metadata"].get("annotations") or {}) | meta["annotations"]
            if "spec" in wanted:
                one["spec"] |= wanted["spec"]

        self._cluster.update(kind, meta["namespace"], meta["name"], change, manager=MANAGER)

    async def _model(self, service: Obj) -> Obj | None:
        """What the NIM says that it serves; nothing where it has no list of models; None as long as it is silent."""
        meta, port = service["metadata"], made.port_of(service)
        found = self._cluster.get(SERVICES, meta["namespace"], meta["name"])
        ready = [pod for pod in self._pods(service) if is_ready(pod)]
        if found is None or not ready:
            return None
        url = f"http://{ready[0]['status']['podIP']}:{port}/v1/models"
        try:
            async with self._session.get(url, timeout=aiohttp.ClientTimeout(ANSWER_SECONDS)) as answer:
                listed = (await answer.json())["data"] if answer.status == 200 else []
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, LookupError):
            return None
        return {
            "name": listed[0]["id"] if listed else "",
            "clusterEndpoint": f"{found['spec'].get('clusterIP', '')}:{port}",
            "externalEndpoint": "",
        }

    def _pods(self, service: Obj) -> list[Obj]:
        meta = service["metadata"]
        return [pod for pod in self._cluster.list(PODS, meta["namespace"], {"app": meta["name"]}) if is_active(pod)]

    def _ready(self, service: Obj, model: Obj) -> None:
        name = service["metadata"]["name"]
        text = f'deployment "{name}" successfully rolled out\n'
        conditions = with_condition(_conditions(service), "Ready", True, "Ready", text)
        conditions = with_condition(conditions, "Failed", False, "Ready")
        if self._write_status(service, {"conditions": conditions, "model": model, "state": "Ready"}):
            self._recorder.normal(service, "Ready", f"NIMService {name} ready, msg: {text}")

    def _not_ready(self, service: Obj, reason: str, message: str) -> None:
        conditions = with_condition(_conditions(service), "Ready", False, reason, message)
        conditions = with_condition(conditions, "Failed", False, "Ready", message)
        kept = {key: value for key, value in (service.get("status") or {}).items() if key == "model"}
        if self._write_status(service, {**kept, "conditions": conditions, "state": "NotReady"}):
            name = service["metadata"]["name"]
            self._recorder.normal(service, "NotReady", f"NIMService {name} not ready, msg: {message}")

    def _failed(self, service: Obj, reason: str, message: str) -> None:
        conditions = with_condition(_conditions(service), "Ready", False, "Failed")
        conditions = with_condition(conditions, "Failed", True, reason, message)
        if self._write_status(service, {"conditions": conditions, "state": "Failed"}):
            self._recorder.warning(service, "Failed", message)

    def _write_status(self, service: Obj, status: Obj) -> bool:
        """Write the status; whether it says anything new."""
        meta = service["metadata"]
        if service.get("status") == status:
            return False

        def change(one: Obj) -> None:
            one["status"] = status

        self._cluster.update(
            self._resource, meta["namespace"], meta["name"], change, manager=MANAGER, subresource="status"
        )
        return True


def unfinished(deployment: Obj) -> str:
    """Why a Deployment is not what its spec wants, as the operator says it; empty if it is."""
    name, spec, status = deployment["metadata"]["name"], deployment["spec"], deployment.get("status") or {}
    wanted: int = spec.get("replicas", 1)
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if wanted == 0:
        return f'deployment "{name}" is scaled down'
    progress = condition(deployment, "Progressing") or {}
    if progress.get("reason") == "ProgressDeadlineExceeded":
        return f'deployment "{name}" exceeded its progress deadline'
    begin = f'Waiting for deployment "{name}" rollout to finish:'
    if updated < wanted:
        return f"{begin} {updated} out of {wanted} new replicas have been updated...\n"
    if available < updated:
        return f"{begin} {available} of {updated} updated replicas are available...\n"
    return ""


def _conditions(service: Obj) -> list[Obj]:
    found: list[Obj] = (service.get("status") or {}).get("conditions") or []
    return found
