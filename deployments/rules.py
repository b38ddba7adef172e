"""The access rules that this project ships, as single rights: who may do what where."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kube.access import Permission

FOLDER = Path(__file__).parent / "rbac"
FLOWS = ("prefect", "inference-flows")
"""Service account of the flow runs: namespace and name."""

WORKER = ("prefect", "prefect-worker")
"""Service account of the worker."""

NAMESPACE = "inference"
"""Namespace of the endpoints in the shipped files."""

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Right:
    """One right of a shipped role.

    Attributes:
        role: Name of the Role or ClusterRole that grants it.
        file: File that the role stands in.
        rule: Position of its rule in the role.
        permission: What may be done.
    """

    role: str
    file: str
    rule: int
    permission: Permission


def manifests(folder: Path = FOLDER) -> list[Manifest]:
    """All shipped objects, file by file."""
    return [one for path in sorted(folder.glob("*.yaml")) for one in _documents(path)]


def _documents(path: Path) -> list[Manifest]:
    if path.name == "kustomization.yaml":
        return []
    return [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one]


def rights(account: tuple[str, str] = FLOWS, *, folder: Path = FOLDER) -> list[Right]:
    """What the shipped rules let a service account do.

    Args:
        account: Its namespace and name.
        folder: Where the rules are.
    """
    found: list[Right] = []
    for path in sorted(folder.glob("*.yaml")):
        documents = _documents(path)
        roles = {(one["kind"], one["metadata"]["name"]): one for one in documents if one["kind"].endswith("Role")}
        for binding in documents:
            if binding["kind"].endswith("RoleBinding") and _binds(binding, account):
                reference = binding["roleRef"]
                role = roles[reference["kind"], reference["name"]]
                namespace = str(binding["metadata"].get("namespace", ""))
                found += [
                    Right(reference["name"], path.name, position, permission)
                    for position, rule in enumerate(role["rules"])
                    for permission in _expanded(rule, namespace)
                ]
    return found


def _binds(binding: Mapping[str, Any], account: tuple[str, str]) -> bool:
    return any(
        one["kind"] == "ServiceAccount" and (one["namespace"], one["name"]) == account for one in binding["subjects"]
    )


def _expanded(rule: Mapping[str, Any], namespace: str) -> Iterator[Permission]:
    for group in rule["apiGroups"]:
        for full in rule["resources"]:
            resource, _, subresource = full.partition("/")
            for name in rule.get("resourceNames") or [""]:
                for verb in rule["verbs"]:
                    yield Permission(verb, group, resource, namespace, subresource, name)
