"""Deleting objects, in an order that leaves nothing behind, and waiting until they are gone."""

import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from kube.connect import Cluster
from kube.discovery import ApiResource, find_kind
from kube.errors import cluster_error, failure
from kube.order import deletion_steps
from kube.read import describe, get, list_at, namespace_of
from kube.transport import call
from kube.watch import Change, WatchTarget, watch
from serving.errors import ClusterError

FOREGROUND = "Foreground"
"""The object stays until what it owns is gone: once a Deployment is gone, so are its pods."""

BACKGROUND = "Background"
Object = dict[str, Any]


@dataclass(frozen=True)
class Removed:
    """An object that was deleted.

    Attributes:
        kind: For example ``Deployment``.
        namespace: Empty for cluster-wide kinds.
        name: Its name.
        seconds: From asking until it was gone; None if that was not waited for.
    """

    kind: str
    namespace: str
    name: str
    seconds: float | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return describe(self.kind, self.name, self.namespace)


def delete(
    cluster: Cluster,
    api_version: str,
    kind: str,
    name: str,
    *,
    namespace: str | None = None,
    propagation: str = FOREGROUND,
    wait: float | None = 120.0,
) -> Removed | None:
    """Delete one object with what it owns.

    Args:
        cluster: Where it is.
        api_version: For example ``apps/v1``.
        kind: For example ``Deployment``.
        name: Its name.
        namespace: None means the cluster's default namespace.
        propagation: `FOREGROUND` or `BACKGROUND`.
        wait: Seconds until it must be gone; None does not wait.

    Returns:
        What was deleted, or None if there was nothing of this name.

    Raises:
        ClusterError: ``delete.unfinished`` if it is still there in the end; the API refuses or cannot be reached.
    """
    resource = find_kind(cluster, api_version, kind)
    place = namespace_of(cluster, resource, namespace)
    found = get(cluster, api_version, kind, name, place)
    if found is None:
        return None
    target = WatchTarget(api_version, kind, namespace=place, name=name)
    removed = _delete(cluster, [(resource, target, [found])], propagation=propagation, wait=wait)
    return removed[0]


def delete_by_label(
    cluster: Cluster,
    namespace: str,
    selector: str,
    kinds: Iterable[tuple[str, str]],
    *,
    propagation: str = FOREGROUND,
    timeout: float = 300.0,
) -> list[Removed]:
    """Delete all objects of some kinds that carry a label, step by step, each step gone before the next.

    Autoscalers go first, then workloads, services, configuration and secrets. Kinds that are not installed are passed
    over: there is nothing of them.

    Args:
        cluster: Where they are.
        namespace: Their namespace.
        selector: Label selector; must not be empty.
        kinds: ``(api_version, kind)`` pairs, in any order.
        propagation: `FOREGROUND` or `BACKGROUND`.
        timeout: Seconds until everything must be gone.

    Returns:
        What was deleted, in order; empty if nothing carried the label.

    Raises:
        ClusterError: ``delete.unfinished`` if something is still there in the end; the API refuses or cannot be
            reached.
    """
    if not selector.strip():
        raise ValueError("an empty selector would delete everything in the namespace")
    deadline = time.monotonic() + timeout
    removed: list[Removed] = []
    for step in deletion_steps(kinds):
        found = [
            (resource, WatchTarget(resource.api_version, resource.kind, namespace=namespace, labels=selector), objects)
            for resource in _installed(cluster, step)
            if (objects := list_at(cluster, resource, namespace, labels=selector)[0])
        ]
        removed += _delete(cluster, found, propagation=propagation, wait=max(0.0, deadline - time.monotonic()))
    return removed


def _installed(cluster: Cluster, kinds: Iterable[tuple[str, str]]) -> list[ApiResource]:
    found = []
    for api_version, kind in kinds:
        try:
            found.append(find_kind(cluster, api_version, kind))
        except ClusterError as error:
            if error.code != "cluster.kind_missing":
                raise
    return found


_Group = tuple[ApiResource, WatchTarget, list[Object]]


def _delete(cluster: Cluster, groups: list[_Group], *, propagation: str, wait: float | None) -> list[Removed]:
    began = time.monotonic()
    for resource, _, objects in groups:
        for obj in objects:
            _ask(cluster, resource, obj, propagation)
    every = {obj["metadata"]["uid"]: obj for _, _, objects in groups for obj in objects}
    gone_at: dict[str, float] = {}
    if wait is not None and every:
        gone_at = _wait_until_gone(cluster, groups, set(every), began + wait)
        if left := [every[uid] for uid in every if uid not in gone_at]:
            raise _unfinished(cluster, left, wait)
    return [
        Removed(
            obj["kind"],
            obj["metadata"].get("namespace", ""),
            obj["metadata"]["name"],
            seconds=round(gone_at[uid] - began, 3) if uid in gone_at else None,
        )
        for uid, obj in every.items()
    ]


def _ask(cluster: Cluster, resource: ApiResource, obj: Object, propagation: str) -> None:
    metadata = obj["metadata"]
    doing = f"delete {_describe(obj)}"
    options = {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "propagationPolicy": propagation,
        # Not what somebody put in its place since it was read.
        "preconditions": {"uid": metadata["uid"]},
    }
    path = resource.path(metadata.get("namespace", ""), metadata["name"])
    reply = call(cluster, "DELETE", path, doing=doing, body=options)
    gone = reply.status == 404 or (reply.status == 409 and b"UID in the precondition" in reply.body)
    if reply.status >= 400 and not gone:
        raise cluster_error(failure(reply.status, reply.body), server=cluster.server, doing=doing)


def _wait_until_gone(cluster: Cluster, groups: list[_Group], uids: set[str], deadline: float) -> dict[str, float]:
    """When each of the objects went, on the monotonic clock; those that are still there at the deadline are missing."""
    uids_of = {target: {obj["metadata"]["uid"] for obj in objects} for _, target, objects in groups}
    present: dict[WatchTarget, set[str]] = {target: set() for target in uids_of}
    gone: dict[str, float] = {}
    with closing(watch(cluster, list(uids_of), deadline=deadline)) as events:
        for event in events:
            now = time.monotonic()
            if event.type is Change.SYNCED:
                gone.update(dict.fromkeys(uids_of[event.target] - present[event.target], now))
            elif event.type is Change.DELETED:
                gone.setdefault(event.object["metadata"]["uid"], now)
            else:
                present[event.target].add(event.object["metadata"]["uid"])
            if uids <= gone.keys():
                break
    return gone


def _unfinished(cluster: Cluster, left: list[Object], wait: float) -> ClusterError:
    names = ", ".join(_describe(obj) for obj in left)
    finalizers = sorted({one for obj in left for one in _finalizers_now(cluster, obj)})
    pods = " (its pods are still ending, or their node is lost)" if "foregroundDeletion" in finalizers else ""
    held = f"Held by the finalizer {', '.join(finalizers)}{pods}." if finalizers else ""
    return ClusterError(
        f"Still there {wait:g} s after their deletion was asked for: {names}.",
        cause=held,
        fix="Look at what holds it (kubectl describe); a pod of a lost node goes with kubectl delete pod --force.",
        code="delete.unfinished",
    )


def _finalizers_now(cluster: Cluster, obj: Object) -> list[str]:
    metadata = obj["metadata"]
    now = get(cluster, obj["apiVersion"], obj["kind"], metadata["name"], metadata.get("namespace"))
    return list((now or {}).get("metadata", {}).get("finalizers") or [])


def _describe(obj: Object) -> str:
    metadata = obj["metadata"]
    return describe(obj["kind"], metadata["name"], metadata.get("namespace", ""))
