"""Waiting for a workload: one bounded watch, judged at every change. No Prefect here."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from kube.autoscalers import adds_nodes
from kube.connect import Cluster
from kube.logs import logs
from kube.read import ALL_NAMESPACES, list_
from kube.snapshot import collect
from kube.watch import Change, WatchEvent, watch
from serving.diagnosis import Diagnosis, diagnose
from serving.errors import ClusterError, RolloutError
from serving.frameworks.labels import RELEASE_LABEL
from serving.readiness import Readiness, current_pods, judge
from serving.readiness.detail import to_read, with_details
from serving.record import ENDPOINT_LABEL
from serving.snapshot import Object, Snapshot, is_true, name_of
from tasks.targets import watch_targets

LOG_LINES = 200
QUIET_SECONDS = 2.0
"""How often a workload is looked at while it does not change: time alone may tell that nobody looks after it."""

LONGEST_PAUSE = 60.0
"""Between two looks into the same suspicion."""

LISTENED_PODS, LISTENED_LINES = 2, 40
"""Logs that are read for progress."""

EVIDENCE_ATTEMPTS = 3


@dataclass
class Observed:
    """What the watch has shown so far of one workload and its surroundings.

    Attributes:
        kind: The workload's kind.
        name: Its name.
        labels: Labels of the release, which tell its pods from those of the endpoint's other releases.
        objects: Everything that was seen, by kind and uid.
        logs: Last lines of pods that fetch or load. They tell how far these are and are no evidence of a failure:
            a container that has started again since has another log.
        begun: The cluster's time at first sight, and when that was on the monotonic clock.
    """

    kind: str
    name: str
    labels: Mapping[str, str]
    objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    logs: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    begun: tuple[datetime, float] | None = None

    def take(self, event: WatchEvent) -> None:
        """Takes in one change."""
        if event.type in (Change.SYNCED, Change.QUIET):
            return
        key = (str(event.object.get("kind") or event.target.kind), uid_of(event.object))
        if event.type is Change.DELETED:
            self.objects.pop(key, None)
        else:
            self.objects[key] = event.object

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """All objects of a kind."""
        return [found for (of, _), found in self.objects.items() if of == kind]

    @property
    def workload(self) -> dict[str, Any] | None:
        """The workload itself; None if it is not there (yet)."""
        return next((found for found in self.of_kind(self.kind) if name_of(found) == self.name), None)

    @property
    def pods(self) -> list[dict[str, Any]]:
        """The release's pods, those of older templates included."""
        return [pod for pod in self.of_kind("Pod") if self.is_mine(pod)]

    def is_mine(self, thing: Object) -> bool:
        """Whether something carries the release's labels."""
        return self.labels.items() <= (thing["metadata"].get("labels") or {}).items()

    def judged(self, pods: Sequence[Object]) -> list[Object]:
        """Of these pods those that a diagnosis looks at.

        That is the workload's present pods, and those of other releases that are ready: they may hold the node.
        """
        workload = self.workload
        mine = current_pods(workload, [pod for pod in pods if self.is_mine(pod)]) if workload else []
        current = {uid_of(pod) for pod in mine}
        return [pod for pod in pods if uid_of(pod) in current or (not self.is_mine(pod) and is_true(pod, "Ready"))]

    def snapshot(self, *, node_autoscaler: bool = False) -> Snapshot:
        """What the watch alone tells a diagnosis: objects and the events about them, no logs and no nodes."""
        pods = self.judged(self.of_kind("Pod"))
        objects: dict[str, list[Object]] = {}
        for (kind, _), found in self.objects.items():
            if kind not in ("Pod", "Event"):
                objects.setdefault(f"{kind.lower()}s", []).append(found)
        about = {uid_of(one) for shown in (pods, *objects.values()) for one in shown}
        events = [event for event in self.of_kind("Event") if (event.get("involvedObject") or {}).get("uid") in about]
        seen = Snapshot(pods=pods, events=events, objects=objects, node_autoscaler=node_autoscaler)
        if self.begun is None and seen.taken is not None:
            self.begun = (seen.taken, time.monotonic())
        return replace(seen, taken_at=self._now())

    def _now(self) -> str:
        """The cluster's time, as far as it is known: from its own timestamps, so that clocks need not agree."""
        if self.begun is None:
            return ""
        taken, since = self.begun
        return (taken + timedelta(seconds=time.monotonic() - since)).isoformat()


