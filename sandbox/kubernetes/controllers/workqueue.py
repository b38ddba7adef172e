"""The loop that every controller shares: changes become keys, keys are reconciled one at a time."""

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.controllers.meta import controller_of
from sandbox.kubernetes.errors import ApiError
from sandbox.kubernetes.resources import Resource

Key = tuple[str, str]
"""Namespace (empty for cluster-scoped objects) and name."""
KeysOf = Callable[[dict[str, Any]], Iterable[Key]]
Reconcile = Callable[[Key], float | None] | Callable[[Key], Awaitable[float | None]]

RETRY_BASE = 0.005
RETRY_MAX = 1000.0
"""Seconds; a failed key waits 5 ms, doubling, as in client-go's default rate limiter."""

log = logging.getLogger(__name__)


class WorkQueue:
    """Keys that wait for their turn: each at most once, later ones after a delay."""

    def __init__(self) -> None:
        self._ready: deque[Key] = deque()
        self._waiting: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._wake = asyncio.Event()

    def add(self, key: Key) -> None:
        """Queue `key` now, unless it is queued."""
        if key not in self._waiting:
            self._waiting.add(key)
            self._ready.append(key)
            self._wake.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """Queue `key` in `seconds`; an earlier timer of the same key stays."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer and not timer.cancelled() and timer.when() <= loop.time() + seconds:
            return
        if timer:
            timer.cancel()
        self._timers[key] = loop.call_later(max(seconds, 0.0), self._due, key)

    def retry(self, key: Key) -> None:
        """Queue `key` after a pause that doubles with every retry."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.add_after(key, min(RETRY_BASE * 2.0 ** min(failures, 30), RETRY_MAX))

    def forget(self, key: Key) -> None:
        """Start over with short pauses: the key was reconciled."""
        self._failures.pop(key, None)

    async def get(self) -> Key:
        """The next key, as soon as there is one."""
        while not self._ready:
            self._wake.clear()
            await self._wake.wait()
        key = self._ready.popleft()
        self._waiting.discard(key)
        return key

    def close(self) -> None:
        """Drop the timers."""
        for timer in self._timers.values():
            timer.cancel()

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)


def own_key(obj: dict[str, Any]) -> list[Key]:
    """The object itself is what has to be reconciled."""
    return [(obj["metadata"].get("namespace", ""), obj["metadata"]["name"])]


def keys_of_owner(kind: str) -> KeysOf:
    """What has to be reconciled is the object of that kind which controls the changed one."""

    def keys(obj: dict[str, Any]) -> list[Key]:
        reference = controller_of(obj)
        if reference is None or reference["kind"] != kind:
            return []
        return [(obj["metadata"]["namespace"], reference["name"])]

    return keys


async def run_controller(cluster: Cluster, sources: Mapping[Resource, KeysOf], reconcile: Reconcile) -> None:
    """Reconcile the keys of everything that changes, until cancelled.

    Args:
        cluster: Where the objects are.
        sources: Which resources to follow, and which keys a changed object of each concerns.
        reconcile: Brings one key to where it should be; returns in how many seconds to look again, or None.
            When it raises, the key comes again after a growing pause.
    """
    queue = WorkQueue()
    events = cluster.subscribe(*sources)

    async def follow() -> None:
        async for _, resource, obj in events:
            for key in sources[resource](obj):
                queue.add(key)

    async def work() -> None:
        while True:
            key = await queue.get()
            try:
                result = reconcile(key)
                again = await result if inspect.isawaitable(result) else result
            except ApiError as error:
                log.debug("%s: %s", key, error)
                queue.retry(key)
            except Exception:  # a controller that dies would leave the whole cluster standing still
                log.exception("cannot reconcile %s", key)
                queue.retry(key)
            else:
                queue.forget(key)
                if again is not None:
                    queue.add_after(key, again)
            await asyncio.sleep(0)  # others have their turn between two keys

    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(follow())
            tasks.create_task(work())
    finally:
        queue.close()
