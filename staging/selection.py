"""Which files of a repository are staged, with the Hub's pattern semantics, and why the others are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    allowed = _matching(files, allow=selection.allow)
    kept = _matching(files, ignore=selection.ignore)
    with_safetensors = {_folder(file.path) for file in files if file.path.endswith(".safetensors")}
    selected: list[HubFile] = []
    skipped: list[SkippedFile] = []
    for file in files:
        if file.path not in allowed:
            reason = "matches no allowed pattern"
        elif file.path not in kept:
            reason = "matches an ignored pattern"
        elif not selection.duplicates and file.path.endswith(OTHER_FORMATS) and _folder(file.path) in with_safetensors:
            reason = "the same weights are there as safetensors"
        else:
            selected.append(file)
            continue
        skipped.append(SkippedFile(file.path, file.size, reason))
    return tuple(selected), tuple(skipped)


def _matching(files: Sequence[HubFile], *, allow: Sequence[str] = (), ignore: Sequence[str] = ()) -> set[str]:
    from huggingface_hub.utils._paths import filter_repo_objects

    paths = [file.path for file in files]
    return set(filter_repo_objects(paths, allow_patterns=list(allow) or None, ignore_patterns=list(ignore)))


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
