"""Which release to go back to, and which commit not to try again. Pure."""

from serving.diagnosis import Category
from serving.errors import InferenceError, InputError, RolloutError, SmokeTestError
from serving.lifecycle import foreseen, now
from serving.record import EndpointRecord, Rejected, ReleaseRecord
from serving.spec import EndpointSpec

SHORTEST = 6


def choose_release(record: EndpointRecord, to: str = "") -> ReleaseRecord:
    """Returns the release to go back to.

    A rollback that was interrupted is gone on with: asking again does not go back one release further.

    Args:
        record: The endpoint's record.
        to: Its id or commit, or the beginning of either; empty for the release before the present one. The present
            one may be named too: nothing changes then.

    Raises:
        InputError: There is none, none matches, or several do.
    """
    name = f"{record.spec.namespace}/{record.spec.name}"
    interrupted = record.change is not None and record.change.action == "rollback"
    if interrupted and not to and (aim := record.candidate or record.current):
        return aim
    settled = foreseen(record)
    known = [settled.current, *settled.previous] if settled else []
    releases = [one for one in known if one is not None]
    if len(releases) < (1 if to else 2):
        raise InputError(
            f"Endpoint {name} has no release before {releases[0].id if releases else 'its first one'}.",
            fix="Deploy another revision or other parameters instead.",
            code="rollback.none",
        )
    if not to:
        return releases[1]
    listed = "; ".join(f"{old.id} (commit {old.model.commit[:12]}, {old.deployed_at})" for old in releases)
    matching = [old for old in releases if old.id.startswith(to) or old.model.commit.startswith(to)]
    if len(to) < SHORTEST or len(matching) != 1:
        found = "is too short" if len(to) < SHORTEST else "matches several" if matching else "is none"
        raise InputError(
            f"{to!r} {found} of the releases of endpoint {name}.",
            fix=f"Name one of them: {listed}.",
            code="rollback.unknown",
        )
    return matching[0]


def with_present_rules(spec: EndpointSpec, record: EndpointRecord) -> EndpointSpec:
    """Returns an earlier release's spec with what belongs to the endpoint as it is now: how it changes, and when."""
    return spec.model_copy(update={"rollout": record.spec.rollout, "refresh": record.spec.refresh})


def rejection_of(record: EndpointRecord, chosen: ReleaseRecord) -> Rejected | None:
    """Returns the commit that refreshes must pass over after the rollback; None if the commit stays the same.

    Of a rollback that was interrupted after the switch, the commit was noted with the switch.
    """
    settled = foreseen(record)
    current = settled.current if settled else None
    if current is None or current.model.commit == chosen.model.commit:
        return None
    return Rejected(commit=current.model.commit, reason="rolled back", at=now())


_NOT_THE_MODEL = frozenset(
    {
        Category.UNSCHEDULABLE,
        Category.QUOTA,
        Category.SERVICE_ACCOUNT,
        Category.ADMISSION,
        Category.VOLUME,
        Category.IMAGE_PULL,
        Category.OPERATOR,
        Category.MODEL_ACCESS,
        Category.STORE_ACCESS,
        Category.NODE,
        Category.NETWORK,
    }
)
"""Causes that have nothing to do with what a commit holds: tomorrow it may come up."""

_DAMAGED = (Category.STORE_ACCESS, "damaged")
"""What was staged was checked against the Hub: a file that engines cannot read is the commit's own."""


def blames_model(error: InferenceError) -> bool:
    """Whether a commit that failed so should not be tried again by itself."""
    if isinstance(error, RolloutError) and (found := error.diagnosis) is not None:
        return found.category not in _NOT_THE_MODEL or (found.category, found.reason) == _DAMAGED
    return isinstance(error, RolloutError | SmokeTestError)
