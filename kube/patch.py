"""Changing a few fields of an object that is there: a JSON merge patch, with strict validation."""

from typing import Any

from kube.apply import PAUSER
from kube.connect import Cluster
from kube.discovery import find_kind
from kube.errors import failure
from kube.read import describe, namespace_of
from kube.rejections import rejection
from kube.transport import call

Object = dict[str, Any]


def patch(
    cluster: Cluster,
    api_version: str,
    kind: str,
    name: str,
    body: Object,
    *,
    namespace: str | None = None,
    manager: str = PAUSER,
) -> Object | None:
    """Set the fields that are named; those named with None go (RFC 7386).

    Args:
        cluster: Where the object is.
        api_version: For example ``apps/v1``.
        kind: For example ``Deployment``.
        name: Its name.
        body: The fields.
        namespace: None means the cluster's default namespace.
        manager: Field manager that owns them then.

    Returns:
        The object as it is now; None if there is none of this name.

    Raises:
        ApplyError: The API server rejects it: ``apply.unknown_field`` for a field that the cluster's kind lacks.
        ClusterError: The API cannot be reached, refuses, or does not know the kind.
    """
    resource = find_kind(cluster, api_version, kind)
    place = namespace_of(cluster, resource, namespace)
    doing = f"change {describe(kind, name, place)}"
    reply = call(
        cluster,
        "PATCH",
        resource.path(place, name),
        doing=doing,
        query={"fieldManager": manager, "fieldValidation": "Strict"},
        body=body,
        headers={"Content-Type": "application/merge-patch+json"},
    )
    if reply.status == 404:
        return None
    if reply.status >= 400:
        named = {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": place}}
        raise rejection(failure(reply.status, reply.body), named, server=cluster.server, doing=doing)
    changed: Object = reply.json()
    return changed
