"""Moves a planned model from the Hub into the bucket: verified, through a fixed amount of memory, without a disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from serving.errors import InferenceError, StagingError
from serving.models import StagedModel
from staging import uploads
from staging.checksum import best_checksum
from staging.driver import drive
from staging.journal import Journal, LeaseLost, LeaseTimes, acquire
from staging.keeper import Keeper, take_up
from staging.manifest import ManifestFile, find_staged
from staging.parts import MIB
from staging.pieces import PiecePool
from staging.plan import StagePlan
from staging.plan import plan as make_plan
from staging.progress import StageProgress, Tally
from staging.publishing import publish_model, unpublish_flat
from staging.retry import Patience
from staging.run import Run
from staging.spread import RemoteFile, Spreader, Submit, local_part
from staging.stream import FileStream
from staging.wire import CHUNK
from staging.wire_pool import WirePool
from staging.work import Work
from staging.xet import Transport, xet_reader

MEMORY_BUDGET = 32 * MIB
"""Bytes of file contents held at a time by default. Everything else that a process needs is about 90 MiB."""
NOT_CONTINUED = frozenset({"staging.corrupt", "staging.upload_gone"})
"""Failures after which unfinished uploads are thrown away; after any other they wait for the next run."""


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
class _Options:
    """How to carry out a plan, see `stage`."""

    progress: Callable[[StageProgress], None]
    memory_budget: int
    patience: Patience
    lease: LeaseTimes
    cancel: threading.Event
    transport: Transport
    submit: Submit | None = None
    workers: int = 0
    started: float = field(default_factory=time.monotonic)


def stage(
    plan: StagePlan,
    *,
    progress: Callable[[StageProgress], None] | None = None,
    memory_budget: int = MEMORY_BUDGET,
    patience: Patience | None = None,
    lease: LeaseTimes | None = None,
    cancel: threading.Event | None = None,
    transport: Transport = Transport.AUTO,
    submit: Submit | None = None,
    workers: int = 4,
) -> StageResult:
    """Carry out a plan. Safe to call from any thread; the work happens in threads that it starts and ends.

    Of several runs on one commit one works; the others wait until it has published, or take over if it dies. What a
    run that ended early has stored is not transferred again.

    Args:
        plan: From `staging.plan.plan`.
        progress: Called a few times a second, from the calling thread.
        memory_budget: Bytes of file contents held at a time.
        patience: How long faults are put up with.
        lease: How runs on the same commit tell that another one lives.
        cancel: Ends the run when set.
        transport: How files come from the Hub.
        submit: Gives parts of large files to other workers, which call `staging.worker.execute`; without it this
            process moves everything itself.
        workers: How many items are given out at a time.

    Returns:
        The staged model; every file of it was verified before it became visible.

    Raises:
        HubError: The Hub refused, or did not answer for longer than `patience`.
        StoreError: The bucket refused, or did not answer for longer than `patience`.
        StagingError: ``staging.corrupt``, ``staging.upload_gone``, ``staging.cancelled``, ``staging.taken_over`` or
            ``staging.published_otherwise``.
    """
    options = _Options(
        progress or (lambda _: None),
        memory_budget,
        patience or Patience(),
        lease or LeaseTimes(),
        cancel or threading.Event(),
        transport,
        submit,
        workers,
    )
    while plan.staged is None:
        taken = acquire(plan.model, plan.store, options.lease, partial(_published_meanwhile, plan, options))
        if options.cancel.is_set():
            raise _cancelled()
        if taken is None:
            plan = _renewed(plan)
        else:
            try:
                return _as_holder(plan, taken[0], taken[1], options)
            finally:
                taken[0].end()
    return StageResult(plan.staged, reused_bytes=plan.staged.total_bytes, seconds=time.monotonic() - options.started)


def _published_meanwhile(plan: StagePlan, options: _Options) -> bool:
    """While another run works: tell so, and look whether it has finished."""
    progress = Tally(plan.total_bytes, len(plan.files)).now("waiting", time.monotonic() - options.started)
    options.progress(progress)
    return options.cancel.is_set() or find_staged(plan.model, plan.store) is not None


def _renewed(plan: StagePlan) -> StagePlan:
    """The plan as it would be made now."""
    wanted = plan.selection
    return make_plan(
        plan.model, plan.hub, plan.store, allow=wanted.allow, ignore=wanted.ignore, duplicates=wanted.duplicates
    )


def _as_holder(plan: StagePlan, journal: Journal, waited: bool, options: _Options) -> StageResult:
    """Carry out the plan as the only run that does."""
    # Another run may have finished between our planning and our holding the journal.
    if waited or (plan.replaced is None and find_staged(plan.model, plan.store) is not None):
        plan = _renewed(plan)
    if plan.staged is not None:
        journal.remove()
        return StageResult(
            plan.staged, reused_bytes=plan.staged.total_bytes, seconds=time.monotonic() - options.started
        )
    run = _new_run(plan, options)
    plan, begun = take_up(plan, run.checksum, run.pieces.piece, journal.entry.uploads)
    spreader = None
    if options.submit is not None:
        spreader = Spreader(plan, options.submit, options.workers, run.checksum, begun, run.tally, run.stop)
    xet = xet_reader(options.transport, plan.model, plan.hub)
    work = Work(local_part(plan) if spreader else plan, run, begun, xet)

    def under_way() -> list[FileStream | RemoteFile]:
        return [*work.streams, *(spreader.files if spreader else ())]

    keeper = Keeper(journal, options.lease, under_way, work.fail)
    keeper.forget({start.upload.upload_id for start in begun.values()})
    work.begun, work.room = keeper.begun, keeper.room
    try:
        keeper.start()
        unpublish_flat(plan)
        finished = _transfer(work, run, keeper, spreader, options)
        run.tally.phase = "publish"
        keeper.stop()
        if {entry.path for entry in finished} != {planned.file.path for planned in plan.files}:
            raise AssertionError("only a whole model is published")
        staged = publish_model(plan, finished)
    except BaseException as error:
        keeper.stop()
        _leave(error, journal, keeper, under_way(), plan)
        raise
    journal.remove()
    run.tally.phase = "done"
    options.progress(run.tally.now())
    tally = run.tally
    return StageResult(staged, tally.moved, tally.copied, tally.reused, tally.seconds, tally.retries)


def _new_run(plan: StagePlan, options: _Options) -> Run:
    stop = threading.Event()
    return Run(
        model=plan.model,
        hub=plan.hub,
        store=plan.store,
        patience=options.patience,
        stop=stop,
        tally=Tally(plan.total_bytes, len(plan.files)),
        pieces=PiecePool(options.memory_budget, CHUNK, stop),
        uplinks=WirePool(options.patience.stall_seconds),
        checksum=best_checksum(),
    )


def _transfer(work: Work, run: Run, keeper: Keeper, spreader: Spreader | None, options: _Options) -> list[ManifestFile]:
    """Bring all files into the bucket; their entries in the manifest."""
    if spreader is None:
        drive(work, run, partial(_check, options), options.progress)
        return work.finished

    def tell() -> None:
        _check(options)  # the local part may long be done
        options.progress(run.tally.now())

    with ThreadPoolExecutor(1) as aside:
        local = aside.submit(drive, work, run, partial(_check, options), lambda _: None)
        try:
            spreader.run(keeper, tell)
        except BaseException as error:
            work.fail(error)
            raise
        local.result()
    return work.finished + spreader.finished


def _check(options: _Options) -> None:
    if options.cancel.is_set():
        raise _cancelled()


def _leave(
    error: BaseException, journal: Journal, keeper: Keeper, files: list[FileStream | RemoteFile], plan: StagePlan
) -> None:
    """After a failure: leave the unfinished uploads to the next run, or throw them away."""
    if isinstance(error, LeaseLost):
        return
    if isinstance(error, StagingError) and error.code in NOT_CONTINUED:
        for file in files:
            if file.upload is not None:
                uploads.abort(file.upload, plan.store)
        journal.remove()
        return
    try:
        if not keeper.release():
            journal.remove()
    except InferenceError:
        # The store cannot be written: the lease ends by itself.
        return


def _cancelled() -> StagingError:
    return StagingError(
        "The staging was cancelled.",
        cause="Nothing was published.",
        fix="Start it again to continue.",
        code="staging.cancelled",
    )
