"""Keeps a run's journal up to date while it works, and finds what an earlier run has left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

from staging import uploads
from staging.checksum import Checksum
from staging.hashing import can_restore
from staging.journal import Journal, JournalUpload, LeaseTimes
from staging.parts import MIN_PART, part_range, part_size
from staging.plan import PlannedFile, Source, StagePlan
from staging.stream import Checkpoint
from staging.uploads import HeldPart, OpenUpload

SHARE = 0.2
"""At most this share of the time is spent on writing the journal."""
LEAST_SECONDS = 0.1
UNRECORDED = 4 * MIN_PART
"""Bytes of stored parts, beside those under way, that the journal may lack: so much a kill makes travel again."""


class UnderWay(Protocol):
    """A large file on its way, as the journal sees it."""

    @property
    def planned(self) -> PlannedFile:
        """The file."""

    @property
    def upload(self) -> OpenUpload | None:
        """Its upload."""

    @property
    def part_size(self) -> int:
        """Bytes of its parts."""

    @property
    def checkpoint(self) -> Checkpoint:
        """How far it is for certain."""

    @property
    def checksum(self) -> Checksum:
        """What the checkpoint's `crc` is."""


@dataclass(frozen=True)
class Begun:
    """An upload of an earlier run that can be continued.

    Attributes:
        planned: The file.
        upload: Its upload.
        checkpoint: Where hashing can go on.
        held: All parts that the store has, by their index.
    """

    planned: PlannedFile
    upload: OpenUpload
    checkpoint: Checkpoint
    held: Mapping[int, HeldPart]


