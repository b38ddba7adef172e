"""Moves a planned model from the Hub into the bucket: verified, through a fixed amount of memory, without a disk."""

from __future__ import annotations

import mmap
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from serving.errors import StagingError
from serving.models import StagedModel
from staging import uploads
from staging.job import FileJob, JobBroken, Part
from staging.lane import Lane, Run, corrupt
from staging.layout import manifest_key
from staging.manifest import ManifestFile, find_staged, new_manifest, publish, staged_model
from staging.parts import MIB, MIN_PART
from staging.plan import PlannedFile, Source, StagePlan
from staging.progress import StageProgress, Tally
from staging.retry import Cancelled, Patience
from staging.source import SourceFile
from staging.store import explained, s3

MEMORY_BUDGET = 64 * MIB
"""Bytes of buffers by default: eight parts of the usual size."""
MOST_LANES = 64
FILE_ATTEMPTS = 3
"""How often one file may be begun."""
PROGRESS_SECONDS = 0.25


@dataclass(frozen=True)
class StageResult:
    """What a staging did.

    Attributes:
        staged: The staged model.
        moved_bytes: Bytes that came from the Hub.
        copied_bytes: Bytes that were copied inside S3.
        reused_bytes: Bytes that were there already, verified.
        seconds: Wall time.
        retries: Requests that had to be repeated.
    """

    staged: StagedModel
    moved_bytes: int = 0
    copied_bytes: int = 0
    reused_bytes: int = 0
    seconds: float = 0.0
    retries: int = 0


@dataclass(frozen=True)
class Task:
    """What a lane does next: one part of `job`, or all of `planned`."""

    planned: PlannedFile
    job: FileJob | None = None
    part: Part | None = None


def stage(
    plan: StagePlan,
    *,
    progress: Callable[[StageProgress], None] | None = None,
    memory_budget: int = MEMORY_BUDGET,
    patience: Patience | None = None,
    cancel: threading.Event | None = None,
) -> StageResult:
    """Carry out a plan. Safe to call from any thread; the work happens in threads that it starts and ends.

    Args:
        plan: From `staging.plan.plan`.
        progress: Called a few times a second, from the calling thread.
        memory_budget: Bytes of buffers; at least one part is needed.
        patience: How long faults are put up with.
        cancel: Ends the run when set.

    Returns:
        The staged model; every file of it was verified before it became visible.

    Raises:
        HubError: The Hub refused, or did not answer for longer than `patience`.
        StoreError: The bucket refused, or did not answer for longer than `patience`.
        StagingError: ``staging.corrupt``, ``staging.upload_gone``, ``staging.cancelled`` or
            ``staging.published_otherwise``.
    """
    if plan.staged is not None:
        return StageResult(plan.staged, reused_bytes=plan.staged.total_bytes)
    tally = Tally(plan.total_bytes, len(plan.files))
    run = Run(plan.hub, plan.model.repo_id, plan.store, patience or Patience(), threading.Event(), tally)
    work = Work(plan, run)
    _unpublish_flat(plan)
    _transfer(work, run, memory_budget, progress, cancel)
    tally.phase = "publish"
    manifest = new_manifest(plan.model, plan.selection, work.finished())
    staged = staged_model(manifest, plan.model, plan.store)
    if not publish(manifest, plan.model, plan.store, _replaced_etag(plan)):
        staged = _published_by_another(plan, staged)
    _clear_flat(plan, staged)
    tally.phase = "done"
    if progress:
        progress(tally.now())
    return StageResult(staged, tally.moved, tally.copied, tally.reused, tally.seconds, tally.retries)


