"""Events as a real cluster records them: repeats are counted, many alike are combined."""

import time
from collections import OrderedDict
from typing import Any, TypeVar

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.controllers.meta import Obj, micro_timestamp, timestamp
from sandbox.kubernetes.errors import ApiError
from sandbox.kubernetes.resources import EVENTS

SIMILAR = 10
"""From this many different messages of one reason on, they share one event."""
REMEMBERED = 4096

_Correlation = tuple[Any, ...]
_V = TypeVar("_V")


class _Recent(OrderedDict[_Correlation, _V]):
    """Remembers what was set last, and forgets the oldest."""

    def __setitem__(self, key: _Correlation, value: _V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        while len(self) > REMEMBERED:
            self.popitem(last=False)


def reference_to(obj: Obj, field_path: str = "") -> Obj:
    """The `involvedObject` of an event about `obj`."""
    meta = obj["metadata"]
    reference = {
        "kind": obj["kind"],
        "namespace": meta.get("namespace", ""),
        "name": meta["name"],
        "uid": meta["uid"],
        "apiVersion": obj["apiVersion"],
        "resourceVersion": meta.get("resourceVersion", ""),
        "fieldPath": field_path,
    }
    return {key: value for key, value in reference.items() if value}


class Recorder:
    """Records the events of one component.

    Args:
        cluster: Where events are kept.
        component: Who records, e.g. `kubelet`.
        host: On which node, for components that run on one.
    """

    def __init__(self, cluster: Cluster, component: str, host: str = "") -> None:
        self._cluster, self._component, self._host = cluster, component, host
        self._names: _Recent[str] = _Recent()
        self._messages: _Recent[set[str]] = _Recent()

    def normal(self, obj: Obj, reason: str, message: str, *, field_path: str = "") -> None:
        """Record something that is as it should be."""
        self._record(obj, "Normal", reason, message, field_path)

    def warning(self, obj: Obj, reason: str, message: str, *, field_path: str = "") -> None:
        """Record something that may need attention."""
        self._record(obj, "Warning", reason, message, field_path)

    def _record(self, obj: Obj, kind: str, reason: str, message: str, field_path: str) -> None:
        about = reference_to(obj, field_path)
        alike: _Correlation = (about["kind"], about.get("namespace"), about["name"], about["uid"], field_path)
        alike = (*alike, kind, reason)
        seen = self._messages.get(alike, set())
        self._messages[alike] = seen
        combined = len(seen | {message}) >= SIMILAR
        if combined:
            key, message = alike, f"(combined from similar events): {message}"
        else:
            seen.add(message)
            key = (*alike, message)
        namespace = about.get("namespace", "default")
        if not self._count(key, namespace, message):
            self._create(key, namespace, self._event(about, kind, reason, message, combined=combined))

    def _count(self, key: _Correlation, namespace: str, message: str) -> bool:
        name = self._names.get(key)
        if name is None:
            return False

        def again(event: Obj) -> None:
            event.update(count=event.get("count", 1) + 1, lastTimestamp=timestamp(), message=message)

        return self._cluster.update(EVENTS, namespace, name, again, manager=self._component) is not None

    def _create(self, key: _Correlation, namespace: str, event: Obj) -> None:
        event["metadata"] = {"name": event_name(event["involvedObject"]["name"]), "namespace": namespace}
        try:
            created = self._cluster.create(EVENTS, event, manager=self._component)
        except ApiError:
            return  # the namespace is being deleted: nobody will read its events
        self._names[key] = created["metadata"]["name"]

    def _event(self, about: Obj, kind: str, reason: str, message: str, *, combined: bool) -> Obj:
        moment = timestamp()
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "involvedObject": about,
            "reason": reason,
            "message": message,
            "source": {"component": self._component, **({"host": self._host} if self._host else {})},
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
            "type": kind,
            "eventTime": None,
            "reportingComponent": "" if combined else self._component,
            "reportingInstance": "" if combined else self._host,
        }


class SeriesRecorder:
    """Records events of the newer kind (`eventTime`, `series`), as the scheduler does."""

    def __init__(self, cluster: Cluster, component: str, instance: str) -> None:
        self._cluster, self._component, self._instance = cluster, component, instance
        self._names: _Recent[str] = _Recent()

    def record(self, obj: Obj, kind: str, reason: str, action: str, message: str) -> None:
        """Record an event; one that repeats about the same version of `obj` becomes a series."""
        about = reference_to(obj)
        key = (about["uid"], about.get("resourceVersion"), kind, reason, action)
        name = self._names.get(key)
        namespace = about.get("namespace", "default")

        def again(event: Obj) -> None:
            count = (event.get("series") or {}).get("count", 1) + 1
            event["series"] = {"count": count, "lastObservedTime": micro_timestamp()}

        if name and self._cluster.update(EVENTS, namespace, name, again, manager=self._component):
            return
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": event_name(about["name"]), "namespace": namespace},
            "involvedObject": about,
            "reason": reason,
            "message": message,
            "source": {},
            "firstTimestamp": None,
            "lastTimestamp": None,
            "type": kind,
            "eventTime": micro_timestamp(),
            "action": action,
            "reportingComponent": self._component,
            "reportingInstance": self._instance,
        }
        try:
            created = self._cluster.create(EVENTS, event, manager="kube-scheduler")
        except ApiError:
            return
        self._names[key] = created["metadata"]["name"]


def event_name(about: str) -> str:
    """The object's name and the time in nanoseconds, in hexadecimal."""
    return f"{about}.{time.time_ns():x}"
