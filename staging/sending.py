"""One part of a file on its way into the bucket."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Protocol

from staging.parts import MIB
from staging.retry import Cancelled
from staging.run import Run
from staging.source import SourceFile
from staging.uploads import HeldPart, UploadGone
from staging.wire import Upload, Wire, WireFault

RESIGNED = frozenset({"ExpiredToken", "RequestExpired", "AccessDenied", "InvalidToken", "403"})
"""Answers that a signed address gets when it, or the credentials behind it, have expired."""
RESIGNATURES = 2
"""How often in a row a fresh signature is tried before such an answer is believed."""


class ContentChanged(Exception):
    """The Hub gave other bytes when a range was read again."""


class PartSink(Protocol):
    """Takes the bytes of one part in order."""

    def feed(self, view: memoryview, piece: memoryview) -> bool:
        """Take the next bytes; True if the piece is kept, and given back to the pool later."""

    def close(self, crc: int) -> None:
        """No more bytes come; `crc` is the checksum of all."""

    def abandon(self) -> None:
        """Break off."""


class HeldSink:
    """Stands for a part that the store has: its bytes are only compared.

    Args:
        run: The run.
        part: What the store has.
    """

    def __init__(self, run: Run, part: HeldPart) -> None:
        self._run, self._part, self._crc = run, part, 0

    def feed(self, view: memoryview, piece: memoryview) -> bool:  # noqa: ARG002
        """Nothing needs to be sent."""
        return False

    def close(self, crc: int) -> None:
        """Note the checksum of all bytes."""
        self._crc = crc

    def confirm(self) -> str:
        """The part's ETag.

        Raises:
            ContentChanged: The store holds other bytes.
        """
        if self._part.checksum and self._part.checksum != self._run.checksum.encode(self._crc):
            raise ContentChanged
        return self._part.etag

    def answered(self) -> bool:
        """Nothing is waited for."""
        return True

    def abandon(self) -> None:
        """Nothing is under way."""


class PartUpload:
    """Sends a part through a signed address as its bytes come, from the thread that has them.

    A part that could not be sent is read from the Hub again, and must then have the checksum of the bytes that went
    into the file's digest: so what is stored is what was verified.

    Args:
        run: The run.
        source: The file, to read the part again.
        start: Offset of the part in the file.
        size: Its bytes.
        sign: Gives a signed address for it.
    """

    def __init__(self, run: Run, source: SourceFile, start: int, size: int, sign: Callable[[], str]) -> None:
        self._run, self._source, self._start, self._size, self._sign = run, source, start, size, sign
        self._wire = run.uplinks.take()
        self._upload: Upload | None = None
        self._fault: WireFault | None = None
        self._crc = 0
        self._begin()

    def feed(self, view: memoryview, piece: memoryview) -> bool:  # noqa: ARG002
        """Send the next bytes. A fault is dealt with in `confirm`."""
        if self._upload is not None:
            try:
                self._upload.send(view)
            except WireFault as fault:
                self._upload, self._fault = None, fault
        return False

    def close(self, crc: int) -> None:
        """Note the checksum of all bytes that were fed."""
        self._crc = crc

    def confirm(self) -> str:
        """Read the store's answer; send the part again if that is needed.

        Returns:
            The part's ETag.

        Raises:
            UploadGone: The upload does not exist any more.
            ContentChanged: The part read again was not the same.
            InferenceError: Faults outlasted the patience.
            Cancelled: The run ended.
        """
        repeats, resigned = self._run.repeats(), 0
        while True:
            try:
                if self._upload is None:
                    raise self._fault or WireFault("broken", "the upload was broken off")
                etag = self._accepted(self._upload)
            except WireFault as fault:
                self._upload = None
                if fault.code == "NoSuchUpload":
                    raise UploadGone from None
                if fault.code in RESIGNED and resigned < RESIGNATURES:
                    resigned += 1
                else:
                    self._run.wait_for_store(repeats, fault)
                self._send_again()
            else:
                self._run.uplinks.give(self._wire)
                return etag

    def answered(self) -> bool:
        """Whether `confirm` need not wait."""
        return self._upload is None or self._upload.answered()

    def abandon(self) -> None:
        """Break off."""
        self._wire.close()

    def _begin(self) -> None:
        try:
            self._upload = self._wire.put(self._sign(), {}, self._size)
        except WireFault as fault:
            self._upload, self._fault = None, fault

    def _accepted(self, upload: Upload) -> str:
        headers = upload.finish()
        checksum = self._run.checksum
        theirs = headers.get(checksum.header, "")
        if theirs and theirs != checksum.encode(self._crc):
            raise WireFault("broken", "the store received other bytes than were sent")
        return headers.get("etag", "")

    def _send_again(self) -> None:
        """Read the part from the Hub once more and send it along."""
        self._begin()
        wire = Wire(self._run.patience.stall_seconds)
        buffer = memoryview(bytearray(min(MIB, self._size)))
        repeats, body, done, crc = self._run.repeats(), None, 0, 0
        try:
            while done < self._size:
                if self._run.stop.is_set():
                    raise Cancelled
                view = buffer[: min(len(buffer), self._size - done)]
                try:
                    body = body or self._source.open(wire, self._start + done, self._start + self._size)
                    body.read_into(view)
                except WireFault as fault:
                    body = None
                    self._run.wait_for_hub(repeats, fault, self._source.file)
                    continue
                crc = self._run.checksum.update(view, crc)
                done += len(view)
                self.feed(view, view)
        finally:
            wire.close()
        self._run.tally.add(resent=self._size)
        if crc != self._crc:
            self.abandon()
            raise ContentChanged


class QueuedUpload:
    """A `PartUpload` with a thread of its own, for a store whose single connections are slow.

    Args:
        upload: Makes the upload; called in the new thread.
        run: The run.
        done: Called in the new thread with the ETag, or with what went wrong.
    """

    def __init__(
        self, upload: Callable[[], PartUpload], run: Run, done: Callable[[str, BaseException | None], None]
    ) -> None:
        self._make, self._run, self._done = upload, run, done
        self._pieces: queue.SimpleQueue[tuple[memoryview, memoryview] | int | None] = queue.SimpleQueue()
        threading.Thread(target=self._send, name="uplink", daemon=True).start()

    def feed(self, view: memoryview, piece: memoryview) -> bool:
        """Queue the next bytes; the piece is given back when they are sent."""
        self._pieces.put((view, piece))
        return True

    def close(self, crc: int) -> None:
        """Queue the end."""
        self._pieces.put(crc)

    def abandon(self) -> None:
        """Break off."""
        self._pieces.put(None)

    def _send(self) -> None:
        upload: PartUpload | None = None
        try:
            upload = self._make()
            while True:
                item = self._pieces.get()
                if item is None:
                    raise Cancelled
                if isinstance(item, int):
                    upload.close(item)
                    break
                started = time.perf_counter()
                upload.feed(*item)
                self._run.tally.timing(sending=time.perf_counter() - started)
                self._run.pieces.give(item[1])
            etag = upload.confirm()
        except BaseException as error:
            if upload is not None:
                upload.abandon()
            self._run.uplink_slots.free()
            self._done("", error)
            self._drain()
        else:
            self._run.uplink_slots.free()
            self._done(etag, None)

    def _drain(self) -> None:
        """Give back what still comes for a part that failed."""
        while isinstance(item := self._pieces.get(), tuple):
            self._run.pieces.give(item[1])
