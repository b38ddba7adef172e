"""One writer at a time: a Lease that its holder renews, and that others may take once it expired."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kube.connect import Cluster
from kube.discovery import find_kind
from kube.errors import cluster_error, failure
from kube.read import get
from kube.transport import call
from serving.errors import BusyError, ClusterError

API_VERSION = "coordination.k8s.io/v1"
POLL_SECONDS = 1.0
RENEWALS = 3
"""Renewals in the life of a lease: two may fail before another may take it."""

Object = dict[str, Any]


@dataclass(frozen=True)
class LeaseTerms:
    """What a lease is, and how long anybody waits for it.

    Attributes:
        namespace: Where the Lease object stands.
        name: Its name.
        holder: Who asks for it; the same holder gets it again at once, for example after a restart.
        seconds: Life of the lease without renewal.
        wait_seconds: How long to wait for another holder; 0 refuses at once.
        labels: Labels of the Lease object.
    """

    namespace: str
    name: str
    holder: str
    seconds: int = 30
    wait_seconds: float = 0.0
    labels: Mapping[str, str] | None = None

    def __str__(self) -> str:
        return f"Lease {self.namespace}/{self.name}"


class HeldLease:
    """A lease in hand.

    Attributes:
        discarded: Whether the Lease object goes when it is given back: what it guarded is gone.
    """

    def __init__(self, terms: LeaseTerms) -> None:
        self.terms = terms
        self._lost = threading.Event()
        self._renewed = time.monotonic()
        self.discarded = False

    @property
    def lost(self) -> bool:
        """Whether it is lost: another holder took it, or may have, since it was not renewed in time.

        A process that was stopped for longer than its lease lives finds out here, before its renewing thread does.
        """
        return self._lost.is_set() or time.monotonic() - self._renewed > self.terms.seconds

    def check(self) -> None:
        """Call before each change that needs the lease.

        Raises:
            ClusterError: ``lease.lost``: it could not be renewed in time, or another holder took it.
        """
        if self.lost:
            raise ClusterError(
                f"{self.terms} was lost by {self.terms.holder}.",
                cause="It could not be renewed in time, so another run may have taken over.",
                fix="Run the flow again: it goes on from what the cluster has.",
                code="lease.lost",
            )

    def renewed(self, at: float) -> None:
        """Notes that it was renewed, with the time on the monotonic clock before that was asked for."""
        self._renewed = at

    def lose(self) -> None:
        """Marks the lease as lost."""
        self._lost.set()


@contextmanager
def held(cluster: Cluster, terms: LeaseTerms, *, waiting: Callable[[str], None] | None = None) -> Iterator[HeldLease]:
    """Hold a lease while the block lasts, renewed from a thread.

    Args:
        cluster: Where it stands.
        terms: What, whose and how long.
        waiting: Called once with the other holder's name if there is one to wait for.

    Raises:
        BusyError: ``lease.held`` by another for longer than `terms.wait_seconds`.
    """
    _acquire(cluster, terms, waiting)
    lease, done = HeldLease(terms), threading.Event()
    renewer = threading.Thread(target=_renew, args=(cluster, lease, done), name=f"lease-{terms.name}", daemon=True)
    renewer.start()
    try:
        yield lease
    finally:
        done.set()
        renewer.join(timeout=5.0)
        _release(cluster, lease)


def _acquire(cluster: Cluster, terms: LeaseTerms, waiting: Callable[[str], None] | None) -> None:
    deadline = time.monotonic() + terms.wait_seconds
    told = False
    seen: tuple[str, float] = ("", time.monotonic())
    while True:
        found = get(cluster, API_VERSION, "Lease", terms.name, terms.namespace)
        version = str(found["metadata"].get("resourceVersion")) if found else ""
        if version != seen[0]:
            seen = (version, time.monotonic())
        other = _other_holder(found, terms, unchanged_seconds=time.monotonic() - seen[1])
        if not other:
            if _write(cluster, terms, found):
                return
            continue  # somebody was faster: look again
        if not told and waiting is not None and terms.wait_seconds > 0:
            waiting(other)
            told = True
        if time.monotonic() >= deadline:
            raise BusyError(
                f"{terms} is held by {other}.",
                holder=other,
                cause="Another run is changing this endpoint now.",
                fix=f"Wait until it ends, or cancel it; if it died, its lease expires within {terms.seconds} seconds.",
            )
        time.sleep(min(POLL_SECONDS, max(0.05, deadline - time.monotonic())))


def _other_holder(found: Object | None, terms: LeaseTerms, *, unchanged_seconds: float) -> str:
    """The holder that must be respected; empty if the lease may be taken.

    A lease counts as expired by its own time, or if nobody renewed it while we looked on: clocks may differ.
    """
    spec = (found or {}).get("spec") or {}
    holder = str(spec.get("holderIdentity") or "")
    if not holder or holder == terms.holder:
        return ""
    life = float(spec.get("leaseDurationSeconds") or terms.seconds)
    renewed = _parsed(str(spec.get("renewTime") or ""))
    age = (datetime.now(UTC) - renewed).total_seconds() if renewed else float("inf")
    return "" if age > life or unchanged_seconds > life else holder


def _write(cluster: Cluster, terms: LeaseTerms, found: Object | None, *, holder: str | None = None) -> bool:
    """Create or replace the Lease; False if somebody else changed it meanwhile."""
    resource = find_kind(cluster, API_VERSION, "Lease")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    before = (found or {}).get("spec") or {}
    mine = terms.holder if holder is None else holder
    spec: Object = {
        "holderIdentity": mine,
        "leaseDurationSeconds": terms.seconds,
        "renewTime": now,
        "acquireTime": before.get("acquireTime", now) if before.get("holderIdentity") == mine else now,
        "leaseTransitions": int(before.get("leaseTransitions") or 0) + (before.get("holderIdentity") != mine),
    }
    metadata: Object = {"name": terms.name, "namespace": terms.namespace, "labels": dict(terms.labels or {})}
    if found is not None:
        metadata = {**found["metadata"], **metadata}
    body = {"apiVersion": API_VERSION, "kind": "Lease", "metadata": metadata, "spec": spec}
    doing = f"write {terms}"
    if found is None:
        reply = call(cluster, "POST", resource.path(terms.namespace), doing=doing, body=body)
    else:
        reply = call(cluster, "PUT", resource.path(terms.namespace, terms.name), doing=doing, body=body)
    if reply.status in (409, 404) and not (reply.status == 404 and found is None):
        return False
    if reply.status >= 400:
        raise cluster_error(failure(reply.status, reply.body), server=cluster.server, doing=doing)
    return True


def _renew(cluster: Cluster, lease: HeldLease, done: threading.Event) -> None:
    terms = lease.terms
    while not done.wait(terms.seconds / RENEWALS):
        began = time.monotonic()
        try:
            found = get(cluster, API_VERSION, "Lease", terms.name, terms.namespace)
            holder = ((found or {}).get("spec") or {}).get("holderIdentity")
            if found is not None and holder != terms.holder:
                return lease.lose()
            if _write(cluster, terms, found):
                lease.renewed(began)
        except ClusterError:
            pass  # tried again until the lease is over
        if lease.lost:
            return lease.lose()
    return None


def _release(cluster: Cluster, lease: HeldLease) -> None:
    """Give the lease back, if it is still ours. What fails here only makes the next holder wait."""
    terms = lease.terms
    try:
        found = get(cluster, API_VERSION, "Lease", terms.name, terms.namespace)
        if found is None or (found.get("spec") or {}).get("holderIdentity") != terms.holder:
            return
        if not (lease.discarded and _delete(cluster, terms, found)):
            _write(cluster, terms, found, holder="")
    except ClusterError:
        return


def _delete(cluster: Cluster, terms: LeaseTerms, found: Object) -> bool:
    """Delete the Lease as it was read, not one that somebody took meanwhile; False if that is not allowed."""
    path = find_kind(cluster, API_VERSION, "Lease").path(terms.namespace, terms.name)
    seen = {name: found["metadata"][name] for name in ("uid", "resourceVersion")}
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": seen}
    return call(cluster, "DELETE", path, doing=f"delete {terms}", body=options).status < 400


def _parsed(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
