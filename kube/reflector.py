"""Following one kind of objects: list, watch from there, resume, list again when the API server has forgotten.

What it reports is each state once, in order, whatever happens to the connection between.
"""

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from kube.changes import Change, WatchEvent, WatchTarget
from kube.connect import Cluster
from kube.discovery import ApiResource
from kube.errors import Failure, cluster_error, failure, failure_from_status
from kube.read import list_at
from kube.streaming import Stream, stream
from kube.transport import backoff, retry_after
from serving.errors import ClusterError

WATCH_SECONDS = 60
"""Longest life of one watch request. Short, so that a connection that died silently is noticed soon."""

SILENCE_SECONDS = WATCH_SECONDS + 10.0
FIRST_PATIENCE = 10.0
"""Seconds for which the first list is tried while the API server cannot be reached at all."""

LATER_PATIENCE = 600.0
"""The same once it has been reached: an API server that restarts comes back."""

REFUSALS = 3
"""Refusals in a row (401, 403) that a running watch takes: a restarting API server refuses before its rules are loaded.
"""

NOTABLE = 3
"""Failures in a row that are worth a warning: a cut connection now and then is usual."""

LONGEST_PAUSE = 5.0
EAGER = 1
"""Failures that count once a watch could be opened again: what happens meanwhile must not be learnt late."""

Object = dict[str, Any]
log = logging.getLogger(__name__)


class _Expired(Exception):
    """The API server no longer has the history since our resource version: list again."""


