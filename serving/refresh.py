"""What a refresh does with each endpoint, from its record and what its branch is now. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from serving.errors import InferenceError
from serving.models import COMMIT, PinnedModel
from serving.policy import RefreshMode
from serving.record import EndpointRecord
from serving.spec import EndpointSpec, Framework


class Step(StrEnum):
    """What becomes of an endpoint in a refresh; values are for people."""

    CURRENT = "up to date"
    PINNED = "pinned"
    PASSED_OVER = "passed over"
    WAITS = "waits for its window"
    ASKS = "asks for approval"
    MOVES = "moves"
    UNKNOWN = "unknown"
    LEFT = "left half way"
    BUSY = "busy"
    GONE = "gone"


@dataclass(frozen=True)
class Decision:
    """What a refresh does with one endpoint.

    Attributes:
        newest: The commit of its branch, where that was asked for.
        why: One sentence where the step alone does not say it.
        code: Stable name of the reason why the branch could not be read.
    """

    record: EndpointRecord
    step: Step
    newest: PinnedModel | None = None
    why: str = ""
    code: str = ""

    @property
    def name(self) -> str:
        """``namespace/endpoint``."""
        return f"{self.record.spec.namespace}/{self.record.spec.name}"


def follows(record: EndpointRecord) -> bool:
    """Whether the endpoint follows a branch (or a tag): one that has none, or is pinned, does not."""
    return record.spec.refresh.mode is RefreshMode.FOLLOW and has_branch(record.spec)


def has_branch(spec: EndpointSpec) -> bool:
    """Whether an endpoint's model is of a branch (or a tag) of the Hub: one that names a commit is not.

    A NIM's model is its image's: no branch of the Hub concerns it.
    """
    return spec.framework is not Framework.NIM and not COMMIT.match(spec.model.revision)


def _why_pinned(record: EndpointRecord) -> str:
    if record.spec.refresh.mode is not RefreshMode.FOLLOW:
        return "Its refresh policy says so."
    if record.spec.framework is Framework.NIM:
        return "A NIM's model is its image's."
    return "Its revision is a commit."


def decide(
    record: EndpointRecord,
    newest: PinnedModel | InferenceError | None,
    now: datetime,
    *,
    ignore_windows: bool = False,
) -> Decision:
    """Says what a refresh does with an endpoint.

    Args:
        record: What it serves.
        newest: Its branch's commit, or why that could not be read; None if nobody asked.
        now: The time, aware.
        ignore_windows: Whether it may move at any hour.
    """
    policy = record.spec.refresh
    if not follows(record) or newest is None:
        return Decision(record, Step.PINNED, why=_why_pinned(record))
    if isinstance(newest, InferenceError):
        return Decision(record, Step.UNKNOWN, why=str(newest), code=newest.code)
    if record.state == "removing":
        return Decision(record, Step.PASSED_OVER, newest, "It is being removed.")
    if record.current is None:
        return Decision(record, Step.PASSED_OVER, newest, "Its first release is not up yet.")
    if record.current.model.commit == newest.commit:
        return Decision(record, Step.CURRENT, newest)
    if record.rejected is not None and record.rejected.commit == newest.commit:
        return Decision(record, Step.PASSED_OVER, newest, f"Commit {newest.commit[:12]}: {record.rejected.reason}")
    if policy.approval and (record.approved is None or record.approved.commit != newest.commit):
        return Decision(record, Step.ASKS, newest)
    if not ignore_windows and not policy.is_open(now):
        opening = policy.next_opening(now)
        why = f"Commit {newest.commit[:12]} may move from {opening:%A %Y-%m-%d %H:%M} ({policy.timezone}) on."
        return Decision(record, Step.WAITS, newest, why)
    return Decision(record, Step.MOVES, newest)
