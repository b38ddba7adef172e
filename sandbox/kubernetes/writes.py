"""Creating and changing objects: defaults, ownership, admission, validation, then the store."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.kubernetes import admission, errors, quotas
from sandbox.kubernetes.codec import blank_object, decoded, problems, schema_of, set_defaults
from sandbox.kubernetes.errors import ApiError
from sandbox.kubernetes.naming import new_uid, now, random_suffix
from sandbox.kubernetes.objects import causes, strategies
from sandbox.kubernetes.objects.decoding import DecodeError
from sandbox.kubernetes.objects.ownership import Entry, Manager, Ownership, decode, encode
from sandbox.kubernetes.resources import NAMESPACES, SERVICES, Resource
from sandbox.kubernetes.store import Store

Manifest = dict[str, Any]

_SET_BY_SERVER = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
)


@dataclass(frozen=True)
class WriteOptions:
    """How to write.

    Attributes:
        manager: The field manager.
        subresource: Through which subresource; empty for the object itself.
        dry_run: Do everything but store.
    """

    manager: str
    subresource: str = ""
    dry_run: bool = False


class Writer:
    """Creates and changes objects in a store; objects that it is given become its own."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def ownership(self, resource: Resource, options: WriteOptions, operation: str = "Update") -> Ownership:
        """The ownership rules of a write."""
        return Ownership(
            schema_of(resource),
            Manager(options.manager, operation, resource.api_version, options.subresource),
            strategies.not_written(resource, options.subresource),
            now(),
        )

    def decoded(self, resource: Resource, obj: Manifest) -> Manifest:
        """An object of a caller inside the server, in the server's own form.

        Raises:
            ApiError: 400, a value has the wrong type.
        """
        try:
            return decoded(resource, obj, [])
        except DecodeError as error:
            raise errors.bad_request(str(error)) from None

    def create(
        self,
        resource: Resource,
        namespace: str,
        obj: Manifest,
        options: WriteOptions,
        entries: list[Entry] | None = None,
    ) -> Manifest:
        """Store a new object.

        Args:
            resource: Which resource.
            namespace: Empty for cluster-scoped resources.
            obj: A decoded object.
            options: How to write.
            entries: Its ownership when it is applied; None for a plain creation, which owns all that it sets.

        Raises:
            ApiError: it exists, is invalid, or is not admitted.
        """
        meta = obj["metadata"]
        for name in (*_SET_BY_SERVER, "resourceVersion", "managedFields"):
            meta.pop(name, None)
        if resource.namespaced:
            meta["namespace"] = namespace
        else:
            meta.pop("namespace", None)
        set_defaults(resource, obj)
        if entries is None:
            entries = self.ownership(resource, options).update([], blank_object(resource), obj)
        admission.require_namespace(self.store, resource, namespace, meta.get("name", ""))
        admission.admit_new(self.store, resource, obj)
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = meta["generateName"] + random_suffix()
        meta["uid"], meta["creationTimestamp"] = new_uid(), now()
        if strategies.counts_generations(resource):
            meta["generation"] = 1
        strategies.prepare_create(resource, obj, self._allocations(resource))
        self._validate(resource, obj, None, "")
        quotas.enforce(self.store, resource, obj)
        if self.store.get(resource.key, namespace, meta["name"]):
            raise errors.already_exists(resource, meta["name"])
        obj["metadata"]["managedFields"] = encode(entries)
        return self._put(resource, obj, options)

    def update(
        self,
        resource: Resource,
        current: Manifest,
        changed: Manifest,
        options: WriteOptions,
        entries: list[Entry] | None = None,
    ) -> Manifest:
        """Replace a stored object; what does not change anything is not written.

        Args:
            resource: Which resource.
            current: The stored object.
            changed: A decoded object that shall replace it.
            options: How to write.
            entries: Its ownership when it is applied; None when the manager owns what it changes.

        Raises:
            ApiError: the object has changed since, is invalid, or changes what cannot change.
        """
        meta, before = changed["metadata"], current["metadata"]
        version, uid = meta.get("resourceVersion"), meta.get("uid")
        if version and version != before["resourceVersion"]:
            raise errors.stale(resource, before["name"])
        if uid and uid != before["uid"]:
            raise _other_uid(resource, before, uid)
        for name in (*_SET_BY_SERVER, "resourceVersion", "namespace", "name", "generateName"):
            if name in before:
                meta[name] = before[name]
            else:
                meta.pop(name, None)
        set_defaults(resource, changed)
        if entries is None:
            owned = decode(current)
            entries = self.ownership(resource, options).update(owned, current, changed)
        strategies.prepare_update(resource, current, changed, options.subresource)
        if options.subresource != "status" and strategies.moves_generation(resource, current, changed):
            meta = changed["metadata"]
            meta["generation"] = before.get("generation", 0) + 1
        self._validate(resource, changed, current, options.subresource)
        changed["metadata"]["managedFields"] = encode(entries)
        if _same(current, changed):
            return current
        if "deletionTimestamp" in before and not self._held(resource, changed):
            if not options.dry_run:
                self.store.remove(resource.key, before.get("namespace", ""), before["name"])
            return changed
        return self._put(resource, changed, options)

    def _held(self, resource: Resource, obj: Manifest) -> bool:
        """Whether a terminating object still waits for somebody."""
        meta = obj["metadata"]
        if resource is NAMESPACES and obj["spec"].get("finalizers"):
            return True
        return bool(meta.get("finalizers") or meta.get("deletionGracePeriodSeconds"))

    def _validate(self, resource: Resource, obj: Manifest, old: Manifest | None, subresource: str) -> None:
        meta = obj["metadata"]
        if not meta.get("name"):
            cause = causes.required("metadata.name", "name or generateName is required")
            raise errors.invalid(resource.group, resource.kind, "", [cause])
        admission.refuse_unsupported(resource, obj)
        found = problems(resource, obj, old, subresource)
        if found:
            raise errors.invalid(resource.group, resource.kind, meta["name"], found)

    def _allocations(self, resource: Resource) -> strategies.Allocations:
        if resource is not SERVICES:
            return strategies.Allocations()
        return strategies.allocations(self.store.select(SERVICES.key))

    def _put(self, resource: Resource, obj: Manifest, options: WriteOptions) -> Manifest:
        if not obj["metadata"]["managedFields"]:
            del obj["metadata"]["managedFields"]
        if options.dry_run:
            return obj
        return self.store.put(resource.key, obj)


def _other_uid(resource: Resource, before: Mapping[str, Any], uid: str) -> ApiError:
    message = (
        f'Operation cannot be fulfilled on {resource.qualified} "{before["name"]}": StorageError: invalid object, '
        f"Code: 4, Key: , ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, "
        f"UID in object meta: {before['uid']}"
    )
    return ApiError(409, "Conflict", message, {"name": before["name"], "kind": resource.plural})


def _same(current: Manifest, changed: Manifest) -> bool:
    """Whether nothing changed but the times in managedFields."""
    if any(current.get(name) != changed.get(name) for name in (current.keys() | changed.keys()) - {"metadata"}):
        return False
    before, after = current["metadata"], changed["metadata"]
    if any(before.get(name) != after.get(name) for name in (before.keys() | after.keys()) - {"managedFields"}):
        return False
    return _timeless(before) == _timeless(after)


def _timeless(meta: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{key: value for key, value in one.items() if key != "time"} for one in meta.get("managedFields", ())]
