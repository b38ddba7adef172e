"""Objects, their versions and the history that watches read: the sandbox's etcd.

Objects in the store are never changed in place: a write replaces the whole object. Readers may therefore keep
what they get, and must not change it.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Manifest = dict[str, Any]
StoreKey = tuple[str, str]
"""Group and plural: every version of a kind shares one place in the store."""
ObjectKey = tuple[str, str]
"""Namespace (empty for cluster-scoped objects) and name."""

FIRST_VERSION = 1000
"""A real cluster is never young: version 1 is always long compacted."""
HISTORY = 10_000
"""Changes that a watch can resume over before it is told 410."""


@dataclass(frozen=True, slots=True)
class Change:
    """One write, as watches see it.

    Attributes:
        version: The resourceVersion that the write got.
        type: What happened.
        key: Which resource.
        object: The object after the write; for DELETED its last state, with the version of the deletion.
        previous: The object before the write; None for ADDED.
    """

    version: int
    type: Literal["ADDED", "MODIFIED", "DELETED"]
    key: StoreKey
    object: Manifest
    previous: Manifest | None


class Subscription:
    """Changes from now on, one consumer; of all resources when `keys` is None. Close it when done."""

    def __init__(self, store: "Store", keys: frozenset[StoreKey] | None) -> None:
        self._store, self.keys = store, keys
        self._queue: asyncio.Queue[Change | None] = asyncio.Queue()

    def push(self, change: Change | None) -> None:
        """Hand over a change; None ends the subscription for its consumer."""
        self._queue.put_nowait(change)

    async def next(self, timeout_seconds: float | None = None) -> Change | None:
        """The next change, or None when the subscription was cut.

        Raises:
            TimeoutError: nothing came in `timeout_seconds`.
        """
        if not self._queue.empty():
            return self._queue.get_nowait()
        async with asyncio.timeout(timeout_seconds):
            return await self._queue.get()

    def close(self) -> None:
        """Stop receiving."""
        self._store.subscriptions.discard(self)


class Store:
    """All objects of one cluster, in memory, for one event loop."""

    def __init__(self) -> None:
        self.version = FIRST_VERSION
        self.compacted = FIRST_VERSION
        self.history: deque[Change] = deque()
        self.subscriptions: set[Subscription] = set()
        self._objects: dict[StoreKey, dict[ObjectKey, Manifest]] = {}

    def get(self, key: StoreKey, namespace: str, name: str) -> Manifest | None:
        """One object, or None."""
        return self._objects.get(key, {}).get((namespace, name))

    def select(self, key: StoreKey, namespace: str | None = None) -> list[Manifest]:
        """The objects of a resource ordered by namespace and name; `namespace` None means all."""
        found = self._objects.get(key, {})
        return [found[at] for at in sorted(found) if namespace is None or at[0] == namespace]

    def resources(self) -> list[StoreKey]:
        """The resources that have, or had, objects."""
        return list(self._objects)

    def put(self, key: StoreKey, obj: Manifest) -> Manifest:
        """Create or replace `obj`, which the store now owns; its resourceVersion is set to a new one."""
        meta = obj["metadata"]
        at = (meta.get("namespace", ""), meta["name"])
        objects = self._objects.setdefault(key, {})
        previous = objects.get(at)
        self.version += 1
        meta["resourceVersion"] = str(self.version)
        objects[at] = obj
        self._record(Change(self.version, "MODIFIED" if previous else "ADDED", key, obj, previous))
        return obj

    def remove(self, key: StoreKey, namespace: str, name: str) -> Manifest | None:
        """Forget an object; its last state, or None when there is none."""
        previous = self._objects.get(key, {}).pop((namespace, name), None)
        if previous is None:
            return None
        self.version += 1
        last = {**previous, "metadata": {**previous["metadata"], "resourceVersion": str(self.version)}}
        self._record(Change(self.version, "DELETED", key, last, previous))
        return previous

    def since(self, version: int, keys: frozenset[StoreKey]) -> Iterator[Change]:
        """Changes after `version`, oldest first; the caller has checked that `version` is not compacted."""
        newer: list[Change] = []
        for change in reversed(self.history):
            if change.version <= version:
                break
            if change.key in keys:
                newer.append(change)
        return reversed(newer)

    def at(self, version: int, key: StoreKey, namespace: str | None) -> list[Manifest]:
        """The objects of a resource as they were at a version that is not compacted."""
        objects = {(one["metadata"].get("namespace", ""), one["metadata"]["name"]): one for one in self.select(key)}
        for change in reversed(self.history):
            if change.version <= version:
                break
            if change.key == key:
                meta = change.object["metadata"]
                at = (meta.get("namespace", ""), meta["name"])
                if change.previous is None:
                    objects.pop(at, None)
                else:
                    objects[at] = change.previous
        return [objects[at] for at in sorted(objects) if namespace is None or at[0] == namespace]

    def compact(self) -> None:
        """Forget all history: whoever resumes from an earlier version gets 410."""
        self.history.clear()
        self.compacted = self.version

    def subscribe(self, keys: frozenset[StoreKey] | None) -> Subscription:
        """Receive every later change of these resources, or of all."""
        subscription = Subscription(self, keys)
        self.subscriptions.add(subscription)
        return subscription

    def _record(self, change: Change) -> None:
        self.history.append(change)
        if len(self.history) > HISTORY:
            self.compacted = self.history.popleft().version
        for subscription in self.subscriptions:
            if subscription.keys is None or change.key in subscription.keys:
                subscription.push(change)
