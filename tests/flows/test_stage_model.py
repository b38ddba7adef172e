"""`stage-model` as a run: its options, and workers of a Dask cluster beside it."""

import asyncio

import pytest
from distributed import LocalCluster

from flows.stage_model import StageReport, stage_model
from flows.staging_options import SelectionOptions, TransferOptions
from serving.errors import InputError
from serving.models import ModelSource
from staging.workers import Runner
from tests.flows.conftest import World
from tests.staging.conftest import MIB, noise
from tests.staging.test_workers import held_by_workers

pytestmark = pytest.mark.server
SOURCE = ModelSource(repo_id="Qwen/Qwen3-1.7B")


def staged(world: World, prefix: str, source: ModelSource = SOURCE, **options: object) -> StageReport:
    store = world.store.model_copy(update={"prefix": prefix})
    report = asyncio.run(stage_model(source, world.hub, store, **options))  # type: ignore[arg-type]
    assert isinstance(report, StageReport)
    return report


@pytest.mark.long
def test_only_the_files_that_were_asked_for(world: World) -> None:
    report = staged(world, "few", selection=SelectionOptions(allow=["*.json"], ignore=["generation*"]))
    names = {file.path for file in report.staged.files}
    assert "config.json" in names
    assert all(name.endswith(".json") and not name.startswith("generation") for name in names)


def test_a_runner_that_fits_no_cluster_is_refused_before_anything(world: World) -> None:
    before = len(world.hub_server.requests)
    with pytest.raises(InputError) as raised:
        staged(world, "none", transfer=TransferOptions(address="tcp://scheduler:8786"))
    assert raised.value.code == "input.runner_address"
    assert len(world.hub_server.requests) == before


@pytest.mark.long
def test_a_dask_cluster_stages_as_threads_do(world: World) -> None:
    large = ModelSource(repo_id="org/large-enough-for-workers")
    world.hub_server.content.commit(large.repo_id, {"a.safetensors": noise(17 * MIB, 5), "config.json": b"{}"})
    plain = staged(world, "threads", large)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        spread = staged(
            world,
            "dask",
            large,
            transfer=TransferOptions(runner=Runner.DASK, address=cluster.scheduler_address, memory=8),
        )
        assert any(moved for moved, *_ in held_by_workers(cluster)), "workers took part"
    assert spread.staged.files == plain.staged.files
    assert spread.moved_bytes == plain.moved_bytes
