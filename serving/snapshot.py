"""A workload as it was seen at one moment: objects, events and logs, and a few questions asked of them.

The shape is that of a saved snapshot file: plural kinds in lower case with lists of objects, `events`, and
`logs` as ``{pod: {container: {"current" | "previous": {"status": …, "body": …}}}}``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Snapshot:
    """Everything that a judgement may look at.

    Attributes:
        objects: Objects by plural kind (``deployments``, ``replicasets``, ``rayservices``, …) but for pods and nodes.
        nodes: The cluster's nodes; None if they may not be listed.
        logs: Log text by pod, container and ``current`` or ``previous``.
        requests: Answers of the endpoint, as ``{"request": …, "response": …}``.
        node_autoscaler: Whether something in the cluster adds nodes for pods that wait.
        taken_at: When it was taken, if that is known.
        elapsed: Seconds since its objects were made, at least; 0 if that is not known.
    """

    pods: Sequence[Object] = ()
    events: Sequence[Object] = ()
    objects: Mapping[str, Sequence[Object]] = field(default_factory=dict)
    nodes: Sequence[Object] | None = None
    logs: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    requests: Sequence[Mapping[str, Any]] = ()
    node_autoscaler: bool = False
    taken_at: str = ""
    elapsed: float = 0.0

    @classmethod
    def read(cls, entry: Mapping[str, Any], nodes: Sequence[Object] | None = None) -> "Snapshot":
        """Reads a saved snapshot.

        Args:
            entry: The snapshot's document.
            nodes: Nodes if the document does not hold them.
        """
        apart = {"pods", "events", "nodes", "logs", "requests", "t", "label", "node_autoscaler", "taken_at"}
        return cls(
            pods=entry.get("pods") or (),
            events=entry.get("events") or (),
            objects={k: v for k, v in entry.items() if k not in apart and isinstance(v, list)},
            nodes=entry.get("nodes", nodes),
            logs=entry.get("logs") or {},
            requests=entry.get("requests") or (),
            node_autoscaler=bool(entry.get("node_autoscaler", False)),
            taken_at=str(entry.get("taken_at") or ""),
            elapsed=float(entry.get("t") or 0.0),
        )

    @cached_property
    def taken(self) -> datetime | None:
        """When it was taken: as it says or the latest of its timestamps; None if it has none."""
        things = (*self.pods, *(entry for entries in self.objects.values() for entry in entries))
        born = [str((thing.get("metadata") or {}).get("creationTimestamp") or "") for thing in things]
        found = [self.taken_at, *born, *(event_time(event) for event in self.events)]
        for thing in things:
            for entry in (thing.get("status") or {}).get("conditions") or ():
                found.append(str(entry.get("lastTransitionTime") or entry.get("lastUpdateTime") or ""))
        times = [moment for text in found if (moment := parse_time(text))]
        first = min((moment for text in born if (moment := parse_time(text))), default=None)
        if first is not None and self.elapsed:
            times.append(first + timedelta(seconds=self.elapsed))
        return max(times, default=None)

    def age(self, thing: Object) -> float:
        """Returns how old an object was when the snapshot was taken, seconds; 0 if that cannot be told."""
        born, taken = parse_time(str((thing.get("metadata") or {}).get("creationTimestamp") or "")), self.taken
        return (taken - born).total_seconds() if born and taken else 0.0

    def namespace(self, thing: Object) -> str:
        """Returns an object's namespace; where it does not say it, that of the events about it."""
        own = namespace_of(thing)
        if own:
            return own
        for event in self.events:
            about = involved(event)
            if about.get("name") == name_of(thing) and about.get("namespace"):
                return str(about["namespace"])
        known = [found for pod in self.pods if (found := namespace_of(pod))]
        return known[0] if known else "default"

    @property
    def adds_nodes(self) -> bool:
        """Whether something adds nodes for pods that wait: known, or told by its having spoken."""
        return self.node_autoscaler or any(source_of(event) in _AUTOSCALERS for event in self.events)

    def kind(self, plural: str) -> Sequence[Object]:
        """Returns the objects of a kind, by its plural name in lower case."""
        return self.objects.get(plural, ())

    def events_of(self, kind: str, name: str) -> list[Object]:
        """Returns the events about one object, oldest first."""
        found = [e for e in self.events if involved(e).get("kind") == kind and involved(e).get("name") == name]
        return sorted(found, key=event_time)

    def log(self, pod: str, container: str) -> str:
        """Returns what a container last said that tells of its end: the previous run's log if there is one."""
        texts = [self.run_log(pod, container, run) for run in ("previous", "current")]
        return "\n".join(text for text in texts if text)

    def run_log(self, pod: str, container: str, run: str) -> str:
        """Returns what one run of a container said, ``previous`` or ``current``; empty if that could not be read."""
        entry = self.logs.get(pod, {}).get(container, {}).get(run)
        if isinstance(entry, str):
            return entry
        return str(entry.get("body") or "") if entry and entry.get("status", 200) == 200 else ""


