"""What a set-up did, step by step."""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What became of something that was declared."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    KEPT = "kept"  # differs from what was asked for, and was left as it is
    REMOVED = "removed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Done:
    """One thing that was looked at, and changed if that was needed.

    Attributes:
        kind: For example ``work pool``.
        name: Its name.
        outcome: What was done.
        detail: What changed, or why it was left out. Never a secret.
    """

    kind: str
    name: str
    outcome: Outcome
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.outcome}{f' ({self.detail})' if self.detail else ''}"