class Keeper:
    """Writes the journal: at once when an upload begins, and as often as is cheap while parts are stored.

    Args:
        journal: The journal that this run holds.
        times: How often at least.
        streams: Gives the large files under way.
        failed: Told what went wrong with writing.
    """

    def __init__(
        self,
        journal: Journal,
        times: LeaseTimes,
        streams: Callable[[], Sequence[UnderWay]],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._journal, self._times, self._streams, self._failed = journal, times, streams, failed
        self._lock = threading.Lock()
        self._left = journal.entry.uploads
        self._changed = threading.Condition()
        self._wanted = self._ended = False
        self._thread = threading.Thread(target=self._keep, name="journal", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write no more."""
        self._over()
        if self._thread.is_alive():
            self._thread.join()

    def room(self) -> None:
        """Wait before a part is begun until the journal has most of those that are stored."""
        with self._changed:
            while not self._ended and (behind := self._behind()) >= UNRECORDED // 2:
                self._wanted = True
                self._changed.notify_all()
                if behind < UNRECORDED:
                    return
                self._changed.wait(0.2)

    def forget(self, kept: set[str]) -> None:
        """Of the uploads that the journal listed at the start, only those with an id in `kept` still matter."""
        with self._lock:
            self._left = tuple(upload for upload in self._left if upload.upload_id in kept)

    def begun(self, stream: UnderWay) -> None:
        """Note a new upload before it gets its first byte, so that it can never be lost.

        Raises:
            LeaseLost: Another run holds the journal now.
            StoreError: The bucket cannot be written.
        """
        with self._lock:
            self._write({stream, *self._streams()})

    def release(self) -> bool:
        """Leave what is unfinished to a later run; False if there is nothing."""
        with self._lock:
            listed = self._listed(set(self._streams()))
            if listed:
                self._journal.write(listed, release=True)
            return bool(listed)

    def _keep(self) -> None:
        quiet, last = 0.0, self._journal.entry.uploads
        while True:
            pause = max(LEAST_SECONDS, min(self._journal.latency_seconds / SHARE, self._times.beat_seconds))
            started = time.monotonic()
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._wanted, pause)
                if self._ended:
                    return
                self._wanted = False
            quiet += time.monotonic() - started
            try:
                with self._lock:
                    streams = set(self._streams())
                    if self._listed(streams) != last or quiet >= self._times.beat_seconds:
                        self._write(streams)
                        quiet, last = 0.0, self._journal.entry.uploads
            except BaseException as error:
                self._over()
                self._failed(error)
                return

    def _over(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _write(self, streams: set[UnderWay]) -> None:
        self._journal.write(self._listed(streams))
        with self._changed:
            self._changed.notify_all()

    def _behind(self) -> int:
        """Bytes of stored parts that the journal does not have yet."""
        recorded = {upload.upload_id: upload.parts for upload in self._journal.entry.uploads}
        return sum(
            (stream.checkpoint.parts - recorded.get(stream.upload.upload_id, 0)) * stream.part_size
            for stream in self._streams()
            if stream.upload is not None
        )

    def _listed(self, streams: set[UnderWay]) -> tuple[JournalUpload, ...]:
        """The uploads of these streams, and those of an earlier run that were not taken up yet."""
        own = [_entry(stream, stream.upload) for stream in streams if stream.upload is not None]
        paths = {entry.path for entry in own}
        own += [upload for upload in self._left if upload.path not in paths]
        return tuple(sorted(own, key=lambda entry: entry.path))


def _entry(stream: UnderWay, upload: OpenUpload) -> JournalUpload:
    saved = stream.checkpoint
    return JournalUpload(
        path=stream.planned.file.path,
        key=upload.key,
        upload_id=upload.upload_id,
        checksum=stream.checksum.name,
        checked=upload.checked,
        part_size=stream.part_size,
        parts=saved.parts,
        state=saved.state,
        crc=f"{saved.crc:x}",
    )


def take_up(
    plan: StagePlan, checksum: Checksum, least: int, left: tuple[JournalUpload, ...]
) -> tuple[StagePlan, dict[str, Begun]]:
    """Find out which uploads that an earlier run left can be continued; abort those of no use any more.

    The store may have been completing an upload when that run ended: such a file is present, if not now then soon.

    Args:
        plan: The plan.
        checksum: What this run uses.
        least: Files of so many bytes and less are not uploaded in parts.
        left: What the journal lists.

    Returns:
        The plan as it is now, and what can be continued, by path.

    Raises:
        StoreError: The bucket cannot be read.
    """
    wanted = {
        planned.file.path: planned
        for planned in plan.files
        if planned.source is Source.HUB and planned.file.size > least
    }
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda upload: _continue(upload, wanted.get(upload.path), checksum, plan), left))
        begun = {start.planned.file.path: start for start in found if start is not None}
        gone = [wanted[upload.path] for upload in left if upload.path in wanted and upload.path not in begun]
        digests = pool.map(lambda planned: uploads.completed_digest(planned, plan.store), gone)
        present = {planned.file.path: digest for planned, digest in zip(gone, digests, strict=True) if digest}
    files = tuple(
        replace(planned, source=Source.PRESENT, sha256=present[planned.file.path])
        if planned.file.path in present
        else planned
        for planned in plan.files
    )
    return replace(plan, files=files), begun


def _continue(entry: JournalUpload, planned: PlannedFile | None, checksum: Checksum, plan: StagePlan) -> Begun | None:
    upload = OpenUpload(entry.key, entry.upload_id, entry.checked)
    ours = (entry.key, entry.part_size, entry.checksum)
    if planned is None or ours != (planned.key, part_size(planned.file.size), checksum.name):
        uploads.abort(upload, plan.store)
        return None
    held = uploads.held_parts(upload, plan.store, checksum)
    if held is None:
        return None
    return Begun(planned, upload, _checkpoint(entry, planned.file.size, held), held)


def _checkpoint(entry: JournalUpload, size: int, held: dict[int, HeldPart]) -> Checkpoint:
    """Where hashing can go on: only if every part that went into the saved state is still there."""
    for index in range(entry.parts):
        start, end = part_range(index, size, entry.part_size)
        if index not in held or held[index].size != end - start:
            return Checkpoint()
    whole = entry.parts * entry.part_size >= size
    if entry.parts == 0 or whole or not can_restore(entry.state):
        return Checkpoint()
    return Checkpoint(entry.parts, entry.state, int(entry.crc, 16))
