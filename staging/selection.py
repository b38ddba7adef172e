"""Which files of a repository are staged, with the Hub's pattern semantics, and why the others are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from staging.hub import HubFile

DEFAULT_IGNORE = ("original/*", "metal/*")
"""Folders that repeat the weights in a vendor's own format; no serving engine reads them."""

OTHER_FORMATS = (".bin", ".pth", ".pt", ".h5", ".msgpack", ".ot", ".bin.index.json")
"""Weights in these formats are left out where safetensors lie in the same folder."""


@dataclass(frozen=True)
class Selection:
    """What the user wants of a repository.

    Patterns are the Hub's: shell wildcards in which ``*`` also matches ``/``, case-sensitive.

    Attributes:
        allow: If not empty, only files that match one of these.
        ignore: Never files that match one of these.
        duplicates: Whether to stage weights that lie there as safetensors too in their other formats as well.
    """

    allow: tuple[str, ...] = ()
    ignore: tuple[str, ...] = DEFAULT_IGNORE
    duplicates: bool = False


@dataclass(frozen=True)
class SkippedFile:
    """A file that is left out.

    Attributes:
        path: Path inside the repository.
        size: Bytes.
        reason: Why, in a few words.
    """

    path: str
    size: int
    reason: str


def select(files: Sequence[HubFile], selection: Selection) -> tuple[tuple[HubFile, ...], tuple[SkippedFile, ...]]:
    """Split the files of a commit into those to stage and those left out."""
    with_safetensors = {_folder(file.path) for file in files if file.path.endswith(".safetensors")}
    selected: list[HubFile] = []
    skipped: list[SkippedFile] = []
    for file in files:
        if selection.allow and not matches(file.path, selection.allow):
            reason = "matches no allowed pattern"
        elif matches(file.path, selection.ignore):
            reason = "matches an ignored pattern"
        elif not selection.duplicates and file.path.endswith(OTHER_FORMATS) and _folder(file.path) in with_safetensors:
            reason = "the same weights are there as safetensors"
        else:
            selected.append(file)
            continue
        skipped.append(SkippedFile(file.path, file.size, reason))
    return tuple(selected), tuple(skipped)


def matches(path: str, patterns: Sequence[str]) -> bool:
    """Whether a path matches one of the patterns, as huggingface_hub's ``filter_repo_objects`` has it.

    Args:
        path: Path inside the repository.
        patterns: Shell wildcards; one that ends with a slash means all below that folder.
    """
    plain = (pattern.replace("\\", "/") for pattern in patterns)
    path = path.replace("\\", "/")
    return any(fnmatchcase(path, f"{pattern}*" if pattern.endswith("/") else pattern) for pattern in plain)


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
