"""Typed values: owning, merging, comparing and pruning them by their schema.

These are the operations that server-side apply is made of, with the rules of sigs.k8s.io/structured-merge-diff:
structs and maps by field, lists by their declared type, the rest as a whole.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sandbox.kubernetes.objects.fieldsets import Path
from sandbox.kubernetes.objects.schemas import ANYTHING, Schema
from sandbox.kubernetes.objects.typecheck import list_element

_ABSENT: Any = object()


def _indexed(schema: Schema, value: object) -> dict[str, Any]:
    """Items of a non-atomic list by their element; for duplicates the first one counts."""
    found: dict[str, Any] = {}
    for item in value if isinstance(value, list) else ():
        found.setdefault(list_element(schema, item), item)
    return found


def _whole(schema: Schema, value: object) -> bool:
    """Whether a value is owned and replaced as one."""
    if schema.atomic:
        return True
    if schema.kind == "list":
        return schema.list_type == "atomic"
    if schema.kind == "any":
        return not isinstance(value, dict)
    return schema.kind not in ("struct", "map")


def _child_schema(schema: Schema, name: str) -> Schema:
    return schema.child(name) or ANYTHING


# ---- owning -----------------------------------------------------------------------------------------------------


def field_set(schema: Schema, value: object) -> set[Path]:
    """The paths that whoever applies `value` owns."""
    found: set[Path] = set()
    _collect(schema, value, (), found)
    return found


def _collect(schema: Schema, value: object, path: Path, found: set[Path]) -> None:
    if _whole(schema, value):
        found.add(path)
    elif isinstance(value, dict):
        for name, child in value.items():
            at = (*path, "f:" + name)
            if child is None or child == {} or name not in schema.fields:
                found.add(at)
            _collect(_child_schema(schema, name), child, at, found)
    elif isinstance(value, list):
        items = schema.items or ANYTHING
        for item in value:
            at = (*path, list_element(schema, item))
            found.add(at)
            if schema.list_type == "map":
                _collect(items, item, at, found)


# ---- merging ----------------------------------------------------------------------------------------------------


def merge(schema: Schema, live: Any, config: Any) -> Any:
    """`live` with everything that `config` states."""
    if live is None or config is None or _whole(schema, config) or type(live) is not type(config):
        return config
    if isinstance(config, dict):
        merged = dict(live)
        for name, value in config.items():
            merged[name] = merge(_child_schema(schema, name), live[name], value) if name in live else value
        return merged
    return _merge_lists(schema, live, config)


def _merge_lists(schema: Schema, live: list[Any], config: list[Any]) -> list[Any]:
    """Items in live order, new ones where the configuration has them; shared ones in the configuration's order."""
    left, right = _indexed(schema, live), _indexed(schema, config)
    items = schema.items or ANYTHING
    order: list[str] = []
    left_keys, right_keys = list(left), list(right)
    at_left = at_right = 0
    while at_left < len(left_keys) or at_right < len(right_keys):
        if at_left < len(left_keys) and left_keys[at_left] not in right:
            order.append(left_keys[at_left])
            at_left += 1
        elif at_right < len(right_keys):
            element = right_keys[at_right]
            order.append(element)
            at_right += 1
            if element in left:
                # Shared items that the configuration has put elsewhere have been, or will be, taken from there.
                at_left += 1
        else:
            at_left += 1
    return [
        merge(items, left[one], right[one])
        if one in left and one in right
        else (right[one] if one in right else left[one])
        for one in order
    ]


# ---- comparing --------------------------------------------------------------------------------------------------


@dataclass
class Comparison:
    """Paths that a new value adds, changes and removes, intermediate ones included."""

    added: set[Path] = field(default_factory=set)
    modified: set[Path] = field(default_factory=set)
    removed: set[Path] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.added or self.modified or self.removed)


def compare(schema: Schema, old: object, new: object) -> Comparison:
    """What is different between two values of one type."""
    result = Comparison()
    _compare(schema, old, new, (), result)
    for paths in (result.added, result.modified, result.removed):
        paths.discard(())
    return result


def _compare(schema: Schema, old: Any, new: Any, path: Path, result: Comparison) -> None:
    if old is not _ABSENT and new is not _ABSENT and old == new:
        return
    if old is _ABSENT:
        result.added.add(path)
    elif new is _ABSENT:
        result.removed.add(path)
    if _whole(schema, old if new is _ABSENT or new is None else new):
        if old is not _ABSENT and new is not _ABSENT:
            result.modified.add(path)
        return
    before, after = (None if one is _ABSENT else one for one in (old, new))
    if isinstance(before, dict) or isinstance(after, dict):
        before, after = (one if isinstance(one, dict) else {} for one in (before, after))
        for name in before.keys() | after.keys():
            values = before.get(name, _ABSENT), after.get(name, _ABSENT)
            _compare(_child_schema(schema, name), *values, (*path, "f:" + name), result)
        return
    before, after = _indexed(schema, before), _indexed(schema, after)
    items = schema.items or ANYTHING
    for element in before.keys() | after.keys():
        _compare(items, before.get(element, _ABSENT), after.get(element, _ABSENT), (*path, element), result)


# ---- pruning ----------------------------------------------------------------------------------------------------


def remove(schema: Schema, value: Any, paths: Iterable[Path]) -> Any:
    """`value` without the fields and items at `paths`; what becomes empty by that goes too."""
    grouped: dict[str, list[Path]] = {}
    for path in paths:
        grouped.setdefault(path[0], []).append(path[1:])
    if not grouped or _whole(schema, value):
        return value
    if isinstance(value, dict):
        kept = {}
        for name, child in value.items():
            below = grouped.get("f:" + name, [])
            if () in below:
                continue
            left = remove(_child_schema(schema, name), child, below) if below else child
            if left is not None:
                kept[name] = left
        return kept or None
    if not isinstance(value, list):
        return value
    items = []
    for item in value:
        below = grouped.get(list_element(schema, item), [])
        if () not in below:
            items.append(remove(schema.items or ANYTHING, item, below) if below else item)
    return items or None


def named_fields(schema: Schema, paths: Iterable[Path]) -> set[Path]:
    """`paths` with the struct fields on the way to them as members of their own.

    A field with something below it counts as owned; a list item or a map key does not.
    """
    found = set(paths)
    for path in list(found):
        node: Schema | None = schema
        for depth, element in enumerate(path[:-1]):
            if node is None:
                break
            name = element[2:]
            if element.startswith("f:"):
                if name in node.fields:
                    found.add(path[: depth + 1])
                node = node.child(name)
            else:
                node = node.items
    return found
