"""Which release to go back to. Pure."""

from serving.errors import InputError
from serving.lifecycle import now
from serving.record import EndpointRecord, Rejected, ReleaseRecord

SHORTEST = 6


def choose_release(record: EndpointRecord, to: str = "") -> ReleaseRecord:
    """Returns the release to go back to.

    Args:
        record: The endpoint's record.
        to: Its id or commit, or the beginning of either; empty for the release before the present one.

    Raises:
        InputError: There is none, none matches, or several do.
    """
    name = f"{record.spec.namespace}/{record.spec.name}"
    if not record.previous:
        raise InputError(
            f"Endpoint {name} has no release before {record.current.id if record.current else 'its first one'}.",
            fix="Deploy another revision or other parameters instead.",
            code="rollback.none",
        )
    if not to:
        return record.previous[0]
    listed = "; ".join(f"{old.id} (commit {old.model.commit[:12]}, {old.deployed_at})" for old in record.previous)
    matching = [old for old in record.previous if old.id.startswith(to) or old.model.commit.startswith(to)]
    if len(to) < SHORTEST or len(matching) != 1:
        found = "is too short" if len(to) < SHORTEST else "matches several" if matching else "is none"
        raise InputError(
            f"{to!r} {found} of the earlier releases of endpoint {name}.",
            fix=f"Name one of them: {listed}.",
            code="rollback.unknown",
        )
    return matching[0]


def rejection_of(record: EndpointRecord, chosen: ReleaseRecord) -> Rejected | None:
    """Returns the commit that refreshes must pass over after the rollback; None if the commit stays the same."""
    if record.current is None or record.current.model.commit == chosen.model.commit:
        return None
    return Rejected(commit=record.current.model.commit, reason="rolled back", at=now())
