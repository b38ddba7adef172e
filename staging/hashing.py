"""Digests that are computed while a file travels: SHA-256 always, git's SHA-1 where the Hub has nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from staging.hub import HubFile


@dataclass(frozen=True)
class Mismatch:
    """A file whose content is not what the Hub lists.

    Attributes:
        kind: Name of the digest.
        expected: What the Hub lists.
        actual: What the bytes that came have.
    """

    kind: str
    expected: str
    actual: str


class FileDigest:
    """The running digests of one file, fed in the file's order. Feeding releases the GIL.

    Args:
        file: The file as the Hub lists it.
    """

    def __init__(self, file: HubFile) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._git = None if file.sha256 else hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)

    def update(self, data: memoryview) -> None:
        """Take the next bytes."""
        self._sha256.update(data)
        if self._git is not None:
            self._git.update(data)

    def sha256(self) -> str:
        """Hex digest of what was fed."""
        return self._sha256.hexdigest()

    def mismatch(self) -> Mismatch | None:
        """What is wrong with the file, after its last byte was fed; None if it is what the Hub lists."""
        if self._git is not None:
            actual, expected, kind = self._git.hexdigest(), self._file.blob_id, "git blob SHA-1"
        else:
            actual, expected, kind = self._sha256.hexdigest(), self._file.sha256, "SHA-256"
        return None if actual == expected else Mismatch(kind, expected, actual)
