"""Everything that belongs to an endpoint, found by label and taken away in order."""

import asyncio

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from kube.connect import Cluster
from kube.delete import Removed, delete
from serving.benchmark.job import BENCHMARK_LABEL
from serving.errors import ClusterError, InputError
from serving.events import EndpointRemoved
from serving.record import ENDPOINT_LABEL
from tasks.events import emit
from tasks.kinds import JOB_KINDS, KINDS, VOLUME_KINDS
from tasks.record import lease_name, load_lease_name
from tasks.release import remove_labelled


@task(name="remove-endpoint", task_run_name="remove-endpoint", cache_policy=NO_CACHE)
async def remove_all(namespace: str, endpoint: str, cluster: Cluster) -> list[str]:
    """Deletes all that carries the endpoint's label and waits until it is gone.

    Raises:
        InputError: There is nothing of this name.
        ClusterError: Something could not be deleted.
    """
    removed = await asyncio.to_thread(remove_objects, namespace, endpoint, cluster)
    for name in removed:
        get_run_logger().info("%s removed", name)
    if not removed:
        raise InputError(
            f"There is no endpoint {endpoint} in namespace {namespace}.",
            fix="List the endpoints (list-endpoints) and check name and namespace.",
            code="endpoint.unknown",
        )
    emit(EndpointRemoved(endpoint=endpoint, namespace=namespace, objects=removed))
    return removed


def remove_objects(namespace: str, endpoint: str, cluster: Cluster) -> list[str]:
    """Deletes the endpoint's objects and its lease; returns what was deleted, as messages name it."""
    removed = _remove_load_tests(namespace, endpoint, cluster)
    removed += remove_labelled(cluster, namespace, f"{ENDPOINT_LABEL}={endpoint}", (*KINDS, *VOLUME_KINDS))
    for lease in (lease_name(endpoint), load_lease_name(endpoint)):
        delete(cluster, "coordination.k8s.io/v1", "Lease", lease, namespace=namespace)
    return [str(gone) for gone in removed]


def _remove_load_tests(namespace: str, endpoint: str, cluster: Cluster) -> list[Removed]:
    """Ends load tests under way; without the right to, they end by themselves."""
    try:
        return remove_labelled(cluster, namespace, f"{ENDPOINT_LABEL}={endpoint},{BENCHMARK_LABEL}", JOB_KINDS)
    except ClusterError as error:
        if error.code != "cluster.forbidden":
            raise
        return []
