"""A run on the terminal: a table that lives where a person looks on, plain lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:  # at run time it would import Prefect before its settings are made
    from sandbox.run_watch import RunView, Step

MARKS = {"Completed": ("✔", "green"), "Failed": ("✘", "red"), "Crashed": ("✘", "red"), "Running": ("…", "yellow")}


@contextmanager
def shown(console: Console) -> "Iterator[Callable[[RunView], None]]":
    """Yields a function that shows the newest view of a run."""
    if not console.is_terminal:
        yield _Lines(console).show
        return
    with Live(console=console, refresh_per_second=4) as live:
        yield lambda view: live.update(_table(view))


class _Lines:
    """Prints what is new: a line when a step starts, tells of progress, or ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: dict[str, str] = {}

    def show(self, view: "RunView") -> None:
        """Prints the lines that were not printed yet."""
        for step in view.steps:
            line = _line(step)
            if self._said.get(step.name) != line:
                self._said[step.name] = line
                self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def _line(step: "Step") -> str:
    mark, _ = MARKS.get(step.state, ("·", ""))
    if step.state in ("Running", "Pending"):
        return f"{mark} {step.name} {step.progress}".rstrip()
    return f"{mark} {step.name} {step.state} {step.seconds:.1f} s"


def _table(view: "RunView") -> Table:
    table = Table(box=None, show_header=False, title=f"{view.name}: {view.state}", title_justify="left")
    for step in view.steps:
        mark, style = MARKS.get(step.state, ("·", ""))
        table.add_row(Text(mark, style=style), Text(step.name), f"{step.seconds:6.1f} s", Text(step.progress))
    return table
