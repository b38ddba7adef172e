"""How soon a deploy that cannot succeed ends: seconds from its state becoming final to the run's end.

    uv run python -m benchmarks.diagnosis [--only WORDS]

Each failure of `benchmarks.causes` is deployed on a real Prefect server with a worker. A watch of its own keeps every
state of the endpoint's objects, whose times say when the state became final. These times have a resolution of one
second and are cut off, so that up to a second is counted too much. Measured are the report in the UI (the artifact
`endpoint-NAME`) and the flow run's state Failed, which comes after the candidate was taken away.
"""

import argparse
import asyncio
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks.causes import CAUSES, DENIED_KEYS, HALF_KEYS, PRESETS, QUOTA, VLLM, Cause, History
from kube.apply import apply
from kube.connect import from_kubeconfig
from kube.watch import Change, WatchTarget, watch
from sandbox.options import RunOptions
from sandbox.run import Sandbox, sandbox
from serving.record import ENDPOINT_LABEL

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient


WIDTH = 130
"""Columns of the table where no person looks on."""


@dataclass(frozen=True)
class Measured:
    """One failed deploy.

    Attributes:
        found: Category and reason, or the error's code where there is no diagnosis.
        shown: Seconds from final to the report in the UI; None if the state was never seen to be final.
        failed: Seconds from final to the run's end.
    """

    cause: Cause
    found: str
    shown: float | None
    failed: float | None


def main() -> None:
    """Runs the benchmark and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="regular expression that the causes' names hold")
    only = re.compile(parser.parse_args().only)
    wanted = {name: cause for name, cause in CAUSES.items() if only.search(name)}
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    with sandbox(RunOptions(preset=VLLM), console) as place:
        # Prefect reads its settings as it is imported: after the sandbox has said which server.
        from sandbox.registration import register_deployments

        register_deployments(PRESETS)
        _prepare(place)
        measured = {}
        for number, (name, cause) in enumerate(wanted.items()):
            measured[name] = asyncio.run(_deploy(place, f"cause-{number}", cause))
            console.print(f"{name}: {measured[name].found}, {_seconds(measured[name].failed)} s", highlight=False)
    console.print(_table(measured))
    known = [one.failed for one in measured.values() if one.failed is not None]
    console.print(f"{len(known)} of {len(wanted)} measured, most {max(known, default=0.0):.1f} s")


def _prepare(place: Sandbox) -> None:
    """Makes what some of the causes need: keys that do not do, a quota that leaves no room for large pods."""
    assert place.servers.s3 is not None
    denied = place.servers.s3.denied
    keys = {"AWS_ACCESS_KEY_ID": denied.access_key, "AWS_SECRET_ACCESS_KEY": denied.secret_key}
    half = {"AWS_ACCESS_KEY_ID": denied.access_key}
    with from_kubeconfig(place.places.kubeconfig) as cluster:
        for name, data in ((DENIED_KEYS, keys), (HALF_KEYS, half)):
            metadata = {"name": name, "namespace": place.places.namespace}
            apply(cluster, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})
        quota = {"name": "room", "namespace": place.places.namespace}
        hard = {"requests.nvidia.com/gpu": str(QUOTA)}
        apply(cluster, {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": quota, "spec": {"hard": hard}})


async def _deploy(place: Sandbox, endpoint: str, cause: Cause) -> Measured:
    from prefect.client.orchestration import get_client

    from sandbox.run_watch import follow, start_run

    parameters = {"overrides": {"name": endpoint, **cause.overrides}, "timeout_minutes": cause.timeout_minutes}
    with _watched(place, endpoint) as seen:
        run = await start_run(f"deploy-model/{cause.preset}", parameters)
        view = await follow(run.id, lambda _: None)
    if view.state != "Failed":
        return Measured(cause, f"the run ended {view.state}", None, None)
    began = next((step.started for step in view.steps if step.name == "wait-until-ready"), None)
    final = cause.final(replace(seen, waiting_since=began, timeout=timedelta(minutes=cause.timeout_minutes)))
    async with get_client() as client:
        over = (await client.read_flow_run(run.id)).state
        shown = await _shown(client, endpoint)
        found = await _found(client, endpoint)
    return Measured(cause, found or view.message, _since(final, shown), _since(final, over and over.timestamp))


def _since(final: datetime | None, moment: datetime | None) -> float | None:
    return (moment - final).total_seconds() if final and moment else None


@contextmanager
def _watched(place: Sandbox, endpoint: str) -> Iterator[History]:
    """Keeps what a watch shows of an endpoint's pods and the events about them and their makers."""
    seen, stop, synced = History(), threading.Event(), threading.Semaphore(0)
    namespace = place.places.namespace
    mine = f"{ENDPOINT_LABEL}={endpoint}"
    pods = WatchTarget("v1", "Pod", namespace, labels=mine)
    services = WatchTarget("ray.io/v1", "RayService", namespace, labels=mine)
    targets = [pods, services, WatchTarget("v1", "Event", namespace)]

    def keep() -> None:
        with (
            from_kubeconfig(place.places.kubeconfig) as cluster,
            closing(watch(cluster, targets, deadline=None, stop=stop)) as changes,
        ):
            for change in changes:
                if change.type is Change.SYNCED:
                    synced.release()
                elif change.target is pods:
                    seen.pods.append(change.object)
                elif change.target is services:
                    seen.services.append(change.object)
                elif str((change.object.get("involvedObject") or {}).get("name")).startswith(f"{endpoint}-"):
                    seen.events.append(change.object)

    keeping = threading.Thread(target=keep)
    keeping.start()
    try:
        for _ in targets:
            synced.acquire()
        yield seen
    finally:
        stop.set()
        keeping.join()


async def _shown(client: "PrefectClient", endpoint: str) -> datetime | None:
    """When the report came that the UI shows of the endpoint."""
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    key = ArtifactFilter(key=ArtifactFilterKey(any_=[f"endpoint-{endpoint}"]))
    reports = await client.read_artifacts(artifact_filter=key)
    return max((report.created for report in reports if report.created), default=None)


async def _found(client: "PrefectClient", endpoint: str) -> str:
    """Category and reason as the event has them that automations match on, else the error's code."""
    from prefect.events.filters import EventFilter, EventNameFilter

    failures = EventFilter(event=EventNameFilter(name=["inference.endpoint.failed"]))
    for _ in range(40):  # events reach the database a moment after they were sent
        page = await client.read_events(failures, limit=50)
        for event in page.events:
            if event.payload["endpoint"] == endpoint:
                diagnosis = event.payload.get("diagnosis")
                return "/".join((diagnosis["category"], diagnosis["reason"])) if diagnosis else event.payload["code"]
        await asyncio.sleep(0.25)
    return ""


def _table(measured: dict[str, Measured]) -> Table:
    table = Table("cause", "diagnosis", "final with", "shown after, s", "ended after, s")
    for name, one in measured.items():
        table.add_row(name, one.found, one.cause.final_when, _seconds(one.shown), _seconds(one.failed))
    return table


def _seconds(value: float | None) -> str:
    return "never seen" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    main()
