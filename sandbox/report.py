"""What `python -m sandbox` says at the end: for people on the terminal, for programs as one JSON object."""

from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.text import Text


@dataclass(frozen=True)
class SandboxReport:
    """One run through the sandbox.

    Attributes:
        state: Final state of the flow run.
        message: Its message; on failure the cause and the fix.
        endpoint: Where clients inside the cluster reach it.
        framework: What serves.
        service: Name of the endpoint's Service.
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
    framework: str = ""
    endpoint: str = ""
    service: str = ""
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
    """Prints the report for people; addresses stay whole, so that they can be copied."""
    console.print(f"\n{report.preset}: {report.state}", style="bold", highlight=False, markup=False)
    for label, value in _rows(report).items():
        first, *more = value.splitlines() or [""]
        console.print(Text.assemble((f"{label:<10}", "bold"), first), soft_wrap=True)
        for line in more:
            console.print(Text(" " * 10 + line), soft_wrap=True)
    if not report.passed:
        console.print(Text(f"\n{report.message}", style="red"), soft_wrap=not console.is_terminal)


def _rows(report: SandboxReport) -> dict[str, str]:
    staged = f"{report.staged_uri} ({report.staged_bytes:,} bytes, {report.moved_bytes:,} moved now)"
    rows = {
        "Endpoint": report.endpoint,
        "Model": f"{report.model} @ {report.commit}" if report.model else "",
        "Staged": staged if report.staged_uri else "",
        "Engine": report.engine,
        "Asked": report.prompt,
        "Answered": report.answer.strip(),
        "Steps": "\n".join(f"{name:<18}{seconds:7.2f} s" for name, seconds in report.steps.items()),
        "Run": f"{report.run_seconds:.1f} s, after {report.ready_seconds:.1f} s to start the sandbox",
        "In the UI": report.ui,
    }
    return {label: value for label, value in rows.items() if value}
