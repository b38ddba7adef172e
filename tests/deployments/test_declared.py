"""prefect.yaml, prefect.kubernetes.yaml, the catalogue and the flows say the same."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.declared import BLOCK_SLUGS, TAG, Size
from deployments.prefect_yaml import KUBERNETES, POOLS, PROCESS, Pool, main, text
from serving.catalog import load_presets

FLOWS = Path(__file__).parents[2] / "flows"


def entries(pool: Pool) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(pool.path.read_text())["deployments"]
    return found


@pytest.fixture(params=POOLS.values(), ids=POOLS)
def pool(request: pytest.FixtureRequest) -> Pool:
    return request.param


def test_every_preset_has_one_deployment(pool: Pool) -> None:
    of_presets = {
        entry["name"]: entry
        for entry in entries(pool)
        if entry["entrypoint"] == "flows.deploy_model.deploy_model" and entry["name"] != "any-preset"
    }
    assert of_presets.keys() == load_presets().keys()
    for name, entry in of_presets.items():
        preset = load_presets()[name]
        assert entry["parameters"]["preset"] == name
        assert {TAG, "deploy", preset.framework.value, preset.accelerator.value} == set(entry["tags"])
        assert entry["description"] == preset.title


def test_every_flow_file_has_a_deployment() -> None:
    """A flow that nobody registered cannot be run from the UI."""
    from prefect.flows import Flow

    declared = {entry["entrypoint"] for entry in entries(PROCESS)}
    for path in FLOWS.glob("*.py"):
        own = f"flows.{path.stem}.{path.stem}"
        module = import_module(f"flows.{path.stem}")
        if isinstance(getattr(module, path.stem, None), Flow):
            assert own in declared


def test_every_deployment_names_what_exists(pool: Pool) -> None:
    from prefect.utilities.importtools import import_object

    names = [entry["name"] for entry in entries(pool)]
    assert len(names) == len(set(names))
    for entry in entries(pool):
        flow = import_object(entry["entrypoint"])
        assert set(entry["parameters"]) <= set(flow.parameters.properties), entry["name"]
        assert set(flow.parameters.properties) & set(BLOCK_SLUGS) <= set(entry["parameters"]), entry["name"]
        assert entry["description"]
        assert entry["tags"][0] == TAG
        assert entry["work_pool"]["name"] == pool.name


def test_the_two_pools_have_the_same_deployments() -> None:
    process, kubernetes = ([{**entry, "work_pool": None} for entry in entries(pool)] for pool in (PROCESS, KUBERNETES))
    assert process == kubernetes


def test_runs_in_pods_get_resources_by_their_size() -> None:
    variables = {entry["name"]: entry["work_pool"]["job_variables"] for entry in entries(KUBERNETES)}
    assert variables["stage-model"] == KUBERNETES.job_variables[Size.TRANSFER]
    assert variables["list-endpoints"] == KUBERNETES.job_variables[Size.LIGHT]
    assert all(set(given) == {"cpu_request", "memory_request", "memory_limit"} for given in variables.values())
    # A process pool knows no such variables.
    assert not any("job_variables" in entry["work_pool"] for entry in entries(PROCESS))


def test_the_files_are_what_the_catalogue_says(pool: Pool) -> None:
    assert pool.path.read_text() == text(pool), "run python -m deployments.prefect_yaml"


def test_the_check_names_the_file_that_differs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    copies = [replace(pool, path=tmp_path / pool.path.name) for pool in POOLS.values()]
    assert main([], copies) == 0
    assert main(["--check"], copies) == 0
    changed = tmp_path / "prefect.kubernetes.yaml"
    changed.write_text(changed.read_text().replace("hourly", "daily"))
    assert main(["--check"], copies) == 1
    assert capsys.readouterr().err.startswith("prefect.kubernetes.yaml not as")


def test_no_deployment_holds_a_secret(pool: Pool) -> None:
    for entry in entries(pool):
        for name, value in entry["parameters"].items():
            if name in BLOCK_SLUGS:
                assert set(value) == {"$ref"}, f"{entry['name']}.{name} is not a reference to a block"
