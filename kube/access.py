"""What the present credentials may do, asked before it is tried."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from kube.connect import Cluster
from kube.errors import cluster_error, failure, forbidden
from kube.transport import call, checked
from serving.errors import ClusterError

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_WHOAMI = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_AT_ONCE = 8


@dataclass(frozen=True)
class Permission:
    """One thing that a caller may or may not do.

    Attributes:
        verb: ``get``, ``list``, ``watch``, ``create``, ``patch``, ``delete`` …
        group: API group; empty for the core group.
        resource: Plural: ``deployments``.
        namespace: Empty means the whole cluster.
        subresource: For example ``log`` or ``proxy``.
        name: Of one object; empty: any.
    """

    verb: str
    group: str
    resource: str
    namespace: str
    subresource: str = ""
    name: str = ""

    def __str__(self) -> str:
        place = f" in namespace {self.namespace}" if self.namespace else ""
        one = f" {self.name}" if self.name else ""
        return f"{self.verb} {self._what}{f'.{self.group}' if self.group else ''}{one}{place}"

    @property
    def _what(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    def error(self, user: str = "") -> ClusterError:
        """The ``cluster.forbidden`` error that says which rule grants it, and to whom."""
        return forbidden(self.verb, self.group, self._what, self.namespace, name=self.name, user=user)


def missing_rights(permissions: Sequence[Permission], user: str = "") -> list[ClusterError]:
    """One ``cluster.forbidden`` error for each resource, with all the verbs that are missing and the rule to add."""
    grouped: dict[tuple[str, str, str, str], list[str]] = {}
    for one in permissions:
        grouped.setdefault((one.group, one._what, one.namespace, one.name), []).append(one.verb)
    return [
        forbidden(", ".join(dict.fromkeys(verbs)), group, what, namespace, name=name, user=user)
        for (group, what, namespace, name), verbs in grouped.items()
    ]


def can(
    cluster: Cluster, verb: str, group: str, resource: str, namespace: str, subresource: str = "", name: str = ""
) -> bool:
    """Ask the API server whether these credentials may do something.

    Args:
        cluster: Where.
        verb: For example ``patch``.
        group: API group; empty for the core group.
        resource: Plural: ``deployments``. Need not be installed.
        namespace: Empty means the whole cluster.
        subresource: For example ``log``.
        name: Of one object; empty asks whether it may be done with any.

    Raises:
        ClusterError: The API cannot be reached or does not accept the credentials.
    """
    attributes = {"verb": verb, "group": group, "resource": resource, "namespace": namespace}
    if subresource:
        attributes["subresource"] = subresource
    if name:
        attributes["name"] = name
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    said = checked(cluster, "POST", _REVIEWS, doing="ask what these credentials may do", body=review)
    return bool((said.get("status") or {}).get("allowed"))


def denied(cluster: Cluster, permissions: Iterable[Permission]) -> list[Permission]:
    """Ask for several permissions at the same time; returns those that are missing, in the order given.

    Raises:
        ClusterError: The API cannot be reached or does not accept the credentials.
    """
    wanted = list(dict.fromkeys(permissions))
    if not wanted:
        return []

    def ask(one: Permission) -> bool:
        return can(cluster, one.verb, one.group, one.resource, one.namespace, one.subresource, one.name)

    with ThreadPoolExecutor(min(_AT_ONCE, len(wanted)), thread_name_prefix="access") as threads:
        allowed = list(threads.map(ask, wanted))
    return [one for one, may in zip(wanted, allowed, strict=True) if not may]


def whoami(cluster: Cluster) -> str:
    """The name under which the API server knows these credentials; empty where it does not tell (before 1.28).

    Raises:
        ClusterError: The API cannot be reached or does not accept the credentials.
    """
    doing = "ask who these credentials belong to"
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    reply = call(cluster, "POST", _WHOAMI, doing=doing, body=review)
    if reply.status in {403, 404}:
        return ""
    if reply.status >= 400:
        raise cluster_error(failure(reply.status, reply.body), server=cluster.server, doing=doing)
    return str(reply.json().get("status", {}).get("userInfo", {}).get("username", ""))
