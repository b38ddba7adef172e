"""Long proofs of refreshes: a person is asked by a run that waits; of a hundred endpoints only those behind move."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.flow_runs import aresume_flow_run

from blocks.cluster import InferenceCluster
from blocks.hub import HuggingFaceHub
from blocks.store import ModelStore
from deployments.pools import PodSettings, ensure_pool
from deployments.prefect_yaml import PROCESS
from deployments.register import read, register
from flows.deploy_model import deploy_model
from flows.refresh_models import RefreshReport, refresh_models
from kube.apply import apply
from kube.connect import from_kubeconfig
from kube.read import list_
from sandbox.prefect_server import PrefectServer, run_worker
from sandbox.registration import Places, register_deployments, save_blocks
from sandbox.tiny_models import add_revision
from serving.catalog import Overrides
from serving.record import ENDPOINT_LABEL, EndpointRecord
from tasks.record import read_record
from tests.conftest import prefect_of_its_own
from tests.flows.conftest import GPU_CAPACITY, World, serve_world
from tests.flows.records import record_only, write

pytestmark = [pytest.mark.server, pytest.mark.long, pytest.mark.timeout(1200)]
WAIT_SECONDS = 600.0
"""For what processes on a busy machine do: each run starts one."""
REPO = "NousResearch/Llama-3.2-1B"
SPACE = "inference"
REFRESH = "refresh-models/refresh-models"


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A Prefect server of this file's own, for it has a worker."""
    with prefect_of_its_own(tmp_path_factory.mktemp("prefect")) as server:
        yield server


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, prefect: PrefectServer) -> Iterator[World]:
    """All servers, with blocks that are saved."""
    nodes = dict.fromkeys(("gpu_a", "gpu_b", "gpu_c"), GPU_CAPACITY)
    with serve_world(tmp_path_factory.mktemp("world"), **nodes) as world:
        save_blocks(
            Places(
                hub_url=world.hub_server.url,
                hub_token=world.hub_server.token,
                bucket="models",
                prefix="",
                region=world.s3.region,
                s3_url=world.s3.url,
                access_key=world.s3.access_key,
                secret_key=world.s3.secret_key,
                kubeconfig=world.kubernetes.kubeconfig,
                namespace=SPACE,
            )
        )
        saved: dict[str, Any] = {
            "cluster": InferenceCluster.load("default"),
            "hub": HuggingFaceHub.load("default"),
            "store": ModelStore.load("default"),
        }
        yield world.with_blocks(**saved)


def refresh(place: World, **parameters: Any) -> RefreshReport:
    state = asyncio.run(refresh_models(**place.target(), namespace=SPACE, **parameters, return_state=True))
    assert state.is_completed(), state.message
    return RefreshReport.model_validate(asyncio.run(state.aresult()))


def record_of(place: World, endpoint: str) -> EndpointRecord:
    with from_kubeconfig(place.kubernetes.kubeconfig) as cluster:
        found = read_record(SPACE, endpoint, cluster)
    assert found is not None
    return found


async def runs_that_ask() -> list[FlowRun]:
    async with get_client() as client:
        runs = await client.read_flow_runs()
    return [run for run in runs if any(tag.startswith("approval:") for tag in run.tags)]


def wait_for(run_id: Any, name: str, seconds: float = WAIT_SECONDS) -> FlowRun:
    """Waits until the run is in the state of this name."""

    async def read() -> FlowRun:
        async with get_client() as client:
            return await client.read_flow_run(run_id)

    deadline = time.monotonic() + seconds
    while True:
        run = asyncio.run(read())
        if run.state_name == name:
            return run
        assert not (run.state and run.state.is_final()), f"{run.state_name}: {run.state and run.state.message}"
        assert time.monotonic() < deadline, f"still {run.state_name}"
        time.sleep(0.5)


async def question(run: FlowRun) -> tuple[str, dict[str, Any]]:
    """What the form says, and its fields."""
    keys = run.state.state_details.run_input_keyset if run.state else None
    assert keys is not None
    async with get_client() as client:
        text = await client.read_flow_run_input(run.id, keys["description"])
        schema = await client.read_flow_run_input(run.id, keys["schema"])
    return json.loads(text), json.loads(schema)["properties"]


async def cards_shown(run: FlowRun) -> int:
    """How many artifacts a run made of how the model's card differs."""
    mine = ArtifactFilter.model_validate({"flow_run_id": {"any_": [run.id]}, "key": {"any_": ["model-card-ask"]}})
    async with get_client() as client:
        return len(await client.read_artifacts(artifact_filter=mine))


@contextmanager
def asked(place: World, commit: str) -> Iterator[FlowRun]:
    """The run that asks about a commit, once it waits; one refresh more starts no other."""
    assert list(refresh(place).asked) == [f"{SPACE}/ask"]
    assert list(refresh(place).asked) == [f"{SPACE}/ask"]
    runs = [run for run in asyncio.run(runs_that_ask()) if run.parameters["commit"] == commit]
    assert len(runs) == 1
    yield wait_for(runs[0].id, "Suspended")


