"""From the JSON of a request to an object in the server's own form, for built-in and custom resources alike."""

from functools import cache
from typing import Any

from sandbox.kubernetes.objects import defaults, names, structural, validation
from sandbox.kubernetes.objects.causes import Cause
from sandbox.kubernetes.objects.custom import validate_definition
from sandbox.kubernetes.objects.decoding import blank, decode
from sandbox.kubernetes.objects.schemas import OBJECT_META, Schema, builtin
from sandbox.kubernetes.resources import CRDS, Resource
from sandbox.kubernetes.trees import clone

Manifest = dict[str, Any]


def schema_of(resource: Resource) -> Schema:
    """The type of a resource's objects."""
    return resource.custom_type.schema if resource.custom_type else builtin(resource.definition)


def decoded(resource: Resource, obj: Manifest, unknown: list[str]) -> Manifest:
    """The object in the server's own form; paths of unknown fields are added to `unknown`.

    Raises:
        DecodeError: a value has the wrong type.
    """
    if resource.custom_type is None:
        result = decode(builtin(resource.definition), obj, unknown)
    else:
        result = clone(obj)
        meta = result.pop("metadata", None) or {}
        body = {name: value for name, value in result.items() if name not in ("apiVersion", "kind")}
        structural.prune(resource.custom_type.raw, body, "", unknown)
        result = {**body, "metadata": decode(builtin(OBJECT_META), meta, unknown)}
    metadata = result.pop("metadata", {})
    for name in ("kind", "apiVersion"):
        result.pop(name, None)
    return {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata, **result}


def set_defaults(resource: Resource, obj: Manifest) -> None:
    """Fill the server's defaults into a decoded object, in place."""
    if resource.custom_type:
        structural.set_defaults(resource.custom_type.raw, obj)
    else:
        defaults.set_defaults(resource.kind, obj)


@cache
def _blank_builtin(definition: str) -> Manifest:
    return blank(builtin(definition))


def blank_object(resource: Resource) -> Manifest:
    """An object with nothing set."""
    return {"metadata": {}} if resource.custom else clone(_blank_builtin(resource.definition))


def problems(resource: Resource, obj: Manifest, old: Manifest | None, subresource: str) -> list[Cause]:
    """Why a decoded and defaulted object is invalid."""
    if resource.custom_type is None:
        if subresource == "status":
            return []
        found = validation.validate(resource.kind, obj, old)
        return found + (validate_definition(obj) if resource is CRDS else [])
    if subresource == "status":
        whole = resource.custom_type.raw
        raw = whole.get("properties", {}).get("status", {})
        if "status" not in obj:
            return []
        return structural.validate(raw, obj["status"], (old or {}).get("status"), "status", "status.", whole)
    found = names.metadata(obj["metadata"], resource.kind, custom=True)
    body = {name: value for name, value in obj.items() if name not in ("metadata", "status")}
    return found + structural.validate(resource.custom_type.raw, body, old, "")
