"""What a container's last words mean: a pattern, its cause and its fix. `serving.findings.words` holds the patterns."""

import functools
import re
from dataclasses import dataclass

from serving.diagnosis import Category

LAST_LINES = 300
"""How much of a log's end is read: what was said long before the end did not cause it."""

_CHATTER = re.compile(
    r"^\s*(?:\([^)]*\)\s*)*[\W\d_]*(?:TRACE|DEBUG|INFO|WARN(?:ING)?)\b"  # vLLM, Ray, uvicorn, Python's logging
    r"|\blevel\"?\s*[=:]\s*\"?(?:trace|debug|info|warn)"  # logfmt and JSON
    r"|^[IW]\d{4}\s",  # klog, glog (Triton)
    re.IGNORECASE,
)
_WARNED = re.compile(r"\bwarn(?:ing)?\b|^W\d{4}\s", re.IGNORECASE)
_TRIED_AGAIN = re.compile(r"\b(?:re-?try(?:ing)?|retries left|falling back|trying again)\b", re.IGNORECASE)
_EXHAUSTED = re.compile(r"max(?:imum)? ?retries|after \d+ retr|retries exceeded|retry limit", re.IGNORECASE)
_ERROR = re.compile(
    r"\b(?:ERROR|CRITICAL|FATAL)\b|^\s*(?:\([^)]*\)\s*)*(?:Traceback|[\w.]*(?:Error|Exception)\b)|^[EF]\d{4}\s", re.M
)
_LAST_WARNINGS = 5
_OVERRIDING = frozenset({Category.GPU_MEMORY, Category.HOST_MEMORY, Category.ENGINE, Category.VOLUME})
"""What ends an engine that had got past whatever was passing before."""


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
    """Returns the most telling signature that the end of the log shows, with the line it stands in.

    What a program notes by the way (information, warnings, attempts that it repeats) ended nothing, unless the log ends
    with a warning and holds no error. A passing trouble gives way to an engine's own failure that comes after it.
    """
    said = errors_of(log)
    found = [(entry, match) for entry in _all() if (match := entry.pattern.search(said))]
    if not found:
        return None
    entry, match = found[0]
    if not entry.lasting:
        later = [
            (other, place)
            for other, place in found
            if other.lasting and other.category in _OVERRIDING and place.start() > match.end()
        ]
        entry, match = later[0] if later else found[0]
    begin = said.rfind("\n", 0, match.start()) + 1
    end = said.find("\n", match.end())
    group = next((filled.strip() for filled in match.groups() if filled), "")
    return Reading(
        entry,
        line=said[begin : end if end >= 0 else len(said)].strip(),
        cause=_filled(entry.cause, group),
        fixes=tuple(_filled(fix, group) for fix in entry.fixes),
    )


def errors_of(log: str) -> str:
    """The end of a log with the lines blanked that tell of no failure; lines keep their order."""
    lines = log.splitlines()[-LAST_LINES:]
    kept = [line if _failure(line) else "" for line in lines]
    if not _ERROR.search("\n".join(kept)):
        told = [index for index, line in enumerate(lines) if line.strip()][-_LAST_WARNINGS:]
        for index in told:
            if _WARNED.search(lines[index]) and not _repeated(lines[index]):
                kept[index] = lines[index]
    return "\n".join(kept)


def _failure(line: str) -> bool:
    return not _CHATTER.search(line) and not _repeated(line)


def _repeated(line: str) -> bool:
    return bool(_TRIED_AGAIN.search(line)) and not _EXHAUSTED.search(line)


def _filled(text: str, group: str) -> str:
    return text.replace("{0}", group).replace(" :", ":").replace("  ", " ").strip()
