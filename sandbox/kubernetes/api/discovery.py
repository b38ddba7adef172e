"""Discovery: which groups, versions and resources the server has, in the old and in the aggregated form."""

import base64
import hashlib
from collections.abc import Iterable
from typing import Any

from sandbox.kubernetes.resources import SUBRESOURCE_VERBS, Registry, Resource

Manifest = dict[str, Any]

VERSION: Manifest = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.2+sandbox",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

_SUBRESOURCE_KINDS = {"scale": "Scale", "token": "TokenRequest"}
_SUBRESOURCE_GROUPS = {"scale": ("autoscaling", "v1"), "token": ("authentication.k8s.io", "v1")}


def _subresource_kind(resource: Resource, name: str) -> str:
    if name == "proxy":
        return f"{resource.kind}ProxyOptions"
    return _SUBRESOURCE_KINDS.get(name, resource.kind)


def _storage_hash(resource: Resource) -> str:
    text = f"{resource.group}/{resource.version}/{resource.kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


def _entries(resource: Resource) -> Iterable[Manifest]:
    entry: Manifest = {
        "name": resource.plural,
        "singularName": resource.singular_name,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if "list" in resource.verbs:
        entry["storageVersionHash"] = _storage_hash(resource)
    yield entry
    for name in resource.subresources:
        group, version = _SUBRESOURCE_GROUPS.get(name, ("", ""))
        yield {
            "name": f"{resource.plural}/{name}",
            "singularName": "",
            "namespaced": resource.namespaced,
            **({"group": group, "version": version} if group else {}),
            "kind": _subresource_kind(resource, name),
            "verbs": list(SUBRESOURCE_VERBS[name]),
        }


def _ordered(registry: Registry, group: str, version: str) -> list[Resource]:
    return sorted((one for one in registry if (one.group, one.version) == (group, version)), key=lambda one: one.plural)


def core_versions(address: str) -> Manifest:
    """`/api`."""
    by_client = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": by_client}


def _group(name: str, versions: list[str]) -> Manifest:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def group_list(registry: Registry) -> Manifest:
    """`/apis`."""
    groups = [_group(name, versions) for name, versions in registry.groups().items()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(registry: Registry, name: str) -> Manifest | None:
    """`/apis/GROUP`; None when the group is not served."""
    versions = registry.groups().get(name)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)} if versions else None


def resource_list(registry: Registry, group_name: str, version: str) -> Manifest | None:
    """`/api/v1` or `/apis/GROUP/VERSION`; None when that is not served."""
    found = _ordered(registry, group_name, version)
    if not found:
        return None
    listed = [entry for resource in found for entry in _entries(resource)]
    api_version = {"apiVersion": "v1"} if group_name else {}
    return {"kind": "APIResourceList", **api_version, "groupVersion": found[0].api_version, "resources": listed}


def aggregated(registry: Registry, *, core: bool) -> Manifest:
    """`/api` or `/apis` as one document with every resource (`APIGroupDiscoveryList`)."""
    groups = {"": ["v1"]} if core else registry.groups()
    items = []
    for name, versions in groups.items():
        listed = [
            {
                "version": version,
                "resources": [_aggregated_resource(one) for one in _ordered(registry, name, version)],
                "freshness": "Current",
            }
            for version in versions
        ]
        items.append({"metadata": {"name": name} if name else {}, "versions": listed})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _aggregated_resource(resource: Resource) -> Manifest:
    entry: Manifest = {
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular_name,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.subresources:
        entry["subresources"] = [
            {
                "subresource": name,
                "responseKind": {
                    "group": _SUBRESOURCE_GROUPS.get(name, (resource.group, ""))[0],
                    "version": _SUBRESOURCE_GROUPS.get(name, ("", resource.version))[1],
                    "kind": _subresource_kind(resource, name),
                },
                "verbs": list(SUBRESOURCE_VERBS[name]),
            }
            for name in resource.subresources
        ]
    return entry
