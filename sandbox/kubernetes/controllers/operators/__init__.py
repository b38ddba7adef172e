"""Simulated operators: controllers of custom resources, which run where the definition asks for them.

A CustomResourceDefinition with the annotation `sandbox/operator: simulated` gets its operator; without it, objects are
only stored, as in a cluster that has the definition and no operator. Operators start the pods that the real ones would
start, run them for real, and write the status fields that the real ones write. What stands between is left out: there
are no StatefulSets and no RayCluster objects, the pods belong to the custom resource itself. Serve's applications are
what the head pod's own REST interface says they are. A NIM's model is what the NIM says that it serves.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.controllers.operators.leaderworkersets import LeaderWorkerSets
from sandbox.kubernetes.controllers.operators.nim import NimCaches, NimServices
from sandbox.kubernetes.controllers.operators.ray import RayServices
from sandbox.kubernetes.objects.custom import served
from sandbox.kubernetes.resources import CRDS, Resource

Operator = Callable[[Cluster, Resource], Coroutine[Any, Any, None]]

ANNOTATION, SIMULATED = "sandbox/operator", "simulated"

OPERATORS: dict[str, Operator] = {
    "leaderworkersets.leaderworkerset.x-k8s.io": lambda cluster, kind: LeaderWorkerSets(cluster, kind).run(),
    "nimcaches.apps.nvidia.com": lambda cluster, kind: NimCaches(cluster, kind).run(),
    "nimservices.apps.nvidia.com": lambda cluster, kind: NimServices(cluster, kind).run(),
    "rayservices.ray.io": lambda cluster, kind: RayServices(cluster, kind).run(),
}
"""By the name of the CustomResourceDefinition."""


NIM = ("nimcaches.apps.nvidia.com", "nimservices.apps.nvidia.com")
"""The kinds of the NIM operator."""


def simulate(cluster: Cluster, names: Collection[str] = tuple(OPERATORS), *, running: bool = True) -> None:
    """Let definitions that are there have their operators, or take these away.

    Args:
        cluster: Where the definitions are.
        names: Of the definitions; those that are not there are passed over.
        running: Whether the operators run.
    """

    def ask(definition: dict[str, Any]) -> None:
        definition["metadata"]["annotations"] = {ANNOTATION: SIMULATED} if running else {}

    for definition in cluster.list(CRDS):
        if definition["metadata"]["name"] in names:
            cluster.update(CRDS, "", definition["metadata"]["name"], ask, manager="sandbox")


async def run_operators(cluster: Cluster) -> None:
    """Run the operators that installed definitions ask for, until cancelled."""
    running: dict[str, asyncio.Task[None]] = {}
    specs: dict[str, Any] = {}
    async with asyncio.TaskGroup() as tasks:
        async for change, _, definition in cluster.subscribe(CRDS):
            meta = definition["metadata"]
            name = meta["name"]
            wanted = (meta.get("annotations") or {}).get(ANNOTATION) == SIMULATED and name in OPERATORS
            spec = definition["spec"] if wanted and change != "DELETED" else None
            if specs.get(name) == spec:
                continue
            specs[name] = spec
            if name in running:
                running.pop(name).cancel()
            if spec:
                running[name] = tasks.create_task(OPERATORS[name](cluster, served(definition)[0]))
