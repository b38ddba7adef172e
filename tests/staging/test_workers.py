"""Workers of a real Dask cluster move the parts; what cannot work is said before anything is asked of anybody."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from distributed import Client, LocalCluster

from serving.errors import InputError, StagingError
from staging import workers as module
from staging.cli import main
from staging.workers import Runner, check_runner, workers
from tests.staging.conftest import MIB, Place, noise

LARGE = {
    "a.safetensors": noise(26 * MIB + 3, 31),
    "b.safetensors": noise(17 * MIB, 32),
    "config.json": b"{}",
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two worker processes, whose environment has no credentials."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(("AWS_", "HF_"))}
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as started:
        os.environ.update(kept)
        yield started


def held_by_workers(cluster: LocalCluster) -> list[tuple[bool, bool, str]]:
    """Of each worker process: whether it has moved parts, whether it has loaded boto3, its environment."""

    def look() -> tuple[bool, bool, str]:
        return "staging.worker" in sys.modules, "boto3" in sys.modules, json.dumps(dict(os.environ))

    with Client(cluster.scheduler_address, set_as_default=False) as client:
        found: list[tuple[bool, bool, str]] = list(client.run(look).values())
    return found


@pytest.mark.long
def test_dask_workers_move_the_large_files_without_keys(place: Place, cluster: LocalCluster) -> None:
    place.hub_server.content.commit("org/large", LARGE)
    arguments = ["copy", "org/large", "s3://models/staged", "--endpoint-url", place.s3_server.url, "--json"]
    arguments += ["--runner", "dask", "--address", cluster.scheduler_address]
    keys = {
        "AWS_ACCESS_KEY_ID": place.s3_server.access_key,
        "AWS_SECRET_ACCESS_KEY": place.s3_server.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "HF_ENDPOINT": place.hub_server.url,
        "HF_TOKEN": place.hub_server.token,
    }
    run = subprocess.run(
        [sys.executable, "-m", "staging", *arguments],
        env=os.environ | keys,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    facts = json.loads(run.stdout)
    for path, content in LARGE.items():
        assert place.read(facts["uri"].removeprefix("s3://models/") + path) == content
    assert place.s3_server.unfinished("models") == []
    seen = held_by_workers(cluster)
    assert any(moved for moved, _, _ in seen)
    for _, boto3, environment in seen:
        assert not boto3
        assert place.s3_server.secret_key not in environment
        assert place.hub_server.token not in environment


@pytest.mark.long
def test_workers_on_this_machine_start_and_end_with_the_transfer() -> None:
    with workers(Runner.DASK, count=2) as pool:
        assert pool is not None
        assert pool.count == 2
    with workers(Runner.THREADS) as nobody:
        assert nobody is None


def test_a_cluster_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.2)
    with (
        pytest.raises(StagingError, match=r"tcp://127\.0\.0\.1:9") as raised,
        workers(Runner.DASK, "tcp://127.0.0.1:9"),
    ):
        pass
    assert raised.value.code == "staging.workers_unreachable"


def test_an_address_without_a_cluster() -> None:
    with pytest.raises(InputError, match="tcp://scheduler:8786") as raised:
        check_runner(Runner.THREADS, "tcp://scheduler:8786")
    assert raised.value.code == "input.runner_address"


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed here")
def test_a_runner_that_is_not_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["copy", "org/large", "s3://models/staged", "--runner", "ray"]) == 2
    assert "pip install 'inference-flows[ray]'" in capsys.readouterr().err
