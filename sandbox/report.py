"""What `python -m sandbox` says at the end: for people on the terminal, for programs as one JSON object."""

from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class SandboxReport:
    """One run through the sandbox.

    Attributes:
        state: Final state of the flow run.
        message: Its message; on failure the cause and the fix.
        engine: What served the weights, as it names itself.
        staged_bytes: Bytes of the staged model.
        moved_bytes: Bytes read from the Hub by this run.
        steps: Seconds per step.
        run_seconds: Seconds of the flow run, from Running to its end.
        ready_seconds: Seconds until the sandbox itself was up.
        ui: Address of the run in the Prefect UI.
    """

    preset: str
    state: str
    message: str
    ui: str
    run_seconds: float
    ready_seconds: float
    steps: dict[str, float] = field(default_factory=dict)
    endpoint: str = ""
    model: str = ""
    commit: str = ""
    staged_uri: str = ""
    staged_bytes: int = 0
    moved_bytes: int = 0
    engine: str = ""
    prompt: str = ""
    answer: str = ""

    @property
    def passed(self) -> bool:
        """Whether the endpoint answers."""
        return self.state == "Completed"

    def as_json(self) -> dict[str, Any]:
        """All of it as one JSON object."""
        return {"passed": self.passed, **asdict(self)}


def show(report: SandboxReport, console: Console) -> None:
    """Prints the report for people."""
    table = Table(title=f"{report.preset}: {report.state}", title_justify="left", show_header=False, box=None)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    rows = {
        "Endpoint": report.endpoint,
        "Model": f"{report.model} @ {report.commit}" if report.model else "",
        "Staged": f"{report.staged_uri} ({report.staged_bytes:,} bytes, {report.moved_bytes:,} moved now)"
        if report.staged_uri
        else "",
        "Engine": report.engine,
        "Asked": report.prompt,
        "Answered": report.answer.strip(),
        "Steps": "\n".join(f"{name:<18}{seconds:7.2f} s" for name, seconds in report.steps.items()),
        "Run": f"{report.run_seconds:.1f} s, after {report.ready_seconds:.1f} s to start the sandbox",
        "In the UI": report.ui,
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, Text(value))
    console.print(table)
    if not report.passed:
        console.print(f"\n{report.message}", style="red", highlight=False, markup=False)
