"""Everything about a workload at one moment, as one document: what a diagnosis judges, and what a support case sends.

The shape: plural kinds in lower case with lists of objects, ``pods``, ``events``, ``nodes`` (missing if they may not be
listed), ``logs`` as ``{pod: {container: {"current" | "previous": {"status", "body"}}}}``, ``unreadable`` with what was
refused. Plain-text secrets are hidden; Secrets themselves are not read.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any

from kube.autoscalers import adds_nodes
from kube.connect import Cluster
from kube.discovery import ApiResource, find_kind, has_kind
from kube.logs import fetch_logs
from kube.read import list_at
from kube.redact import redact_object, redact_text
from kube.transport import Query
from serving.errors import ClusterError

WORKLOADS = (
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("batch/v1", "Job"),
    ("ray.io/v1", "RayService"),
    ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"),
    ("apps.nvidia.com/v1alpha1", "NIMService"),
    ("apps.nvidia.com/v1alpha1", "NIMCache"),
)
"""Kinds that a selector is tried on."""

_OWNED = (("apps/v1", "ReplicaSet"), ("ray.io/v1", "RayCluster"), ("v1", "Pod"))
"""Kinds that controllers make for a workload, not always with its labels."""

_AROUND = (
    ("v1", "Service"),
    ("discovery.k8s.io/v1", "EndpointSlice"),
    ("v1", "PersistentVolumeClaim"),
    ("v1", "ResourceQuota"),
    ("v1", "Event"),
    ("v1", "Node"),
)

LOG_LINES = 100
MAX_LOGGED_PODS = 20
_AT_ONCE = 8

Object = dict[str, Any]
Kind = tuple[str, str]


def collect(
    cluster: Cluster,
    namespace: str,
    selector: str,
    *,
    label: str = "",
    workloads: Iterable[Kind] = WORKLOADS,
    log_lines: int = LOG_LINES,
) -> Object:
    """Read a workload and all that belongs to it: what controllers made of it, events, logs, volumes, quotas, nodes.

    Args:
        cluster: Where it is.
        namespace: Its namespace.
        selector: Label selector that finds it, or its pods.
        label: What this moment is called in the document.
        workloads: Kinds to look for, as ``(api_version, kind)``; those that are not installed are passed over.
        log_lines: Last lines of each log.

    Returns:
        The document, ready for JSON.

    Raises:
        ClusterError: The API server cannot be reached or does not accept the credentials. What it merely refuses to
            show is noted under ``unreadable``.
    """
    reading = _Reading(cluster, namespace)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="snapshot") as threads:
        kinds = [*dict.fromkeys(workloads), *_OWNED, *_AROUND]
        resources = [found for found in threads.map(reading.find, kinds) if found]
        everything = dict(zip(resources, threads.map(reading.list, resources), strict=True))
        selected = threads.map(partial(reading.list, labels=selector), resources)
        chosen = {_uid(obj) for listed in selected for obj in listed}
        mine = _mine(everything, chosen)
        pods = mine.get("pods", [])
        logged = _logged(pods)
        logs = dict(zip(map(_name, logged), threads.map(partial(reading.logs, lines=log_lines), logged), strict=True))
        autoscaler = reading.adds_nodes()
    taken: Object = {"t": 0.0, "label": label, "taken_at": datetime.now(UTC).isoformat(timespec="seconds")}
    for node in mine.get("nodes", []):
        (node.get("status") or {}).pop("images", None)  # long, and of no use here
    taken |= {plural: [redact_object(obj) for obj in objects] for plural, objects in mine.items()}
    taken |= {"logs": logs, "node_autoscaler": autoscaler}
    if reading.unreadable:
        taken["unreadable"] = reading.unreadable
    return taken


class _Reading:
    """Reads that go on where something may not be read."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self.unreadable: dict[str, str] = {}

    def find(self, kind: Kind) -> ApiResource | None:
        return find_kind(self._cluster, *kind) if has_kind(self._cluster, *kind) else None

    def list(self, resource: ApiResource, labels: str = "") -> "list[Object]":
        namespace = self._namespace if resource.namespaced else ""
        try:
            return list_at(self._cluster, resource, namespace, labels=labels)[0]
        except ClusterError as error:
            if error.code != "cluster.forbidden":
                raise
            self.unreadable[resource.plural] = str(error)
            return []

    def logs(self, pod: Object, lines: int) -> Object:
        found: Object = {}
        for container, restarts in _containers(pod):
            found[container] = {"current": self._log(pod, {"container": container, "tailLines": lines})}
            if restarts:
                query: Query = {"container": container, "tailLines": lines, "previous": True}
                found[container]["previous"] = self._log(pod, query)
        return found

    def _log(self, pod: Object, query: Query) -> Object:
        reply = fetch_logs(self._cluster, self._namespace, _name(pod), query)
        if reply.status < 400:
            return {"status": reply.status, "body": redact_text(reply.body.decode(errors="replace"))}
        try:
            return {"status": reply.status, "body": reply.json()}
        except ValueError:
            return {"status": reply.status, "body": reply.body.decode(errors="replace")}

    def adds_nodes(self) -> bool:
        """Whether something adds nodes for pods that wait."""
        return adds_nodes(self._cluster)


