"""Everything that belongs to an endpoint, found by label and taken away in order."""

import asyncio

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from kube.connect import Cluster
from kube.delete import delete, delete_by_label
from serving.errors import InputError
from serving.record import ENDPOINT_LABEL
from tasks.record import lease_name
from tasks.release import KINDS, VOLUME_KINDS


@task(name="remove-endpoint", task_run_name="remove-endpoint", cache_policy=NO_CACHE)
async def remove_all(namespace: str, endpoint: str, cluster: Cluster) -> list[str]:
    """Deletes all that carries the endpoint's label, the record last, and waits until it is gone.

    Raises:
        InputError: There is nothing of this name.
        ClusterError: Something could not be deleted.
    """
    removed = await asyncio.to_thread(_remove, namespace, endpoint, cluster)
    for name in removed:
        get_run_logger().info("%s removed", name)
    if not removed:
        raise InputError(
            f"There is no endpoint {endpoint} in namespace {namespace}.",
            fix="List the endpoints (list-endpoints) and check name and namespace.",
            code="endpoint.unknown",
        )
    return removed


def _remove(namespace: str, endpoint: str, cluster: Cluster) -> list[str]:
    label = f"{ENDPOINT_LABEL}={endpoint}"
    removed = [str(gone) for gone in delete_by_label(cluster, namespace, label, (*KINDS, *VOLUME_KINDS))]
    delete(cluster, "coordination.k8s.io/v1", "Lease", lease_name(endpoint), namespace=namespace)
    return removed