def involved(event: Object) -> Mapping[str, Any]:
    """Returns what an event is about."""
    return dict(event.get("involvedObject") or event.get("regarding") or {})


_AUTOSCALERS = ("cluster-autoscaler", "karpenter", "eks-auto-mode/compute")


def source_of(event: Object) -> str:
    """Returns the component that an event comes from."""
    return str((event.get("source") or {}).get("component") or event.get("reportingComponent") or "")


def parse_time(text: str) -> datetime | None:
    """Reads a Kubernetes timestamp, as UTC where it names no zone; None if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def event_time(event: Object) -> str:
    """Returns when an event last happened, as comparable text."""
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or (event.get("metadata") or {}).get("creationTimestamp")
        or ""
    )


def first_time(event: Object) -> str:
    """Returns when an event happened first, as text; empty if it does not say."""
    created = (event.get("metadata") or {}).get("creationTimestamp")
    return str(event.get("firstTimestamp") or event.get("eventTime") or created or "")


def name_of(thing: Object) -> str:
    """Returns an object's name."""
    return str((thing.get("metadata") or {}).get("name", ""))


def namespace_of(thing: Object) -> str:
    """Returns an object's namespace, empty if it has none."""
    return str((thing.get("metadata") or {}).get("namespace", ""))


def condition(thing: Object, kind: str) -> Mapping[str, Any]:
    """Returns the object's condition of this type; empty if it has none."""
    for entry in (thing.get("status") or {}).get("conditions") or ():
        if entry.get("type") == kind:
            return dict(entry)
    return {}


def is_true(thing: Object, kind: str) -> bool:
    """Whether the object's condition of this type is True."""
    return condition(thing, kind).get("status") == "True"


def being_deleted(thing: Object) -> bool:
    """Whether the object is on its way out."""
    return bool((thing.get("metadata") or {}).get("deletionTimestamp"))


GROUP_LABEL = "leaderworkerset.sigs.k8s.io/name"
"""Label of a LeaderWorkerSet's pods, with its name."""


def is_leaving(pod: Object) -> bool:
    """Whether a pod goes and tells nothing of its workload any more.

    A LeaderWorkerSet takes its whole group away once a container of it was started again: those pods tell why.
    """
    return being_deleted(pod) and GROUP_LABEL not in ((pod.get("metadata") or {}).get("labels") or {})


@dataclass(frozen=True)
class Container:
    """A container's status together with its specification.

    Attributes:
        init: Whether it is an init container that must end before the others start.
    """

    pod: Object
    name: str
    init: bool
    spec: Mapping[str, Any]
    status: Mapping[str, Any]

    @property
    def waiting(self) -> Mapping[str, Any]:
        """State ``waiting``; empty if it does not wait."""
        return (self.status.get("state") or {}).get("waiting") or {}

    @property
    def running(self) -> bool:
        """Whether it runs now."""
        return "running" in (self.status.get("state") or {})

    @property
    def ended(self) -> Mapping[str, Any]:
        """How its last run ended: of the current state, else of the state before; empty if it never ended."""
        now = (self.status.get("state") or {}).get("terminated")
        return now or (self.status.get("lastState") or {}).get("terminated") or {}

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return int(self.status.get("restartCount") or 0)

    @property
    def failures(self) -> int:
        """How many runs of it ended badly, as far as its status shows."""
        now = (self.status.get("state") or {}).get("terminated")
        failed_now = 1 if now and now.get("exitCode") != 0 else 0
        return self.restarts + failed_now


def containers(pod: Object) -> Iterator[Container]:
    """Yields the pod's containers, init containers first."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    for init, specs, statuses in (
        (True, "initContainers", "initContainerStatuses"),
        (False, "containers", "containerStatuses"),
    ):
        known = {entry.get("name"): entry for entry in status.get(statuses) or ()}
        for entry in spec.get(specs) or ():
            sidecar = init and entry.get("restartPolicy") == "Always"
            name = str(entry.get("name") or "")
            yield Container(pod, name, init and not sidecar, entry, known.get(name, {}))
