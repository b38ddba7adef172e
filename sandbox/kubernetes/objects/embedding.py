"""Built-in types as structural schemas, for definitions of custom resources that embed a pod template."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from sandbox.kubernetes.objects.schemas import POD_TEMPLATE, definition_text

Raw = dict[str, Any]

_QUANTITY_PATTERN = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
_KEPT = ("x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type", "format", "required")
_STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
_METADATA: Raw = {
    "type": "object",
    "properties": {
        "annotations": _STRINGS,
        "finalizers": {"type": "array", "items": {"type": "string"}},
        "labels": _STRINGS,
        "name": {"type": "string"},
        "namespace": {"type": "string"},
    },
}
_SPECIAL: Mapping[str, Raw] = {
    "Quantity": {
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "pattern": _QUANTITY_PATTERN,
        "x-kubernetes-int-or-string": True,
    },
    "IntOrString": {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True},
    "ObjectMeta": _METADATA,
    "Time": {"type": "string", "format": "date-time"},
}


@cache
def _expanded(definition: str) -> Raw:
    name = definition.rpartition(".")[2]
    return _SPECIAL.get(name) or _structural(definition_text(definition))


def _structural(raw: Mapping[str, Any]) -> Raw:
    if "$ref" in raw:
        return _expanded(raw["$ref"].rpartition("/")[2])
    declared = raw.get("type", "object")
    kind = next(one for one in declared if one != "null") if isinstance(declared, list) else declared
    result: Raw = {"type": kind, **{name: raw[name] for name in _KEPT if name in raw}}
    if "properties" in raw:
        result["properties"] = {name: _structural(child) for name, child in raw["properties"].items()}
        if {"containerPort", "protocol"} <= result["properties"].keys():
            # A key field of its list: without a default, a port without a protocol could not be found.
            result["properties"]["protocol"] = {"type": "string", "default": "TCP"}
    if "additionalProperties" in raw:
        result["additionalProperties"] = _structural(raw["additionalProperties"])
    if "items" in raw:
        result["items"] = _structural(raw["items"])
    return result


def embed_pod_templates(raw: Any) -> Any:
    """A schema in which every `{$ref: PodTemplateSpec}` is the type of a pod template."""
    if isinstance(raw, dict):
        if raw.get("$ref") == "PodTemplateSpec":
            return _expanded(POD_TEMPLATE)
        return {name: embed_pod_templates(child) for name, child in raw.items()}
    return [embed_pod_templates(child) for child in raw] if isinstance(raw, list) else raw
