"""OpenAPI v3, as far as kubectl needs it: which kinds there are, their fields, which parameters a write takes."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from sandbox.kubernetes.api.discovery import VERSION
from sandbox.kubernetes.objects.schemas import definition_text
from sandbox.kubernetes.resources import Registry, Resource

Manifest = dict[str, Any]

_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation", "force")
_REFERENCE, _COMPONENT = "#/$defs/", "#/components/schemas/"


def _path(resource: Resource) -> str:
    base = f"apis/{resource.group}/{resource.version}" if resource.group else f"api/{resource.version}"
    return base


def index(registry: Registry) -> Manifest:
    """`/openapi/v3`: where the document of each group version is."""
    paths = sorted({_path(one) for one in registry})
    served = "".join(f"{one.api_version}{one.kind}" for one in registry)
    digest = hashlib.sha256(served.encode()).hexdigest()[:16].upper()
    return {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"} for path in paths}}


def document(registry: Registry, path: str) -> Manifest | None:
    """`/openapi/v3/PATH`: the kinds of one group version; None when it is not served."""
    found = [one for one in registry if _path(one) == path]
    if not found:
        return None
    paths: Manifest = {}
    schemas: Manifest = {}
    for resource in found:
        scope = "/namespaces/{namespace}" if resource.namespaced else ""
        paths[f"/{path}{scope}/{resource.plural}"] = _operations(resource, {"get": "list", "post": "create"})
        item = _operations(resource, {"get": "read", "put": "replace", "patch": "patch", "delete": "delete"})
        paths[f"/{path}{scope}/{resource.plural}/{{name}}"] = item
        schemas |= dict(_components(resource))
    info = {"title": "Kubernetes", "version": VERSION["gitVersion"]}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def _operations(resource: Resource, methods: Mapping[str, str]) -> Manifest:
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    parameters = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in _PARAMETERS]
    return {
        method: {
            "operationId": f"{action}{resource.kind}",
            "parameters": parameters,
            "x-kubernetes-action": {"create": "post", "read": "get", "replace": "put"}.get(action, action),
            "x-kubernetes-group-version-kind": kind,
            "responses": {"200": {"description": "OK"}},
        }
        for method, action in methods.items()
    }


def _components(resource: Resource) -> Iterator[tuple[str, Manifest]]:
    """The schema of a kind and of everything that it refers to."""
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    if resource.custom_type:
        reversed_group = ".".join(reversed(resource.group.split(".")))
        schema = {**resource.custom_type.raw, "x-kubernetes-group-version-kind": [kind]}
        yield f"{reversed_group}.{resource.version}.{resource.kind}", schema
        return
    waiting, seen = [resource.definition], {resource.definition}
    while waiting:
        definition = waiting.pop()
        text = _component(definition_text(definition))
        if definition == resource.definition:
            text["x-kubernetes-group-version-kind"] = [kind]
        yield definition, text
        for reference in _references(text):
            if reference not in seen:
                seen.add(reference)
                waiting.append(reference)


def _component(raw: Any) -> Any:
    """A definition with OpenAPI's references and single types."""
    if isinstance(raw, list):
        return [_component(one) for one in raw]
    if not isinstance(raw, dict):
        return raw
    result = {}
    for name, value in raw.items():
        if name == "$ref":
            result[name] = value.replace(_REFERENCE, _COMPONENT)
        elif name == "type" and isinstance(value, list):
            result[name] = next(one for one in value if one != "null")
        else:
            result[name] = _component(value)
    return result


def _references(raw: Any) -> Iterator[str]:
    if isinstance(raw, list):
        for one in raw:
            yield from _references(one)
    elif isinstance(raw, dict):
        for name, value in raw.items():
            if name == "$ref":
                yield value.removeprefix(_COMPONENT)
            else:
                yield from _references(value)
