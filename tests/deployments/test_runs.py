"""Runs started as people start them: from the command line, with every kind of parameter."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound

from sandbox.prefect_server import PrefectServer, run_worker, serve_prefect, wait_until_healthy
from tests.conftest import reporting_to
from tests.flows.conftest import GPU_CAPACITY, World, serve_world

pytestmark = pytest.mark.long

Running = tuple[PrefectServer, World]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with blocks, deployments and a worker of its own, and a cluster."""
    from sandbox.registration import register_deployments

    home = tmp_path_factory.mktemp("runs")
    with serve_prefect(home / "prefect") as prefect, serve_world(home / "world", gpu_a=GPU_CAPACITY) as world:
        wait_until_healthy(prefect)
        with reporting_to(prefect):

            async def save() -> None:
                for block in (world.hub, world.store, world.cluster):
                    await block.asave("default", overwrite=True)
                await world.hub.asave("another", overwrite=True)

            asyncio.run(save())
            register_deployments({"deploy-vllm"})
            with run_worker(prefect):
                yield prefect, world


def last_run(deployment: str) -> FlowRun | None:
    async def look() -> FlowRun | None:
        async with get_client() as client:
            found = await client.read_deployment_by_name(deployment)
            chosen: dict[str, Any] = {"deployments": {"id": {"any_": [str(found.id)]}}, "sort": "START_TIME_DESC"}
            answer = await client._client.post("/flow_runs/filter", json={**chosen, "limit": 1})
            return next((FlowRun.model_validate(one) for one in answer.json()), None)

    return asyncio.run(look())


def is_registered(deployment: str) -> bool:
    async def look() -> bool:
        async with get_client() as client:
            try:
                found = await client.read_deployment_by_name(deployment)
            except ObjectNotFound:
                return False
            assert found.work_pool_name is None, "a worker could take its runs"
            return True

    return asyncio.run(look())


def test_every_kind_of_parameter_from_the_command_line(running: Running) -> None:
    prefect, _ = running
    given = {
        "endpoint": "typed",  # a string
        "dry_run": "true",  # a boolean
        "timeout_minutes": "7",  # a number
        "model": '{"repo_id": "Qwen/Qwen3-1.7B"}',  # a model
        "workload": '{"replicas": 2, "pod": {"drain_seconds": 0}}',  # a model within a model
        "hub": '{"$ref": {"block_document_slug": "hugging-face-hub/another"}}',  # a block by reference
    }
    options = [word for name, value in given.items() for word in ("-p", f"{name}={value}")]
    command = [sys.executable, "-m", "prefect", "deployment", "run", "deploy-vllm/deploy-vllm", *options, "--watch"]
    done = subprocess.run(command, env=dict(prefect.env), capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    run = last_run("deploy-vllm/deploy-vllm")
    assert run is not None
    assert run.parameters["dry_run"] is True
    assert run.parameters["timeout_minutes"] == 7
    assert run.parameters["workload"] == {"replicas": 2, "pod": {"drain_seconds": 0}}
    assert run.parameters["hub"] == {"$ref": {"block_document_slug": "hugging-face-hub/another"}}
    assert "inference" in run.tags


def test_a_single_machine_serves_deployments_without_a_pool(running: Running) -> None:
    prefect, _ = running
    python, env, deployment = [sys.executable, "-m"], dict(prefect.env), "list-endpoints/list-endpoints"
    # Ctrl-C ends it, also where the tests themselves run in the background and are deaf to it.
    listening = "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    serve = f"{listening}; runpy.run_module('deployments.serve', run_name='__main__')"
    serving = subprocess.Popen([sys.executable, "-c", serve, "list-endpoints"], env=env)
    try:
        patience = time.monotonic() + 120
        while not is_registered(deployment):
            assert time.monotonic() < patience, "it was not registered"
            assert serving.poll() is None
            time.sleep(0.5)
        command = [*python, "prefect", "deployment", "run", deployment, "--watch"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        serving.send_signal(signal.SIGINT)
        assert serving.wait(60) == 0
    run = last_run(deployment)
    assert run is not None
    assert run.state_name == "Completed"


def test_what_is_not_declared_is_not_served(running: Running) -> None:
    prefect, _ = running
    command = [sys.executable, "-m", "deployments.serve", "no-such-deployment"]
    done = subprocess.run(command, env=dict(prefect.env), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "There is no deployment no-such-deployment" in done.stderr
