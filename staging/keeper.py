"""Keeps a run's journal up to date while it works, and finds what an earlier run has left."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from staging import uploads
from staging.hashing import can_restore
from staging.journal import Journal, JournalUpload, LeaseTimes
from staging.parts import part_range, part_size
from staging.plan import PlannedFile, Source, StagePlan
from staging.run import Run
from staging.source import SourceFile
from staging.stream import Checkpoint, FileStream
from staging.uploads import HeldPart, OpenUpload

SHARE = 0.2
"""At most this share of the time is spent on writing the journal."""
LEAST_SECONDS = 0.1


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
        streams: Callable[[], list[FileStream]],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._journal, self._times, self._streams, self._failed = journal, times, streams, failed
        self._lock = threading.Lock()
        self._left = journal.entry.uploads
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="journal", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write no more."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def forget(self, kept: set[str]) -> None:
        """Of the uploads that the journal listed at the start, only those with an id in `kept` still matter."""
        with self._lock:
            self._left = tuple(upload for upload in self._left if upload.upload_id in kept)

    def begun(self, stream: FileStream) -> None:
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
            if self._end.wait(pause):
                return
            quiet += pause
            try:
                with self._lock:
                    streams = set(self._streams())
                    if self._listed(streams) != last or quiet >= self._times.beat_seconds:
                        self._write(streams)
                        quiet, last = 0.0, self._journal.entry.uploads
            except BaseException as error:
                self._failed(error)
                return

    def _write(self, streams: set[FileStream]) -> None:
        self._journal.write(self._listed(streams))

    def _listed(self, streams: set[FileStream]) -> tuple[JournalUpload, ...]:
        """The uploads of these streams, and those of an earlier run that were not taken up yet."""
        own = [_entry(stream, stream.upload) for stream in streams if stream.upload is not None]
        paths = {entry.path for entry in own}
        own += [upload for upload in self._left if upload.path not in paths]
        return tuple(sorted(own, key=lambda entry: entry.path))


def _entry(stream: FileStream, upload: OpenUpload) -> JournalUpload:
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


def take_up(plan: StagePlan, run: Run, left: tuple[JournalUpload, ...]) -> dict[str, FileStream]:
    """Continue the uploads that an earlier run left; abort those of them that are of no use any more.

    Returns:
        Streams by path.

    Raises:
        StoreError: The bucket cannot be read.
    """
    wanted = {planned.file.path: planned for planned in plan.files if planned.source is Source.HUB}
    with ThreadPoolExecutor(16) as pool:
        found = pool.map(lambda upload: _continue(upload, wanted.get(upload.path), run, plan), left)
        return {stream.planned.file.path: stream for stream in found if stream is not None}


def _continue(entry: JournalUpload, planned: PlannedFile | None, run: Run, plan: StagePlan) -> FileStream | None:
    upload = OpenUpload(entry.key, entry.upload_id, entry.checked)
    usable = (
        planned is not None
        and planned.file.size > run.pieces.piece
        and (entry.key, entry.part_size, entry.checksum)
        == (planned.key, part_size(planned.file.size), run.checksum.name)
    )
    if planned is None or not usable:
        uploads.abort(upload, plan.store)
        return None
    held = uploads.held_parts(upload, plan.store, run.checksum)
    if held is None:
        return None
    source = SourceFile(plan.model, planned.file, plan.hub)
    return FileStream(
        run, planned, source, upload=upload, checkpoint=_checkpoint(entry, planned.file.size, held), held=held
    )


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