class Reflector:
    """Follows one target in a thread of its own until it is stopped.

    Args:
        cluster: Where the objects are.
        target: What to follow.
        resource: Its kind.
        namespace: Empty means all namespaces.
        report: Called from the thread with each event, and with the error that ended it.
    """

    def __init__(
        self,
        cluster: Cluster,
        target: WatchTarget,
        resource: ApiResource,
        namespace: str,
        report: Callable[[WatchEvent | BaseException], None],
    ) -> None:
        self._cluster = cluster
        self._target = target
        self._resource = resource
        self._namespace = namespace
        self._report = report
        self._known: dict[str, Object] = {}
        self._version = ""
        self._synced = False
        self._failures = 0
        self._refusals = 0
        self._wait = 0.0
        self._reached_at = time.monotonic()
        self._stopping = threading.Event()
        self._stream: Stream | None = None
        self._thread = threading.Thread(target=self._run, name=f"watch-{target.kind}", daemon=True)
        place = f" in namespace {namespace}" if namespace else ""
        self._doing = f"watch {resource.plural}{place}"

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, also in the middle of a silent connection."""
        self._stopping.set()
        if (opened := self._stream) is not None:
            opened.interrupt()

    def join(self, timeout: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._turn()
        except BaseException as error:
            if not self._stopping.is_set():
                self._report(error)

    def _turn(self) -> None:
        """List if there is no version to go on from, then watch once; wait a little if something failed."""
        try:
            if not self._version:
                self._list()
            self._watch()
        except _Expired:
            log.debug("%s: the resource version has expired, listing again", self._doing)
            self._version = ""
            self._pause()
        except ClusterError as error:
            if self._stopping.is_set():
                return
            self._check_patience(error)
            log.log(logging.WARNING if self._failures >= NOTABLE else logging.DEBUG, "%s", error)
            self._pause()

    def _list(self) -> None:
        listed, version = list_at(
            self._cluster,
            self._resource,
            self._namespace,
            labels=self._target.labels,
            fields=self._target.field_selector,
        )
        self._reached()
        present = set()
        for obj in listed:
            present.add(_key(obj))
            self._observe(obj)
        for key in self._known.keys() - present:
            self._emit(Change.DELETED, self._known.pop(key))
        self._version = version
        if not self._synced:
            self._synced = True
            self._emit(Change.SYNCED, {})

    def _watch(self) -> None:
        query: dict[str, str | int | bool] = {
            "watch": True,
            "allowWatchBookmarks": True,
            "resourceVersion": self._version,
            "timeoutSeconds": WATCH_SECONDS,
        }
        if self._target.labels:
            query["labelSelector"] = self._target.labels
        if self._target.field_selector:
            query["fieldSelector"] = self._target.field_selector
        began, version = time.monotonic(), self._version
        with stream(
            self._cluster,
            "GET",
            self._resource.path(self._namespace),
            doing=self._doing,
            query=query,
            read_timeout=SILENCE_SECONDS,
        ) as opened:
            self._stream = opened
            try:
                if not self._stopping.is_set():  # else `stop` came before it could see the stream
                    self._follow(opened)
            finally:
                self._stream = None
        if self._version != version:
            return
        if time.monotonic() - began >= WATCH_SECONDS - 1:
            # A full-length watch without even a bookmark: the server does not send them, so make sure by a list.
            self._version = ""
        else:
            self._pause()  # cut before it brought anything: do not run in circles

    def _follow(self, opened: Stream) -> None:
        if opened.status >= 400:
            self._refused(failure(opened.status, opened.read()), retry_after(opened.headers))
        self._reached()
        self._failures = min(self._failures, EAGER)
        for line in opened.lines():
            if self._stopping.is_set():
                return
            if line.strip():
                self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            event = json.loads(line)
            kind, obj = event["type"], event["object"]
            if kind == "ERROR":
                self._refused(failure_from_status(obj), 0.0)
            version = obj["metadata"].get("resourceVersion")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise _broken_line(self._cluster, self._doing) from None
        obj["metadata"].pop("managedFields", None)
        if kind == "DELETED":
            if (last := self._known.pop(_key(obj), None)) is not None:
                self._emit(Change.DELETED, {**last, **obj})
        elif kind != "BOOKMARK":
            self._observe({"apiVersion": self._resource.api_version, "kind": self._resource.kind, **obj})
        self._version = str(version or self._version)
        self._failures = 0

    def _observe(self, obj: Object) -> None:
        """Report an object's state if it is new, and the end of a former object of the same name."""
        obj["metadata"].pop("managedFields", None)
        known = self._known.get(_key(obj))
        if known is not None and _uid(known) != _uid(obj):
            self._emit(Change.DELETED, known)
            known = None
        if known is not None and _version(known) == _version(obj):
            return
        self._known[_key(obj)] = obj
        self._emit(Change.ADDED if known is None else Change.MODIFIED, obj)

    def _emit(self, change: Change, obj: Object) -> None:
        self._report(WatchEvent(self._target, change, obj))

    def _refused(self, failed: Failure, wait: float) -> None:
        if failed.status == 410 or failed.reason in {"Expired", "Gone"}:
            raise _Expired
        error = cluster_error(failed, server=self._cluster.server, doing=self._doing)
        if failed.status == 504:  # our version lies in its future: it was restored, or answers from an old cache
            self._version = ""
        if failed.status == 401 and self._cluster.renew is not None:
            self._cluster.renew()
        self._wait = wait
        raise error

    def _reached(self) -> None:
        self._reached_at = time.monotonic()
        self._refusals = 0

    def _check_patience(self, error: ClusterError) -> None:
        """Raise what waiting does not mend."""
        if error.code in {"cluster.unauthorized", "cluster.forbidden"}:
            self._refusals += 1
            if not self._synced or self._refusals > REFUSALS:
                raise error
        elif error.code not in {
            "cluster.unreachable",
            "cluster.timeout",
            "cluster.throttled",
            "cluster.server_error",
        } or time.monotonic() - self._reached_at > (LATER_PATIENCE if self._synced else FIRST_PATIENCE):
            raise error

    def _pause(self) -> None:
        delay = max(self._wait, backoff(self._failures, base=0.1, cap=LONGEST_PAUSE))
        self._failures += 1
        self._wait = 0.0
        self._stopping.wait(delay)


def _broken_line(cluster: Cluster, doing: str) -> ClusterError:
    return ClusterError(
        f"Could not {doing}: the API server at {cluster.server} cannot be reached, the connection broke.",
        fix="Try again.",
        code="cluster.unreachable",
    )


def _key(obj: Object) -> str:
    metadata = obj["metadata"]
    return f"{metadata.get('namespace', '')}/{metadata['name']}"


def _uid(obj: Object) -> str:
    return str(obj["metadata"].get("uid", ""))


def _version(obj: Object) -> str:
    return str(obj["metadata"].get("resourceVersion", ""))
