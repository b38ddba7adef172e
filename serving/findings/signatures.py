"""What a container's last words mean: a pattern, its cause and its fix. `serving.findings.words` holds the patterns."""

import functools
import re
from dataclasses import dataclass

from serving.diagnosis import Category

LAST_LINES = 300
"""How much of a log's end is read: what was said long before the end did not cause it."""


@dataclass(frozen=True)
class Signature:
    """A pattern in a log.

    Attributes:
        cause: Sentence; ``{0}`` is what the pattern's first filled group holds.
        fixes: The same for each fix.
        lasting: Whether another start cannot end otherwise.
    """

    category: Category
    reason: str
    pattern: re.Pattern[str]
    cause: str
    fixes: tuple[str, ...]
    lasting: bool = True


@dataclass(frozen=True)
class Reading:
    """A signature found in a log, with its line."""

    signature: Signature
    line: str
    cause: str
    fixes: tuple[str, ...]


def signature(
    category: Category, reason: str, pattern: str, cause: str, *fixes: str, lasting: bool = True
) -> Signature:
    """Makes a signature; letters' case does not matter."""
    return Signature(category, reason, re.compile(pattern, re.IGNORECASE), cause, fixes, lasting)


@functools.cache
def _all() -> tuple[Signature, ...]:
    from serving.findings.words import SIGNATURES

    return SIGNATURES


def read(log: str) -> Reading | None:
    """Returns the first signature that the end of the log shows, with the line it stands in."""
    end_of_log = "\n".join(log.splitlines()[-LAST_LINES:])
    for entry in _all():
        match = entry.pattern.search(end_of_log)
        if match is None:
            continue
        begin = end_of_log.rfind("\n", 0, match.start()) + 1
        end = end_of_log.find("\n", match.end())
        group = next((found.strip() for found in match.groups() if found), "")
        return Reading(
            entry,
            line=end_of_log[begin : end if end >= 0 else len(end_of_log)].strip(),
            cause=_filled(entry.cause, group),
            fixes=tuple(_filled(fix, group) for fix in entry.fixes),
        )
    return None


def _filled(text: str, group: str) -> str:
    return text.replace("{0}", group).replace(" :", ":").replace("  ", " ").strip()
