import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from serving.__main__ import main
from serving.catalog import load_presets
from serving.models import StagedModel

COMMIT = "a" * 40


def test_catalog_lists_every_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog"]) == 0
    shown = capsys.readouterr().out
    assert main(["catalog", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed] == list(load_presets())
    assert all(entry["name"] in shown for entry in listed)


def test_render_prints_manifests_that_can_be_read_back(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["render", "qwen3-1.7b-vllm", "--set", "replicas=3", "--set", "max_model_len=4096"]
    arguments += ["--set", "env.LEVEL=1", "--set", "name=mine", "--staged", f"s3://bucket/Qwen/{COMMIT}"]
    assert main([*arguments, "--total-bytes", "5000"]) == 0
    shown = capsys.readouterr().out
    assert "placeholders" in shown
    assert "&id" not in shown
    manifests = {manifest["kind"]: manifest for manifest in yaml.safe_load_all(shown)}
    deployment = manifests["Deployment"]
    assert deployment["metadata"]["name"].startswith("mine-")
    assert deployment["spec"]["replicas"] == 3
    assert deployment["metadata"]["labels"]["inference-flows/commit"] == COMMIT
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["command"][-2:] == ["--max-model-len", "4096"]
    assert {"name": "LEVEL", "value": "1"} in container["env"]


def test_render_takes_the_staged_models_manifest(
    tmp_path: Path, make_staged: Callable[..., StagedModel], capsys: pytest.CaptureFixture[str]
) -> None:
    staged = make_staged()
    path = tmp_path / "manifest.json"
    manifest = {
        **staged.model.model_dump(),
        "version": 1,
        "files": [{**file.model_dump(), "blob_id": "x"} for file in staged.files],
    }
    path.write_text(json.dumps(manifest))
    assert main(["render", "qwen3-1.7b-vllm", "--manifest", str(path), "--staged", staged.uri]) == 0
    shown = capsys.readouterr().out
    assert "placeholders" not in shown
    assert staged.files[1].sha256 in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["render", "nonsense"], "error: Preset 'nonsense' does not exist"),
        (["render", "qwen3-1.7b-vllm", "--set", "replicas"], "should be KEY=VALUE"),
        (["render", "qwen3-1.7b-vllm", "--set", "replicas=0"], "replicas is 0"),
        (["render", "qwen3-1.7b-vllm", "--set", "weights=hub", "--commit", "main"], "40 hexadecimal digits"),
        (["render", "qwen3-1.7b-vllm", "--manifest", "/nowhere.json"], "cannot be read"),
        (["render", "qwen3-1.7b-vllm", "--staged", "gs://x"], "--staged"),
    ],
)
def test_a_wrong_request_ends_with_2_and_one_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
