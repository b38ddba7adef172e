"""Watches: changes as a stream, resumed from a resourceVersion."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from sandbox.kubernetes.codec import blank_object
from sandbox.kubernetes.errors import bad_request, expired
from sandbox.kubernetes.reading import ListOptions, parse_version
from sandbox.kubernetes.resources import Resource
from sandbox.kubernetes.store import Change, Store, StoreKey, Subscription

Manifest = dict[str, Any]
Render = Callable[[Manifest], Manifest]

BOOKMARK_BEFORE_END = 2.0
"""Seconds before the end of a watch at which the last bookmark is sent."""
BOOKMARK_EVERY = 60.0
"""Seconds between bookmarks of a long watch."""
_LONGEST = (1800.0, 3600.0)
"""How long a watch lasts whose client names no time: some time between, as the real server draws it."""


class WatchCutError(ConnectionError):
    """The connection of a watch is to break: a fault that tests inject."""


@dataclass
class Watches:
    """The open watches of a server."""

    _open: set[Subscription] = field(default_factory=set)

    def add(self, subscription: Subscription) -> None:
        """Count a watch as open."""
        self._open.add(subscription)

    def remove(self, subscription: Subscription) -> None:
        """It has ended."""
        subscription.close()
        self._open.discard(subscription)

    def cut(self) -> int:
        """Break the connections of all open watches, as a restarted load balancer would; how many there were."""
        for subscription in self._open:
            subscription.push(None)
        return len(self._open)


@dataclass(frozen=True)
class WatchOptions:
    """How to watch.

    Attributes:
        selection: What to watch, and from which version.
        namespace: None for all.
        timeout_seconds: When the stream ends.
        bookmarks: Whether the client wants bookmarks.
        initial_events: Whether the state comes first and a bookmark ends it (`sendInitialEvents`).
    """

    selection: ListOptions
    namespace: str | None
    timeout_seconds: float
    bookmarks: bool
    initial_events: bool


def watch_options(selection: ListOptions, namespace: str | None, query: Mapping[str, str]) -> WatchOptions:
    """The watch options in a query string.

    Raises:
        ApiError: 400.
    """
    text = query.get("timeoutSeconds", "")
    if text and not text.isdigit():
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    seconds = float(text or 0) or random.uniform(*_LONGEST)
    true = ("true", "1")
    initial = query.get("sendInitialEvents") in true
    return WatchOptions(selection, namespace, seconds, query.get("allowWatchBookmarks") in true, initial)


class Watch:
    """One watch of one client."""

    def __init__(
        self, store: Store, watches: Watches, key: StoreKey, resource: Resource, options: WatchOptions, render: Render
    ) -> None:
        version = options.selection.version
        self._from = parse_version(version) if version else 0
        self._store, self._watches, self._key = store, watches, key
        self._resource, self._options, self._render = resource, options, render

    async def stream(self) -> AsyncIterator[bytes]:
        """The events, one JSON object a line."""
        subscription = self._store.subscribe(frozenset({self._key}))
        self._watches.add(subscription)
        try:
            async for line in self._events(subscription):
                yield line
        finally:
            self._watches.remove(subscription)

    async def _events(self, subscription: Subscription) -> AsyncIterator[bytes]:
        since = self._from
        if since and since < self._store.compacted and not self._options.initial_events:
            error = expired(f"too old resource version: {since} ({self._store.compacted})")
            yield _line("ERROR", error.status())
            return
        seen = max(since, self._store.version) if since else self._store.version
        # What is there now is rendered before anything is sent: later changes come through the subscription.
        for line in [*self._before(since)]:
            yield line
        async for line in self._after(subscription, seen):
            yield line

    def _before(self, since: int) -> Iterator[bytes]:
        """The state, or the changes since the version to resume from."""
        if since and not self._options.initial_events:
            changes = self._store.since(since, frozenset({self._key}))
            yield from (line for change in changes if (line := self._seen(change)) is not None)
            return
        for obj in self._store.select(self._key, self._options.namespace):
            if self._options.selection.selects(obj):
                yield _line("ADDED", self._render(obj))
        if self._options.initial_events and self._options.bookmarks:
            yield self._bookmark({"k8s.io/initial-events-end": "true"})

    async def _after(self, subscription: Subscription, seen: int) -> AsyncIterator[bytes]:
        """Changes as they happen, until the watch ends."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._options.timeout_seconds
        bookmark_at = self._next_bookmark(loop.time(), end)
        while (now := loop.time()) < end:
            if now >= bookmark_at:
                yield self._bookmark({})
                bookmark_at = self._next_bookmark(now, end)
            try:
                change = await subscription.next(max(min(end, bookmark_at) - loop.time(), 0.001))
            except TimeoutError:
                continue
            if change is None:
                raise WatchCutError("the connection of this watch was cut")
            if change.version > seen and (line := self._seen(change)) is not None:
                yield line

    def _next_bookmark(self, now: float, end: float) -> float:
        last = end - BOOKMARK_BEFORE_END
        if not self._options.bookmarks or now >= last:
            return float("inf")
        return min(now + BOOKMARK_EVERY, last)

    def _bookmark(self, annotations: dict[str, str]) -> bytes:
        obj = {"kind": self._resource.kind, "apiVersion": self._resource.api_version, **blank_object(self._resource)}
        obj["metadata"] = {"resourceVersion": str(self._store.version)}
        if annotations:
            obj["metadata"]["annotations"] = annotations
        return _line("BOOKMARK", obj)

    def _seen(self, change: Change) -> bytes | None:
        """A change as this watch sees it: by what its selector selected before and selects now."""
        if self._options.namespace not in (None, change.object["metadata"].get("namespace", "")):
            return None
        selects = self._options.selection.selects
        before = change.previous is not None and selects(change.previous)
        after = change.type != "DELETED" and selects(change.object)
        if after:
            return _line("MODIFIED" if before else "ADDED", self._render(change.object))
        if not before or change.previous is None:
            return None
        last = {**change.previous, "metadata": {**change.previous["metadata"], "resourceVersion": str(change.version)}}
        return _line("DELETED", self._render(last))


def _line(kind: str, obj: Manifest) -> bytes:
    return orjson.dumps({"type": kind, "object": obj}) + b"\n"
