"""A run that is killed while it waits: another goes on waiting for the same release, and applies nothing twice."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_HOME

from kube.connect import Cluster, from_kubeconfig
from kube.read import list_
from tests.flows.conftest import NAMESPACE, World
from tests.flows.live_endpoint import let_lease_expire

pytestmark = [pytest.mark.server, pytest.mark.long]

T = TypeVar("T")

LOAD_SECONDS = 60
"""The engine loads for longer than a second run takes to begin, on a slow machine too."""

DEPLOY = f"""
import asyncio, json, sys
from blocks.cluster import InferenceCluster
from blocks.hub import HuggingFaceHub
from blocks.store import ModelStore
from flows.deploy_model import deploy_model
from serving.catalog import Overrides

sys.stdin.readline()
env = {{"SANDBOX_ENGINE_LOAD_SECONDS": "{LOAD_SECONDS}"}}
overrides = Overrides.read({{"name": "resumed", "pod": {{"drain_seconds": 0}}, "env": env}})

async def deploy():
    blocks = {{
        "cluster": await InferenceCluster.aload("resumed"),
        "hub": await HuggingFaceHub.aload("resumed"),
        "store": await ModelStore.aload("resumed"),
    }}
    return await deploy_model("qwen3-1.7b-vllm", **blocks, overrides=overrides, timeout_minutes=6)

report = asyncio.run(deploy())
print("REPORT", json.dumps({{"changed": report.changed, "moved": report.moved_bytes}}), flush=True)
"""


class Run:
    """A flow run in a process of its own, begun when it is told to."""

    def __init__(self, log: Path) -> None:
        self.log = log
        known = {"PREFECT_API_URL": str(PREFECT_API_URL.value()), "PREFECT_HOME": str(PREFECT_HOME.value())}
        self.process = subprocess.Popen(
            [sys.executable, "-c", DEPLOY],
            stdin=subprocess.PIPE,
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
            env=os.environ | known,
            cwd=Path(__file__).parents[2],
            start_new_session=True,
        )

    def begin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")


def until(found: Callable[[], T | None], run: Run, seconds: float = 240.0) -> T:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (result := found()) is not None:
            return result
        assert run.process.poll() is None, run.said
        time.sleep(0.1)
    raise AssertionError(run.said)


def standing(cluster: Cluster) -> dict[tuple[str, str], tuple[str, int | None]]:
    """Uid and generation of everything that a release consists of."""
    kinds = (("apps/v1", "Deployment"), ("apps/v1", "ReplicaSet"), ("v1", "Pod"), ("v1", "Service"))
    return {
        (kind, one["metadata"]["name"]): (one["metadata"]["uid"], one["metadata"].get("generation"))
        for version, kind in kinds
        for one in list_(cluster, version, kind, NAMESPACE, labels="inference-flows/endpoint=resumed")
    }


def test_a_killed_run_is_followed_by_one_that_goes_on_waiting(world: World, tmp_path: Path) -> None:
    async def save() -> None:
        for block in (world.cluster, world.hub, world.store):
            await block.asave("resumed", overwrite=True)

    asyncio.run(save())
    first, second = Run(tmp_path / "first.log"), Run(tmp_path / "second.log")
    try:
        with from_kubeconfig(world.kubernetes.kubeconfig) as cluster:
            first.begin()
            until(lambda: True if "loads the model" in first.said else None, first)
            before = standing(cluster)
            first.kill()
            let_lease_expire(cluster, NAMESPACE, "resumed")
            second.begin()
            second.process.wait(timeout=400)
            after = standing(cluster)
        assert second.process.returncode == 0, second.said
        assert "loads the model" in second.said, "it went on waiting"
        report = json.loads(second.said.rsplit("REPORT ", 1)[1])
        assert report == {"changed": [], "moved": 0}
        assert {key for key, _ in before} >= {"Deployment", "ReplicaSet", "Pod", "Service"}
        assert before.items() <= after.items(), "nothing was made anew or changed"
        assert {key for key, _ in after.keys() - before.keys()} <= {"Service"}, "but for the endpoint's own Service"
    finally:
        first.kill()
        second.kill()
