"""The part of a staging that any worker can do, in a thread, a Dask or Ray worker or a pod: it needs no credentials.

A work item carries a signed address to read a file from and one for each part to write, and the state of the file's
digest where the item begins. Its outcome carries the state where it ends. So the ranges of one file follow each
other, on whatever workers, while files travel side by side; and the digest covers the file as a whole.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from pydantic import SecretStr

from serving.errors import StagingError, StoreError
from serving.models import PinnedModel
from staging.checksum import checksum_named
from staging.driver import drive
from staging.governor import Setting
from staging.hashing import can_restore
from staging.hub import HubAccess, HubFile, Location
from staging.parts import MIB
from staging.pieces import PiecePool
from staging.plan import PlannedFile, Source
from staging.progress import Tally
from staging.ranges import range_size
from staging.reader import Reader
from staging.retry import Cancelled, Patience
from staging.run import Run
from staging.source import SourceFile
from staging.stream import Checkpoint, FileStream
from staging.wire import CHUNK
from staging.wire_pool import WirePool

MEMORY_BUDGET = 32 * MIB
REFUSED_PARTS = frozenset({"store.access_denied", "store.expired_credentials"})
"""What a store answers to a signed address that has expired, or whose credentials have."""


@dataclass(frozen=True)
class WorkItem:
    """A range of parts of one file. Can be pickled; holds no AWS key and no token.

    Attributes:
        model: What is staged.
        file: The file.
        source_url: Signed address that the file is read from.
        first_part: Its first part, counted from 0.
        part_urls: Signed addresses that take its parts, one after the other.
        part_size: Bytes of a part.
        state: State of the file's digest before the first part; empty at the file's beginning.
        crc: Checksum of the file up to there.
        checksum: Name of that checksum.
        hub_endpoint: Address of the Hub, for messages.
    """

    model: PinnedModel
    file: HubFile
    source_url: SecretStr = field(repr=False)
    first_part: int
    part_urls: tuple[SecretStr, ...] = field(repr=False)
    part_size: int
    state: str = ""
    crc: int = 0
    checksum: str = "CRC32"
    hub_endpoint: str = ""

    @property
    def start(self) -> int:
        """Offset of its first byte."""
        return self.first_part * self.part_size

    @property
    def end(self) -> int:
        """Offset after its last byte."""
        return min(self.start + len(self.part_urls) * self.part_size, self.file.size)

    @property
    def is_last(self) -> bool:
        """Whether the file ends with it."""
        return self.end == self.file.size


@dataclass(frozen=True)
class ItemOutcome:
    """What a worker did.

    Attributes:
        path: The file.
        first_part: Of the item.
        etags: ETags of its parts.
        state: State of the file's digest after them; empty at the file's end.
        crc: Checksum of the file up to there.
        sha256: Of the whole file, at its end.
        expired: Whether an address was refused, so that the item must be made anew; then nothing else is set.
        retries: Requests that had to be repeated.
    """

    path: str
    first_part: int
    etags: tuple[str, ...] = ()
    state: str = ""
    crc: int = 0
    sha256: str = ""
    expired: bool = False
    retries: int = 0


class _Refused(Exception):
    """A signed address is not accepted any more."""


class _SignedSource(SourceFile):
    """A file behind one signed address."""

    def __init__(self, item: WorkItem) -> None:
        super().__init__(item.model, item.file, HubAccess(item.hub_endpoint))
        self._location = Location(item.source_url.get_secret_value(), on_hub=False)

    def _locate(self) -> Location:
        raise _Refused


def execute(item: WorkItem, *, memory_budget: int = MEMORY_BUDGET, patience: Patience | None = None) -> ItemOutcome:
    """Move the parts of an item. Runs in any process that has this package.

    Args:
        item: What to move.
        memory_budget: Bytes of file contents held at a time.
        patience: How long faults are put up with.

    Raises:
        HubError: The Hub did not answer for longer than `patience`.
        StoreError: The bucket did not answer for longer than `patience`.
        StagingError: ``staging.worker_differs`` or ``staging.corrupt``.
    """
    checksum = checksum_named(item.checksum)
    if checksum is None or (item.state and not can_restore(item.state)):
        missing = "awscrt" if checksum is None else "OpenSSL's shared library"
        raise StagingError(
            f"This worker cannot continue {item.file.path}: {missing} is missing.",
            cause="Workers and the process that plans run different images.",
            fix="Run them from the same image.",
            code="staging.worker_differs",
        )
    patience = patience or Patience()
    stop = threading.Event()
    run = Run(
        model=item.model,
        hub=HubAccess(item.hub_endpoint),
        store=None,
        patience=patience,
        stop=stop,
        tally=Tally(item.end - item.start, 1),
        pieces=PiecePool(memory_budget, CHUNK, stop),
        uplinks=WirePool(patience.stall_seconds),
        checksum=checksum,
    )
    work = _OneRange(item, run)
    try:
        drive(work, run, lambda: None, lambda _: None)
    except _Refused:
        return ItemOutcome(item.file.path, item.first_part, expired=True)
    except StoreError as error:
        if error.code in REFUSED_PARTS:
            return ItemOutcome(item.file.path, item.first_part, expired=True)
        raise
    return work.outcome()


class _OneRange:
    """The work of one item."""

    def __init__(self, item: WorkItem, run: Run) -> None:
        self._item, self._run = item, run
        self._changed = threading.Condition()
        self._ended = False
        self._readers = 0
        self.setting = Setting(1)
        self.failure: BaseException | None = None
        first = item.first_part
        self._stream = FileStream(
            run,
            PlannedFile(item.file, "", Source.HUB, sha256=item.file.sha256),
            _SignedSource(item),
            checkpoint=Checkpoint(first, item.state, item.crc),
            sign=lambda number: item.part_urls[number - 1 - first].get_secret_value(),
            until=item.end,
        )
        self._stream.ended = self._end

    @property
    def done(self) -> bool:
        return self._ended or self.failure is not None

    def wait(self, seconds: float) -> None:
        with self._changed:
            if not self.done:
                self._changed.wait(seconds)

    def change(self, setting: Setting) -> None:
        with self._changed:
            self.setting = setting
            self._run.uplink_slots.limit = setting.uplinks
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        with self._changed:
            self.failure = self.failure or error
            self._run.stop.set()
            self._changed.notify_all()

    def reader(self, number: int) -> None:
        reader = Reader(self._run)
        try:
            while found := self._next(number):
                reader.bring(self._stream, *found)
        except Cancelled:
            pass
        except BaseException as error:
            self.fail(error)
        finally:
            reader.close()

    def outcome(self) -> ItemOutcome:
        """What came of it.

        Raises:
            StagingError: ``staging.corrupt``.
        """
        stream, item = self._stream, self._item
        wrong = stream.mismatch() if item.is_last else None
        if wrong is not None:
            raise self._run.corrupt(item.file, wrong)
        etags = stream.etags
        return ItemOutcome(
            path=item.file.path,
            first_part=item.first_part,
            etags=tuple(etags[item.first_part + 1 + index] for index in range(len(item.part_urls))),
            state="" if item.is_last else stream.state(),
            crc=stream.crc,
            sha256=stream.sha256() if item.is_last else "",
            retries=self._run.tally.retries,
        )

    def _next(self, number: int) -> tuple[int, int] | None:
        with self._changed:
            while not self.done and not self._stream.broken:
                if number < self.setting.readers and self._stream.assignable:
                    size = range_size(
                        asked=self._stream.assigned - self._item.start,
                        alone=self.setting.readers == 1,
                        readers=self.setting.readers,
                        files=1,
                        piece=self._run.pieces.piece,
                        pieces=self._run.pieces.count,
                    )
                    return self._stream.assign(size)
                self._changed.wait(0.5)
            return None

    def _end(self, _stream: FileStream, error: BaseException | None) -> None:
        if error is not None:
            self.fail(error)
            return
        with self._changed:
            self._ended = True
            self._changed.notify_all()
