"""What a deploy costs beside moving bytes and the pod's start: step by step, on a real Prefect server with a worker.

    uv run python -m benchmarks.overhead [--runs 5]

Each run deploys the preset under an endpoint name of its own, so that a new pod starts; the first run stages, the
others find the model staged. Overhead is the flow run's time from Running to its end, less the steps `stage-model`
(moving bytes) and `wait-until-ready` (the pod's start).
"""

import argparse
import asyncio
import statistics
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from sandbox.options import RunOptions
from sandbox.run import sandbox

if TYPE_CHECKING:
    from sandbox.run_watch import RunView

NOT_OURS = ("stage-model", "wait-until-ready")


def main() -> None:
    """Runs the benchmark and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="qwen3-1.7b-vllm")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    console = Console()
    with sandbox(RunOptions(preset=options.preset), console):
        views = asyncio.run(_deploy_all(options.preset, options.runs, console))
    console.print(_table(views))
    console.print(
        f"overhead per run: median {statistics.median(map(overhead, views)):.2f} s, "
        f"most {max(map(overhead, views)):.2f} s"
    )


def overhead(view: "RunView") -> float:
    """Seconds of a run that are neither moving bytes nor the pod's start."""
    return view.seconds - sum(step.seconds for step in view.steps if step.name in NOT_OURS)


async def _deploy_all(preset: str, runs: int, console: Console) -> "list[RunView]":
    # Prefect reads its settings as it is imported: after the sandbox has said which server.
    from sandbox.run_watch import follow, start_run

    views = []
    for number in range(1, runs + 1):
        run = await start_run(f"deploy-model/{preset}", {"overrides": {"name": f"overhead-{number}"}})
        view = await follow(run.id, lambda _: None)
        if view.state != "Completed":
            raise SystemExit(f"run {number} ended {view.state}: {view.message}")
        console.print(f"run {number}: {view.seconds:.2f} s, overhead {overhead(view):.2f} s")
        views.append(view)
    return views


def _table(views: "list[RunView]") -> Table:
    table = Table("step", *(f"run {number}" for number in range(1, len(views) + 1)), "median", title="seconds")
    names = list(dict.fromkeys(step.name for view in views for step in view.steps))
    for name in names:
        values = [sum(step.seconds for step in view.steps if step.name == name) for view in views]
        table.add_row(name, *(f"{value:.2f}" for value in values), f"{statistics.median(values):.2f}")
    for label, figure in (("whole run", [view.seconds for view in views]), ("overhead", [overhead(v) for v in views])):
        table.add_row(label, *(f"{value:.2f}" for value in figure), f"{statistics.median(figure):.2f}", style="bold")
    return table


if __name__ == "__main__":
    main()
