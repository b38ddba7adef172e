"""The objects that a cluster has from the start."""

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.housekeeping import INITIAL_NAMESPACES, fill_namespace, serve_definition
from sandbox.kubernetes.objects.embedding import embed_pod_templates
from sandbox.kubernetes.resources import (
    CLUSTERROLEBINDINGS,
    CLUSTERROLES,
    CRDS,
    NAMESPACES,
    SERVICES,
    Registry,
)

Manifest = dict[str, Any]

_MANAGER = "kube-apiserver"
_READ, _WRITE = ["get", "list", "watch"], ["create", "delete", "deletecollection", "patch", "update"]
_WORKLOADS = [
    ("", "configmaps endpoints events persistentvolumeclaims pods serviceaccounts services services/proxy pods/proxy"),
    ("apps", "deployments deployments/scale replicasets replicasets/scale"),
    ("batch", "jobs"),
    ("autoscaling", "horizontalpodautoscalers"),
    ("policy", "poddisruptionbudgets"),
    ("discovery.k8s.io", "endpointslices"),
]
_VIEW_ONLY = [("", "pods/log namespaces resourcequotas")]


def _rules(parts: Iterable[tuple[str, str]], verbs: list[str]) -> list[Manifest]:
    return [{"apiGroups": [group], "resources": names.split(), "verbs": verbs} for group, names in parts]


def _cluster_roles() -> dict[str, list[Manifest]]:
    """The roles for people that every cluster brings, for the resources that there are."""
    view = _rules(_WORKLOADS, _READ) + _rules(_VIEW_ONLY, _READ)
    edit = view + _rules([*_WORKLOADS, ("", "secrets")], [*_READ, *_WRITE])
    rbac = _rules([("rbac.authorization.k8s.io", "roles rolebindings")], [*_READ, *_WRITE])
    return {
        "cluster-admin": [
            {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
            {"nonResourceURLs": ["*"], "verbs": ["*"]},
        ],
        "admin": edit + rbac,
        "edit": edit,
        "view": view,
    }


@cache
def _shipped_definitions() -> list[Manifest]:
    folder = files("sandbox.kubernetes") / "definitions"
    texts = sorted((one.name, one.read_text()) for one in folder.iterdir() if one.name.endswith(".yaml"))
    return [embed_pod_templates(yaml.safe_load(text)) for _, text in texts]


def install_definition(cluster: Cluster, registry: Registry, crd: Manifest) -> None:
    """Create a CustomResourceDefinition, or put another in its place, and serve it at once.

    Raises:
        ApiError: 422, the definition is invalid.
    """
    name = crd["metadata"]["name"]
    if cluster.get(CRDS, "", name) is None:
        created = cluster.create(CRDS, crd, manager=_MANAGER)
    else:
        updated = cluster.update(CRDS, "", name, lambda obj: obj.update(spec=crd["spec"]), manager=_MANAGER)
        created = updated or crd
    serve_definition(cluster, registry, created)


def populate(cluster: Cluster, registry: Registry, ca_certificate: str) -> None:
    """Fill an empty cluster."""
    for name in INITIAL_NAMESPACES:
        cluster.create(NAMESPACES, {"metadata": {"name": name}}, manager=_MANAGER)
        fill_namespace(cluster, name, ca_certificate)
    for role, rules in _cluster_roles().items():
        labels = {"kubernetes.io/bootstrapping": "rbac-defaults"}
        cluster.create(CLUSTERROLES, {"metadata": {"name": role, "labels": labels}, "rules": rules}, manager=_MANAGER)
    binding = {
        "metadata": {"name": "cluster-admin", "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:masters"}],
    }
    cluster.create(CLUSTERROLEBINDINGS, binding, manager=_MANAGER)
    meta = {
        "name": "kubernetes",
        "namespace": "default",
        "labels": {"component": "apiserver", "provider": "kubernetes"},
    }
    ports = [{"name": "https", "port": 443, "targetPort": 6443}]
    cluster.create(SERVICES, {"metadata": meta, "spec": {"ports": ports}}, manager=_MANAGER)
    for crd in _shipped_definitions():
        install_definition(cluster, registry, crd)