def wait_for_rollout(
    cluster: Cluster,
    workload: Mapping[str, Any],
    labels: Mapping[str, str],
    *,
    timeout_seconds: float,
    note: Callable[[Readiness], None],
    stop: threading.Event,
) -> Readiness:
    """Waits until the workload serves what was applied.

    Args:
        cluster: Where it is.
        workload: The manifest that was applied.
        labels: The release's own (`serving.frameworks.labels.selector`).
        timeout_seconds: Longest wait.
        note: Called with every new judgement.
        stop: Ends the wait early.

    Returns:
        The judgement that it is ready.

    Raises:
        RolloutError: It cannot become ready by itself, or did not in time; with the diagnosis.
        ClusterError: The API cannot be watched.
    """
    deadline = time.monotonic() + timeout_seconds
    metadata = workload["metadata"]
    observed = Observed(workload["kind"], metadata["name"], labels)
    targets = watch_targets(cluster, workload, labels)
    unsynced = len(targets)
    last: Readiness | None = None
    looks = _Looks()
    autoscaler = adds_nodes(cluster)
    with closing(watch(cluster, targets, deadline=deadline, stop=stop, quiet_seconds=QUIET_SECONDS)) as changes:
        for event in changes:
            observed.take(event)
            unsynced -= event.type is Change.SYNCED
            current = observed.workload
            if unsynced > 0 or current is None:
                continue
            readiness = judge(current, observed.pods)
            if event.type is Change.QUIET:
                _listen(cluster, metadata["namespace"], observed, readiness)
            seen = observed.snapshot(node_autoscaler=autoscaler)
            readiness = with_details(readiness, replace(seen, logs=observed.logs))
            if readiness != last:
                note(readiness)
                last = readiness
            if readiness.ready:
                return readiness
            suspected = diagnose(seen)
            if suspected is not None and looks.worth(suspected):
                confirmed = _confirmed(cluster, metadata["namespace"], observed)
                if confirmed is not None and confirmed.final:
                    raise RolloutError(f"{_named(workload)} cannot become ready.", confirmed)
    if stop.is_set():
        raise RolloutError(f"Waiting for {_named(workload)} was ended.")
    raise _too_late(cluster, workload, observed, last, timeout_seconds)


@dataclass
class _Looks:
    """When a suspicion is looked into: at once, then more and more seldom: a log may be there a little later."""

    into: Diagnosis | None = None
    pause: float = QUIET_SECONDS
    again: float = 0.0

    def worth(self, suspected: Diagnosis) -> bool:
        """Whether to read now what would settle it."""
        known, now = suspected == self.into, time.monotonic()
        if not suspected.final and (not suspected.wants or (known and now < self.again)):
            return False
        self.pause = min(LONGEST_PAUSE, 2 * self.pause) if known else QUIET_SECONDS
        self.into, self.again = suspected, now + self.pause
        return True


def _listen(cluster: Cluster, namespace: str, observed: Observed, readiness: Readiness) -> None:
    """Reads how far the pods are that fetch or load; an API server in trouble is asked again next time."""
    for pod, container in islice(to_read(readiness, observed.pods), LISTENED_PODS):
        try:
            said = logs(cluster, namespace, pod, container, tail_lines=LISTENED_LINES)
        except ClusterError:
            continue
        observed.logs[pod] = {container: {"current": {"status": 200, "body": said}}}


def _confirmed(cluster: Cluster, namespace: str, observed: Observed) -> Diagnosis | None:
    """Judges with evidence; an API server in trouble is asked again, and is no reason to end a rollout."""
    for attempt in range(1, EVIDENCE_ATTEMPTS + 1):
        try:
            return _with_evidence(cluster, namespace, observed)
        except ClusterError:
            if attempt == EVIDENCE_ATTEMPTS:
                return None
            time.sleep(0.5 * attempt)
    return None


def _with_evidence(cluster: Cluster, namespace: str, observed: Observed) -> Diagnosis | None:
    """Judges again with all that can be read: nodes, logs, volumes, quotas, endpoints.

    What belongs to other releases of the endpoint is not judged, but for pods that may be in the way.
    """
    taken = collect(cluster, namespace, f"{ENDPOINT_LABEL}={observed.labels[ENDPOINT_LABEL]}", log_lines=LOG_LINES)
    read = Snapshot.read(taken)
    objects = {
        plural: [one for one in found if not _of_another(one, observed)] for plural, found in read.objects.items()
    }
    return diagnose(replace(read, pods=observed.judged(read.pods), objects=objects))


def _of_another(thing: Object, observed: Observed) -> bool:
    release = (thing["metadata"].get("labels") or {}).get(RELEASE_LABEL)
    return release is not None and release != observed.labels.get(RELEASE_LABEL)


def nodes_if_allowed(cluster: Cluster) -> list[dict[str, Any]] | None:
    """All nodes; None for a caller who may not list them."""
    try:
        return list_(cluster, "v1", "Node", ALL_NAMESPACES)
    except ClusterError as error:
        if error.code == "cluster.forbidden":
            return None
        raise


def _too_late(
    cluster: Cluster,
    workload: Mapping[str, Any],
    observed: Observed,
    last: Readiness | None,
    timeout_seconds: float,
) -> RolloutError:
    seen = observed.workload is not None
    found = _confirmed(cluster, workload["metadata"]["namespace"], observed) if seen else None
    doing = last.message if last else "it was never seen"
    return RolloutError(
        f"{_named(workload)} did not become ready within {timeout_seconds:.0f} s; last seen: {doing}.",
        found,
        fix="Give it longer (timeout_minutes) and run the deployment again: it goes on waiting where this run ended.",
    )


def uid_of(thing: Object) -> str:
    """The object's uid."""
    return str(thing["metadata"].get("uid", ""))


def _named(workload: Mapping[str, Any]) -> str:
    metadata = workload["metadata"]
    return f"{workload['kind']} {metadata['namespace']}/{metadata['name']}"
