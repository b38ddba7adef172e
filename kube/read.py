"""Reading objects: one, or all that a selector finds."""

from collections.abc import Iterator
from typing import Any

from kube.connect import Cluster
from kube.discovery import ApiResource, find_kind
from kube.errors import cluster_error, failure
from kube.transport import call

ALL_NAMESPACES = "*"
PAGE = 500
"""Objects per request of a list."""

Object = dict[str, Any]


def get(cluster: Cluster, api_version: str, kind: str, name: str, namespace: str | None = None) -> Object | None:
    """Read one object.

    Args:
        cluster: Where from.
        api_version: For example ``apps/v1``.
        kind: For example ``Deployment``.
        name: Its name.
        namespace: None means the cluster's default namespace; of no meaning for cluster-wide kinds.

    Returns:
        The object, or None if there is none of this name.

    Raises:
        ClusterError: The API cannot be reached, refuses, or does not know the kind.
    """
    resource = find_kind(cluster, api_version, kind)
    place = namespace_of(cluster, resource, namespace)
    doing = f"read {describe(kind, name, place)}"
    reply = call(cluster, "GET", resource.path(place, name), doing=doing)
    if reply.status == 404:
        return None
    if reply.status >= 400:
        raise cluster_error(failure(reply.status, reply.body), server=cluster.server, doing=doing)
    found: Object = reply.json()
    return found


def list_(
    cluster: Cluster,
    api_version: str,
    kind: str,
    namespace: str | None = None,
    *,
    labels: str = "",
    fields: str = "",
) -> list[Object]:
    """Read all objects of a kind that the selectors find, page by page.

    Args:
        cluster: Where from.
        api_version: For example ``v1``.
        kind: For example ``Pod``.
        namespace: None means the cluster's default namespace, `ALL_NAMESPACES` all of them.
        labels: Label selector, as kubectl's ``-l``.
        fields: Field selector: ``status.phase=Running``.

    Raises:
        ClusterError: The API cannot be reached, refuses, or does not know the kind. A namespace that does not exist is
            an empty list.
    """
    resource = find_kind(cluster, api_version, kind)
    return list_at(cluster, resource, namespace_of(cluster, resource, namespace), labels=labels, fields=fields)[0]


def list_at(
    cluster: Cluster, resource: ApiResource, namespace: str, *, labels: str = "", fields: str = ""
) -> tuple[list[Object], str]:
    """Like `list_`, for a kind that is known already, with the resource version that the list shows.

    Args:
        cluster: Where from.
        resource: The kind.
        namespace: Empty means all namespaces.
        labels: Label selector.
        fields: Field selector.
    """
    items: list[Object] = []
    version = ""
    for page in _pages(cluster, resource, namespace, labels, fields):
        if page is None:  # the continue token has expired: what was read before is of another time
            items.clear()
            continue
        version = str((page.get("metadata") or {}).get("resourceVersion", ""))
        for item in page.get("items") or []:
            # A list leaves out of its items what they have in common.
            items.append({"apiVersion": resource.api_version, "kind": resource.kind, **item})
    return items, version


def _pages(
    cluster: Cluster, resource: ApiResource, namespace: str, labels: str, fields: str
) -> Iterator[Object | None]:
    query: dict[str, str | int] = {"limit": PAGE}
    if labels:
        query["labelSelector"] = labels
    if fields:
        query["fieldSelector"] = fields
    place = f" in namespace {namespace}" if namespace else ""
    doing = f"list {resource.plural}{place}"
    while True:
        reply = call(cluster, "GET", resource.path(namespace), doing=doing, query=query)
        if reply.status == 410 and "continue" in query:
            query = {key: value for key, value in query.items() if key not in {"continue", "limit"}}
            yield None
            continue
        if reply.status >= 400:
            raise cluster_error(failure(reply.status, reply.body), server=cluster.server, doing=doing)
        page: Object = reply.json()
        yield page
        token = (page.get("metadata") or {}).get("continue")
        if not token:
            return
        query["continue"] = token


def namespace_of(cluster: Cluster, resource: ApiResource, namespace: str | None) -> str:
    """The namespace that a request names: empty for cluster-wide kinds and for all namespaces."""
    if not resource.namespaced or namespace == ALL_NAMESPACES:
        return ""
    return namespace or cluster.namespace


def describe(kind: str, name: str, namespace: str) -> str:
    """How messages name an object: ``Deployment chat/llama``."""
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"
