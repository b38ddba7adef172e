"""What is wrong with a workload that does not become ready: category, cause, evidence and fixes, from a snapshot.

`diagnose` asks the rules of `serving.findings` in turn. A state that the workload cannot leave by itself is `final`;
one that may still heal is reported with ``final=False`` and is no reason to give up before the deadline.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from serving.replaced import without_replaced
from serving.snapshot import Object, Snapshot, containers, is_leaving, name_of


class Category(StrEnum):
    """Kind of failure: stable names that programs may match."""

    UNSCHEDULABLE = "unschedulable"
    QUOTA = "quota"
    SERVICE_ACCOUNT = "service-account"
    ADMISSION = "admission"
    VOLUME = "volume"
    IMAGE_PULL = "image-pull"
    CONFIG = "config"
    START = "start"
    INIT = "init"
    MODEL_ACCESS = "model-access"
    STORE_ACCESS = "store-access"
    GPU_MEMORY = "gpu-memory"
    HOST_MEMORY = "host-memory"
    ENGINE = "engine"
    CRASH = "crash"
    PROBE = "probe"
    READINESS = "readiness"
    NETWORK = "network"
    MODEL_NAME = "model-name"
    NODE = "node"
    ROLLOUT = "rollout"
    JOB = "job"
    OPERATOR = "operator"
    RAY_CLUSTER = "ray-cluster"
    RAY_SERVE = "ray-serve"
    TRITON = "triton"
    NIM = "nim"


class Topic(StrEnum):
    """The seed's troubleshooting topics, which the categories belong to."""

    PENDING = "Pods stuck in Pending"
    DOWNLOAD = "Model download fails"
    MEMORY = "Out of memory"
    RAY = "Ray deployment"
    TRITON = "Triton deployment"
    OTHER = "Other"


TOPICS: dict[Category, Topic] = {
    Category.UNSCHEDULABLE: Topic.PENDING,
    Category.QUOTA: Topic.PENDING,
    Category.SERVICE_ACCOUNT: Topic.PENDING,
    Category.ADMISSION: Topic.PENDING,
    Category.VOLUME: Topic.PENDING,
    Category.IMAGE_PULL: Topic.PENDING,
    Category.CONFIG: Topic.PENDING,
    Category.OPERATOR: Topic.PENDING,
    Category.MODEL_ACCESS: Topic.DOWNLOAD,
    Category.STORE_ACCESS: Topic.DOWNLOAD,
    Category.INIT: Topic.DOWNLOAD,
    Category.JOB: Topic.DOWNLOAD,
    Category.GPU_MEMORY: Topic.MEMORY,
    Category.HOST_MEMORY: Topic.MEMORY,
    Category.RAY_CLUSTER: Topic.RAY,
    Category.RAY_SERVE: Topic.RAY,
    Category.TRITON: Topic.TRITON,
}


@dataclass(frozen=True)
class Evidence:
    """Where it shows.

    Attributes:
        where: The object, field or log: ``Pod inference/chat-0 container vllm``.
        what: What stands there.
    """

    where: str
    what: str


@dataclass(frozen=True)
class Diagnosis:
    """A named cause.

    Attributes:
        reason: Stable name within the category, for example ``gated``.
        cause: One sentence.
        evidence: What it was read from, most telling first.
        fixes: What to do, most likely first, each naming the object or parameter.
        final: Whether the workload cannot leave this state by itself.
        wants: What would settle it: ``nodes``, ``logs``; empty if nothing more is needed.
        help_comes: Whether something works on it that deadlines do not stop: a node that is being provisioned.
        is_deadline: Whether it is no cause of its own: the time for whatever the cause is has run out.
    """

    category: Category
    reason: str
    cause: str
    evidence: tuple[Evidence, ...]
    fixes: tuple[str, ...]
    final: bool = True
    wants: tuple[str, ...] = ()
    help_comes: bool = False
    is_deadline: bool = False

    @property
    def topic(self) -> Topic:
        """The troubleshooting topic that it belongs to."""
        return TOPICS.get(self.category, Topic.OTHER)


@dataclass(frozen=True)
class LogWanted:
    """A log that would tell more: `previous` is the run that ended."""

    pod: str
    container: str
    previous: bool


Rule = Callable[[Snapshot], Iterator[Diagnosis]]


_OF_NODES = frozenset(
    {Category.UNSCHEDULABLE, Category.VOLUME, Category.ROLLOUT, Category.READINESS, Category.NETWORK, Category.OPERATOR}
)
"""What a lost node brings about."""


def diagnose(snapshot: Snapshot) -> Diagnosis | None:
    """Returns what is wrong; None if nothing is.

    The final comes before what may heal, the cause before its consequences. A lost node is the cause of whatever its
    pods and their replacements then suffer. What may heal is final once the deadline of its rollout has passed, unless
    help is on its way.
    """
    from serving.findings.order import RULES

    seen = without_replaced(snapshot)
    first_passing: Diagnosis | None = None
    for rule in RULES:
        for found in rule(seen):
            if first_passing is not None and first_passing.category is Category.NODE and found.category in _OF_NODES:
                continue
            if found.is_deadline and first_passing is not None:
                return _overdue(first_passing, found)
            if found.final:
                return found
            first_passing = first_passing or found
    return first_passing


def _overdue(cause: Diagnosis, deadline: Diagnosis) -> Diagnosis:
    evidence = (*cause.evidence, *deadline.evidence)
    return replace(cause, evidence=evidence, final=not cause.help_comes)


def logs_wanted(pods: Sequence[Object]) -> list[LogWanted]:
    """Returns the logs that a diagnosis of these pods would read: of every container that failed or never got ready."""
    wanted = []
    for pod in pods:
        if is_leaving(pod):
            continue
        for container in containers(pod):
            if container.failures:
                in_last_run = "terminated" not in (container.status.get("state") or {})
                wanted.append(LogWanted(name_of(pod), container.name, previous=in_last_run))
            elif container.running and not container.status.get("ready"):
                wanted.append(LogWanted(name_of(pod), container.name, previous=False))
    return wanted


def to_json(diagnosis: Diagnosis | None) -> dict[str, object]:
    """Returns a diagnosis as plain data; ``healthy`` if nothing is wrong."""
    if diagnosis is None:
        return {"category": "healthy", "final": False}
    return {
        "category": diagnosis.category.value,
        "reason": diagnosis.reason,
        "topic": diagnosis.topic.value,
        "cause": diagnosis.cause,
        "evidence": [{"where": entry.where, "what": entry.what} for entry in diagnosis.evidence],
        "fixes": list(diagnosis.fixes),
        "final": diagnosis.final,
    }


def to_text(diagnosis: Diagnosis | None) -> str:
    """Returns a diagnosis for a terminal."""
    if diagnosis is None:
        return "Nothing is wrong as far as this snapshot shows.\n"
    state = "cannot heal by itself" if diagnosis.final else "may still heal by itself"
    lines = [f"{diagnosis.category} ({diagnosis.reason}; {diagnosis.topic}), {state}", "", diagnosis.cause, ""]
    lines += ["Evidence"]
    for entry in diagnosis.evidence:
        lines += [f"  {entry.where}", *(f"    {line}" for line in entry.what.splitlines())]
    lines += ["", "What to do", *(f"  {number}. {fix}" for number, fix in enumerate(diagnosis.fixes, 1))]
    return "\n".join(lines) + "\n"
