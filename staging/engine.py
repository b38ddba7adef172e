"""Moves a planned model from the Hub into the bucket: verified, through a fixed amount of memory, without a disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from serving.errors import StagingError
from serving.models import StagedModel
from staging import uploads
from staging.checksum import best_checksum
from staging.governor import Governor, Setting
from staging.layout import manifest_key
from staging.manifest import find_staged, new_manifest, publish, staged_model
from staging.parts import MIB
from staging.pieces import PiecePool
from staging.plan import StagePlan
from staging.progress import StageProgress, Tally
from staging.retry import Patience
from staging.run import Run
from staging.store import explained, s3
from staging.stream import FileStream
from staging.wire import CHUNK, WirePool
from staging.work import Work

MEMORY_BUDGET = 32 * MIB
"""Bytes of file contents held at a time by default. Everything else that a process needs is about 90 MiB."""
FIRST_READERS = 4
MOST_READERS = 64
MOST_UPLINKS = 64
TICK_SECONDS = 0.2
"""How often the number of connections is reconsidered and progress is told."""


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
        memory_budget: Bytes of file contents held at a time.
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
    run = _new_run(plan, tally, memory_budget, patience or Patience())
    work = Work(plan, run, lambda planned, source: FileStream(run, planned, source))
    _unpublish_flat(plan)
    try:
        _transfer(work, run, progress, cancel)
    except BaseException:
        for stream in work.streams:
            if stream.upload is not None:
                uploads.abort(stream.upload, plan.store)
        raise
    tally.phase = "publish"
    manifest = new_manifest(plan.model, plan.selection, work.finished)
    staged = staged_model(manifest, plan.model, plan.store)
    if not publish(manifest, plan.model, plan.store, _replaced_etag(plan)):
        staged = _published_by_another(plan, staged)
    _clear_flat(plan, staged)
    tally.phase = "done"
    if progress:
        progress(tally.now())
    return StageResult(staged, tally.moved, tally.copied, tally.reused, tally.seconds, tally.retries)


def _new_run(plan: StagePlan, tally: Tally, memory_budget: int, patience: Patience) -> Run:
    stop = threading.Event()
    return Run(
        model=plan.model,
        hub=plan.hub,
        store=plan.store,
        patience=patience,
        stop=stop,
        tally=tally,
        pieces=PiecePool(memory_budget, CHUNK, stop),
        uplinks=WirePool(patience.stall_seconds),
        checksum=best_checksum(),
    )


def _transfer(
    work: Work, run: Run, progress: Callable[[StageProgress], None] | None, cancel: threading.Event | None
) -> None:
    """Run the readers until all files are in the bucket or one failed for good."""
    most = Setting(max(1, min(MOST_READERS, run.pieces.count - 2)), MOST_UPLINKS)
    governor = Governor(Setting(min(FIRST_READERS, most.readers)), most)
    work.change(governor.setting)
    threads: list[threading.Thread] = []
    then, before = time.monotonic(), 0
    try:
        while not work.done:
            while len(threads) < work.setting.readers:
                threads.append(threading.Thread(target=work.reader, args=(len(threads),), daemon=True))
                threads[-1].start()
            run.tally.connections = work.setting.readers
            work.wait(TICK_SECONDS - (time.monotonic() - then))
            if cancel is not None and cancel.is_set():
                raise _cancelled()
            now, moved = time.monotonic(), run.tally.moved
            if now - then < TICK_SECONDS:
                continue
            work.change(governor.observe((moved - before) / (now - then), *run.tally.timings(), now - then))
            then, before = now, moved
            if progress:
                progress(run.tally.now())
    except BaseException as error:
        work.fail(error)
    for thread in threads:
        thread.join()
    run.uplinks.close()
    if work.failure is not None:
        raise work.failure


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
