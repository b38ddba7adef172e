"""Tables: lists and objects as `kubectl get` asks for them."""

from collections.abc import Mapping
from typing import Any

from sandbox.kubernetes.api.columns import AGE, COLUMNS, NAME, Column
from sandbox.kubernetes.api.printing import since
from sandbox.kubernetes.resources import Resource

Manifest = dict[str, Any]

_META = "meta.k8s.io/v1"


def _printer_column(raw: Mapping[str, Any]) -> Column:
    """A column of a CustomResourceDefinition; of JSONPath it may use plain fields and `[?(@.type=="X")]`."""
    path = raw["jsonPath"]

    def cell(obj: Mapping[str, Any]) -> Any:
        found = _json_path(obj, path)
        if found is not None and raw["type"] == "date":
            return since(found)
        return found

    return Column(raw["name"], cell, raw.get("priority", 0), raw["type"])


def _json_path(value: Any, path: str) -> Any:
    rest = path
    while rest and value is not None:
        if rest.startswith("["):
            inside, _, rest = rest[1:].partition("]")
            value = _filtered(value, inside)
        else:
            name = ""
            rest = rest.removeprefix(".")
            while rest and rest[0] not in ".[":
                name, rest = name + rest[0], rest[1:]
            value = value.get(name) if isinstance(value, dict) else None
    return value


def _filtered(value: Any, inside: str) -> Any:
    if not isinstance(value, list):
        return value.get(inside.strip("'\"")) if isinstance(value, dict) else None
    if inside.isdigit():
        return value[int(inside)] if int(inside) < len(value) else None
    if inside.startswith("?(@."):
        field, _, wanted = inside[4:].rstrip(")").partition("==")
        return next((one for one in value if str(one.get(field.strip())) == wanted.strip().strip("'\"")), None)
    return None


def columns(resource: Resource) -> list[Column]:
    """The columns of a resource."""
    if resource.custom_type is None:
        return COLUMNS.get(resource.qualified, [NAME, AGE])
    own = [_printer_column(raw) for raw in resource.custom_type.columns]
    return [NAME, *own] if own else [NAME, AGE]


def metadata_only(obj: Mapping[str, Any]) -> Manifest:
    """An object without its content."""
    return {"kind": "PartialObjectMetadata", "apiVersion": _META, "metadata": obj["metadata"]}


def table(
    resource: Resource, objects: list[Mapping[str, Any]], metadata: Manifest, include: str, *, headers: bool = True
) -> Manifest:
    """A table.

    Args:
        resource: Whose columns it has.
        objects: One row each.
        metadata: Of the list.
        include: How much of each object comes with its row: `Metadata`, `Object` or `None`.
        headers: Whether the column definitions are there: a watch sends them once.
    """
    shown = columns(resource)
    rows = []
    for obj in objects:
        row: Manifest = {"cells": [column.cell(obj) for column in shown]}
        if include != "None":
            full = {"kind": resource.kind, "apiVersion": resource.api_version, **obj}
            row["object"] = full if include == "Object" else metadata_only(obj)
        rows.append(row)
    definitions = [
        {
            "name": column.name,
            "type": column.type,
            "format": "name" if column.name == "Name" else "",
            "description": "",
            "priority": column.priority,
        }
        for column in shown
    ]
    return {
        "kind": "Table",
        "apiVersion": _META,
        "metadata": metadata,
        "columnDefinitions": definitions if headers else None,
        "rows": rows,
    }
