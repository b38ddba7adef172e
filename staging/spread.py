"""Stages a model with the help of other workers: they move the parts of large files, this process does the rest.

This process plans, signs, keeps the journal, verifies, completes and publishes; only it has credentials. The digest
of a file passes from item to item, so one file is one chain of items, and as many files travel at a time as there
are workers.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace

from pydantic import SecretStr

from serving.errors import InferenceError, StagingError
from staging import uploads
from staging.checksum import Checksum
from staging.hashing import can_save
from staging.hub import resolve
from staging.keeper import Begun, Keeper
from staging.manifest import ManifestFile
from staging.parts import MIN_PART, part_count, part_size
from staging.plan import PlannedFile, Source, StagePlan
from staging.progress import Tally
from staging.stream import Checkpoint
from staging.uploads import OpenUpload
from staging.worker import ItemOutcome, WorkItem

Submit = Callable[[WorkItem], "Future[ItemOutcome]"]
"""Gives an item to some worker, which calls `staging.worker.execute` with it."""
PARTS_PER_ITEM = 32
"""256 MiB with the usual parts: a lost worker costs no more than that, and no signed address gets old."""
ITEM_ATTEMPTS = 4
"""How often an item is given out before the run ends."""


@dataclass(eq=False)
class RemoteFile:
    """A file that workers move, item by item.

    Attributes:
        planned: The file.
        checksum: Of the whole object.
        upload: Its upload.
        checkpoint: How far it is.
        etags: ETags of the stored parts by their number, from 1.
        sha256: Hex digest at the end.
        attempts: How often its next item was given out.
        restarted: Whether wrong bytes have made it begin anew once.
    """

    planned: PlannedFile
    checksum: Checksum
    upload: OpenUpload | None = None
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    etags: dict[int, str] = field(default_factory=dict)
    sha256: str = ""
    attempts: int = 0
    restarted: bool = False

    @property
    def part_size(self) -> int:
        """Bytes of its parts."""
        return part_size(self.planned.file.size)

    @property
    def stored_bytes(self) -> int:
        """Bytes of its stored parts."""
        return min(self.checkpoint.parts * self.part_size, self.planned.file.size)


def goes_out(planned: PlannedFile) -> bool:
    """Whether workers can move this file: it is large, and its digest is the one that passes between them."""
    return planned.source is Source.HUB and planned.file.size > MIN_PART and bool(planned.file.sha256)


class Spreader:
    """Gives out the large files of a plan and collects what comes back.

    Args:
        plan: The plan.
        submit: Gives an item to a worker.
        workers: How many items are out at a time.
        checksum: Of whole objects.
        begun: Uploads of an earlier run to continue, by path.
        tally: Counters.
        stop: Set when the run ends early.
    """

    def __init__(
        self,
        plan: StagePlan,
        submit: Submit,
        workers: int,
        checksum: Checksum,
        begun: dict[str, Begun],
        tally: Tally,
        stop: threading.Event,
    ) -> None:
        self._plan, self._submit, self._workers = plan, submit, workers
        self._checksum, self._tally, self._stop = checksum, tally, stop
        self._out: dict[Future[ItemOutcome], tuple[RemoteFile, WorkItem]] = {}
        large = sorted((item for item in plan.files if goes_out(item)), key=lambda item: -item.file.size)
        self.files = [self._file(planned, begun.get(planned.file.path)) for planned in large]
        self.finished: list[ManifestFile] = []

    def run(self, keeper: Keeper, tell: Callable[[], None]) -> None:
        """Move all files.

        Args:
            keeper: Told of every new upload.
            tell: Called a few times a second.

        Raises:
            InferenceError: A worker's, the store's or the Hub's failure that repeating did not overcome.
        """
        waiting = deque(self.files)
        try:
            while (waiting or self._out) and not self._stop.is_set():
                while waiting and len(self._out) < self._workers:
                    self._give_out(waiting.popleft(), keeper)
                done, _ = wait(self._out, timeout=0.25, return_when=FIRST_COMPLETED)
                tell()
                for future in done:
                    file, item = self._out.pop(future)
                    if not self._take_back(file, item, future):
                        waiting.appendleft(file)
        finally:
            for future in self._out:
                future.cancel()

    def _file(self, planned: PlannedFile, begun: Begun | None) -> RemoteFile:
        file = RemoteFile(planned, self._checksum)
        if begun is not None:
            file.upload = begun.upload
            file.checkpoint = begun.checkpoint
            file.etags = {index + 1: part.etag for index, part in begun.held.items() if index < begun.checkpoint.parts}
            self._tally.add(reused=file.stored_bytes)
        return file

    def _give_out(self, file: RemoteFile, keeper: Keeper) -> None:
        if file.upload is None:
            file.upload = uploads.create(file.planned, self._plan.store, self._checksum)
            keeper.begun(file)
        file.attempts += 1
        if file.attempts > ITEM_ATTEMPTS:
            raise StagingError(
                f"No worker could move part {file.checkpoint.parts + 1} of {file.planned.file.path} in "
                f"{ITEM_ATTEMPTS} attempts.",
                cause="Workers die, or the addresses signed for them are refused where they run.",
                fix="Look at the workers' logs, clocks and network, then start the run again: it continues.",
                code="staging.workers_failed",
            )
        item = self._item(file, file.upload)
        self._out[self._submit(item)] = (file, item)

    def _item(self, file: RemoteFile, upload: OpenUpload) -> WorkItem:
        planned, first = file.planned, file.checkpoint.parts
        count = part_count(planned.file.size, file.part_size)
        last = min(first + PARTS_PER_ITEM, count) if can_save() else count
        urls = (uploads.sign_part(upload, number + 1, self._plan.store) for number in range(first, last))
        return WorkItem(
            model=self._plan.model,
            file=planned.file,
            source_url=SecretStr(resolve(self._plan.model, planned.file.path, self._plan.hub).url),
            first_part=first,
            part_urls=tuple(SecretStr(url) for url in urls),
            part_size=file.part_size,
            state=file.checkpoint.state,
            crc=file.checkpoint.crc,
            checksum=self._checksum.name,
            hub_endpoint=self._plan.hub.endpoint,
        )

    def _take_back(self, file: RemoteFile, item: WorkItem, future: Future[ItemOutcome]) -> bool:
        """Note what a worker did; True if the file is finished."""
        try:
            outcome = future.result()
        except InferenceError as error:
            if error.code != "staging.corrupt" or file.restarted:
                raise
            self._restart(file)
            return False
        except Exception:
            # The worker died or was taken away: another one gets the item.
            self._tally.add(retries=1)
            return False
        self._tally.add(retries=outcome.retries)
        if outcome.expired:
            return False
        file.attempts = 0
        file.etags |= {item.first_part + 1 + index: etag for index, etag in enumerate(outcome.etags)}
        self._tally.add(moved=item.end - item.start)
        if not item.is_last:
            file.checkpoint = Checkpoint(item.first_part + len(outcome.etags), outcome.state, outcome.crc)
            return False
        if outcome.sha256 != file.planned.file.sha256 or file.upload is None:
            raise AssertionError("a worker reports a file only after its digest was compared")
        whole = self._checksum.encode(outcome.crc)
        uploads.complete(file.planned, file.upload, file.etags, whole, self._plan.store)
        self.files.remove(file)
        self._tally.add(files=1)
        entry = ManifestFile(
            path=file.planned.file.path,
            size=file.planned.file.size,
            sha256=outcome.sha256,
            blob_id=file.planned.file.blob_id,
        )
        self.finished.append(entry)
        return True

    def _restart(self, file: RemoteFile) -> None:
        """Begin a file anew whose digest came out wrong."""
        if file.upload is not None:
            uploads.abort(file.upload, self._plan.store)
        self._tally.add(moved=-file.stored_bytes, retries=1)
        file.upload, file.checkpoint, file.restarted = None, Checkpoint(), True
        file.etags.clear()


def local_part(plan: StagePlan) -> StagePlan:
    """The plan without the files that workers move."""
    return replace(plan, files=tuple(planned for planned in plan.files if not goes_out(planned)))
