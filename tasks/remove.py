"""Everything that belongs to an endpoint, found by label and taken away in order."""

import asyncio

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from blocks.cluster import InferenceCluster
from blocks.store import ModelStore
from kube.connect import Cluster
from kube.delete import Removed, delete
from serving.benchmark.job import BENCHMARK_LABEL
from serving.errors import ClusterError, InputError
from serving.events import EndpointRemoved
from serving.record import ENDPOINT_LABEL, KEPT_RELEASES, RECORD_LABEL
from serving.usage import used_by
from tasks.events import emit
from tasks.kinds import JOB_KINDS, KINDS, VOLUME_KINDS
from tasks.prune import remove_pruned, require_quiet, staged_of_nobody_else, usage_of
from tasks.record import load_lease_name, read_record
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


@task(name="remove-staged", task_run_name="remove-staged", cache_policy=NO_CACHE)
async def remove_staged(
    namespace: str, endpoint: str, block: InferenceCluster, store: ModelStore, cluster: Cluster
) -> list[str]:
    """Removes the staged models of an endpoint that no other endpoint uses, once its workloads are gone.

    Its record stays until then: after an interruption it still says what is staged.

    Returns:
        The commits that were removed, as ``organization/name@commit``.

    Raises:
        ClusterError: ``prune.busy``: another endpoint is being changed; the records of all namespaces cannot be read.
        StoreError: The bucket cannot be read or written.
    """
    record = await asyncio.to_thread(read_record, namespace, endpoint, cluster)
    if record is None:
        return []
    name = f"{namespace}/{endpoint}"
    usage = await asyncio.to_thread(usage_of, block, KEPT_RELEASES)
    require_quiet(usage, apart_from=name)
    plan, stays = await asyncio.to_thread(staged_of_nobody_else, used_by(record), usage, name, store.access())
    for uri, why in stays.items():
        get_run_logger().info("%s stays: %s", uri, why)
    if plan.commits or plan.remains:
        # Pods that read the weights go first.
        await asyncio.to_thread(remove_workloads, namespace, endpoint, cluster)
        await remove_pruned(plan, store)
    return [*(commit.name for commit in plan.commits), *(left.name for left in plan.remains)]


def remove_workloads(namespace: str, endpoint: str, cluster: Cluster) -> list[str]:
    """Deletes what runs the endpoint's pods, and waits until these are gone; its record stays."""
    labels = f"{ENDPOINT_LABEL}={endpoint}"
    kinds = [kind for kind in KINDS if kind not in (("v1", "ConfigMap"), ("v1", "Service"))]
    return [str(gone) for gone in remove_labelled(cluster, namespace, labels, kinds)]


def remove_objects(namespace: str, endpoint: str, cluster: Cluster) -> list[str]:
    """Deletes the endpoint's objects, its record last; returns what was deleted, as messages name it.

    As long as anything is left, the record says that the endpoint is being removed. The writer's lease is its holder's
    to give back.
    """
    removed = _remove_load_tests(namespace, endpoint, cluster)
    labels, kinds = f"{ENDPOINT_LABEL}={endpoint}", (*KINDS, *VOLUME_KINDS)
    removed += remove_labelled(cluster, namespace, f"{labels},!{RECORD_LABEL}", kinds)
    delete(cluster, "coordination.k8s.io/v1", "Lease", load_lease_name(endpoint), namespace=namespace)
    removed += remove_labelled(cluster, namespace, f"{labels},{RECORD_LABEL}", (("v1", "ConfigMap"),))
    return [str(gone) for gone in removed]


def _remove_load_tests(namespace: str, endpoint: str, cluster: Cluster) -> list[Removed]:
    """Ends load tests under way; without the right to, they end by themselves."""
    try:
        return remove_labelled(cluster, namespace, f"{ENDPOINT_LABEL}={endpoint},{BENCHMARK_LABEL}", JOB_KINDS)
    except ClusterError as error:
        if error.code != "cluster.forbidden":
            raise
        return []
