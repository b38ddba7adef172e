"""The steps of an endpoint's life, as changes of its record. Pure; docs/releases.md draws them.

Each is written into the cluster before the step is taken that it announces, and each may be written twice.
"""

from datetime import UTC, datetime, timedelta

from serving.errors import InputError
from serving.record import (
    KEPT_RELEASES,
    Change,
    EndpointRecord,
    Failure,
    Rejected,
    ReleaseRecord,
    ReleaseState,
    SmokeResult,
)

CHANGED = "endpoint.changed"
"""Code of the failure of a run that decided upon a record which another run has changed since: nothing was done."""


def now() -> str:
    """This moment, as records have it: ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def later(seconds: float) -> str:
    """A moment from now, as records have it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="seconds")


def seconds_until(moment: str) -> float:
    """Seconds until a moment of a record; 0 if it is over or not given."""
    return max(0.0, (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds()) if moment else 0.0


def begun(record: EndpointRecord | None, candidate: ReleaseRecord, change: Change) -> EndpointRecord:
    """A run is about to bring a candidate up."""
    coming = candidate.model_copy(update={"state": ReleaseState.DEPLOYING})
    if record is None:
        return EndpointRecord(change=change, candidate=coming)
    return record.model_copy(update={"change": change, "candidate": coming})


def paused(record: EndpointRecord, replicas: int) -> EndpointRecord:
    """The current release is about to give its accelerators to the candidate.

    Args:
        record: The record.
        replicas: Pods that it has; 0 if it was paused before, which keeps the number of then.
    """
    if record.current is None:
        return record
    kept = replicas or record.current.replicas
    return _with_current(record, {"state": ReleaseState.PAUSED, "replicas": kept})


def proved(record: EndpointRecord, smoke: SmokeResult, *, moved_bytes: int = 0) -> EndpointRecord:
    """The candidate answered as it must: the endpoint's Service is about to be pointed at it."""
    return _with_candidate(record, {"state": ReleaseState.PROMOTING, "smoke": smoke, "moved_bytes": moved_bytes})


def promoted(record: EndpointRecord) -> EndpointRecord:
    """The endpoint's Service points at the candidate; the release before it stays for a while.

    A commit that was rejected before stays so as long as the endpoint's commit stays the same.
    """
    release, old = record.candidate, record.current
    if release is None:
        return record
    serving = release.model_copy(
        update={
            "state": ReleaseState.SERVING,
            "deployed_at": now(),
            "retire_at": "",
            "retired_at": "",
            "replicas": None,
        }
    )
    before = [one for one in record.previous if one.id != release.id]
    if old is not None and old.id != release.id:
        leaving = {"state": ReleaseState.RETIRING, "retire_at": later(release.spec.rollout.retire_after)}
        before.insert(0, old.model_copy(update=leaving))
    rejecting = record.change.rejecting if record.change else None
    same_commit = old is not None and old.model.commit == release.model.commit
    return record.model_copy(
        update={
            "candidate": None,
            "current": serving,
            "previous": tuple(before[:KEPT_RELEASES]),
            "rejected": rejecting or (record.rejected if same_commit else None),
        }
    )


def retired(record: EndpointRecord) -> EndpointRecord:
    """All releases but the current one are gone, and the change is done."""
    gone = {"state": ReleaseState.RETIRED, "retired_at": now(), "replicas": None}
    before = [one.model_copy(update=gone) if one.state is ReleaseState.RETIRING else one for one in record.previous]
    return record.model_copy(update={"previous": tuple(before), "change": None})


def failed(record: EndpointRecord, failure: Failure, *, rejected: Rejected | None = None) -> EndpointRecord:
    """The candidate could not be proved: it is about to be taken away, and the current release to serve again."""
    told = record.model_copy(update={"failed": failure, "rejected": rejected or record.rejected})
    return _with_candidate(told, {"state": ReleaseState.FAILED})


def undone(record: EndpointRecord) -> EndpointRecord | None:
    """The candidate is gone and the current release serves; None if there is none, and so no endpoint."""
    if record.current is None:
        return None
    back = record.model_copy(update={"candidate": None, "change": None})
    return _with_current(back, {"state": ReleaseState.SERVING, "replicas": None})


def removing(record: EndpointRecord, change: Change) -> EndpointRecord:
    """The endpoint is about to be taken away with all that belongs to it."""
    return record.model_copy(update={"change": change})


def foreseen(record: EndpointRecord) -> EndpointRecord | None:
    """The record as it will be once what a run left was finished or undone; None if nothing will be left.

    What is proved is finished, what is not is undone: the next run does it before it does anything else.
    """
    if record.change is not None and record.change.action == "remove":
        return None
    if record.candidate is None:
        return record if record.settled else retired(record)
    if record.candidate.state is ReleaseState.PROMOTING:
        return retired(promoted(record))
    return undone(record)


def require_unchanged(seen: EndpointRecord, found: EndpointRecord | None) -> None:
    """Raises if a run has changed the endpoint since its record was looked at.

    Raises:
        InputError: ``endpoint.changed``.
    """
    if changed_since(seen, found):
        name = f"{seen.spec.namespace}/{seen.spec.name}"
        raise InputError(
            f"Endpoint {name} was changed by another run meanwhile; nothing was done.",
            fix="Look at what it serves now (list-endpoints), and run this again if it is still wanted.",
            code=CHANGED,
        )


def changed_since(seen: EndpointRecord, found: EndpointRecord | None) -> bool:
    """Whether a run has changed the endpoint since its record was looked at; None if it is gone."""
    return found is None or _movable(found) != _movable(seen)


def _movable(record: EndpointRecord) -> tuple[object, ...]:
    """What a run changes; a check of what serves, or a person's word on a commit, changes other things."""
    releases = (record.candidate, record.current)
    return record.change, *(one and one.model_copy(update={"smoke": None}) for one in releases)


def retiring(record: EndpointRecord) -> list[ReleaseRecord]:
    """Releases that were replaced and are not gone yet."""
    return [one for one in record.previous if one.state is ReleaseState.RETIRING]


def _with_current(record: EndpointRecord, update: dict[str, object]) -> EndpointRecord:
    current = record.current
    return record if current is None else record.model_copy(update={"current": current.model_copy(update=update)})


def _with_candidate(record: EndpointRecord, update: dict[str, object]) -> EndpointRecord:
    found = record.candidate
    return record if found is None else record.model_copy(update={"candidate": found.model_copy(update=update)})
