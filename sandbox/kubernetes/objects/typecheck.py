"""What is wrong with a value by its schema, in the words of sigs.k8s.io/structured-merge-diff."""

from collections.abc import Iterable, Mapping
from typing import Any

from sandbox.kubernetes.objects.fieldsets import Path, key_element, readable, value_element
from sandbox.kubernetes.objects.schemas import ANYTHING, Schema


def go_value(value: object) -> str:
    """A JSON value as Go's `%v` prints it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{key}:{go_value(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(go_value(one) for one in value) + "]"
    return "<nil>" if value is None else str(value)


def _go_syntax(value: object) -> str:
    """A JSON value as Go's `%#v` prints it."""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, Mapping):
        inner = ", ".join(f'"{key}":{_go_syntax(value[key])}' for key in sorted(value))
        return "map[string]interface {}{" + inner + "}"
    if isinstance(value, list):
        return "[]interface {}{" + ", ".join(_go_syntax(one) for one in value) + "}"
    return go_value(value)


def _go_type(value: object) -> str:
    if isinstance(value, Mapping):
        return "map[string]interface {}"
    if isinstance(value, list):
        return "[]interface {}"
    return {bool: "bool", str: "string"}.get(type(value), "<nil>")


def problems(schema: Schema, value: object) -> list[str]:
    """What is wrong with `value`: fields that are not declared, wrong types, duplicate list keys."""
    found: list[str] = []
    _check(schema, value, (), found)
    return found


def _check(schema: Schema, value: object, path: Path, found: list[str]) -> None:
    match schema.kind, value:
        case (_, None) | ("any", _):
            pass
        case ("struct" | "map", dict()):
            _check_map(schema, value, path, found)
        case ("list", list()):
            _check_list(schema, value, path, found)
        case _:
            message = _mismatch(schema.kind, value)
            if message:
                found.append(f"{readable(path)}: {message}")


def _mismatch(kind: str, value: object) -> str:
    plain = f"&{{{go_value(value)}}}"
    match kind, value:
        case ("struct" | "map", _):
            return f"expected map, got {plain}"
        case ("list", _):
            return f"expected list, got {plain}"
        case ("boolean", bool()) | ("string", str()):
            return ""
        case ("boolean", _):
            return f"expected boolean, got {plain}"
        case ("string", _):
            return f"expected string, got &value.valueUnstructured{{Value:{_go_syntax(value)}}}"
        case ("integer" | "number", _) if isinstance(value, bool) or not isinstance(value, int | float):
            return f"expected numeric (int or float), got {_go_type(value)}"
        case ("quantity" | "int-or-string", dict() | list()):
            return f"expected any scalar, got {plain}"
    return ""


def _check_map(schema: Schema, value: Mapping[str, Any], path: Path, found: list[str]) -> None:
    for name, child in value.items():
        at = (*path, "f:" + name)
        child_schema = schema.child(name)
        if child_schema is None:
            found.append(f"{readable(at)}: field not declared in schema")
        else:
            _check(child_schema, child, at, found)


def _check_list(schema: Schema, value: Iterable[Any], path: Path, found: list[str]) -> None:
    items = schema.items or ANYTHING
    seen: set[str] = set()
    for index, item in enumerate(value):
        element = f"i:{index}"
        if schema.list_type != "atomic":
            try:
                element = list_element(schema, item)
            except ValueError as error:
                found.append(f"{readable(path)}: element {index}: {error}")
                return
            if element in seen:
                found.append(f"{readable(path)}: duplicate entries for key {readable((element,))}")
            seen.add(element)
        _check(items, item, (*path, element), found)


def list_element(schema: Schema, item: object) -> str:
    """The path element of an item of a set or of a list that is a map."""
    if schema.list_type == "set":
        return value_element(item)
    if not isinstance(item, dict):
        raise ValueError("associative list with keys may not have non-map elements")
    keys = schema.key_of(item)
    for name in schema.keys:
        if name not in keys:
            raise ValueError(
                f'associative list with keys has an element that omits key field "{name}" '
                "(and doesn't have default value)"
            )
    return key_element(keys)
