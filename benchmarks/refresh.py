"""What a refresh costs when nothing has changed: seconds and requests to the Hub, on a real Prefect server and worker.

    uv run python -m benchmarks.refresh [--endpoints 10] [--repositories 4] [--runs 5]

The endpoints exist as records in the cluster and follow the main branches of so many repositories, each at its newest
commit. Counted are the flow run's seconds from Running to its end, which is what comes on top of Prefect's own start
(worker, process, imports), and the requests that the Hub got meanwhile.
"""

import argparse
import asyncio
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from kube.apply import apply
from kube.connect import from_kubeconfig
from sandbox.options import RunOptions
from sandbox.run import Sandbox, sandbox
from serving.build import build_spec
from serving.models import ModelSource, PinnedModel
from serving.record import EndpointRecord, ReleaseRecord, to_manifest
from serving.spec import Accelerator, Framework

if TYPE_CHECKING:
    from sandbox.run_watch import RunView

DEPLOYMENT = "refresh-models"


@dataclass(frozen=True)
class Measured:
    """One refresh."""

    view: "RunView"
    requests: int


def main() -> None:
    """Runs the benchmark and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoints", type=int, default=10)
    parser.add_argument("--repositories", type=int, default=4)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    console = Console()
    with sandbox(RunOptions(preset="qwen3-1.7b-vllm"), console) as place:
        # Prefect reads its settings as it is imported: after the sandbox has said which server.
        from sandbox.registration import register_deployments

        register_deployments({DEPLOYMENT})
        _write_records(place, options.endpoints, options.repositories)
        measured = [asyncio.run(_refresh(place)) for _ in range(options.runs)]
    console.print(_table(measured))
    seconds = [one.view.seconds for one in measured]
    console.print(
        f"{options.endpoints} endpoints of {options.repositories} repositories: median "
        f"{statistics.median(seconds):.2f} s, most {max(seconds):.2f} s, "
        f"{max(one.requests for one in measured)} requests to the Hub at most",
        soft_wrap=True,
    )


def _write_records(place: Sandbox, endpoints: int, repositories: int) -> None:
    assert place.servers.hub is not None
    content = place.servers.hub.content
    names = [f"bench/model-{number}" for number in range(repositories)]
    heads = {name: content.commit(name, {"config.json": name.encode()}) for name in names}
    with from_kubeconfig(place.places.kubeconfig) as cluster:
        for number in range(endpoints):
            repo = names[number % repositories]
            record = _record(f"bench-{number}", place.places.namespace, repo, heads[repo])
            apply(cluster, to_manifest(record))


def _record(name: str, namespace: str, repo: str, commit: str) -> EndpointRecord:
    given = {"name": name, "namespace": namespace, "model": ModelSource(repo_id=repo)}
    spec = build_spec(Framework.VLLM, Accelerator.GPU, given)
    return EndpointRecord(
        current=ReleaseRecord(
            spec=spec,
            id=commit[:10],
            model=PinnedModel(repo_id=repo, revision="main", commit=commit),
            staged_uri="",
            staged_bytes=0,
            moved_bytes=0,
            image=spec.image,
            flow_run="",
            deployed_at="2026-11-20T12:00:00+00:00",
        )
    )


async def _refresh(place: Sandbox) -> Measured:
    from sandbox.run_watch import follow, start_run

    assert place.servers.hub is not None
    before = len(place.servers.hub.requests)
    run = await start_run(f"{DEPLOYMENT}/{DEPLOYMENT}", {})
    view = await follow(run.id, lambda _: None)
    if view.state != "Completed":
        raise SystemExit(f"the refresh ended {view.state}: {view.message}")
    return Measured(view, len(place.servers.hub.requests) - before)


def _table(measured: list[Measured]) -> Table:
    table = Table("", *(f"run {number}" for number in range(1, len(measured) + 1)))
    table.add_row("seconds", *(f"{one.view.seconds:.2f}" for one in measured))
    table.add_row("requests to the Hub", *(str(one.requests) for one in measured))
    return table


if __name__ == "__main__":
    main()
