"""Sets of field paths, and their `fieldsV1` form in managedFields.

A path is a tuple of elements as `fieldsV1` writes them: `f:spec`, `k:{"name":"c"}`, `v:"x"`, `i:0`. The format is
that of sigs.k8s.io/structured-merge-diff, described in the API documentation of `FieldsV1`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from sandbox.kubernetes.trees import compact_json

Path = tuple[str, ...]
FieldSet = frozenset[Path]

EMPTY: FieldSet = frozenset()


def key_element(keys: Mapping[str, object]) -> str:
    """The element of a list item that is found by key fields."""
    return "k:" + compact_json(keys, sort=True)


def value_element(value: object) -> str:
    """The element of a member of a list that is a set."""
    return "v:" + compact_json(value)


def to_fields_v1(paths: Iterable[Path]) -> dict[str, Any]:
    """The trie that managedFields shows: a leaf is `{}`, a member with children has `.` among them."""
    root: dict[str, Any] = {}
    for path in sorted(paths):
        node = root
        for element in path:
            node = node.setdefault(element, {})
        node["."] = {}
    for child in root.values():
        _drop_lone_dots(child)
    return root


def _drop_lone_dots(node: dict[str, Any]) -> None:
    if len(node) == 1 and "." in node:
        del node["."]
        return
    for element, child in node.items():
        if element != ".":
            _drop_lone_dots(child)


def from_fields_v1(fields: Mapping[str, Any]) -> FieldSet:
    """The paths of a `fieldsV1` trie."""
    found: set[Path] = set()
    _collect(fields, (), found)
    return frozenset(found)


def _collect(node: Mapping[str, Any], path: Path, found: set[Path]) -> None:
    for element, child in node.items():
        if element == ".":
            found.add(path)
        elif child:
            _collect(child, (*path, element), found)
        else:
            found.add((*path, element))


def readable(path: Path) -> str:
    """A path as messages show it: `.spec.containers[name="c"].image`."""
    return "".join(_readable_element(element) for element in path)


def _readable_element(element: str) -> str:
    kind, _, rest = element.partition(":")
    if kind == "f":
        return f".{rest}"
    if kind == "k":
        keys = orjson.loads(rest)
        return "[" + ",".join(f"{name}={compact_json(value)}" for name, value in keys.items()) + "]"
    return f"[={rest}]" if kind == "v" else f"[{rest}]"


def covers(prefixes: Iterable[Path], path: Path) -> bool:
    """Whether `path` is one of `prefixes` or lies below one."""
    return any(path[: len(prefix)] == prefix for prefix in prefixes)
