"""Keeps RayServices: a Ray cluster, its applications, and a second cluster while the first is replaced."""

import asyncio

import aiohttp

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.controllers.endpoints import SERVICE_NAME
from sandbox.kubernetes.controllers.meta import (
    Obj,
    is_controlled_by,
    is_terminating,
    random_suffix,
    seconds_since,
    timestamp,
)
from sandbox.kubernetes.controllers.operators.ray import dashboard, nodes, suspension
from sandbox.kubernetes.controllers.operators.ray.status import ClusterView, service_status
from sandbox.kubernetes.controllers.pods import is_active, is_ready
from sandbox.kubernetes.controllers.recorder import Recorder
from sandbox.kubernetes.controllers.workqueue import Key, keys_of_owner, own_key, run_controller
from sandbox.kubernetes.resources import ENDPOINTSLICES, PODS, SERVICES, Resource

MANAGER = "kuberay-operator"
POLL_SECONDS = 0.5
"""How often the head is asked; KubeRay asks every two seconds."""
NOTICE_SECONDS = 1.0
"""An operator is another program: it hears of a new object a moment later."""
DELETION_DELAY = 60


class RayServices:
    """The RayService controller."""

    def __init__(self, cluster: Cluster, resource: Resource) -> None:
        self._cluster, self._resource = cluster, resource
        self._recorder = Recorder(cluster, "rayservice-controller")
        self._submitted: dict[str, str] = {}
        """By cluster: the configuration that its head has taken."""
        self._retired: dict[str, str] = {}
        """By cluster: since when it is not active any more."""
        self._noticed: dict[str, float] = {}
        """By the object's uid: when it is noticed, in seconds of the event loop's clock."""

    async def run(self) -> None:
        """Reconcile until cancelled."""
        async with aiohttp.ClientSession() as self._session:
            sources = {self._resource: own_key, PODS: keys_of_owner(self._resource.kind)}
            await run_controller(self._cluster, sources, self.reconcile)

    def _until_noticed(self, service: Obj) -> float:
        """Seconds until the operator has heard of the object: who made it sees it untouched for a moment."""
        now = asyncio.get_running_loop().time()
        return self._noticed.setdefault(service["metadata"]["uid"], now + NOTICE_SECONDS) - now

    async def reconcile(self, key: Key) -> float | None:
        """Bring one RayService's clusters, Services and status to where they should be."""
        service = self._cluster.get(self._resource, *key)
        if service is None or is_terminating(service):
            return None
        if (wait := self._until_noticed(service)) > 0:
            return wait
        if suspension.drives(service):
            return self._suspend(service)
        active, pending = self._choose(service)
        views = {name: await self._look_at(service, name) for name in (active, pending) if name}
        if pending and views[pending].is_serving and views[pending].serving:
            if active:
                self._retired[active] = timestamp()
            active, pending = pending, ""
        if active:
            self._apply(nodes.serve_service(service, active))
            self._apply(nodes.head_service(service, active, f"{key[1]}-head-svc"))
        self._remove_others(service, {active, pending})
        status = service_status(service, views.get(active), views.get(pending), self._endpoints(service))
        self._write_status(service, status)
        return POLL_SECONDS

    def _suspend(self, service: Obj) -> float | None:
        """Take one step towards a suspended RayService, or back from it."""
        owned = [
            (kind, one)
            for kind in (PODS, SERVICES)
            for one in self._cluster.list(
                kind, service["metadata"]["namespace"], where=lambda one: is_controlled_by(one, service)
            )
        ]
        if suspension.is_true(service, suspension.SUSPENDING):
            for kind, one in owned:
                if not is_terminating(one):
                    self._cluster.delete(kind, one["metadata"]["namespace"], one["metadata"]["name"])
        status = suspension.next_status(service, left=bool(owned))
        if status == service.get("status") and suspension.is_true(service, suspension.SUSPENDED):
            return None
        self._write_status(service, status)
        return POLL_SECONDS

    def _choose(self, service: Obj) -> tuple[str, str]:
        """Names of the active and of the pending cluster; a changed configuration asks for a new one."""
        status, wanted = service.get("status") or {}, nodes.config_hash(service)
        active: str = (status.get("activeServiceStatus") or {}).get("rayClusterName", "")
        pending: str = (status.get("pendingServiceStatus") or {}).get("rayClusterName", "")
        if active and self._hash_of(service, active) in (wanted, None):
            return active, ""
        if pending and self._hash_of(service, pending) in (wanted, None):
            return active, pending
        strategy = (service["spec"].get("upgradeStrategy") or {}).get("type", "NewCluster")
        if active and strategy == "None":
            return active, ""
        name = f"{service['metadata']['name']}-{random_suffix()}"
        text = f"Created RayCluster {service['metadata']['namespace']}/{name}"
        self._recorder.normal(service, "CreatedRayCluster", text)
        return active, name

    def _hash_of(self, service: Obj, cluster: str) -> str | None:
        head = ClusterView(cluster, self._pods(service, cluster), 0).head
        return (head["metadata"].get("annotations") or {}).get(nodes.HASH) if head else None

    def _pods(self, service: Obj, cluster: str) -> list[Obj]:
        namespace = service["metadata"]["namespace"]
        return [pod for pod in self._cluster.list(PODS, namespace, {nodes.CLUSTER: cluster}) if is_active(pod)]

    async def _look_at(self, service: Obj, cluster: str) -> ClusterView:
        """Create what a cluster misses, and ask it how it is."""
        workers = sum(_replicas(group) for group in _groups(service))
        present = ClusterView(cluster, self._pods(service, cluster), workers)
        if present.head is None:
            self._create(service, cluster, nodes.head_pod(service, cluster), "head")
        if self._hash_of(service, cluster) == nodes.config_hash(service):
            self._scale_workers(service, cluster)
        self._apply(nodes.head_service(service, cluster, f"{cluster}-head-svc"))
        view = ClusterView(cluster, self._pods(service, cluster), workers)
        if view.head is not None and is_ready(view.head):
            await self._serve(service, view)
        return view

    def _scale_workers(self, service: Obj, cluster: str) -> None:
        for group in _groups(service):
            labels = {nodes.CLUSTER: cluster, nodes.GROUP: group["groupName"]}
            found = self._cluster.list(PODS, service["metadata"]["namespace"], labels)
            running = [pod for pod in found if is_active(pod)]
            for _ in range(_replicas(group) - len(running)):
                self._create(service, cluster, nodes.worker_pod(service, cluster, group), "worker")
            for pod in running[_replicas(group) :]:
                self._cluster.delete(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])

    def _create(self, service: Obj, cluster: str, pod: Obj, kind: str) -> None:
        created = self._cluster.create(PODS, pod, manager=MANAGER)
        meta = created["metadata"]
        text = f"Created {kind} Pod {meta['namespace']}/{meta['name']}"
        self._recorder.normal(service, f"Created{kind.capitalize()}Pod", text)
        if kind == "head":
            self._submitted.pop(cluster, None)

    async def _serve(self, service: Obj, view: ClusterView) -> None:
        assert view.head is not None  # the caller looked
        address, config = view.head["status"]["podIP"], service["spec"].get("serveConfigV2", "")
        changed = config and self._submitted.get(view.name) != config
        if changed and await dashboard.put_config(self._session, address, config):
            self._submitted[view.name] = config
        view.applications = await dashboard.get_applications(self._session, address)
        for pod in view.pods:
            is_head = pod is view.head
            healthy = is_ready(pod) and await dashboard.is_serving(self._session, pod["status"]["podIP"])
            if is_head and service["spec"].get("excludeHeadPodFromServeSvc"):
                healthy = False
            if healthy:
                view.serving.add(pod["metadata"]["name"])
            self._label(pod, "true" if healthy else "false")

    def _label(self, pod: Obj, value: str) -> None:
        def change(one: Obj) -> None:
            one["metadata"]["labels"][nodes.SERVE] = value

        if pod["metadata"]["labels"].get(nodes.SERVE) != value:
            meta = pod["metadata"]
            self._cluster.update(PODS, meta["namespace"], meta["name"], change, manager=MANAGER)

    def _apply(self, wanted: Obj) -> None:
        """Create a Service, or give one that is there its selector and ports."""
        meta = wanted["metadata"]
        if self._cluster.get(SERVICES, meta["namespace"], meta["name"]) is None:
            self._cluster.create(SERVICES, wanted, manager=MANAGER)
            return

        def change(one: Obj) -> None:
            one["spec"]["selector"] = wanted["spec"]["selector"]

        self._cluster.update(SERVICES, meta["namespace"], meta["name"], change, manager=MANAGER)

    def _remove_others(self, service: Obj, kept: set[str]) -> None:
        """Delete the pods of clusters that are neither active nor pending, once their delay is over."""
        delay = service["spec"].get("rayClusterDeletionDelaySeconds", DELETION_DELAY)
        for pod in self._cluster.list(PODS, service["metadata"]["namespace"]):
            name = (pod["metadata"].get("labels") or {}).get(nodes.CLUSTER, "")
            if not is_controlled_by(pod, service) or name in kept or is_terminating(pod):
                continue
            since = self._retired.get(name)
            if since is None or seconds_since(since) >= delay:
                self._cluster.delete(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])

    def _endpoints(self, service: Obj) -> int:
        meta = service["metadata"]
        name = nodes.serve_service(service, "")["metadata"]["name"]
        slices = self._cluster.list(ENDPOINTSLICES, meta["namespace"], {SERVICE_NAME: name})
        return sum(one["conditions"]["ready"] for each in slices for one in each.get("endpoints") or [])

    def _write_status(self, service: Obj, status: Obj) -> None:
        meta = service["metadata"]

        def change(one: Obj) -> None:
            one["status"] = status

        self._cluster.update(
            self._resource, meta["namespace"], meta["name"], change, manager=MANAGER, subresource="status"
        )


def _groups(service: Obj) -> list[Obj]:
    found: list[Obj] = service["spec"]["rayClusterConfig"].get("workerGroupSpecs") or []
    return found


def _replicas(group: Obj) -> int:
    """How many workers a group should have; without a number the least."""
    number = group.get("replicas")
    least, most = group.get("minReplicas", 0), group.get("maxReplicas", 2**31 - 1)
    wanted: int = least if number is None else min(max(number, least), most)
    return wanted * int(group.get("numOfHosts", 1))
