"""Where a live object is not what was applied, and who changed it. Pure.

The API server itself says what an apply would leave: only what differs from that counts, never a default or what a
controller owns. What others added beside the applied fields an apply would keep; their managers tell of it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Object = Mapping[str, Any]

_KEYS = ("name", "mountPath", "containerPort", "port")
"""Fields by which Kubernetes tells the items of lists apart, in this order."""

_HIDDEN = frozenset({"env", "args", "command", "data", "stringData", "annotations"})
"""What may hold a secret: the field is named, its value is not shown."""

_CONTROLLERS = ("controller", "operator", "autoscaler", "scheduler", "kubelet", "webhook", "karpenter", "keda")
"""Parts of the names of managers that write to objects as their work is."""

SHOWN = 60
"""Longest value that is shown."""


class DriftKind(StrEnum):
    """How something differs from what was applied."""

    MISSING = "missing"  # the whole object
    CHANGED = "changed"
    REMOVED = "removed"
    LEFT = "left"  # applied once, rendered no longer
    ADDED = "added"  # beside what was applied


@dataclass(frozen=True)
class Drift:
    """One difference.

    Attributes:
        object: As messages name it: ``Deployment chat/llama``.
        field: ``spec.template.spec.containers[vllm].image``; empty for the whole object.
        live: What it is now; empty if that is not shown.
        wanted: What an apply would make it; empty if that is not shown.
        owner: Who owns the field now, as the API server knows it; empty if it does not tell.
    """

    object: str
    kind: DriftKind
    field: str = ""
    live: str = ""
    wanted: str = ""
    owner: str = ""

    def __str__(self) -> str:
        if self.kind is DriftKind.MISSING:
            return f"{self.object} is missing"
        values = f": {self.live or 'none'}, applied was {self.wanted or 'none'}" if self.live or self.wanted else ""
        owner = f" (by {self.owner})" if self.owner else ""
        return f"{self.object} {self.field} {self.kind}{values}{owner}"


@dataclass(frozen=True)
class _Step:
    """One step down into an object: a field, or an item of a list known by one of its fields or its position."""

    field: str = ""
    key: str = ""
    value: Any = None


_Path = tuple[_Step, ...]


def drift(
    name: str,
    live: Object,
    applied: Object,
    managers: Sequence[Object],
    ours: str,
    managers_after: Sequence[Object] | None = None,
) -> list[Drift]:
    """Compares an object with what applying its manifest would leave of it.

    Args:
        name: As messages name the object.
        live: It, without the API server's bookkeeping.
        applied: What the API server says it would be, likewise.
        managers: The live object's ``metadata.managedFields``.
        ours: The field manager that applied it.
        managers_after: ``managedFields`` as the apply would leave them: what others own together with us is no
            addition. By default as they are.
    """
    found = [
        Drift(name, kind, _text(path), _shown(path, before), _shown(path, after), _owner(managers, path, kind, ours))
        for path, before, after, kind in _differences(live, applied, ())
    ]
    named = {one.field for one in found}
    return found + [
        one for one in _additions(name, managers, managers_after or managers, ours) if not _below(one.field, named)
    ]


def _below(field: str, named: set[str]) -> bool:
    return any(field == one or field.startswith((f"{one}.", f"{one}[")) for one in named)


_ABSENT = object()


def _differences(live: Any, applied: Any, path: _Path) -> Iterator[tuple[_Path, Any, Any, DriftKind]]:
    if live == applied:
        return
    if isinstance(live, Mapping) and isinstance(applied, Mapping):
        for field in sorted(live.keys() | applied.keys()):
            step = (*path, _Step(field=field))
            yield from _difference(live.get(field, _ABSENT), applied.get(field, _ABSENT), step)
    elif isinstance(live, list) and isinstance(applied, list) and (key := _key(live, applied)):
        before, after = ({item[key]: item for item in items} for items in (live, applied))
        for value in sorted(before.keys() | after.keys(), key=str):
            step = (*path, _Step(key=key, value=value))
            yield from _difference(before.get(value, _ABSENT), after.get(value, _ABSENT), step)
    else:
        yield path, live, applied, DriftKind.CHANGED


def _difference(live: Any, applied: Any, path: _Path) -> Iterator[tuple[_Path, Any, Any, DriftKind]]:
    if live is _ABSENT:
        yield path, None, applied, DriftKind.REMOVED
    elif applied is _ABSENT:
        yield path, live, None, DriftKind.LEFT
    else:
        yield from _differences(live, applied, path)


def _key(*lists: list[Any]) -> str:
    """The field that tells the items of these lists apart; empty if there is none."""
    for key in _KEYS:
        values = [[item.get(key) if isinstance(item, Mapping) else None for item in items] for items in lists]
        if all(None not in found and len(set(map(str, found))) == len(found) for found in values):
            return key
    return ""


def _text(path: _Path) -> str:
    text = ""
    for step in path:
        text += f"[{step.value}]" if step.key else f".{step.field}"
    return text.lstrip(".")


def _shown(path: _Path, value: Any) -> str:
    if value is None or isinstance(value, Mapping | list) or any(step.field in _HIDDEN for step in path):
        return ""
    return text if len(text := str(value)) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _owner(managers: Sequence[Object], path: _Path, kind: DriftKind, ours: str) -> str:
    owners = [_manager(entry) for entry in managers if _owns(entry.get("fieldsV1") or {}, path)]
    others = [owner for owner in owners if owner != ours]
    if others or kind is not DriftKind.REMOVED:
        return ", ".join(dict.fromkeys(others or owners))
    # Nobody owns what is not there: whoever wrote last but us may have taken it away.
    suspects = [entry for entry in managers if entry.get("manager") != ours and not _is_controller(entry)]
    newest = max(suspects, key=lambda entry: str(entry.get("time", "")), default=None)
    return f"perhaps {_manager(newest)}" if newest is not None else ""


def _manager(entry: Object) -> str:
    name, subresource = str(entry.get("manager", "")), entry.get("subresource")
    return f"{name} {subresource}" if subresource else name


def _owns(fields: Object, path: _Path) -> bool:
    """Whether managed fields cover a path: down to it, or to a part that is owned as a whole."""
    for step in path:
        if not fields:
            return False
        below = _down(fields, step)
        if below is None:
            return False
        if not set(below) - {"."}:
            return True
        fields = below
    return True


def _down(fields: Object, step: _Step) -> Object | None:
    if not step.key:
        found: Object | None = fields.get(f"f:{step.field}")
        return found
    for name, below in fields.items():
        if name.startswith("k:") and json.loads(name[2:]).get(step.key) == step.value:
            inner: Object = below
            return inner
    return None


def _additions(name: str, managers: Sequence[Object], after: Sequence[Object], ours: str) -> Iterator[Drift]:
    """What people and their tools added below ``spec`` and ``data``, beside what we own."""
    mine: Object = next(
        (one["fieldsV1"] for one in after if _manager(one) == ours and one.get("operation") == "Apply"), {}
    )
    for entry in managers:
        if entry.get("manager") == ours or entry.get("subresource") or _is_controller(entry):
            continue
        for section in ("spec", "data"):
            below = (entry.get("fieldsV1") or {}).get(f"f:{section}") or {}
            owned = mine.get(f"f:{section}") or {}
            for path in _only(below, owned, (_Step(field=section),)):
                yield Drift(name, DriftKind.ADDED, _text(path), owner=_manager(entry))


def _is_controller(entry: Object) -> bool:
    manager = str(entry.get("manager", "")).lower()
    return entry.get("subresource") == "status" or any(part in manager for part in _CONTROLLERS)


def _only(theirs: Object, mine: Object, path: _Path) -> Iterator[_Path]:
    """Paths that their fields have and ours do not; what is new as a whole is one path."""
    for name, below in theirs.items():
        if name == ".":
            continue
        step = _named(name)
        if step is None:
            continue
        if name not in mine:
            yield (*path, step)
        elif set(mine[name]) - {"."}:
            yield from _only(below, mine[name], (*path, step))


def _named(name: str) -> _Step | None:
    kind, _, text = name.partition(":")
    if kind == "f":
        return _Step(field=text)
    if kind == "k":
        items = json.loads(text)
        key = next((key for key in _KEYS if key in items), next(iter(items)))
        return _Step(key=key, value=items[key])
    return None  # an item of a set or a position: part of a list that is named already
