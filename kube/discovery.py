"""What the cluster's API serves: its version, and where each kind is found."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from kube.connect import Cluster
from kube.errors import cluster_error, failure
from kube.transport import call, checked
from serving.errors import ClusterError

OPERATORS: Mapping[str, tuple[str, str]] = {
    "ray.io": (
        "the KubeRay operator",
        "helm install kuberay-operator kuberay-operator --repo https://ray-project.github.io/kuberay-helm/",
    ),
    "leaderworkerset.x-k8s.io": (
        "LeaderWorkerSet (LWS)",
        "helm install lws oci://registry.k8s.io/lws/charts/lws --namespace lws-system --create-namespace",
    ),
    "autoscaling.aibrix.ai": ("AIBrix", "see https://aibrix.readthedocs.io, Installation"),
    "orchestration.aibrix.ai": ("AIBrix", "see https://aibrix.readthedocs.io, Installation"),
    "model.aibrix.ai": ("AIBrix", "see https://aibrix.readthedocs.io, Installation"),
    "apps.nvidia.com": (
        "the NVIDIA NIM operator",
        "helm install nim-operator k8s-nim-operator --repo https://helm.ngc.nvidia.com/nvidia",
    ),
    "keda.sh": ("KEDA", "helm install keda keda --repo https://kedacore.github.io/charts --namespace keda"),
    "karpenter.sh": ("Karpenter", "see https://karpenter.sh/docs/getting-started/"),
    "gateway.networking.k8s.io": ("the Gateway API definitions", "see https://gateway-api.sigs.k8s.io/guides/"),
    "monitoring.coreos.com": (
        "the Prometheus operator",
        "helm install prometheus kube-prometheus-stack --repo https://prometheus-community.github.io/helm-charts",
    ),
}
"""Who brings an API group: name, and how to install it."""

_LOCK = threading.Lock()


@dataclass(frozen=True)
class ServerVersion:
    """Version of the API server. EKS adds a plus to its minor number, which is left out here."""

    major: int
    minor: int
    git_version: str


@dataclass(frozen=True)
class ApiResource:
    """Where the API serves a kind.

    Attributes:
        api_version: ``group/version``, or ``v1`` for the core group.
        kind: For example ``Deployment``.
        plural: Name in paths and in RBAC rules: ``deployments``.
        namespaced: False for kinds of the whole cluster, such as Node.
        verbs: What the API can do with it; whether this caller may is another question (`kube.access`).
        subresources: For example ``status``, ``scale``, ``log``.
    """

    api_version: str
    kind: str
    plural: str
    namespaced: bool
    verbs: frozenset[str]
    subresources: frozenset[str] = frozenset()

    @property
    def group(self) -> str:
        """API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Path of the collection, an object or its subresource; no namespace means across all of them."""
        parts = [group_path(self.api_version)]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        parts += [quote(part, safe="") for part in (name, subresource) if part]
        return "/".join(parts)


def server_version(cluster: Cluster) -> ServerVersion:
    """Ask the API server for its version.

    Raises:
        ClusterError: It cannot be reached or refuses.
    """
    said = checked(cluster, "GET", "/version", doing="read the API server's version")
    return ServerVersion(_number(said.get("major")), _number(said.get("minor")), str(said.get("gitVersion", "")))


def find_kind(cluster: Cluster, api_version: str, kind: str) -> ApiResource:
    """Find where the API serves a kind. Answers are kept for the life of the connection.

    Raises:
        ClusterError: ``cluster.kind_missing`` if it is not installed, naming the operator that brings it.
    """
    found = _kinds(cluster, api_version).get(kind)
    if found is None:
        # A definition may have been installed since, into a group that was there before.
        with _LOCK:
            cluster.discovered.pop(api_version, None)
        found = _kinds(cluster, api_version).get(kind)
    if found is None:
        raise _kind_missing(cluster, api_version, kind)
    return found


def has_kind(cluster: Cluster, api_version: str, kind: str) -> bool:
    """Whether the cluster serves a kind."""
    try:
        find_kind(cluster, api_version, kind)
    except ClusterError as error:
        if error.code == "cluster.kind_missing":
            return False
        raise
    return True


def group_path(api_version: str) -> str:
    """Path below which a group version is served."""
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _kinds(cluster: Cluster, api_version: str) -> dict[str, ApiResource]:
    known: dict[str, ApiResource] | None = cluster.discovered.get(api_version)
    if known is not None:
        return known
    doing = f"find out what the API serves as {api_version}"
    reply = call(cluster, "GET", group_path(api_version), doing=doing)
    if reply.status == 404:
        return {}
    if reply.status >= 400:
        raise cluster_error(failure(reply.status, reply.body), server=cluster.server, doing=doing)
    found = _resources(api_version, reply.json().get("resources") or [])
    with _LOCK:
        cluster.discovered[api_version] = found
    return found


def _resources(api_version: str, listed: list[dict[str, Any]]) -> dict[str, ApiResource]:
    below: dict[str, set[str]] = {}
    for entry in listed:
        plural, _, subresource = str(entry["name"]).partition("/")
        below.setdefault(plural, set()).update({subresource} - {""})
    return {
        entry["kind"]: ApiResource(
            api_version=api_version,
            kind=entry["kind"],
            plural=entry["name"],
            namespaced=bool(entry.get("namespaced")),
            verbs=frozenset(entry.get("verbs") or ()),
            subresources=frozenset(below[entry["name"]]),
        )
        for entry in listed
        if "/" not in entry["name"]
    }


def _kind_missing(cluster: Cluster, api_version: str, kind: str) -> ClusterError:
    group = api_version.rpartition("/")[0]
    operator, install = OPERATORS.get(group, ("", ""))
    others = _other_versions(cluster, group, api_version)
    if others:
        cause = f"It serves {group} in {', '.join(others)} only."
        fix = f"Upgrade {operator or 'the operator that brings it'} to a version that serves {api_version}."
    elif operator:
        cause, fix = f"{operator[0].upper()}{operator[1:]} brings it and is not installed.", f"Install it: {install}."
    else:
        cause, fix = "", "Install what brings it (kubectl api-resources lists what there is)."
    return ClusterError(
        f"The cluster at {cluster.server} does not know the kind {kind} ({api_version}).",
        cause=cause,
        fix=fix,
        code="cluster.kind_missing",
    )


def _other_versions(cluster: Cluster, group: str, api_version: str) -> list[str]:
    if not group:
        return []
    reply = call(cluster, "GET", f"/apis/{group}", doing=f"find out which versions of {group} the API serves")
    if reply.status != 200:
        return []
    versions = [str(entry["groupVersion"]) for entry in reply.json().get("versions") or []]
    return [version.rpartition("/")[2] for version in versions if version != api_version]


def _number(text: object) -> int:
    digits = "".join(char for char in str(text) if char.isdigit())
    return int(digits) if digits else 0
