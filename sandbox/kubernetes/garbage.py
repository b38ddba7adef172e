"""Garbage collection: dependents of deleted owners, foreground deletion, terminating namespaces, claims in use."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from sandbox.kubernetes.deletion import FOREGROUND, ORPHAN, DeleteOptions, Deleter
from sandbox.kubernetes.errors import ApiError
from sandbox.kubernetes.resources import NAMESPACES, NEW_EVENTS, PODS, PVCS, PVS, Registry, Resource
from sandbox.kubernetes.store import Change, ObjectKey, Store, StoreKey
from sandbox.kubernetes.trees import clone

Manifest = dict[str, Any]
Place = tuple[StoreKey, ObjectKey]


def _place(key: StoreKey, obj: Manifest) -> Place:
    return key, (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


class GarbageCollector:
    """Follows every change and deletes what nothing holds any more."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store, self._registry = store, registry
        self._deleter = Deleter(store)
        self._dependents: dict[str, set[Place]] = {}
        self._subscription = store.subscribe(None)
        for key in store.resources():
            for obj in store.select(key):
                self._index(key, obj)

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            for key in self._store.resources():
                for obj in self._store.select(key):
                    self._look_at(key, obj)
            while (change := await self._subscription.next()) is not None:
                self._follow(change)
        finally:
            self._subscription.close()

    def _follow(self, change: Change) -> None:
        if change.previous is not None:
            self._forget(change.key, change.previous)
        if change.type == "DELETED":
            self._after_deletion(change.key, change.object)
        else:
            self._index(change.key, change.object)
            current = self._get(_place(change.key, change.object))
            if current is not None:
                self._look_at(change.key, current)

    def _index(self, key: StoreKey, obj: Manifest) -> None:
        for reference in obj["metadata"].get("ownerReferences", ()):
            self._dependents.setdefault(reference["uid"], set()).add(_place(key, obj))

    def _forget(self, key: StoreKey, obj: Manifest) -> None:
        for reference in obj["metadata"].get("ownerReferences", ()):
            self._dependents.get(reference["uid"], set()).discard(_place(key, obj))

    def _get(self, place: Place) -> Manifest | None:
        key, (namespace, name) = place
        return self._store.get(key, namespace, name)

    def _resource(self, key: StoreKey) -> Resource | None:
        return self._registry.stored(key)

    def _present_dependents(self, uid: str) -> Iterator[tuple[Resource, Manifest]]:
        for place in sorted(self._dependents.get(uid, ())):
            obj, resource = self._get(place), self._resource(place[0])
            if obj is not None and resource is not None:
                yield resource, obj

    def _look_at(self, key: StoreKey, obj: Manifest) -> None:
        meta = obj["metadata"]
        if "deletionTimestamp" in meta:
            self._advance(key, obj)
        elif meta.get("ownerReferences") and not self._owned(obj):
            resource = self._resource(key)
            if resource:
                self._delete(resource, obj)

    def _owned(self, obj: Manifest) -> bool:
        """Whether an owner of the object is there, or could be there without this server knowing."""
        for reference in obj["metadata"]["ownerReferences"]:
            resource = self._registry.of_kind(reference["apiVersion"], reference["kind"])
            if resource is None:
                return True
            namespace = obj["metadata"].get("namespace", "") if resource.namespaced else ""
            owner = self._store.get(resource.key, namespace, reference["name"])
            if owner is not None and owner["metadata"]["uid"] == reference["uid"]:
                return True
        return False

    def _advance(self, key: StoreKey, obj: Manifest) -> None:
        """Do what a terminating object waits for."""
        meta, resource = obj["metadata"], self._resource(key)
        if resource is None:
            return
        namespace, name = meta.get("namespace", ""), meta["name"]
        finalizers = meta.get("finalizers", ())
        if resource is NAMESPACES:
            self._empty(name)
        if ORPHAN in finalizers:
            for kind, dependent in list(self._present_dependents(meta["uid"])):
                self._drop_reference(kind, dependent, meta["uid"])
            self._deleter.drop_finalizer(resource, namespace, name, ORPHAN)
        elif FOREGROUND in finalizers:
            self._delete_dependents_of(resource, obj)
        if resource is PVCS and "kubernetes.io/pvc-protection" in finalizers and not self._in_use(namespace, name):
            self._deleter.drop_finalizer(resource, namespace, name, "kubernetes.io/pvc-protection")
        if resource is PVS and "kubernetes.io/pv-protection" in finalizers and obj["status"].get("phase") != "Bound":
            self._deleter.drop_finalizer(resource, namespace, name, "kubernetes.io/pv-protection")

    def _delete_dependents_of(self, resource: Resource, obj: Manifest) -> None:
        uid = obj["metadata"]["uid"]
        blocking = False
        for kind, dependent in list(self._present_dependents(uid)):
            references = dependent["metadata"]["ownerReferences"]
            blocking = blocking or any(one["uid"] == uid and one.get("blockOwnerDeletion") for one in references)
            if "deletionTimestamp" not in dependent["metadata"]:
                holds = any(True for _ in self._present_dependents(dependent["metadata"]["uid"]))
                self._delete(kind, dependent, "Foreground" if holds else "Background")
                if self._get(_place(kind.key, dependent)) is None:
                    continue
        still = any(
            one["uid"] == uid and one.get("blockOwnerDeletion")
            for _, dependent in self._present_dependents(uid)
            for one in dependent["metadata"]["ownerReferences"]
        )
        if not still:
            meta = obj["metadata"]
            self._deleter.drop_finalizer(resource, meta.get("namespace", ""), meta["name"], FOREGROUND)

    def _after_deletion(self, key: StoreKey, obj: Manifest) -> None:
        meta = obj["metadata"]
        for kind, dependent in list(self._present_dependents(meta["uid"])):
            self._look_at(kind.key, dependent)
        self._dependents.pop(meta["uid"], None)
        for reference in meta.get("ownerReferences", ()):
            self._look_at_owner(reference, meta.get("namespace", ""))
        if key == PODS.key:
            for claim in self._store.select(PVCS.key, meta["namespace"]):
                if "deletionTimestamp" in claim["metadata"]:
                    self._advance(PVCS.key, claim)
        if meta.get("namespace"):
            namespace = self._store.get(NAMESPACES.key, "", meta["namespace"])
            if namespace is not None and "deletionTimestamp" in namespace["metadata"]:
                self._empty(meta["namespace"])

    def _look_at_owner(self, reference: Manifest, namespace: str) -> None:
        resource = self._registry.of_kind(reference["apiVersion"], reference["kind"])
        if resource is None:
            return
        owner = self._store.get(resource.key, namespace if resource.namespaced else "", reference["name"])
        if owner is not None and "deletionTimestamp" in owner["metadata"]:
            self._advance(resource.key, owner)

    def _empty(self, namespace: str) -> None:
        """Delete what is in a terminating namespace, and the namespace when nothing is left."""
        left = False
        for key in self._store.resources():
            resource = self._resource(key)
            if resource is None or not resource.namespaced or resource is NEW_EVENTS:
                continue
            for obj in self._store.select(key, namespace):
                if "deletionTimestamp" not in obj["metadata"]:
                    self._delete(resource, obj)
                left = left or self._get(_place(key, obj)) is not None
        if not left:
            self._store.remove(NAMESPACES.key, "", namespace)

    def _in_use(self, namespace: str, claim: str) -> bool:
        return any(
            volume.get("persistentVolumeClaim", {}).get("claimName") == claim
            for pod in self._store.select(PODS.key, namespace)
            if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
            for volume in pod["spec"].get("volumes", ())
        )

    def _delete(self, resource: Resource, obj: Manifest, propagation: str = "Background") -> None:
        meta = obj["metadata"]
        options = DeleteOptions(propagation=propagation, uid=meta["uid"])
        # Gone already, or another object of that name by now: either way there is nothing left to do.
        with suppress(ApiError):
            self._deleter.delete(resource, meta.get("namespace", ""), meta["name"], options)

    def _drop_reference(self, resource: Resource, obj: Manifest, uid: str) -> None:
        changed = clone(obj)
        rest = [one for one in changed["metadata"]["ownerReferences"] if one["uid"] != uid]
        if rest:
            changed["metadata"]["ownerReferences"] = rest
        else:
            del changed["metadata"]["ownerReferences"]
        self._store.put(resource.key, changed)
