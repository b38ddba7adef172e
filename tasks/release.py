"""Which release an endpoint serves, and how that changes: promote one, take others away."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from kube.access import Permission, denied
from kube.apply import Applied, apply
from kube.connect import Cluster
from kube.delete import BACKGROUND, FOREGROUND, Removed, delete, delete_by_label
from kube.discovery import has_kind
from kube.read import get, list_
from serving.events import promoted
from serving.frameworks.labels import RELEASE_LABEL, RUN_LABEL
from serving.frameworks.workload import Manifest
from serving.preflight import plural
from serving.record import ENDPOINT_LABEL, ReleaseRecord
from serving.release import Release
from serving.rendering import render_aliases, render_endpoint
from serving.spec import EndpointSpec
from tasks.events import emit
from tasks.kinds import KINDS, VOLUME, VOLUME_KINDS, Kind, kinds_of, shared_kinds, workload_kind
from tasks.pause import named, pause, release_name, resume
from tasks.wait import wait_until_ready

__all__ = [
    "KINDS",
    "VOLUME_KINDS",
    "Restore",
    "bring_back",
    "bringing_run",
    "current_release",
    "has_workload",
    "kinds_of",
    "make_room",
    "promote",
    "remove_labelled",
    "remove_release",
    "retire_others",
]


def current_release(spec: EndpointSpec, cluster: Cluster) -> str:
    """Id of the release that the endpoint's Service points at; empty if there is no such Service."""
    service = get(cluster, "v1", "Service", spec.name, spec.namespace)
    return str(((service or {}).get("spec") or {}).get("selector", {}).get(RELEASE_LABEL, ""))


Restore = Callable[[ReleaseRecord], Awaitable[list[Manifest]]]
"""Returns the manifests of a release that the record holds."""


def bringing_run(spec: EndpointSpec, release: Release, cluster: Cluster) -> str:
    """Run that brought this release up, from its workload's label; empty if there is no such workload."""
    workload = get(cluster, *workload_kind(spec), release.name, spec.namespace)
    return str(((workload or {}).get("metadata") or {}).get("labels", {}).get(RUN_LABEL, ""))


def has_workload(release: ReleaseRecord, cluster: Cluster) -> bool:
    """Whether a release's workload is there."""
    return get(cluster, *workload_kind(release.spec), release_name(release), release.spec.namespace) is not None


@task(name="make-room", task_run_name="make-room", cache_policy=NO_CACHE)
async def make_room(release: ReleaseRecord, cluster: Cluster) -> None:
    """Takes the pods of the release that serves away, for a candidate needs its accelerators; waits until they went.

    Raises:
        ClusterError: ``pause.unfinished``; the API refuses or cannot be reached.
    """
    log = get_run_logger()
    log.warning("Release %s gives its accelerators to the candidate: the endpoint does not answer now", release.id)
    await asyncio.to_thread(pause, release, cluster)
    log.info("Release %s has no pods any more", release.id)


@task(name="bring-back", task_run_name="bring-back", cache_policy=NO_CACHE)
async def bring_back(
    release: ReleaseRecord,
    cluster: Cluster,
    restore: Restore,
    timeout_seconds: float,
) -> None:
    """Gives the release that served its pods again and waits until it serves.

    Args:
        release: The release.
        cluster: Where it is.
        restore: Renders it, where its workload had to go.
        timeout_seconds: Longest wait.

    Raises:
        RolloutError: It does not become ready.
        ClusterError: The API refuses or cannot be reached.
    """
    log = get_run_logger()
    log.info("Release %s comes back", release.id)
    if not await asyncio.to_thread(resume, release, cluster):
        await asyncio.to_thread(resume, release, cluster, await restore(release))
    api_version, kind = workload_kind(release.spec)
    where = {"name": release_name(release), "namespace": release.spec.namespace}
    workload = {"apiVersion": api_version, "kind": kind, "metadata": where}
    await wait_until_ready(named(release), [workload], cluster, timeout_seconds)
    log.info("Release %s serves again", release.id)


@task(name="promote", task_run_name="promote", cache_policy=NO_CACHE)
async def promote(spec: EndpointSpec, release: Release, cluster: Cluster) -> list[Applied]:
    """Points the endpoint's Service, and the names that users of the chart know it by, at the release."""
    before = await asyncio.to_thread(current_release, spec, cluster)
    applied = await asyncio.to_thread(point, spec, release, cluster)
    for one in applied:
        get_run_logger().info("%s %s: release %s", one.name, one.outcome.value, release.id)
    if before != release.id:
        emit(promoted(spec, release.model, release.id, before))
    return applied


def point(spec: EndpointSpec, release: Release, cluster: Cluster) -> list[Applied]:
    """Applies the endpoint's Services, the endpoint itself first."""
    return [apply(cluster, one) for one in (render_endpoint(spec, release), *render_aliases(spec, release))]


@task(name="retire-others", task_run_name="retire-others", cache_policy=NO_CACHE)
async def retire_others(
    spec: EndpointSpec, release: Release, manifests: Sequence[Manifest] | None, cluster: Cluster
) -> None:
    """Takes away every other release, and what this one consisted of once and does no longer.

    Pods of the old release finish what they are answering before they end.

    Args:
        spec: What the release was rendered from.
        release: The release that stays.
        manifests: What it consists of; None if that is not known: then all of it stays.
        cluster: Where it is.
    """
    for gone in await asyncio.to_thread(retire, spec, release, manifests, cluster):
        get_run_logger().info("%s removed", gone)


