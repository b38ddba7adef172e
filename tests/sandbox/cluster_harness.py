"""A cluster without its HTTP server: store, controllers and (where asked for) nodes on one event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.controllers import JobTimings, run_controllers
from sandbox.kubernetes.controllers.meta import timestamp
from sandbox.kubernetes.garbage import GarbageCollector
from sandbox.kubernetes.housekeeping import QuotaKeeper, fill_namespace
from sandbox.kubernetes.node import Fleet, ImageConfig, NodeConfig, NodeTimings
from sandbox.kubernetes.node.registration import register
from sandbox.kubernetes.resources import EVENTS, NAMESPACES, PODS, Registry, Resource
from sandbox.kubernetes.store import Store

NAMESPACE = "inference"
IMAGE = "registry.example.com/mock-vllm:1"
GPU_NODE = NodeConfig("node-a", capacity={"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "4"})
QUICK = NodeTimings(crash_backoff=0.2, crash_backoff_max=1.0, image_backoff=0.2, image_backoff_max=1.0, sync=0.1)


@dataclass
class Harness:
    """What a test works with."""

    cluster: Cluster
    fleet: Fleet | None

    def apply(self, *objects: dict[str, Any]) -> None:
        for obj in objects:
            self.cluster.create(resource_of(obj), obj, manager="test")

    def change(self, resource: Resource, name: str, mutate: Callable[[dict[str, Any]], None]) -> None:
        self.cluster.update(resource, NAMESPACE, name, mutate, manager="test")

    def one(self, resource: Resource, name: str) -> dict[str, Any]:
        found = self.cluster.get(resource, NAMESPACE, name)
        assert found is not None, f"no {resource.plural} {name}"
        return found

    def pods(self) -> list[dict[str, Any]]:
        return self.cluster.list(PODS, NAMESPACE)

    def events(self, name: str = "") -> list[dict[str, Any]]:
        found = self.cluster.list(EVENTS, NAMESPACE)
        found = [one for one in found if not name or one["involvedObject"]["name"] == name]
        return sorted(found, key=lambda one: int(one["metadata"]["name"].rpartition(".")[2], 16))

    def said(self, reason: str, name: str = "") -> list[str]:
        """Messages of the events with a reason."""
        return [one["message"] for one in self.events(name) if one["reason"] == reason]


def resource_of(obj: dict[str, Any]) -> Resource:
    found = Registry().of_kind(obj["apiVersion"], obj["kind"])
    assert found is not None
    return found


class InstantKubelet:
    """Stands for nodes where only controllers matter: scheduled pods are ready at once, deleted ones gone.

    Attributes:
        unready: Names of Deployments whose pods run and never become ready.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.unready: set[str] = set()
        self.keeps_deleted = False

    async def run(self) -> None:
        async for kind, _, obj in self._cluster.subscribe(PODS):
            if kind == "DELETED" or not obj["spec"].get("nodeName"):
                continue
            if "deletionTimestamp" in obj["metadata"]:
                if not self.keeps_deleted:
                    self._cluster.finalize(PODS, NAMESPACE, obj["metadata"]["name"])
            elif obj["status"].get("phase") == "Pending":
                app = obj["metadata"].get("labels", {}).get("app")
                self.report(obj["metadata"]["name"], "Running", ready=app not in self.unready)

    def report(self, name: str, phase: str, *, ready: bool = False, address: str = "10.0.0.9") -> None:
        """Write a pod's status."""
        moment = timestamp()

        def change(pod: dict[str, Any]) -> None:
            pod["status"] |= {"phase": phase, "podIP": address, "startTime": moment}
            others = [one for one in pod["status"].get("conditions", []) if one["type"] != "Ready"]
            turned = {"type": "Ready", "status": str(ready), "lastTransitionTime": moment, "lastProbeTime": None}
            pod["status"]["conditions"] = [*others, turned]

        self._cluster.update(PODS, NAMESPACE, name, change, manager="kubelet", subresource="status")


@asynccontextmanager
async def controlled_cluster(
    *, nodes: Sequence[NodeConfig] = (GPU_NODE,), jobs: JobTimings | None = None
) -> AsyncIterator[tuple[Harness, InstantKubelet]]:
    """Controllers and a scheduler, without processes."""
    store = Store()
    cluster = new_cluster(store)
    for number, node in enumerate(nodes):
        register(cluster, node, f"10.99.1.{number + 1}")
    kubelet = InstantKubelet(cluster)
    works = [*keepers(store, cluster, jobs or JobTimings(0.2, 1.0)), kubelet.run()]
    async with background(works):
        yield Harness(cluster, None), kubelet


@asynccontextmanager
async def running_cluster(
    tmp_path: Path,
    *,
    nodes: Sequence[NodeConfig] = (GPU_NODE,),
    images: Sequence[ImageConfig] = (ImageConfig(IMAGE),),
    timings: NodeTimings = QUICK,
) -> AsyncIterator[Harness]:
    """A whole cluster, whose nodes run pods as processes."""
    store = Store()
    cluster = new_cluster(store)
    fleet = Fleet(cluster, nodes, images, tmp_path / "nodes", timings)
    async with background([*keepers(store, cluster, JobTimings(0.2, 1.0)), fleet.run()]):
        yield Harness(cluster, fleet)


def new_cluster(store: Store) -> Cluster:
    cluster = Cluster(store)
    for name in ("default", NAMESPACE):
        cluster.create(NAMESPACES, {"metadata": {"name": name}}, manager="test")
        fill_namespace(cluster, name, "")
    return cluster


def keepers(store: Store, cluster: Cluster, jobs: JobTimings) -> list[Coroutine[Any, Any, None]]:
    return [
        GarbageCollector(store, Registry()).run(),
        QuotaKeeper(store, cluster).run(),
        run_controllers(cluster, jobs=jobs),
    ]


@asynccontextmanager
async def background(works: Sequence[Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run the works until the block ends; one that ends by itself fails the test."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.sleep(0)
        yield
        for task in tasks:
            assert not task.done(), task.exception()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def eventually(check: Callable[[], Any], seconds: float = 40.0) -> Any:
    """The first true value of `check`; the last failure when there is none in time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            value = check()
            if value:
                return value
            failure: AssertionError = AssertionError(f"still {value!r}")
        except AssertionError as error:
            failure = error
        if asyncio.get_running_loop().time() > deadline:
            raise failure
        await asyncio.sleep(0.01)


def container(name: str = "vllm", **changes: Any) -> dict[str, Any]:
    return {"name": name, "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "1000"], **changes}


def pod_spec(*containers: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"terminationGracePeriodSeconds": 1, "containers": list(containers or (container(),)), **changes}


def pod(name: str, spec: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, **meta},
        "spec": spec,
    }


def deployment(name: str = "chat", spec: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": name}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec or pod_spec()},
            **changes,
        },
    }


def job(name: str, *command: str, **changes: Any) -> dict[str, Any]:
    spec = {"restartPolicy": "Never", **pod_spec(container("fetch", command=list(command)))}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"template": {"metadata": {}, "spec": spec}, **changes},
    }


def service(name: str = "chat", port: int | str = "http", **changes: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": name}},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": port}], **changes},
    }


def conditions(obj: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    """Status and reason of every condition."""
    return {one["type"]: (one["status"], one.get("reason")) for one in obj["status"].get("conditions", [])}
