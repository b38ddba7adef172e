"""One large file on its way: its upload, which parts are taken, and its digest, which needs them in order."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from staging.hashing import FileDigest, Mismatch
from staging.parts import part_count, part_range, part_size
from staging.plan import PlannedFile
from staging.retry import Cancelled
from staging.source import SourceFile


class JobBroken(Exception):
    """The file has to start over; whoever works on it lets go."""


@dataclass
class Part:
    """A part in one lane's hands.

    Attributes:
        index: Counted from 0.
        start: Offset in the file.
        size: Bytes.
        got: Bytes that have arrived in the lane's buffer.
        hashed: Bytes that the file's digest has taken from there.
    """

    index: int
    start: int
    size: int
    got: int = 0
    hashed: int = 0

    @property
    def number(self) -> int:
        """As S3 counts, from 1."""
        return self.index + 1


class FileJob:
    """A file that travels part by part through several lanes at once.

    Args:
        planned: The file.
        source: Where it is read from.
        stop: Set when the run ends early.
        attempt: How often the file was begun before.
    """

    def __init__(self, planned: PlannedFile, source: SourceFile, stop: threading.Event, attempt: int = 0) -> None:
        self.planned, self.source, self.attempt = planned, source, attempt
        self.part_size = part_size(planned.file.size)
        self.count = part_count(planned.file.size, self.part_size)
        self.lanes = 0
        self.upload_id = ""
        self.broken = False
        self.opening = threading.Lock()
        self._stop = stop
        self._taken = 0
        self._turn = 0
        self._digest = FileDigest(planned.file)
        self._changed = threading.Condition()
        self._etags: dict[int, str] = {}
        self._moved = 0

    @property
    def exhausted(self) -> bool:
        """Whether no part is left to take."""
        return self.broken or self._taken >= self.count

    def take(self) -> Part:
        """The next part in order. The caller holds the queue's lock."""
        start, end = part_range(self._taken, self.planned.file.size, self.part_size)
        part = Part(self._taken, start, end - start)
        self._taken += 1
        return part

    def absorb(self, part: Part, buffer: memoryview) -> None:
        """Hash what has arrived of a part if it is this part's turn; else leave it for `finish`."""
        if self._turn == part.index and part.hashed < part.got:
            self._digest.update(buffer[part.hashed : part.got])
            part.hashed = part.got

    def finish(self, part: Part, buffer: memoryview, etag: str) -> bool:
        """Note a part that S3 holds, after its bytes went into the digest in their turn.

        Returns:
            Whether this was the file's last part: then the caller completes the file.

        Raises:
            JobBroken: The file starts over.
            Cancelled: The run ended.
        """
        with self._changed:
            while self._turn != part.index:
                if self.broken:
                    raise JobBroken
                if self._stop.is_set():
                    raise Cancelled
                self._changed.wait(0.2)
        self.absorb(part, buffer)
        with self._changed:
            self._etags[part.number] = etag
            self._turn += 1
            self._changed.notify_all()
            return self._turn == self.count

    def arrived(self, count: int) -> None:
        """Count bytes that came from the Hub."""
        with self._changed:
            self._moved += count

    @property
    def moved(self) -> int:
        """Bytes that came from the Hub for this file so far."""
        return self._moved

    def give_up(self) -> None:
        """The file has to start over: let all lanes know."""
        with self._changed:
            self.broken = True
            self._changed.notify_all()

    @property
    def etags(self) -> dict[int, str]:
        """ETag of each finished part by its number."""
        return self._etags

    def mismatch(self) -> Mismatch | None:
        """What is wrong with the content, once all parts are finished."""
        return self._digest.mismatch()

    def sha256(self) -> str:
        """Hex digest, once all parts are finished."""
        return self._digest.sha256()
