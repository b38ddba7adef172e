"""Progress on a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from staging.progress import StageProgress

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class ProgressLine:
    """One line that moves: bytes, rate, time left, files.

    Args:
        enabled: Whether there is a terminal to draw on.
    """

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, moment: StageProgress) -> None:
        """Draw a moment of the staging."""
        if not self._enabled:
            return
        if self._bar is None or self._task is None:
            self._bar = _bar()
            self._task = self._bar.add_task("", total=moment.total_bytes, files="")
            self._bar.start()
        self._bar.update(
            self._task,
            description=moment.phase,
            completed=moment.done_bytes,
            files=f"{moment.files_done}/{moment.files_total} files",
        )


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[files]}"),
        console=Console(stderr=True),
        transient=True,
    )
