"""What a container's last words mean: a pattern, its cause and its fix. `serving.findings.words` holds the patterns."""

import functools
import re
from dataclasses import dataclass

from serving.diagnosis import Category
from serving.findings.details import of_container, of_log
from serving.snapshot import Container

LAST_LINES = 300
"""How much of a log's end is read: what was said long before the end did not cause it."""

_LEVEL = re.compile(
    r"^.{0,90}?(?<![\w='\"./-])(?:(?P<quiet>DEBUG|INFO|NOTICE|TRACE)|(?P<warning>WARN(?:ING)?)"
    r"|(?P<loud>ERROR|CRITICAL|FATAL))(?![\w='\"/-])"
    r"|^(?P<klog>[IW])\d{4} \d\d:\d\d"
    r"|\blevel\"?\s*[=:]\s*\"?(?P<json>trace|debug|info)\b"
    r"|(?P<python>\b\w*Warning: )"
)
_PASSES = re.compile(
    r"\bretrying\b|\bwill (?:be )?retr|\bfall(?:s|ing) ?back\b|\btrying again\b|\bretries left\b", re.IGNORECASE
)
_EXHAUSTED = re.compile(r"max(?:imum)? ?retries|after \d+ retr|retries exceeded|retry limit", re.IGNORECASE)
_AN_ERROR = re.compile(r"\b(?:ERROR|CRITICAL|FATAL)\b|\b\w*(?:Error|Exception)\b|^Traceback|\bfatal\b", re.MULTILINE)


@dataclass(frozen=True)
class Signature:
    """A pattern in a log.

    Attributes:
        cause: Sentence; ``{0}`` is what the pattern's first filled group holds, ``{name}`` a detail that stands
            elsewhere in the log or in the pod (`serving.findings.details`).
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


_OVERRIDING = frozenset({Category.GPU_MEMORY, Category.HOST_MEMORY, Category.ENGINE, Category.VOLUME})
"""What ends an engine that had got past whatever was passing before."""

_LAST_WARNINGS = 5


def read(log: str, container: Container | None = None) -> Reading | None:
    """Returns the first signature that the end of the log shows, with the line it stands in.

    What a program says in passing (its settings, warnings, what it tries again) is not why it ended: errors are read
    first, and the last warnings only if there are no errors. A passing trouble gives way to an engine's own failure
    that comes after it.

    Args:
        log: What the container said.
        container: The container, for the objects that the fixes name.
    """
    lines = log.splitlines()[-LAST_LINES:]
    ranks = [_rank(line) for line in lines]
    errors = "\n".join(line for line, rank in zip(lines, ranks, strict=True) if rank > 1)
    found = _best(errors)
    if found is None and not _AN_ERROR.search(errors):
        end = [index for index, line in enumerate(lines) if line.strip()][-_LAST_WARNINGS:]
        found = _best("\n".join(lines[index] for index in end if ranks[index] > 0))
    if found is None:
        return None
    entry, line, group = found
    details = {**of_log(errors, "\n".join(lines)), **of_container(container), "0": group}
    return Reading(entry, line, _filled(entry.cause, details), tuple(_filled(fix, details) for fix in entry.fixes))


def _rank(line: str) -> int:
    """How much a line tells of an end: 2 an error or no level, 1 a warning, 0 what is said in passing."""
    if "NCCL WARN" in line:
        return 2  # NCCL has no louder word
    match = _LEVEL.search(line)
    kind = match.lastgroup if match else None
    if kind in ("quiet", "json", "python") or (match and match["klog"] == "I"):
        return 0
    if kind == "loud":
        return 2
    if _PASSES.search(line) and not _EXHAUSTED.search(line):
        return 0
    return 2 if kind is None else 1


def _best(text: str) -> tuple[Signature, str, str] | None:
    found = [(entry, match) for entry in _all() if (match := entry.pattern.search(text))]
    if not found:
        return None
    entry, match = found[0]
    if not entry.lasting:
        later = [
            (other, place)
            for other, place in found
            if other.lasting and other.category in _OVERRIDING and place.start() > match.end()
        ]
        entry, match = later[0] if later else (entry, match)
    begin = text.rfind("\n", 0, match.start()) + 1
    end = text.find("\n", match.end())
    line = text[begin : end if end >= 0 else len(text)].strip()
    return entry, line, next((group.strip() for group in match.groups() if group), "")


def _filled(text: str, details: dict[str, str]) -> str:
    filled = re.sub(r"\{(\w+)\}", lambda match: details.get(match[1], ""), text)
    filled = filled.replace(" :", ":").replace(": .", ".").replace("  ", " ").replace(" .", ".").strip()
    return filled[:1].upper() + filled[1:]