def test_a_schedule_that_a_person_switches_on_starts_refreshes(place: World, prefect: PrefectServer) -> None:
    """As it ships, but for the hour: a schedule of every minute, off until it is switched on in the UI."""
    [declared] = [one for one in read() if one["name"] == "refresh-models"]
    [hourly] = declared["schedules"]
    assert hourly["active"] is False
    often = {**declared, "schedules": [{**hourly, "cron": "* * * * *"}]}

    async def switch(active: bool) -> None:
        async with get_client() as client:
            await ensure_pool(client, PROCESS, PodSettings())
            await register([often], client=client)
            there = await client.read_deployment_by_name(REFRESH)
            await client.update_deployment_schedule(there.id, there.schedules[0].id, active=active)

    async def started() -> list[FlowRun]:
        async with get_client() as client:
            there = await client.read_deployment_by_name(REFRESH)
            chosen = FlowRunFilter.model_validate({"deployment_id": {"any_": [there.id]}})
            return [run for run in await client.read_flow_runs(flow_run_filter=chosen, limit=200) if run.start_time]

    asyncio.run(switch(True))
    with run_worker(prefect):
        deadline = time.monotonic() + WAIT_SECONDS
        while not (runs := asyncio.run(started())):
            assert time.monotonic() < deadline, "no run was started"
            time.sleep(1)
        asyncio.run(switch(False))
        first = wait_for(min(runs, key=lambda run: str(run.start_time)).id, "Completed")
    assert first.auto_scheduled
    assert "inference" in first.tags
    assert first.name.startswith("refresh endpoints in")


def test_a_person_is_asked_before_anything_is_changed(place: World, prefect: PrefectServer, tmp_path: Path) -> None:
    register_deployments({"refresh-endpoint"})
    overrides = Overrides.read({"name": "ask", "pod": {"drain_seconds": 0}, "refresh": {"approval": True}})
    deployed = deploy_model("llama-32-1b-vllm", **place.target(), overrides=overrides, return_state=True)
    assert asyncio.run(deployed).is_completed()
    first = record_of(place, "ask")
    content = place.hub_server.content

    with run_worker(prefect):
        second = add_revision(content, REPO, cache=tmp_path, seed=5, size=300_000)
        before, keys = place.objects(), place.staged_keys()
        with asked(place, second) as run:
            text, fields = asyncio.run(question(run))
            assert first.serving.model.commit[:12] in text
            assert second[:12] in text
            assert "model.safetensors` | changed" in text
            assert f"[What changed in the model card]({prefect.url}/artifacts/artifact/" in text
            assert list(fields) == ["approve", "by", "note"]
            assert place.objects() == before
            assert place.staged_keys() == keys

            answer = {"approve": False, "by": "Ada", "note": "not before the fair"}
            asyncio.run(aresume_flow_run(run.id, run_input=answer))
            wait_for(run.id, "Rejected")
            assert asyncio.run(cards_shown(run)) == 1
        turned_down = record_of(place, "ask")
        assert turned_down.current == first.current
        assert turned_down.rejected is not None
        assert turned_down.rejected.commit == second
        assert turned_down.rejected.reason == "turned down by Ada: not before the fair"
        assert refresh(place).current == [f"{SPACE}/ask"]

        third = add_revision(content, REPO, cache=tmp_path, seed=6, size=300_000)
        with asked(place, third):
            pass
        # The branch moves on while nobody answers: that question is overtaken.
        fourth = add_revision(content, REPO, cache=tmp_path, seed=7, size=300_000)
        with asked(place, fourth) as run:
            [overtaken] = [one for one in asyncio.run(runs_that_ask()) if one.parameters["commit"] == third]
            assert overtaken.state_name == "Cancelled"
            asyncio.run(aresume_flow_run(run.id, run_input={"approve": True, "by": "Ada"}))
            wait_for(run.id, "Completed")
            assert asyncio.run(cards_shown(run)) == 1
    moved = record_of(place, "ask")
    assert moved.serving.model.commit == fourth
    assert moved.approved is not None
    assert (moved.approved.commit, moved.approved.by) == (fourth, "Ada")
    assert refresh(place).current == [f"{SPACE}/ask"]


def test_of_a_hundred_endpoints_the_three_that_are_behind_move(place: World, tmp_path: Path) -> None:
    space = "hundred"
    with from_kubeconfig(place.kubernetes.kubeconfig) as cluster:
        apply(cluster, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}})
        old = place.hub_server.content[REPO].branches["main"]
        heads = {
            f"hundred/model-{number}": place.hub_server.content.commit(
                f"hundred/model-{number}", {"config.json": f"{number}".encode()}
            )
            for number in range(97)
        }
        still = [record_only(f"still-{n}", space, repo, head) for n, (repo, head) in enumerate(heads.items())]
        behind = [record_only(f"behind-{n}", space, REPO, old) for n in range(3)]
        # One whose candidate fails comes first, and stops no other.
        broken = record_only("a-broken", space, REPO, old, env={"SANDBOX_ENGINE_FAIL": "cuda-oom"})
        write(cluster, *still, *behind, broken)
        new = add_revision(place.hub_server.content, REPO, cache=tmp_path, seed=9, size=300_000)
        before = {one["metadata"]["name"]: one["data"] for one in list_(cluster, "v1", "ConfigMap", space)}
        state = asyncio.run(refresh_models(**place.target(), namespace=space, return_state=True))
        assert state.is_failed()
        assert f"1 of 101 endpoints were not refreshed: {space}/a-broken: " in str(state.message)
        after = {one["metadata"]["name"]: one["data"] for one in list_(cluster, "v1", "ConfigMap", space)}
        for one in still:
            name = f"{one.spec.name}-record"
            assert after[name] == before[name]
        for one in behind:
            moved = read_record(space, one.spec.name, cluster)
            assert moved is not None
            assert moved.serving.model.commit == new
        left = read_record(space, "a-broken", cluster)
        assert left is not None
        assert left.current == broken.current
        assert left.rejected is not None
        assert left.rejected.commit == new
        pods = list_(cluster, "v1", "Pod", space)
        assert {pod["metadata"]["labels"][ENDPOINT_LABEL] for pod in pods} == {f"behind-{n}" for n in range(3)}
