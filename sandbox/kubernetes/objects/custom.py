"""The types of custom resources, from their CustomResourceDefinitions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.kubernetes.objects import causes, names
from sandbox.kubernetes.objects.causes import Cause
from sandbox.kubernetes.objects.schemas import Schema, custom
from sandbox.kubernetes.objects.structural import unevaluated_rules
from sandbox.kubernetes.resources import Resource

Manifest = dict[str, Any]

_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
"""In the order in which discovery lists them for custom resources."""


@dataclass(frozen=True)
class ScalePaths:
    """Where a custom resource keeps what its scale subresource shows."""

    spec: tuple[str, ...]
    status: tuple[str, ...]
    selector: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class CustomType:
    """One version of a custom resource.

    Attributes:
        raw: Its structural schema.
        schema: The same, for merging and owning.
        columns: `additionalPrinterColumns`.
        scale: The paths of its scale subresource, where it has one.
    """

    raw: Mapping[str, Any]
    schema: Schema
    columns: tuple[Mapping[str, Any], ...]
    scale: ScalePaths | None


def validate_definition(crd: Manifest) -> list[Cause]:
    """Why a CustomResourceDefinition cannot be served."""
    spec = crd["spec"]
    found: list[Cause] = []
    for name in ("group", "scope", "names", "versions"):
        if not spec.get(name):
            found.append(causes.required(f"spec.{name}"))
    if found:
        return found
    for name in ("plural", "kind"):
        if not spec["names"].get(name):
            found.append(causes.required(f"spec.names.{name}"))
    expected = f"{spec['names'].get('plural', '')}.{spec['group']}"
    if crd["metadata"]["name"] != expected:
        detail = 'must be spec.names.plural+"."+spec.group'
        found.append(causes.invalid("metadata.name", crd["metadata"]["name"], detail))
    if spec["scope"] not in ("Cluster", "Namespaced"):
        found.append(causes.not_supported("spec.scope", spec["scope"], ("Cluster", "Namespaced")))
    found += names.subdomain("spec.group", spec["group"])
    if sum(bool(version.get("storage")) for version in spec["versions"]) != 1:
        detail = "must have exactly one version marked as storage version"
        found.append(causes.invalid("spec.versions", _names(spec["versions"]), detail))
    for index, version in enumerate(spec["versions"]):
        if "openAPIV3Schema" not in version.get("schema", {}):
            found.append(causes.required(f"spec.versions[{index}].schema.openAPIV3Schema", "schemas are required"))
    return found


def _names(versions: list[Manifest]) -> list[str]:
    return [version.get("name", "") for version in versions]


def warnings(crd: Manifest) -> list[str]:
    """What the sandbox does not do with this definition."""
    rules = [
        rule for version in crd["spec"]["versions"] for rule in unevaluated_rules(version["schema"]["openAPIV3Schema"])
    ]
    return [f"the sandbox does not evaluate the validation rule {rule!r}" for rule in dict.fromkeys(rules)]


def served(crd: Manifest) -> list[Resource]:
    """The resources that a (valid) definition brings, the storage version first."""
    spec = crd["spec"]
    declared = spec["names"]
    found = []
    for version in sorted(spec["versions"], key=lambda one: not one.get("storage")):
        if not version.get("served"):
            continue
        subresources = version.get("subresources", {})
        found.append(
            Resource(
                group=spec["group"],
                version=version["name"],
                plural=declared["plural"],
                kind=declared["kind"],
                namespaced=spec["scope"] == "Namespaced",
                short_names=tuple(declared.get("shortNames", ())),
                categories=tuple(declared.get("categories", ())),
                subresources=tuple(name for name in ("status", "scale") if name in subresources),
                verbs=_VERBS,
                singular=declared.get("singular", ""),
                custom_type=CustomType(
                    version["schema"]["openAPIV3Schema"],
                    custom(version["schema"]["openAPIV3Schema"]),
                    tuple(version.get("additionalPrinterColumns", ())),
                    _scale(subresources),
                ),
            )
        )
    return found


def _scale(subresources: Mapping[str, Any]) -> ScalePaths | None:
    raw = subresources.get("scale")
    if raw is None:
        return None
    return ScalePaths(
        *(
            tuple(part for part in raw.get(name, "").split(".") if part)
            for name in ("specReplicasPath", "statusReplicasPath", "labelSelectorPath")
        )
    )


def established(crd: Manifest, time: str) -> Manifest:
    """The status that the server gives a definition once it is served."""
    declared = crd["spec"]["names"]
    conditions = [
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ]
    return {
        "conditions": [
            {"type": kind, "status": "True", "lastTransitionTime": time, "reason": reason, "message": message}
            for kind, reason, message in conditions
        ],
        "acceptedNames": dict(declared),
        "storedVersions": [version["name"] for version in crd["spec"]["versions"] if version.get("storage")],
    }
