"""What is said of a workload that is on its way."""

from dataclasses import dataclass
from enum import StrEnum

from serving.diagnosis import Diagnosis


class Phase(StrEnum):
    """What a workload that is on its way does now; values are for people."""

    STARTING = "starting"
    PENDING_NODE = "waiting for a node"
    PULLING = "pulling image"
    FETCHING = "fetching weights"
    LOADING = "loading"
    WARMING = "warming up"
    PARTLY_READY = "partly ready"
    OLD_PODS = "old pods go"
    READY = "ready"
    RESTARTING = "restarting"


@dataclass(frozen=True)
class Readiness:
    """The judgement of one moment.

    Attributes:
        ready: Whether the wanted generation serves with all replicas and the old one is gone.
        ready_replicas: Pods of the wanted generation that are ready.
        wanted: Pods that should be.
        message: One line for people: what happens now.
        share: How much of the present phase is done, 0 to 1; 0 if that is not known.
        diagnosis: What is wrong, if anything; ``final`` tells whether waiting can help.
    """

    ready: bool
    phase: Phase
    ready_replicas: int
    wanted: int
    message: str
    share: float = 0.0
    diagnosis: Diagnosis | None = None

    @property
    def final_failure(self) -> Diagnosis | None:
        """What the workload cannot leave by itself; None as long as waiting may help."""
        return self.diagnosis if self.diagnosis is not None and self.diagnosis.final else None
