"""Pin a model and stage it: the Prefect side of `staging`."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import nullcontext

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from blocks.hub import HuggingFaceHub
from blocks.store import ModelStore
from serving.events import ModelStaged
from serving.lineage import hub_key, staged_key
from serving.models import ModelSource, PinnedModel
from staging.engine import StageResult
from staging.hub import pin
from staging.plan import StagePlan, plan
from staging.progress import StageProgress
from staging.selection import Selection
from staging.store import check_store
from staging.transfer import Transfer, carry_out
from tasks.assets import making
from tasks.events import emit
from tasks.limits import staging_slot
from tasks.progress import ProgressBar, run_in_thread


@task(name="pin-model", task_run_name="pin-model", cache_policy=NO_CACHE)
async def pin_model(source: ModelSource, hub: HuggingFaceHub) -> PinnedModel:
    """Resolves the revision to the commit that everything later uses."""
    pinned = await asyncio.to_thread(pin, source, hub.access())
    get_run_logger().info("%s@%s is commit %s", source.repo_id, source.revision, pinned.commit)
    return pinned


@task(name="check-store", task_run_name="check-store", cache_policy=NO_CACHE)
async def check_model_store(store: ModelStore) -> None:
    """Proves that the bucket can be written with the block's identity; leaves nothing there."""
    await asyncio.to_thread(check_store, store.access())


@task(name="plan-staging", task_run_name="plan-staging", cache_policy=NO_CACHE)
async def plan_staging(
    pinned: PinnedModel, hub: HuggingFaceHub, store: ModelStore, selection: Selection | None = None
) -> StagePlan:
    """Finds out what must move; nothing for a commit that is staged. Writes nothing."""
    wanted = selection or Selection()
    planned = await asyncio.to_thread(
        plan,
        pinned,
        hub.access(),
        store.access(),
        allow=wanted.allow,
        ignore=wanted.ignore,
        duplicates=wanted.duplicates,
    )
    log = get_run_logger()
    if planned.staged is not None:
        log.info("Already staged: %s", planned.staged.uri)
    else:
        log.info("To stage: %d files, %s, to %s", len(planned.files), in_bytes(planned.total_bytes), planned.uri)
        for skipped in planned.skipped:
            log.info("Left out: %s (%s)", skipped.path, skipped.reason)
    return planned


async def stage_planned(planned: StagePlan, how: Transfer | None = None) -> StageResult:
    """Moves what the plan says, every byte verified before it is visible; a model that is new there is told."""
    how = how or Transfer()
    if planned.staged is not None:
        return await _stage(planned, how)
    made, source = staged_key(planned.uri), hub_key(planned.model)
    return await making(_stage, made, source, title=f"{planned.model.repo_id} in {planned.uri}")(planned, how)


@task(name="stage-model", task_run_name="stage-model", cache_policy=NO_CACHE)
async def _stage(planned: StagePlan, how: Transfer) -> StageResult:
    bar = ProgressBar("staging")

    async def show(progress: StageProgress) -> None:
        percent = 100.0 * progress.done_bytes / max(1, progress.total_bytes)
        await bar.show(percent, progress_text(progress), final=progress.phase == "done")

    def work(note: Callable[[StageProgress], None], stop: threading.Event) -> StageResult:
        return carry_out(planned, how, progress=note, cancel=stop)

    async with staging_slot() if planned.staged is None else nullcontext():
        result = await run_in_thread(work, show)
    get_run_logger().info(
        "Staged %s: %s moved in %.1f s", result.staged.uri, in_bytes(result.moved_bytes), result.seconds
    )
    if planned.staged is None:
        emit(_staged(result))
    return result


def _staged(result: StageResult) -> ModelStaged:
    staged = result.staged
    return ModelStaged(
        model=staged.model.repo_id,
        revision=staged.model.revision,
        commit=staged.model.commit,
        uri=staged.uri,
        files=len(staged.files),
        bytes=staged.total_bytes,
        moved_bytes=result.moved_bytes,
        seconds=result.seconds,
    )


def progress_text(progress: StageProgress) -> str:
    """What a staging is doing, as a person reads it."""
    text = f"{progress.phase}: {in_bytes(progress.done_bytes)} of {in_bytes(progress.total_bytes)}"
    text += f", {progress.files_done} of {progress.files_total} files, {in_bytes(progress.rate)}/s"
    left = progress.seconds_left
    return text if not left else f"{text}, {left:.0f} s left"


def in_bytes(count: float) -> str:
    """Bytes with a binary unit: 1536 → ``1.5 KiB``."""
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    size, unit = float(count), 0
    while size >= 1024 and unit < len(units) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.0f} B" if unit == 0 else f"{size:.1f} {units[unit]}"