def _mine(everything: Mapping[ApiResource, list[Object]], chosen: set[str]) -> dict[str, list[Object]]:
    """What belongs to the chosen objects, by plural kind."""
    of_kind = {resource.kind: objects for resource, objects in everything.items()}
    _add_owned(everything, chosen)
    pods = [pod for pod in of_kind.get("Pod", []) if _uid(pod) in chosen]
    claims = {name for pod in pods for name in _claims(pod)}
    chosen |= {_uid(one) for one in of_kind.get("Service", []) if _selects(one, pods)}
    chosen |= {_uid(one) for one in of_kind.get("PersistentVolumeClaim", []) if _name(one) in claims}
    _add_owned(everything, chosen)  # a service's endpoint slices
    mine = {
        resource.plural: [obj for obj in objects if _belongs(resource.kind, obj, chosen)]
        for resource, objects in everything.items()
    }
    return {plural: objects for plural, objects in mine.items() if objects or plural in {"pods", "events"}}


def _belongs(kind: str, obj: Object, chosen: set[str]) -> bool:
    if kind in {"Node", "ResourceQuota"}:
        return True
    if kind == "Event":  # by uid: an earlier object of the same name may have left events too
        return (obj.get("involvedObject") or {}).get("uid") in chosen
    return _uid(obj) in chosen


def _add_owned(everything: Mapping[ApiResource, list[Object]], chosen: set[str]) -> None:
    """Add what the chosen objects own, directly or not."""
    before = -1
    while len(chosen) != before:
        before = len(chosen)
        for objects in everything.values():
            for obj in objects:
                owners = {owner.get("uid") for owner in obj["metadata"].get("ownerReferences") or []}
                if owners & chosen:
                    chosen.add(_uid(obj))


def _selects(service: Object, pods: list[Object]) -> bool:
    wanted = ((service.get("spec") or {}).get("selector") or {}).items()
    return bool(wanted) and any(wanted <= (pod["metadata"].get("labels") or {}).items() for pod in pods)


def _claims(pod: Object) -> list[str]:
    volumes = (pod.get("spec") or {}).get("volumes") or []
    return [volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume]


def _logged(pods: list[Object]) -> list[Object]:
    """The pods whose logs are read: those in trouble first, if there are many."""
    return sorted(pods, key=_is_well)[:MAX_LOGGED_PODS]


def _is_well(pod: Object) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return bool(statuses) and all(one.get("ready") and not one.get("restartCount") for one in statuses)


def _containers(pod: Object) -> list[tuple[str, int]]:
    """Names of a pod's containers, the init containers first, with how often each was started again."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    restarts = {
        one["name"]: int(one.get("restartCount") or 0)
        for section in ("initContainerStatuses", "containerStatuses")
        for one in status.get(section) or []
    }
    return [
        (one["name"], restarts.get(one["name"], 0))
        for section in ("initContainers", "containers")
        for one in spec.get(section) or []
    ]


def _uid(obj: Object) -> str:
    return str(obj["metadata"].get("uid", ""))


def _name(obj: Object) -> str:
    return str(obj["metadata"]["name"])
