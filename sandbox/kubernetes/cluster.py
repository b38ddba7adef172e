"""The cluster as its controllers see it: plain synchronous calls on the event loop, without HTTP."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from sandbox.kubernetes.deletion import DeleteOptions, Deleter
from sandbox.kubernetes.resources import Resource
from sandbox.kubernetes.store import Store, Subscription
from sandbox.kubernetes.trees import clone
from sandbox.kubernetes.writes import WriteOptions, Writer

Event = tuple[str, Resource, dict[str, Any]]


class Cluster:
    """Read and change objects as a controller with every permission.

    All methods run on the server's event loop; objects that they return are the caller's own copies.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._writer, self._deleter = store, Writer(store), Deleter(store)

    def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        """One object, or None; `namespace` is empty for cluster-scoped resources."""
        found = self._store.get(resource.key, namespace, name)
        return clone(found) if found else None

    def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
        *,
        where: Callable[[dict[str, Any]], bool] = lambda _: True,
    ) -> list[dict[str, Any]]:
        """Objects in order of their names, of one namespace or of all, that carry all of `labels`.

        Args:
            resource: Which resource.
            namespace: None for all.
            labels: What they carry.
            where: Which to copy, from the object as it is stored: to be read, not changed.
        """
        wanted = (labels or {}).items()
        return [
            clone(one)
            for one in self._store.select(resource.key, namespace)
            if wanted <= one["metadata"].get("labels", {}).items() and where(one)
        ]

    def create(self, resource: Resource, obj: dict[str, Any], *, manager: str) -> dict[str, Any]:
        """Create an object with the server's defaults, admission and validation.

        Raises:
            ApiError: it exists, is invalid, or is not admitted (a quota, a missing service account).
        """
        namespace = obj["metadata"].get("namespace", "")
        decoded = self._writer.decoded(resource, obj)
        return clone(self._writer.create(resource, namespace, decoded, WriteOptions(manager)))

    def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        mutate: Callable[[dict[str, Any]], None],
        *,
        manager: str,
        subresource: str = "",
    ) -> dict[str, Any] | None:
        """Let `mutate` change the object; None when it is gone. A mutate that changes nothing writes nothing.

        Args:
            resource: Which resource.
            namespace: Empty for cluster-scoped resources.
            name: The object's name.
            mutate: Changes the copy it gets.
            manager: The field manager that owns what changes.
            subresource: `status` to write the status and nothing else; otherwise the status is left alone.

        Raises:
            ApiError: the changed object is invalid.
        """
        current = self._store.get(resource.key, namespace, name)
        if current is None:
            return None
        changed = clone(current)
        mutate(changed)
        if changed == current:
            return changed
        options = WriteOptions(manager, subresource)
        return clone(self._writer.update(resource, current, self._writer.decoded(resource, changed), options))

    def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        propagation: str = "Background",
        grace_seconds: int | None = None,
    ) -> None:
        """Delete an object as a client's DELETE would; nothing happens when it is gone.

        Args:
            resource: Which resource.
            namespace: Empty for cluster-scoped resources.
            name: The object's name.
            propagation: `Background`, `Foreground` or `Orphan`.
            grace_seconds: For pods: time to end; None takes the pod's own.
        """
        if self._store.get(resource.key, namespace, name):
            options = DeleteOptions(propagation=propagation, grace_seconds=grace_seconds)
            self._deleter.delete(resource, namespace, name, options)

    def finalize(self, resource: Resource, namespace: str, name: str) -> None:
        """Remove a terminating object for good: the node does so once the pod's processes have ended."""
        self._deleter.finalize(resource, namespace, name)

    def subscribe(self, *resources: Resource) -> AsyncIterator[Event]:
        """The present objects as ADDED, then every change as ADDED, MODIFIED or DELETED.

        The subscription starts with this call, not with the first read.
        """
        subscription = self._store.subscribe(frozenset(one.key for one in resources))
        present = [("ADDED", one, obj) for one in resources for obj in self._store.select(one.key)]
        return _events(subscription, {one.key: one for one in resources}, present)


async def _events(
    subscription: Subscription, resources: Mapping[tuple[str, str], Resource], present: list[Event]
) -> AsyncIterator[Event]:
    try:
        for kind, resource, obj in present:
            yield kind, resource, clone(obj)
        while (change := await subscription.next()) is not None:
            yield change.type, resources[change.key], clone(change.object)
    finally:
        subscription.close()
