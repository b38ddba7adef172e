"""Simulated operators: controllers of custom resources, which run while their definitions are installed.

They start the pods that the real operators would start, run them for real, and write the status fields that the real
ones write. What stands between is left out: there are no StatefulSets and no RayCluster objects, the pods belong to
the custom resource itself.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.controllers.operators.leaderworkersets import LeaderWorkerSets
from sandbox.kubernetes.controllers.operators.ray import RayServices
from sandbox.kubernetes.objects.custom import served
from sandbox.kubernetes.resources import CRDS, Resource

Operator = Callable[[Cluster, Resource], Coroutine[Any, Any, None]]

OPERATORS: dict[str, Operator] = {
    "leaderworkersets.leaderworkerset.x-k8s.io": lambda cluster, kind: LeaderWorkerSets(cluster, kind).run(),
    "rayservices.ray.io": lambda cluster, kind: RayServices(cluster, kind).run(),
}
"""By the name of the CustomResourceDefinition."""


async def run_operators(cluster: Cluster) -> None:
    """Run the operator of every installed definition that has one, until cancelled."""
    running: dict[str, asyncio.Task[None]] = {}
    specs: dict[str, Any] = {}
    async with asyncio.TaskGroup() as tasks:
        async for change, _, definition in cluster.subscribe(CRDS):
            name = definition["metadata"]["name"]
            if name not in OPERATORS or (change == "MODIFIED" and specs.get(name) == definition["spec"]):
                continue
            if name in running:
                running.pop(name).cancel()
            if change != "DELETED":
                specs[name] = definition["spec"]
                running[name] = tasks.create_task(OPERATORS[name](cluster, served(definition)[0]))
