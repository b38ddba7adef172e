"""What a look at an installation found."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from serving.errors import InferenceError


class Health(StrEnum):
    """How something is."""

    OK = "ok"
    WARNING = "warning"  # works, and something is worth knowing
    FAILED = "failed"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What it is, for example ``work pool``.
        health: How it is.
        what: One sentence.
        fix: What to do, where something is to be done.
    """

    name: str
    health: Health
    what: str
    fix: str = ""


def ok(name: str, what: str) -> Check:
    """All is well."""
    return Check(name, Health.OK, what)


def warning(name: str, what: str, fix: str = "") -> Check:
    """Works, and is worth knowing."""
    return Check(name, Health.WARNING, what, fix)


def failed(name: str, what: str, fix: str = "") -> Check:
    """Does not work."""
    return Check(name, Health.FAILED, what, fix)


def explained(name: str, error: InferenceError) -> Check:
    """Does not work, in the error's own words."""
    return failed(name, " ".join(part for part in (error.what, error.cause) if part), error.fix)


async def guarded(name: str, look: Callable[[], Awaitable[Sequence[Check]]]) -> list[Check]:
    """Looks; a failure that explains itself is a finding, and stops no other look."""
    try:
        return list(await look())
    except InferenceError as error:
        return [explained(name, error)]