def retire(
    spec: EndpointSpec, release: Release, manifests: Sequence[Manifest] | None, cluster: Cluster
) -> list[Removed]:
    """Deletes what `retire_others` says; returns what was deleted."""
    kinds = (*kinds_of(spec), *_of_other_frameworks(spec, cluster))
    others = f"{ENDPOINT_LABEL}={spec.name},{RELEASE_LABEL},{RELEASE_LABEL}!={release.id}"
    removed = remove_labelled(cluster, spec.namespace, others, kinds)
    if manifests is None:
        return removed
    wanted = [*manifests, render_endpoint(spec, release), *render_aliases(spec, release)]
    return removed + _prune(spec, release, wanted, kinds, cluster)


@task(name="remove-release", task_run_name="remove-release", cache_policy=NO_CACHE)
async def remove_release(
    spec: EndpointSpec, release: Release, cluster: Cluster, *, served: str = "", patient: bool = True
) -> None:
    """Takes away a release that could not be proved; what the endpoint serves is not touched.

    Args:
        spec: What the release was rendered from.
        release: The release.
        cluster: Where it is.
        served: Id of the release that the endpoint serves: what releases share stays for it.
        patient: Whether to wait until its pods have ended, too.
    """
    for gone in await asyncio.to_thread(take_away, spec, release, cluster, served=served, patient=patient):
        get_run_logger().info("%s removed", gone)


def take_away(
    spec: EndpointSpec, release: Release, cluster: Cluster, *, served: str = "", patient: bool = True
) -> list[Removed]:
    """Deletes a release, and waits for the end of its pods if `patient`; returns what was deleted."""
    kept = shared_kinds(spec) if served else ()
    mine = f"{ENDPOINT_LABEL}={spec.name},{RELEASE_LABEL}={release.id}"
    kinds = [kind for kind in kinds_of(spec) if kind not in kept]
    return remove_labelled(cluster, spec.namespace, mine, kinds, patient=patient)


def remove_labelled(
    cluster: Cluster, namespace: str, selector: str, kinds: Iterable[Kind], *, patient: bool = True
) -> list[Removed]:
    """Deletes the endpoint's objects that a selector finds, in order; returns what was deleted.

    A workload that is deleted patiently is there until its pods have ended, which takes the time that they give
    requests in flight. Otherwise Kubernetes ends them afterwards.

    Volumes belong to no namespace: only those go that are meant for a claim in this one, for an endpoint of the same
    name in another namespace has the same label.
    """
    wanted = list(dict.fromkeys(kinds))
    how = FOREGROUND if patient else BACKGROUND
    others = [kind for kind in wanted if kind != VOLUME]
    removed = delete_by_label(cluster, namespace, selector, others, propagation=how)
    if VOLUME in wanted:
        for volume in _volumes(cluster, namespace, selector):
            gone = delete(cluster, *VOLUME, volume["metadata"]["name"])
            removed += [gone] if gone else []
    return removed


def _volumes(cluster: Cluster, namespace: str, selector: str) -> list[dict[str, Any]]:
    found = list_(cluster, *VOLUME, labels=selector)
    return [one for one in found if (one["spec"].get("claimRef") or {}).get("namespace") == namespace]


def _of_other_frameworks(spec: EndpointSpec, cluster: Cluster) -> list[Kind]:
    """Kinds that an earlier release may have consisted of: those that are installed and may be deleted.

    An endpoint that never was of another framework needs no rights on that one's kinds.
    """
    own = kinds_of(spec)
    installed = [kind for kind in (*KINDS, *VOLUME_KINDS) if kind not in own and has_kind(cluster, *kind)]
    rights = {kind: _removal_rights(kind, spec.namespace) for kind in installed}
    missing = set(denied(cluster, [right for wanted in rights.values() for right in wanted]))
    return [kind for kind in installed if not missing.intersection(rights[kind])]


def _removal_rights(kind: Kind, namespace: str) -> list[Permission]:
    return [removal_right(verb, kind, namespace) for verb in ("list", "watch", "delete")]


def removal_right(verb: str, kind: Kind, namespace: str) -> Permission:
    """The right to do something with objects of a kind, in the namespace if they have one."""
    group = kind[0].rpartition("/")[0]
    return Permission(verb, group, plural(kind[1]), "" if kind[1] == "PersistentVolume" else namespace)


def _prune(
    spec: EndpointSpec, release: Release, wanted: Iterable[Manifest], kinds: Iterable[Kind], cluster: Cluster
) -> list[Removed]:
    """Deletes what the release consisted of before: an autoscaler that was switched off, a budget."""
    names = {(one["kind"], one["metadata"]["name"]) for one in wanted}
    mine = f"{ENDPOINT_LABEL}={spec.name},{RELEASE_LABEL}={release.id}"
    removed = []
    for api_version, kind in kinds:
        if not has_kind(cluster, api_version, kind):
            continue
        if (api_version, kind) == VOLUME:
            present = _volumes(cluster, spec.namespace, mine)
        else:
            present = list_(cluster, api_version, kind, spec.namespace, labels=mine)
        for found in present:
            name = found["metadata"]["name"]
            if (kind, name) not in names and not found["metadata"].get("ownerReferences"):
                gone = delete(cluster, api_version, kind, name, namespace=spec.namespace)
                removed += [gone] if gone else []
    return removed
