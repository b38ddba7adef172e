"""The queue of a run: which reader does what next, and what came of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from serving.errors import StagingError
from staging import uploads
from staging.governor import Setting
from staging.keeper import Begun
from staging.manifest import ManifestFile
from staging.plan import PlannedFile, Source, StagePlan, verified_digest
from staging.ranges import range_size
from staging.reader import Reader
from staging.retry import Cancelled
from staging.run import Run
from staging.sending import ContentChanged
from staging.source import SourceFile
from staging.stream import FileStream, StreamBroken
from staging.uploads import ContentDiffers, UploadGone
from staging.xet import XetFile, XetReader

FILE_ATTEMPTS = 3
"""How often one file may be begun."""


@dataclass(frozen=True)
class Task:
    """What a reader does next: a range of `stream`, or all of `planned`."""

    planned: PlannedFile
    stream: FileStream | None = None
    start: int = 0
    end: int = 0


class Work:
    """What is left to do, handed out to readers.

    Args:
        plan: The plan.
        run: The run.
        begun: Uploads of an earlier run to continue, by path.
        xet: Reads files that the Hub stores with Xet; None reads all by HTTP.
    """

    def __init__(self, plan: StagePlan, run: Run, begun: Mapping[str, Begun], xet: XetReader | None = None) -> None:
        self._plan, self._run, self._xet = plan, run, xet
        lock = threading.Lock()
        self._changed = threading.Condition(lock)
        self._wanted = threading.Condition(lock)
        """Told when other readers are wanted; those that rest shall sleep while the others work."""
        self._open: dict[FileStream, int] = {}
        here = {planned.file.path for planned in plan.files}
        self._waiting = [self._continued(start) for path, start in begun.items() if path in here]
        self._large: list[PlannedFile] = []
        self._whole: list[PlannedFile] = []
        self._finished: list[ManifestFile] = []
        self.setting = Setting(1)
        self.failure: BaseException | None = None
        self.begun: Callable[[FileStream], None] = lambda _stream: None
        """Called when a file's upload was created."""
        self.room: Callable[[], None] = lambda: None
        """Called before a part is begun; may wait."""
        for planned in plan.files:
            if planned.source is Source.PRESENT:
                run.tally.add(reused=planned.file.size, files=1)
                self._finished.append(_entry(planned, planned.sha256))
            elif planned.file.path in begun:
                continue
            elif planned.source is Source.HUB and planned.file.size > run.pieces.piece:
                self._large.append(planned)
            else:
                self._whole.append(planned)
        self._large.sort(key=lambda planned: planned.file.size)
        self._whole.sort(key=lambda planned: (planned.source is Source.COPY, planned.file.size))

    @property
    def finished(self) -> list[ManifestFile]:
        """The entries of all files that are in the bucket."""
        with self._changed:
            return list(self._finished)

    @property
    def done(self) -> bool:
        """Whether every file is in the bucket, or the run has failed."""
        with self._changed:
            return self.failure is not None or len(self._finished) == len(self._plan.files)

    @property
    def streams(self) -> list[FileStream]:
        """The large files under way, those that wait to be continued included."""
        with self._changed:
            return [*self._open, *self._waiting]

    def wait(self, seconds: float) -> None:
        """Wait until all is done or the time is over."""
        with self._changed:
            if self.failure is None and len(self._finished) < len(self._plan.files):
                self._changed.wait(seconds)

    def change(self, setting: Setting) -> None:
        """Use another number of connections from now on."""
        with self._changed:
            self.setting = setting
            self._run.uplink_slots.limit = setting.uplinks
            self._wanted.notify_all()

    def reader(self, number: int) -> None:
        """The life of reader `number`'s thread; it rests while fewer readers are wanted."""
        try:
            reader = Reader(self._run)
            try:
                while task := self._next(number):
                    self._do(task, reader)
            finally:
                reader.close()
        except Cancelled:
            pass
        except BaseException as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """End the run; the first error counts."""
        with self._changed:
            if self.failure is None:
                self.failure = error
            self._run.stop.set()
            self._changed.notify_all()
            self._wanted.notify_all()

    def source(self, planned: PlannedFile) -> SourceFile:
        """Where a file is read from."""
        if self._xet is not None and planned.file.xet_hash and planned.file.size:
            return XetFile(self._plan.model, planned.file, self._plan.hub, self._xet)
        direct = planned.file.size <= self._run.pieces.piece
        return SourceFile(self._plan.model, planned.file, self._plan.hub, direct=direct)

    def _next(self, number: int) -> Task | None:
        with self._changed:
            while not self._run.stop.is_set() and len(self._finished) < len(self._plan.files):
                wanted = number < self.setting.readers
                if wanted and (task := self._choose()):
                    return task
                (self._changed if wanted else self._wanted).wait(0.5)
            return None

    def _choose(self) -> Task | None:
        """A range of the open file with the fewest readers, of a new one first; small files and copies last."""
        readable = [stream for stream in self._open if stream.assignable]
        stream = min(readable, key=lambda stream: self._open[stream], default=None)
        if stream is None or self._open[stream] > 0:
            stream = self._waiting.pop() if self._waiting else self._begin() or stream
        if stream is None:
            return Task(self._whole.pop()) if self._whole else None
        alone = self._open.setdefault(stream, 0) == 0
        size = range_size(
            asked=stream.assigned,
            alone=alone,
            readers=self.setting.readers,
            files=len(self._open),
            piece=self._run.pieces.piece,
            pieces=self._run.pieces.count,
        )
        found = stream.assign(size)
        if found is None:
            return None
        self._open[stream] += 1
        return Task(stream.planned, stream, *found)

    def _begin(self) -> FileStream | None:
        if not self._large:
            return None
        planned = self._large.pop()
        return self._prepared(FileStream(self._run, planned, self.source(planned)))

    def _continued(self, begun: Begun) -> FileStream:
        stream = FileStream(
            self._run,
            begun.planned,
            self.source(begun.planned),
            upload=begun.upload,
            checkpoint=begun.checkpoint,
            held=begun.held,
        )
        self._run.tally.add(reused=stream.reused_bytes)
        return self._prepared(stream)

    def _prepared(self, stream: FileStream) -> FileStream:
        stream.begin = self._create
        stream.ended = self._ended
        stream.room = self._room
        return stream

    def _create(self, stream: FileStream) -> None:
        if stream.upload is None:
            stream.upload = uploads.create(stream.planned, self._plan.store, self._run.checksum)
            self.begun(stream)

    def _room(self) -> None:
        self.room()

    def _do(self, task: Task, reader: Reader) -> None:
        if task.stream is not None:
            self._do_range(task.stream, task.start, task.end, reader)
        elif task.planned.source is Source.COPY:
            self._do_copy(task.planned)
        else:
            self._finish(task.planned, reader.move_small(task.planned, self.source(task.planned)))

    def _do_copy(self, planned: PlannedFile) -> None:
        if uploads.copy(planned, self._plan.store):
            self._run.tally.add(copied=planned.file.size)
            self._finish(planned, planned.sha256)
            return
        again = PlannedFile(planned.file, planned.key, Source.HUB, sha256=planned.file.sha256)
        with self._changed:
            (self._large if again.file.size > self._run.pieces.piece else self._whole).append(again)
            self._changed.notify_all()

    def _do_range(self, stream: FileStream, start: int, end: int, reader: Reader) -> None:
        try:
            reader.bring(stream, start, end)
        except StreamBroken:
            stream.give_up()
        finally:
            with self._changed:
                if stream in self._open:
                    self._open[stream] -= 1
            self._begin_again(stream)

    def _ended(self, stream: FileStream, error: BaseException | None) -> None:
        """All parts of a file are stored, or one will never be. May be called from any thread."""
        try:
            try:
                if error is not None:
                    raise error
                self._complete(stream)
            except UploadGone:
                self._without_upload(stream)
            except (StreamBroken, ContentChanged, ContentDiffers):
                stream.give_up()
                self._begin_again(stream)
        except Cancelled:
            return
        except BaseException as failed:
            self.fail(failed)

    def _without_upload(self, stream: FileStream) -> None:
        """The upload ended though this run did not end it: the run before may have had it completed as it died."""
        planned = stream.planned
        digest = verified_digest(self._plan.store, planned.key, planned.file)
        stream.give_up()
        if not digest:
            self._begin_again(stream)
            return
        with self._changed:
            if self._open.pop(stream, None) is None:
                return  # another of its parts told so before
        self._finish(planned, digest)

    def _complete(self, stream: FileStream) -> None:
        wrong = stream.mismatch()
        if wrong is not None:
            if stream.attempt > 0:
                raise self._run.corrupt(stream.planned.file, wrong)
            raise StreamBroken
        if stream.upload is None:
            raise AssertionError("a stored file has an upload")
        whole = self._run.checksum.encode(stream.crc)
        uploads.complete(stream.planned, stream.upload, stream.etags, whole, self._plan.store)
        with self._changed:
            self._open.pop(stream, None)
        self._finish(stream.planned, stream.sha256())

    def _begin_again(self, stream: FileStream) -> None:
        """Begin a broken file anew, once the last reader has let go of it."""
        with self._changed:
            if not stream.broken or self._open.get(stream) != 0 or self._run.stop.is_set():
                return
            del self._open[stream]
        if stream.upload is not None:
            uploads.abort(stream.upload, self._plan.store)
        self._run.tally.add(moved=-stream.moved_bytes, reused=-stream.reused_bytes)
        if stream.attempt + 1 >= FILE_ATTEMPTS:
            raise StagingError(
                f"{stream.planned.file.path} could not be stored in {FILE_ATTEMPTS} attempts.",
                cause="Another program or a lifecycle rule aborts unfinished uploads below this prefix, or bytes "
                "change on their way.",
                fix="Let such rules wait a day at least, then start the run again.",
                code="staging.upload_gone",
            )
        fresh = FileStream(self._run, stream.planned, self.source(stream.planned), attempt=stream.attempt + 1)
        with self._changed:
            self._waiting.append(self._prepared(fresh))
            self._changed.notify_all()

    def _finish(self, planned: PlannedFile, sha256: str) -> None:
        self._run.tally.add(files=1)
        with self._changed:
            self._finished.append(_entry(planned, sha256))
            self._changed.notify_all()
            if len(self._finished) == len(self._plan.files):
                self._wanted.notify_all()


def _entry(planned: PlannedFile, sha256: str) -> ManifestFile:
    return ManifestFile(path=planned.file.path, size=planned.file.size, sha256=sha256, blob_id=planned.file.blob_id)
