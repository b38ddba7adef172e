"""Progress that shows in the UI, throttled: every update of an artifact is an API call and an event."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

INTERVAL_SECONDS = 2.0

Result = TypeVar("Result")
Progress = TypeVar("Progress")


class ProgressBar:
    """One progress artifact of a task run, updated at most every two seconds.

    Args:
        key: Artifact key: lower-case letters, digits and dashes.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self._id: UUID | None = None
        self._sent_at = float("-inf")
        self._percent = -1.0

    async def show(self, percent: float, description: str, *, final: bool = False) -> None:
        """Shows `percent` (0-100). An update that comes too soon after the last is left out, the final one never."""
        percent = max(0.0, min(100.0, percent))
        now = time.monotonic()
        if not final and now - self._sent_at < INTERVAL_SECONDS:
            return
        self._sent_at, self._percent = now, percent
        if self._id is None:
            self._id = await acreate_progress_artifact(progress=percent, key=self._key, description=description)
        else:
            await aupdate_progress_artifact(artifact_id=self._id, progress=percent, description=description)


async def run_in_thread(
    work: Callable[[Callable[[Progress], None], threading.Event], Result],
    show: Callable[[Progress], Awaitable[None]],
    *,
    poll_seconds: float = 0.2,
) -> Result:
    """Runs blocking work in a thread and shows its newest progress from the event loop.

    Args:
        work: Called with a function that takes progress, and an event that asks it to stop early.
        show: Shows one progress; calls for states that were overtaken are left out.
        poll_seconds: How often the newest progress is looked at.

    Raises:
        asyncio.CancelledError: The run was cancelled; the thread was asked to stop and has ended.
    """
    newest: list[Progress] = []
    stop = threading.Event()

    def note(progress: Progress) -> None:
        newest[:] = [progress]

    running = asyncio.create_task(asyncio.to_thread(work, note, stop))
    try:
        while not running.done():
            await asyncio.wait({running}, timeout=poll_seconds)
            if newest:
                await show(newest.pop())
        return running.result()
    finally:
        stop.set()
        if not running.done():
            await asyncio.wait({running})
