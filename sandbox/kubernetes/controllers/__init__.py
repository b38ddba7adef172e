"""The cluster's controllers: what turns the objects that clients write into pods, addresses and statuses."""

import asyncio

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.controllers.deployments import Deployments
from sandbox.kubernetes.controllers.disruption import DisruptionBudgets
from sandbox.kubernetes.controllers.endpoints import EndpointControllers
from sandbox.kubernetes.controllers.jobs import Jobs, JobTimings
from sandbox.kubernetes.controllers.nodes import NodeLifecycle
from sandbox.kubernetes.controllers.operators import run_operators
from sandbox.kubernetes.controllers.replicaset import ReplicaSets
from sandbox.kubernetes.controllers.scheduling import Scheduler
from sandbox.kubernetes.controllers.volumes import Volumes

__all__ = ["JobTimings", "run_controllers"]


async def run_controllers(cluster: Cluster, *, jobs: JobTimings | None = None) -> None:
    """Run every controller until cancelled.

    Args:
        cluster: The cluster to control.
        jobs: Pauses between the pods of a failing Job.
    """
    async with asyncio.TaskGroup() as tasks:
        for controller in (
            Deployments(cluster),
            ReplicaSets(cluster),
            Jobs(cluster, jobs),
            EndpointControllers(cluster),
            Scheduler(cluster),
            NodeLifecycle(cluster),
            Volumes(cluster),
            DisruptionBudgets(cluster),
        ):
            tasks.create_task(controller.run())
        tasks.create_task(run_operators(cluster))