def _transfer(
    work: Work,
    run: Run,
    memory_budget: int,
    progress: Callable[[StageProgress], None] | None,
    cancel: threading.Event | None,
) -> None:
    """Run the lanes until all files are in the bucket or one failed for good."""
    size = max(work.largest_part(), MIN_PART)
    count = max(1, min(memory_budget // size, MOST_LANES, work.tasks()))
    threads = [threading.Thread(target=work.lane, args=(size,), name=f"lane-{n}", daemon=True) for n in range(count)]
    run.tally.connections = count
    for thread in threads:
        thread.start()
    said = 0.0
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(0.05)
                if cancel is not None and cancel.is_set():
                    work.fail(_cancelled())
                if progress and time.monotonic() - said >= PROGRESS_SECONDS:
                    said = time.monotonic()
                    progress(run.tally.now())
    except BaseException as error:
        work.fail(error)
        for thread in threads:
            thread.join()
        work.abort_uploads()
        raise
    if work.failure is not None:
        work.abort_uploads()
        raise work.failure


class Work:
    """The queue of a run: which lane does what next, and what came of it."""

    def __init__(self, plan: StagePlan, run: Run) -> None:
        self._plan, self._run = plan, run
        self._lock = threading.Lock()
        self._open: list[FileJob] = []
        self._large: list[FileJob] = []
        self._whole: list[PlannedFile] = []
        self._uploads: dict[str, FileJob] = {}
        self._finished: list[ManifestFile] = []
        self.failure: BaseException | None = None
        for planned in plan.files:
            if planned.source is Source.PRESENT:
                run.tally.add(reused=planned.file.size, files=1)
                self._finished.append(_entry(planned, planned.sha256))
            elif planned.source is Source.HUB and planned.file.size > MIN_PART:
                self._large.append(FileJob(planned, self._source(planned), run.stop))
            else:
                self._whole.append(planned)
        self._large.sort(key=lambda job: job.planned.file.size)
        self._whole.sort(key=lambda planned: (planned.source is Source.COPY, planned.file.size))

    def largest_part(self) -> int:
        """Bytes of the largest part."""
        return max((job.part_size for job in self._large), default=0)

    def tasks(self) -> int:
        """How many tasks there are at the start."""
        return sum(job.count for job in self._large) + len(self._whole)

    def finished(self) -> list[ManifestFile]:
        """The entries of all files that are in the bucket."""
        return self._finished

    def lane(self, buffer_size: int) -> None:
        """The life of one lane's thread."""
        # Anonymous pages are touched only as they fill, and go when the last view of them does.
        lane = Lane(self._run, memoryview(mmap.mmap(-1, buffer_size)))
        try:
            while not self._run.stop.is_set() and (task := self._next()):
                self._do(task, lane)
        except Cancelled:
            pass
        except BaseException as error:
            self.fail(error)
        finally:
            lane.close()

    def fail(self, error: BaseException) -> None:
        """End the run; the first error counts."""
        with self._lock:
            if self.failure is None:
                self.failure = error
        self._run.stop.set()

    def abort_uploads(self) -> None:
        """Throw away the uploads that this run began and did not complete."""
        for upload_id, job in list(self._uploads.items()):
            uploads.abort(job.planned.key, upload_id, self._plan.store)

    def _source(self, planned: PlannedFile) -> SourceFile:
        direct = planned.file.size <= MIN_PART
        return SourceFile(self._plan.model, planned.file, self._plan.hub, direct=direct)

    def _next(self) -> Task | None:
        """A part of the open file with the fewest lanes, a new file first; small files and copies last."""
        with self._lock:
            self._open = [job for job in self._open if not job.exhausted]
            job = min(self._open, key=lambda job: job.lanes, default=None)
            if self._large and (job is None or job.lanes > 0):
                job = self._large.pop()
                self._open.append(job)
            if job is not None:
                job.lanes += 1
                return Task(job.planned, job, job.take())
            return Task(self._whole.pop()) if self._whole else None

    def _do(self, task: Task, lane: Lane) -> None:
        if task.job is not None and task.part is not None:
            self._do_part(task.job, task.part, lane)
        elif task.planned.source is Source.COPY:
            self._do_copy(task.planned, lane)
        else:
            self._do_small(task.planned, lane)

    def _do_small(self, planned: PlannedFile, lane: Lane) -> None:
        self._finish(planned, lane.move_small(planned, self._source(planned)), planned.file.size)

    def _do_copy(self, planned: PlannedFile, lane: Lane) -> None:
        if uploads.copy(planned, self._plan.store):
            self._run.tally.add(copied=planned.file.size)
            self._finish(planned, planned.sha256)
            return
        again = PlannedFile(planned.file, planned.key, Source.HUB, sha256=planned.file.sha256)
        if again.file.size <= MIN_PART:
            self._do_small(again, lane)
        else:
            with self._lock:
                self._large.append(FileJob(again, self._source(again), self._run.stop))

    def _do_part(self, job: FileJob, part: Part, lane: Lane) -> None:
        last = False
        try:
            self._begin(job)
            etag = lane.move_part(job, part)
            last = job.finish(part, lane.view(part), etag)
            if last:
                self._complete(job)
        except (JobBroken, uploads.UploadGone):
            job.give_up()
        finally:
            self._leave(job)

    def _begin(self, job: FileJob) -> None:
        with job.opening:
            if job.broken:
                raise JobBroken
            if not job.upload_id:
                job.upload_id = uploads.create(job.planned, self._plan.store)
                self._uploads[job.upload_id] = job

    def _complete(self, job: FileJob) -> None:
        wrong = job.mismatch()
        if wrong is not None:
            if job.attempt > 0:
                raise corrupt(job.planned.file, self._plan.model.repo_id, wrong)
            raise JobBroken
        uploads.complete(job.planned, job.upload_id, job.etags, self._plan.store)
        del self._uploads[job.upload_id]
        self._finish(job.planned, job.sha256())

    def _leave(self, job: FileJob) -> None:
        """A lane lets go of a file; the last one to leave a broken file begins it anew."""
        with self._lock:
            job.lanes -= 1
            begin_again = job.broken and job.lanes == 0
        if not begin_again or self._run.stop.is_set():
            return
        self._uploads.pop(job.upload_id, None)
        uploads.abort(job.planned.key, job.upload_id, self._plan.store)
        self._run.tally.add(moved=-job.moved)
        if job.attempt + 1 >= FILE_ATTEMPTS:
            raise StagingError(
                f"The upload of {job.planned.file.path} disappeared {FILE_ATTEMPTS} times.",
                cause="Another program or a lifecycle rule aborts unfinished uploads below this prefix.",
                fix="Let the rule wait a day at least, then start the run again.",
                code="staging.upload_gone",
            )
        with self._lock:
            self._large.append(FileJob(job.planned, self._source(job.planned), self._run.stop, job.attempt + 1))

    def _finish(self, planned: PlannedFile, sha256: str, moved: int = 0) -> None:
        self._run.tally.add(moved=moved, files=1)
        with self._lock:
            self._finished.append(_entry(planned, sha256))


def _entry(planned: PlannedFile, sha256: str) -> ManifestFile:
    return ManifestFile(path=planned.file.path, size=planned.file.size, sha256=sha256, blob_id=planned.file.blob_id)


def _cancelled() -> StagingError:
    return StagingError(
        "The staging was cancelled.",
        cause="Nothing was published.",
        fix="Start it again to continue.",
        code="staging.cancelled",
    )


def _replaced_etag(plan: StagePlan) -> str:
    """ETag of the manifest to replace: that of the same commit with another selection."""
    same = plan.replaced is not None and plan.replaced.commit == plan.model.commit
    return plan.replaces if same else ""


def _unpublish_flat(plan: StagePlan) -> None:
    """A flat prefix holds one commit: take the old one's manifest away before its files are written over."""
    if plan.replaced is not None and plan.replaced.commit != plan.model.commit:
        with explained(plan.store, "s3:DeleteObject"):
            key = manifest_key(plan.store.prefix, plan.model, plan.store.layout)
            s3(plan.store).delete_object(Bucket=plan.store.bucket, Key=key)


def _clear_flat(plan: StagePlan, staged: StagedModel) -> None:
    """Remove what the flat prefix still holds of the commit before."""
    if plan.replaced is None or plan.replaced.commit == plan.model.commit:
        return
    keep = {file.path for file in staged.files}
    with explained(plan.store, "s3:DeleteObject"):
        for file in plan.replaced.files:
            if file.path not in keep:
                s3(plan.store).delete_object(Bucket=plan.store.bucket, Key=staged.prefix + file.path)


def _published_by_another(plan: StagePlan, ours: StagedModel) -> StagedModel:
    """Another run published this commit first: its files are the same, or something is wrong."""
    theirs = find_staged(plan.model, plan.store)
    if theirs is not None and set(theirs.files) >= set(ours.files):
        return theirs
    raise StagingError(
        f"Another run published {plan.model.repo_id}@{plan.model.commit} at {plan.uri} with other files.",
        cause="Two runs with different file selections staged the same commit at the same time.",
        fix="Start the run again: it adds the files that are missing.",
        code="staging.published_otherwise",
    )
