"""Who owns which field: managedFields, server-side apply and its conflicts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sandbox.kubernetes.errors import ApiError
from sandbox.kubernetes.objects.fieldsets import EMPTY, FieldSet, Path, from_fields_v1, readable, to_fields_v1
from sandbox.kubernetes.objects.schemas import Schema
from sandbox.kubernetes.objects.typed import Comparison, compare, field_set, merge, named_fields, remove

Manifest = dict[str, Any]

_NEVER_OWNED: frozenset[Path] = frozenset(
    {("f:apiVersion",), ("f:kind",), ("f:metadata",)}
    | {
        ("f:metadata", "f:" + name)
        for name in (
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "clusterName",
            "generation",
            "managedFields",
            "resourceVersion",
        )
    }
)


@dataclass(frozen=True)
class Manager:
    """Who writes, as far as ownership goes.

    Attributes:
        name: The field manager.
        operation: `Apply` or `Update`.
        api_version: In which version of the object its fields are.
        subresource: Through which subresource it writes.
    """

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    def same(self, other: "Manager") -> bool:
        """Whether two entries are one: an applier keeps its entry when it moves to another version."""
        mine, theirs = (
            (one.name, one.operation, one.subresource, "" if one.operation == "Apply" else one.api_version)
            for one in (self, other)
        )
        return mine == theirs

    def described(self) -> str:
        """As conflict messages name it."""
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return text if self.operation == "Apply" else f"{text} using {self.api_version}"


@dataclass(frozen=True)
class Entry:
    """One manager's fields, and when they last changed."""

    manager: Manager
    fields: FieldSet
    time: str | None


def decode(obj: Mapping[str, Any]) -> list[Entry]:
    """The entries of an object's managedFields."""
    return [
        Entry(
            Manager(raw["manager"], raw["operation"], raw["apiVersion"], raw.get("subresource", "")),
            from_fields_v1(raw["fieldsV1"]),
            raw.get("time"),
        )
        for raw in obj["metadata"].get("managedFields", [])
    ]


def encode(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """The managedFields in the server's order: appliers first, then by time, name, version and subresource."""
    ordered = sorted(
        (entry for entry in entries if entry.fields),
        key=lambda one: (
            one.manager.operation,
            one.time or "",
            one.manager.name,
            one.manager.api_version,
            one.manager.subresource,
        ),
    )
    return [
        {
            "manager": one.manager.name,
            "operation": one.manager.operation,
            "apiVersion": one.manager.api_version,
            **({"time": one.time} if one.time else {}),
            "fieldsType": "FieldsV1",
            "fieldsV1": to_fields_v1(one.fields),
            **({"subresource": one.manager.subresource} if one.manager.subresource else {}),
        }
        for one in ordered
    ]


@dataclass(frozen=True)
class Ownership:
    """The rules of one write.

    Attributes:
        schema: The object's type.
        manager: Who writes.
        ignored: What this endpoint cannot write (`f:status` on the main resource), and so cannot own.
        now: The time for entries that change.
    """

    schema: Schema
    manager: Manager
    ignored: tuple[Path, ...]
    now: str

    def _ownable(self, paths: Iterable[Path]) -> FieldSet:
        ignored = {path[0] for path in self.ignored if len(path) == 1}
        deeper = [path for path in self.ignored if len(path) > 1]
        return frozenset(
            path
            for path in paths
            if path not in _NEVER_OWNED
            and path[0] not in ignored
            and not any(path[: len(one)] == one for one in deeper)
        )

    def _mine(self, entries: Iterable[Entry]) -> Entry | None:
        return next((one for one in entries if self.manager.same(one.manager)), None)

    def update(self, entries: list[Entry], old: Manifest, new: Manifest) -> list[Entry]:
        """The entries after this manager changed `old` into `new` without apply: it owns what it changed."""
        difference = compare(self.schema, old, new)
        changed = self._ownable(difference.added | difference.modified)
        removed = self._ownable(difference.removed)
        result = [replace(one, fields=one.fields - changed - removed) for one in entries]
        if not changed:
            return result
        mine = self._mine(result)
        others = [one for one in result if one is not mine]
        return [*others, Entry(self.manager, (mine.fields if mine else EMPTY) | changed, self._time())]

    def _time(self) -> str | None:
        # The scale subresource keeps its entry in a way that loses the time.
        return None if self.manager.subresource == "scale" else self.now

    def apply(
        self, entries: list[Entry], live: Manifest, config: Manifest, *, force: bool
    ) -> tuple[Manifest, list[Entry]]:
        """`live` as this manager wants it, and the entries after that.

        Raises:
            ApiError: 409, when other managers own fields that would change and `force` is off.
        """
        mine = self._mine(entries)
        others = [one for one in entries if not self.manager.same(one.manager)]
        fields = self._ownable(field_set(self.schema, config))
        merged = merge(self.schema, live, config)
        if mine and mine.fields - fields:
            merged = self._prune(merged, mine.fields, [fields, *(one.fields for one in others)])
        difference = compare(self.schema, live, merged)
        result = self._take_over(others, difference, force=force)
        entry = Entry(self.manager, fields, self._time())
        if mine and replace(mine, time=entry.time) == entry and not difference:
            entry = mine
        return merged, [*result, entry]

    def _take_over(self, others: list[Entry], difference: Comparison, *, force: bool) -> list[Entry]:
        changed = self._ownable(difference.added | difference.modified)
        removed = self._ownable(difference.removed)
        conflicts = [(one.manager, one.fields & changed) for one in others if one.fields & changed]
        if conflicts and not force:
            raise _conflict_error(conflicts)
        return [replace(one, fields=one.fields - changed - removed) for one in others]

    def _prune(self, merged: Manifest, last: FieldSet, owned: Iterable[FieldSet]) -> Manifest:
        """Remove what this manager gave up and nobody else owns."""
        present = named_fields(self.schema, field_set(self.schema, merged))
        kept = named_fields(self.schema, frozenset().union(*owned))
        gone = (present & named_fields(self.schema, last)) - kept
        pruned: Manifest = remove(self.schema, merged, gone)
        return pruned


def _members_first(path: Path) -> list[tuple[bool, str]]:
    """Sort key: the fields of a node before what lies below its children."""
    last = len(path) - 1
    return [(depth < last, element) for depth, element in enumerate(path)]


def _conflict_error(conflicts: list[tuple[Manager, FieldSet]]) -> ApiError:
    ordered = sorted(
        ((one.described(), sorted(fields, key=_members_first)) for one, fields in conflicts), key=lambda pair: pair[0]
    )
    count = sum(len(fields) for _, fields in ordered)
    if count == 1:
        (name, fields), *_ = ordered
        message = f"Apply failed with 1 conflict: conflict with {name}: {readable(fields[0])}"
    else:
        lines = [
            f"conflicts with {name}:\n" + "\n".join(f"- {readable(path)}" for path in fields)
            for name, fields in ordered
        ]
        message = f"Apply failed with {count} conflicts: " + "\n".join(lines)
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {name}", "field": readable(path)}
        for name, fields in ordered
        for path in fields
    ]
    return ApiError(409, "Conflict", message, {"causes": causes})
