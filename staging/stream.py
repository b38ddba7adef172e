"""One large file on its way: pieces arrive in any order, are hashed in the file's order and sent on part by part.

Whichever thread brings the piece that is next in order hashes it and sends it while it is still in the processor's
cache, and then those that waited for it. So a file needs no buffers beyond the pieces that came too early.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from staging import uploads
from staging.checksum import Checksum
from staging.hashing import FileDigest, Mismatch
from staging.parts import part_count, part_size
from staging.plan import PlannedFile
from staging.run import Run
from staging.sending import HeldSink, PartSink, PartUpload, QueuedUpload
from staging.source import SourceFile
from staging.uploads import HeldPart, OpenUpload


class StreamBroken(Exception):
    """The file has to start over; whoever works on it lets go."""


@dataclass(frozen=True)
class Checkpoint:
    """How far a file is, as the journal keeps it.

    Attributes:
        parts: How many parts, from the first on, the store holds.
        state: State of the file's digest after them; empty if it cannot be saved.
        crc: Checksum of their bytes.
    """

    parts: int = 0
    state: str = ""
    crc: int = 0


class FileStream:
    """A file that travels through one multipart upload.

    Args:
        run: The run.
        planned: The file.
        source: Where it is read from.
        attempt: How often the file was begun before.
        upload: An unfinished upload to continue.
        checkpoint: How far that one is.
        held: Parts that it holds, by their index; those beyond the checkpoint are read, but not sent again.
        sign: Gives a signed address for a part, by its number from 1; by default with the run's own credentials.
        until: Offset to stop at, a part's end; by default the file's.
    """

    def __init__(
        self,
        run: Run,
        planned: PlannedFile,
        source: SourceFile,
        *,
        attempt: int = 0,
        upload: OpenUpload | None = None,
        checkpoint: Checkpoint | None = None,
        held: Mapping[int, HeldPart] | None = None,
        sign: Callable[[int], str] | None = None,
        until: int | None = None,
    ) -> None:
        self.planned, self.source, self.attempt = planned, source, attempt
        self.part_size = part_size(planned.file.size)
        self.count = part_count(planned.file.size, self.part_size)
        self.until = planned.file.size if until is None else until
        self.upload = upload
        self.broken = False
        self.ended: Callable[[FileStream, BaseException | None], None] = lambda _stream, _error: None
        """Called when all parts are stored, or with what went wrong."""
        self.begin: Callable[[FileStream], None] = lambda _stream: None
        """Called before the first part is begun, when its bytes have come: makes the upload if there is none."""
        self.room: Callable[[], None] = lambda: None
        """Called before a part is begun; may wait."""
        self._run = run
        self._sign = sign or self._sign_part
        self._lock = threading.Lock()
        begun = checkpoint or Checkpoint()
        self.assigned = self.frontier = begun.parts * self.part_size
        self._digest = FileDigest(planned.file, begun.state, self.frontier)
        self._crc, self._part_crc = begun.crc, 0
        self._moved = 0
        self.reused_bytes = self.assigned
        """Bytes that an earlier run stored, which do not travel again."""
        self._come = self.frontier
        """Offset up to which all bytes have come."""
        self._early: dict[int, tuple[memoryview, int]] = {}
        self._busy = False
        self._sink: PartSink | None = None
        self._before: tuple[int, PartUpload | HeldSink] | None = None
        self._held = dict(held or {})
        self._etags = {index: part.etag for index, part in self._held.items() if index < begun.parts}
        self._unstored = part_count(self.until, self.part_size) - begun.parts
        self._states: dict[int, tuple[str, int]] = {}
        self._saved = begun

    def assign(self, most: int) -> tuple[int, int] | None:
        """The next range to read, of at most `most` bytes; None if all are assigned. The caller serializes."""
        if self.broken or self.assigned >= self.until:
            return None
        start = self.assigned
        self.assigned = min(start + most, self.until)
        return start, self.assigned

    @property
    def assignable(self) -> bool:
        """Whether a range is left to read."""
        return not self.broken and self.assigned < self.until

    @property
    def moved_bytes(self) -> int:
        """Bytes that came from the Hub for this stream."""
        return self._moved

    def deliver(self, offset: int, piece: memoryview, length: int) -> bool:
        """Bring the bytes at `offset`. What goes wrong is told to `ended`, and makes the stream `broken`.

        Returns:
            Whether the piece was kept; else the caller may use it again at once.
        """
        with self._lock:
            self._moved += length
            if self.broken:
                return False
            early = self._busy or offset != self.frontier
            if early:
                self._early[offset] = (piece, length)
            further = offset == self._come
            if further:
                self._come += length
                while (waiting := self._early.get(self._come)) is not None:
                    self._come += waiting[1]
            self._busy = self._busy or not early
        if further:
            self._run.pieces.look_again()
        return early or self._pass_on(piece, length)

    def _pass_on(self, piece: memoryview, length: int) -> bool:
        """Hash and send the next bytes, and those that waited for them; True if the piece is kept."""
        kept = self._advance(piece, length)
        while True:
            with self._lock:
                waiting = None if self.broken else self._early.pop(self.frontier, None)
                if waiting is None:
                    self._busy = False
                    break
            if not self._advance(*waiting):
                self._run.pieces.give(waiting[0])
        if self.broken:
            self._run.pieces.look_again()
        return kept

    def is_next(self, offset: int) -> bool:
        """Whether all bytes before `offset` have come."""
        return self.broken or self._come >= offset

    def give_up(self) -> None:
        """Let go of everything; the file starts over or the run ends."""
        with self._lock:
            self.broken = True
            early, self._early = self._early, {}
        for piece, _ in early.values():
            self._run.pieces.give(piece)
        for sink in (self._sink, self._before[1] if self._before else None):
            if sink is not None:
                sink.abandon()

    @property
    def checkpoint(self) -> Checkpoint:
        """How far the file is for certain."""
        return self._saved

    @property
    def checksum(self) -> Checksum:
        """What `crc` is."""
        return self._run.checksum

    @property
    def etags(self) -> dict[int, str]:
        """ETag of each stored part by its number, from 1."""
        return {index + 1: etag for index, etag in self._etags.items()}

    @property
    def crc(self) -> int:
        """Checksum of the whole file, once it is through."""
        return self._crc

    def mismatch(self) -> Mismatch | None:
        """What is wrong with the content, once it is through."""
        return self._digest.mismatch()

    def state(self) -> str:
        """State of the digest, once the range is through; empty if it cannot be restored."""
        return self._digest.state()

    def sha256(self) -> str:
        """Hex digest, once the file is through."""
        return self._digest.sha256()

    def _advance(self, piece: memoryview, length: int) -> bool:
        """Hash and send the next bytes; True if the piece is kept."""
        view, kept = piece[:length], False
        try:
            self._digest.update(view)
            self._part_crc = self._run.checksum.update(view, self._part_crc)
            if self._sink is None:
                self._sink = self._open_part(self.frontier // self.part_size)
            started = time.perf_counter()
            kept = self._sink.feed(view, piece)
            if not kept:
                self._run.tally.timing(sending=time.perf_counter() - started)
            if self._before is not None and self._before[1].answered():
                before, self._before = self._before, None
                self._confirm(before)
            end = self.frontier + length
            if end % self.part_size == 0 or end == self.until:
                self._end_part(self.frontier // self.part_size, end)
            self.frontier = end
        except BaseException as error:
            self.broken = True
            self.ended(self, error)
        return kept

    def _open_part(self, index: int) -> PartSink:
        self.begin(self)
        self.room()
        start = index * self.part_size
        size = min(self.part_size, self.planned.file.size - start)
        if index in self._held and self._held[index].size == size:
            return HeldSink(self._run, self._held[index])

        def make() -> PartUpload:
            return PartUpload(self._run, self.source, start, size, lambda: self._sign(index + 1))

        if not self._run.uplink_slots.take():
            return make()
        return QueuedUpload(make, self._run, lambda etag, error: self._stored(index, etag, error))

    def _sign_part(self, number: int) -> str:
        if self.upload is None or self._run.store is None:
            raise AssertionError("a stream is opened before it is fed")
        return uploads.sign_part(self.upload, number, self._run.store)

    def _end_part(self, index: int, end: int) -> None:
        """The part is complete: its answer is read when the next part is under way, so that nobody waits for it."""
        sink, self._sink = self._sink, None
        if sink is None:
            raise AssertionError("a part that ends was begun")
        crc, self._part_crc = self._part_crc, 0
        self._crc = self._run.checksum.combine(self._crc, crc, end - index * self.part_size)
        with self._lock:
            self._states[index] = (self._digest.state() if end % self.part_size == 0 else "", self._crc)
        # Last: another thread may complete the file as soon as it knows that the part is whole.
        sink.close(crc)
        before, self._before = self._before, (index, sink) if isinstance(sink, PartUpload | HeldSink) else None
        self._confirm(before)
        if end == self.until:
            before, self._before = self._before, None
            self._confirm(before)

    def _confirm(self, unanswered: tuple[int, PartUpload | HeldSink] | None) -> None:
        if unanswered is not None:
            self._stored(unanswered[0], unanswered[1].confirm(), None)

    def _stored(self, index: int, etag: str, error: BaseException | None) -> None:
        """A part is in the store, or is not."""
        if error is not None:
            self.broken = True
            self.ended(self, error)
            return
        with self._lock:
            self._etags[index] = etag
            self._unstored -= 1
            self._save()
            whole = self._unstored == 0
        if whole:
            self.ended(self, None)

    def _save(self) -> None:
        """Move the checkpoint on to the last part of those stored without a gap.

        Not beyond the last but one: a run that continues reads the last part again and so comes to an end.
        """
        parts = self._saved.parts
        while parts in self._etags and (parts < self.count - 1 or self.until < self.planned.file.size):
            parts += 1
        if parts > self._saved.parts:
            state, crc = self._states[parts - 1]
            self._saved = Checkpoint(parts, state, crc)
            self._states = {part: at for part, at in self._states.items() if part >= parts}
