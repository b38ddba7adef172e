"""What a stand-in reads, held against the manifest that staging left beside it."""

import hashlib
import json
from pathlib import Path

from sandbox.engine.model import MANIFEST


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 by path, as the folder's manifest lists them; empty for what was not staged."""
    if not (folder / MANIFEST).is_file():
        return {}
    listed = json.loads((folder / MANIFEST).read_text())["files"]
    return {entry["path"]: entry["sha256"] for entry in listed}


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check(path: Path, wanted: str | None) -> str:
    """Hold a file against its manifest.

    Args:
        path: The file.
        wanted: Its SHA-256 there; None if it is not listed.

    Returns:
        Its SHA-256.

    Raises:
        OSError: It is another file.
    """
    found = digest(path)
    if found != wanted:
        raise OSError(f"{path} is not what was staged: its SHA-256 is {found}, {MANIFEST} says {wanted}")
    return found
