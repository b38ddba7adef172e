"""A reader: one thread with its own connections to the Hub that brings ranges of large files and whole small ones."""

from __future__ import annotations

import time
from functools import partial

from staging import uploads
from staging.hashing import FileDigest
from staging.plan import PlannedFile
from staging.retry import Cancelled
from staging.run import Run
from staging.sending import RESIGNATURES, RESIGNED
from staging.source import SourceFile
from staging.stream import FileStream, StreamBroken
from staging.wire import Wire, WireFault


class Reader:
    """One thread's means of transfer.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._wire = Wire(run.patience.stall_seconds)

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()

    def bring(self, stream: FileStream, start: int, end: int) -> None:
        """Read a range of a large file and deliver it piece by piece.

        Raises:
            StreamBroken: The file starts over.
            InferenceError: A fault that outlasted the patience.
            Cancelled: The run ended.
        """
        repeats, body, done, piece = self._run.repeats(), None, start, None
        try:
            while done < end:
                if self._run.stop.is_set():
                    raise Cancelled
                if stream.broken:
                    raise StreamBroken
                piece = piece or self._run.pieces.take(partial(stream.is_next, done))
                length = min(self._run.pieces.piece - done % self._run.pieces.piece, end - done)
                started = time.perf_counter()
                try:
                    body = body or stream.source.open(self._wire, done, end)
                    body.read_into(piece[:length])
                except WireFault as fault:
                    body = None
                    self._run.wait_for_hub(repeats, fault, stream.planned.file)
                    continue
                self._run.tally.timing(receiving=time.perf_counter() - started)
                repeats.progress()
                self._run.tally.add(moved=length)
                if stream.deliver(done, piece, length):
                    piece = None
                done += length
        finally:
            if piece is not None:
                self._run.pieces.give(piece)
            if body is not None:
                body.close()

    def move_small(self, planned: PlannedFile, source: SourceFile) -> str:
        """Move a file that fits a piece: verified before its one PUT makes it visible; returns its SHA-256.

        Raises:
            StagingError: ``staging.corrupt``.
            InferenceError: A fault that outlasted the patience.
            Cancelled: The run ended.
        """
        piece = self._run.pieces.take()
        try:
            return self._move_within(planned, source, piece[: planned.file.size])
        finally:
            self._run.pieces.give(piece)

    def _move_within(self, planned: PlannedFile, source: SourceFile, view: memoryview) -> str:
        for attempt in (1, 2):
            self._read_whole(source, view)
            digest = FileDigest(planned.file)
            digest.update(view)
            wrong = digest.mismatch()
            if wrong is None:
                break
            if attempt == 2:
                raise self._run.corrupt(planned.file, wrong)
        self._put_whole(planned, digest.sha256(), view)
        self._run.tally.add(moved=len(view))
        return digest.sha256()

    def _read_whole(self, source: SourceFile, view: memoryview) -> None:
        repeats = self._run.repeats()
        while len(view):
            try:
                source.open(self._wire, 0, len(view)).read_into(view)
            except WireFault as fault:
                self._run.wait_for_hub(repeats, fault, source.file)
            else:
                return

    def _put_whole(self, planned: PlannedFile, sha256: str, view: memoryview) -> None:
        checksum = self._run.checksum
        crc = checksum.encode(checksum.update(view, 0))
        repeats, resigned, store = self._run.repeats(), 0, self._run.store
        if store is None:
            raise AssertionError("only the process that plans moves small files")
        while True:
            signed = uploads.sign_put(planned.key, planned.file, sha256, store, (checksum, crc))
            wire = self._run.uplinks.take()
            try:
                upload = wire.put(*signed, len(view))
                if len(view):
                    upload.send(view)
                upload.finish()
            except WireFault as fault:
                if fault.code in RESIGNED and resigned < RESIGNATURES:
                    resigned += 1
                    continue
                self._run.wait_for_store(repeats, fault)
            else:
                return
            finally:
                self._run.uplinks.give(wire)
