"""Which release an endpoint serves, and how that changes: promote one, take others away."""

import asyncio

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from kube.apply import Applied, apply
from kube.connect import Cluster
from kube.delete import Removed, delete_by_label
from kube.read import get
from serving.frameworks.labels import RELEASE_LABEL, RUN_LABEL
from serving.record import ENDPOINT_LABEL
from serving.release import Release
from serving.rendering import render_endpoint
from serving.spec import EndpointSpec, WeightsSource

KINDS = (
    ("apps/v1", "Deployment"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("policy/v1", "PodDisruptionBudget"),
)
"""What a release may consist of."""

VOLUME_KINDS = (("v1", "PersistentVolumeClaim"), ("v1", "PersistentVolume"))
"""What it consists of further when its weights are mounted."""


def current_release(spec: EndpointSpec, cluster: Cluster) -> str:
    """Id of the release that the endpoint's Service points at; empty if there is no such Service."""
    service = get(cluster, "v1", "Service", spec.name, spec.namespace)
    return str(((service or {}).get("spec") or {}).get("selector", {}).get(RELEASE_LABEL, ""))


def bringing_run(release: Release, namespace: str, cluster: Cluster) -> str:
    """Run that brought this release up, from its workload's label; empty if there is no such workload."""
    workload = get(cluster, "apps/v1", "Deployment", release.name, namespace)
    return str(((workload or {}).get("metadata") or {}).get("labels", {}).get(RUN_LABEL, ""))


@task(name="promote", task_run_name="promote", cache_policy=NO_CACHE)
async def promote(spec: EndpointSpec, release: Release, cluster: Cluster) -> Applied:
    """Points the endpoint's Service at the release in one step, then takes every other release away.

    Pods of the old release finish what they are answering before they end.
    """
    applied = await asyncio.to_thread(apply, cluster, render_endpoint(spec, release))
    others = f"{ENDPOINT_LABEL}={spec.name},{RELEASE_LABEL},{RELEASE_LABEL}!={release.id}"
    removed = await asyncio.to_thread(_remove, cluster, spec, others)
    log = get_run_logger()
    log.info("%s %s: release %s", applied.name, applied.outcome.value, release.id)
    for gone in removed:
        log.info("%s removed", gone)
    return applied


@task(name="remove-release", task_run_name="remove-release", cache_policy=NO_CACHE)
async def remove_release(spec: EndpointSpec, release: Release, cluster: Cluster) -> None:
    """Takes away a release that could not be proved; what the endpoint serves is not touched."""
    mine = f"{ENDPOINT_LABEL}={spec.name},{RELEASE_LABEL}={release.id}"
    for gone in await asyncio.to_thread(_remove, cluster, spec, mine):
        get_run_logger().info("%s removed", gone)


def _remove(cluster: Cluster, spec: EndpointSpec, selector: str) -> list[Removed]:
    return delete_by_label(cluster, spec.namespace, selector, kinds_of(spec))


def kinds_of(spec: EndpointSpec) -> tuple[tuple[str, str], ...]:
    """Kinds that the endpoint's releases may consist of, as ``(api_version, kind)``."""
    return (*KINDS, *VOLUME_KINDS) if spec.weights is WeightsSource.MOUNT else KINDS
