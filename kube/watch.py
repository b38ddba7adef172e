"""Watching several kinds at once, bounded by a deadline: a thread each, one queue."""

import threading
import time
from collections.abc import Generator, Sequence
from queue import Empty, SimpleQueue

from kube.changes import Change, WatchEvent, WatchTarget
from kube.connect import Cluster
from kube.discovery import find_kind
from kube.read import namespace_of
from kube.reflector import Reflector

__all__ = ["Change", "WatchEvent", "WatchTarget", "watch"]

_LOOK_UP_SECONDS = 0.2
"""How often a caller's `stop` is looked at while nothing happens."""


def watch(
    cluster: Cluster,
    targets: Sequence[WatchTarget],
    *,
    deadline: float | None,
    stop: threading.Event | None = None,
    quiet_seconds: float | None = None,
) -> Generator[WatchEvent]:
    """Report every state of the targets' objects, from what exists now until the deadline.

    What exists at the start comes as ADDED, then SYNCED once per target, then changes as they happen. Disconnects,
    expired resource versions, throttling and restarts of the API server are survived: each state is reported once, an
    object that vanished meanwhile as DELETED. States that came and went while the connection was down are not known to
    anybody. Wrap it in `contextlib.closing` to end the threads as soon as you leave it early.

    Args:
        cluster: Where the objects are.
        targets: What to follow.
        deadline: When to end, on the clock of `time.monotonic`; None means never.
        stop: Ends the watch when it is set, from any thread.
        quiet_seconds: Report QUIET each time when nothing has happened for so long; None: never.

    Yields:
        Events, in order for each target.

    Raises:
        ClusterError: What waiting does not mend: a kind that is not installed, missing permissions, credentials that
            expired, an API server that cannot be reached (at the start within about ten seconds).
    """
    reported: SimpleQueue[WatchEvent | BaseException] = SimpleQueue()
    reflectors = []
    for target in targets:
        resource = find_kind(cluster, target.api_version, target.kind)
        namespace = namespace_of(cluster, resource, target.namespace)
        reflectors.append(Reflector(cluster, target, resource, namespace, reported.put))
    for reflector in reflectors:
        reflector.start()
    try:
        beat = None if quiet_seconds is None else (quiet_seconds, WatchEvent(targets[0], Change.QUIET))
        yield from _until(reported, deadline, stop, beat)
    finally:
        for reflector in reflectors:
            reflector.stop()
        for reflector in reflectors:
            reflector.join(timeout=1.0)


def _until(
    reported: "SimpleQueue[WatchEvent | BaseException]",
    deadline: float | None,
    stop: threading.Event | None,
    beat: tuple[float, WatchEvent] | None,
) -> Generator[WatchEvent]:
    heard = time.monotonic()
    while not (stop is not None and stop.is_set()):
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return
        waits = [one for one in (left, _LOOK_UP_SECONDS if stop is not None else None, beat and beat[0]) if one]
        try:
            event = reported.get(timeout=min(waits, default=None))
        except Empty:
            if beat is not None and time.monotonic() - heard >= beat[0]:
                heard = time.monotonic()
                yield beat[1]
            continue
        heard = time.monotonic()
        if isinstance(event, BaseException):
            raise event
        yield event
