"""Waiting for a workload: one bounded watch, judged at every change. No Prefect here."""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from kube.connect import Cluster
from kube.read import ALL_NAMESPACES, list_
from kube.snapshot import collect
from kube.watch import Change, WatchEvent, watch
from serving.diagnosis import Diagnosis, diagnose
from serving.errors import ClusterError, RolloutError
from serving.readiness import Readiness, current_pods, judge
from serving.snapshot import Snapshot, name_of
from tasks.targets import watch_targets

LOG_LINES = 200
_APART = ("Pod", "Event")


@dataclass
class Observed:
    """What the watch has shown so far of one workload and its surroundings."""

    kind: str
    name: str
    objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def take(self, event: WatchEvent) -> None:
        """Takes in one change."""
        if event.type is Change.SYNCED:
            return
        key = (str(event.object.get("kind") or event.target.kind), event.object["metadata"]["uid"])
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

    def pods(self) -> list[dict[str, Any]]:
        """The pods of the workload's present template."""
        workload = self.workload
        return [dict(pod) for pod in current_pods(workload, self.of_kind("Pod"))] if workload else []

    def snapshot(self, *, node_autoscaler: bool = False) -> Snapshot:
        """What the watch alone tells a diagnosis: all objects, events about these, no logs and no nodes."""
        pods = self.pods()
        kept = {uid_of(pod) for pod in pods}
        shown = [one for (kind, uid), one in self.objects.items() if kind not in _APART or uid in kept]
        about = {uid_of(one) for one in shown}
        plurals: dict[str, list[dict[str, Any]]] = {}
        for one in shown:
            if one["kind"] not in _APART:
                plurals.setdefault(f"{one['kind'].lower()}s", []).append(one)
        return Snapshot(
            pods=pods,
            events=[event for event in self.of_kind("Event") if event.get("involvedObject", {}).get("uid") in about],
            objects=plurals,
            node_autoscaler=node_autoscaler,
        )


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
        labels: What finds its pods and all else that belongs to the release.
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
    observed = Observed(workload["kind"], metadata["name"])
    targets = watch_targets(cluster, workload, labels)
    unsynced = len(targets)
    last: Readiness | None = None
    autoscaler = node_autoscaler_present(cluster)
    with closing(watch(cluster, targets, deadline=deadline, stop=stop)) as changes:
        for event in changes:
            observed.take(event)
            unsynced -= event.type is Change.SYNCED
            current = observed.workload
            if unsynced > 0 or current is None:
                continue
            readiness = judge(current, observed.of_kind("Pod"))
            if readiness != last:
                note(readiness)
                last = readiness
            if readiness.ready:
                return readiness
            suspected = diagnose(observed.snapshot(node_autoscaler=autoscaler))
            if suspected is not None and suspected.final:
                confirmed = _with_evidence(cluster, metadata["namespace"], observed, labels)
                if confirmed is not None and confirmed.final:
                    raise RolloutError(f"{_named(workload)} cannot become ready.", confirmed)
    raise _too_late(cluster, workload, observed, last, timeout_seconds, labels)


def node_autoscaler_present(cluster: Cluster) -> bool:
    """Whether something adds nodes for waiting pods: Karpenter or EKS Auto Mode, told by their node pools."""
    try:
        return bool(list_(cluster, "karpenter.sh/v1", "NodePool", ALL_NAMESPACES))
    except ClusterError:
        return False  # not installed, or not ours to see


def _with_evidence(cluster: Cluster, namespace: str, observed: Observed, labels: Mapping[str, str]) -> Diagnosis | None:
    """Judges again with all that can be read: nodes, logs, volumes, quotas, endpoints."""
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    taken = Snapshot.read(collect(cluster, namespace, selector, log_lines=LOG_LINES))
    current = {uid_of(pod) for pod in observed.pods()}
    return diagnose(replace(taken, pods=[pod for pod in taken.pods if uid_of(pod) in current]))


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
    labels: Mapping[str, str],
) -> RolloutError:
    seen = observed.workload is not None
    found = _with_evidence(cluster, workload["metadata"]["namespace"], observed, labels) if seen else None
    doing = last.message if last else "it was never seen"
    return RolloutError(
        f"{_named(workload)} did not become ready within {timeout_seconds:.0f} s; last seen: {doing}.",
        found,
        fix="Give it longer (timeout_minutes) and run the deployment again: it goes on waiting where this run ended.",
    )


def uid_of(thing: Mapping[str, Any]) -> str:
    """The object's uid."""
    return str(thing["metadata"].get("uid", ""))


def _named(workload: Mapping[str, Any]) -> str:
    metadata = workload["metadata"]
    return f"{workload['kind']} {metadata['namespace']}/{metadata['name']}"
