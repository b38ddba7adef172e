"""The shape of objects: which fields there are, of what type, and how lists and maps merge.

The built-in kinds come from the OpenAPI definitions in the package kubernetes-validate, read when the first kind is
asked for; custom kinds from the structural schemas of their definitions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import orjson

DEFINITIONS = "kubernetes-json-schema/v1.36.0-local/_definitions.json"
"""The version whose answers this server gives."""
POD_TEMPLATE = "io.k8s.api.core.v1.PodTemplateSpec"
OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

Kind = Literal["struct", "map", "list", "string", "integer", "number", "boolean", "quantity", "int-or-string", "any"]

_KEY_DEFAULTS = {"protocol": "TCP"}
"""Key fields with a default: `protocol` of container and service ports."""


@dataclass(eq=False, slots=True)
class Schema:
    """One node of a type.

    Attributes:
        kind: What the value is; `any` is free-form.
        name: Of a struct: its Go type (`PodSpec`), empty when it has none.
        fields: Of a struct: its declared fields.
        values: Of a map, and of a struct that keeps unknown fields: the type of the other values.
        items: Of a list: the type of its items.
        list_type: Of a list: `atomic`, `set` or `map`.
        keys: Of a list that is a map: the key fields.
        atomic: A struct, a map or `any` that is owned and replaced as a whole.
        merge_key: What strategic merge patches find list items by; empty for a list of scalars that merges.
        merges: Whether a strategic merge patch merges the list.
        format: `int32`, `int64`, `byte`, `date-time`, … where the definition says.
    """

    kind: Kind
    name: str = ""
    fields: dict[str, "Schema"] = field(default_factory=dict)
    values: "Schema | None" = None
    items: "Schema | None" = None
    list_type: str = "atomic"
    keys: tuple[str, ...] = ()
    atomic: bool = False
    merge_key: str = ""
    merges: bool = False
    format: str = ""

    def child(self, name: str) -> "Schema | None":
        """The type of one field or map value; None when there is no such field."""
        return self.fields.get(name) or self.values

    def key_of(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """The key fields of a list item, defaults filled in; a key that is missing is left out."""
        found = {}
        for key in self.keys:
            if (value := item.get(key, _KEY_DEFAULTS.get(key))) is not None:
                found[key] = value
        return found


ANYTHING = Schema("any")
"""Free-form: maps merge by key, lists are atomic."""
ANYTHING_ATOMIC = Schema("any", atomic=True)

_SPECIAL = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": Schema("quantity"),
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": Schema("int-or-string"),
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": Schema("string", format="date-time"),
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": Schema("string", format="date-time"),
}


@cache
def _definitions() -> dict[str, Any]:
    # Only its data is wanted: importing the package would load a JSON Schema validator, a third of a second.
    spec = find_spec("kubernetes_validate")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the sandbox needs the package kubernetes-validate (dependency group `sandbox`)")
    found: dict[str, Any] = orjson.loads((Path(spec.origin).parent / DEFINITIONS).read_bytes())["$defs"]
    return found


_built: dict[str, Schema] = dict(_SPECIAL)


def builtin(definition: str) -> Schema:
    """The type of a built-in definition (`io.k8s.api.apps.v1.Deployment`)."""
    if (known := _built.get(definition)) is not None:
        return known
    raw = _definitions()[definition]
    if "properties" not in raw:
        schema = _node(raw) if "additionalProperties" in raw or _type(raw) not in ("object", "") else ANYTHING_ATOMIC
        _built[definition] = schema
        return schema
    schema = Schema("struct", name=definition.rpartition(".")[2], atomic=raw.get("x-kubernetes-map-type") == "atomic")
    _built[definition] = schema
    for name, child in raw["properties"].items():
        schema.fields[name] = _node(child)
    return schema


def definition_text(definition: str) -> dict[str, Any]:
    """The OpenAPI definition itself, for those who publish it."""
    found: dict[str, Any] = _definitions()[definition]
    return found


def _type(raw: Mapping[str, Any]) -> str:
    declared = raw.get("type", "")
    return next((one for one in declared if one != "null"), "") if isinstance(declared, list) else declared


def _node(raw: Mapping[str, Any]) -> Schema:
    reference = raw.get("$ref")
    if reference:
        target = builtin(reference.rpartition("/")[2])
        if raw.get("x-kubernetes-map-type") == "atomic" and not target.atomic and target.kind == "struct":
            return Schema("struct", target.name, target.fields, atomic=True)
        return target
    match _type(raw):
        case "array":
            return _list(raw, _node(raw["items"]))
        case "object" if "additionalProperties" in raw:
            atomic = raw.get("x-kubernetes-map-type") == "atomic"
            return Schema("map", values=_node(raw["additionalProperties"]), atomic=atomic)
        case "string" | "integer" | "number" | "boolean" as scalar:
            return Schema(scalar, format=raw.get("format", ""))
        case _:
            return ANYTHING_ATOMIC


def _list(raw: Mapping[str, Any], items: Schema) -> Schema:
    return Schema(
        "list",
        items=items,
        list_type=raw.get("x-kubernetes-list-type", "atomic"),
        keys=tuple(raw.get("x-kubernetes-list-map-keys", ())),
        merge_key=raw.get("x-kubernetes-patch-merge-key", ""),
        merges="merge" in raw.get("x-kubernetes-patch-strategy", "").split(","),
    )


def custom(raw: Mapping[str, Any]) -> Schema:
    """The type of a whole custom object, from `openAPIV3Schema` of its definition."""
    schema = _structural(raw)
    schema.fields |= {
        "apiVersion": Schema("string"),
        "kind": Schema("string"),
        "metadata": builtin(OBJECT_META),
    }
    return schema


def _structural(raw: Mapping[str, Any]) -> Schema:
    if raw.get("x-kubernetes-int-or-string"):
        return Schema("int-or-string")
    match raw.get("type", ""):
        case "array":
            return _list(raw, _structural(raw["items"]))
        case "object":
            return _structural_object(raw)
        case "string" | "integer" | "number" | "boolean" as scalar:
            return Schema(scalar, format=raw.get("format", ""))
        case _:
            return Schema("any") if raw.get("x-kubernetes-preserve-unknown-fields") else ANYTHING_ATOMIC


def _structural_object(raw: Mapping[str, Any]) -> Schema:
    atomic = raw.get("x-kubernetes-map-type") == "atomic"
    preserve = bool(raw.get("x-kubernetes-preserve-unknown-fields"))
    extra = raw.get("additionalProperties")
    if "properties" not in raw and preserve:
        return Schema("any", atomic=atomic)
    fields = {name: _structural(child) for name, child in raw.get("properties", {}).items()}
    if raw.get("x-kubernetes-embedded-resource"):
        fields |= {"apiVersion": Schema("string"), "kind": Schema("string"), "metadata": builtin(OBJECT_META)}
    if isinstance(extra, Mapping) and not fields:
        return Schema("map", values=_structural(extra), atomic=atomic)
    values = ANYTHING if preserve or extra is True else None
    return Schema("struct", fields=fields, values=values, atomic=atomic)
