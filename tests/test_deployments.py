"""prefect.yaml and the catalogue say the same."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.catalog import load_presets

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def deployments() -> list[dict[str, Any]]:
    return yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]


def test_every_preset_with_a_flow_has_one_deployment(deployments: list[dict[str, Any]]) -> None:
    from flows.deploy_model import SUBFLOWS

    of_presets = [
        entry
        for entry in deployments
        if entry["entrypoint"] == "flows.deploy_model.deploy_model" and entry["name"] != "any-preset"
    ]
    wanted = {name for name, preset in load_presets().items() if preset.framework in SUBFLOWS}
    assert sorted(entry["name"] for entry in of_presets) == sorted(wanted)
    for entry in of_presets:
        preset = load_presets()[entry["name"]]
        assert entry["parameters"]["preset"] == entry["name"]
        assert {"deploy", preset.framework.value, preset.accelerator.value} == set(entry["tags"])


def test_every_deployment_names_what_exists(deployments: list[dict[str, Any]]) -> None:
    from prefect.utilities.importtools import import_object

    for entry in deployments:
        flow = import_object(entry["entrypoint"])
        assert set(entry["parameters"]) <= set(flow.parameters.properties), entry["name"]
        assert entry["description"]
        assert entry["work_pool"]["name"] == "inference"


def test_the_file_is_what_the_catalogue_says() -> None:
    from deployments.prefect_yaml import PATH, text

    assert PATH.read_text() == text(), "run python -m deployments.prefect_yaml"


def test_no_deployment_holds_a_secret(deployments: list[dict[str, Any]]) -> None:
    for entry in deployments:
        for name, value in entry["parameters"].items():
            if name in {"cluster", "hub", "store"}:
                assert set(value) == {"$ref"}, f"{entry['name']}.{name} is not a reference to a block"
