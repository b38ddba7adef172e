"""Blocking work in a thread: its newest progress is shown, its failure comes through, cancelling stops it."""

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from tasks.progress import run_in_thread
from tasks.stage import in_bytes


def test_the_last_progress_is_always_shown() -> None:
    seen: list[int] = []

    def work(note: Callable[[int], None], stop: threading.Event) -> str:
        for step in range(50):
            note(step)
        return "done"

    async def show(step: int) -> None:
        seen.append(step)

    assert asyncio.run(run_in_thread(work, show, poll_seconds=0.01)) == "done"
    assert seen[-1] == 49
    assert seen == sorted(set(seen))


def test_a_failure_comes_through() -> None:
    def work(note: Callable[[int], None], stop: threading.Event) -> None:
        raise ValueError("broken")

    async def show(step: int) -> None: ...

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(run_in_thread(work, show))


def test_cancelling_stops_the_thread_and_waits_for_it() -> None:
    ended = threading.Event()

    def work(note: Callable[[int], None], stop: threading.Event) -> None:
        stop.wait(30)
        time.sleep(0.05)
        ended.set()

    async def show(step: int) -> None: ...

    async def cancelled() -> None:
        running = asyncio.create_task(run_in_thread(work, show))
        await asyncio.sleep(0.1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(cancelled())
    assert ended.is_set()


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 * 2**30, "5.0 GiB"), (2**51, "2048.0 TiB")]
)
def test_bytes_as_people_read_them(count: int, text: str) -> None:
    assert in_bytes(count) == text
