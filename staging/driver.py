"""Runs the readers of a piece of work until it is done, with as many connections as pay."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from staging.governor import Governor, Setting
from staging.progress import StageProgress
from staging.run import Run

FIRST_READERS = 4
MOST_READERS = 64
MOST_UPLINKS = 64
TICK_SECONDS = 0.2
"""How often the number of connections is reconsidered and progress is told."""


class Drivable(Protocol):
    """Work that readers do."""

    setting: Setting
    failure: BaseException | None

    @property
    def done(self) -> bool:
        """Whether nothing is left, or the work has failed."""

    def wait(self, seconds: float) -> None:
        """Wait until it is done or the time is over."""

    def change(self, setting: Setting) -> None:
        """Use another number of connections."""

    def reader(self, number: int) -> None:
        """The life of one reader's thread."""

    def fail(self, error: BaseException) -> None:
        """End the work."""


def drive(work: Drivable, run: Run, check: Callable[[], None], progress: Callable[[StageProgress], None]) -> None:
    """Do the work.

    Args:
        work: What to do.
        run: What its threads share.
        check: Called several times a second; what it raises ends the work.
        progress: Called several times a second, from the calling thread.

    Raises:
        BaseException: What made the work fail.
    """
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
            check()
            now, moved = time.monotonic(), run.tally.moved
            if now - then < TICK_SECONDS:
                continue
            work.change(governor.observe((moved - before) / (now - then), *run.tally.timings(), now - then))
            then, before = now, moved
            progress(run.tally.now())
    except BaseException as error:
        work.fail(error)
    for thread in threads:
        thread.join()
    run.uplinks.close()
    if work.failure is not None:
        raise work.failure
