import json
import re
from pathlib import Path
from typing import Any

import pytest

from serving.catalog import Overrides, Preset, get_preset, load_presets, resolve
from serving.errors import InputError
from serving.spec import Accelerator, SmokeOptions, VllmOptions, WeightsSource

FACTS: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "serving" / "presets.json").read_text()
)
GOOD = """\
title: A model
model: org/name
framework: vllm
accelerator: gpu
endpoint: a-model
image: vllm/vllm-openai:v0.11.0
"""


def snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", lambda match: "_" + match[1].lower(), name)


@pytest.mark.parametrize("name", sorted(FACTS))
def test_a_preset_holds_the_charts_facts(name: str) -> None:
    facts, preset = FACTS[name], get_preset(name)
    assert preset.model == facts["model"]
    assert preset.framework == facts["framework"]
    assert preset.accelerator == facts["accelerator"]
    assert preset.endpoint == facts["service_name"]
    assert preset.image == facts["image"]
    parameters = dict(facts.get("model_parameters", {}))
    # numGpus is no argument of the engine: the chart repeats the number of devices with it.
    assert parameters.pop("numGpus", preset.resources.accelerators) == preset.resources.accelerators
    if preset.framework == "diffusers":
        assert preset.diffusers is not None
        assert preset.diffusers.pipeline == parameters.pop("pipeline")
    given = preset.engine.model_dump(exclude_unset=True)
    assert given == {snake(key): value for key, value in parameters.items()}
    assert preset.instance_type == facts.get("instance_type", "")
    assert preset.env == facts.get("env", {}) | facts.get("nim", {}).get("env", {})
    assert preset.replicas == facts["replicas"]
    requests, limits = facts["resources"]["requests"], facts["resources"]["limits"]
    device = preset.accelerator.resource
    assert preset.resources.accelerators == int(requests[device]) == int(limits[device])
    for field, source, key in (
        ("cpu", requests, "cpu"),
        ("memory", requests, "memory"),
        ("cpu_limit", limits, "cpu"),
        ("memory_limit", limits, "memory"),
    ):
        assert getattr(preset.resources, field) == str(source.get(key, ""))
    if "ray" in facts:
        holds_rays_facts(preset, facts["ray"])


def holds_rays_facts(preset: Preset, facts: dict[str, Any]) -> None:
    ray = preset.ray
    assert ray is not None
    assert ray.version == facts["version"]
    assert ray.vllm_version == (facts["vllm_version"] or "")
    assert (ray.min_workers, ray.max_workers) == (facts["min_replicas"], facts["max_replicas"])
    scaling = facts["autoscaling"] or {"enabled": False}
    assert ray.autoscaling is scaling["enabled"]
    if ray.autoscaling:
        actors = scaling["actorAutoscaling"]
        assert (ray.min_replicas, ray.max_replicas) == (actors["minActors"], actors["maxActors"])


def test_every_preset_resolves_as_it_is() -> None:
    for preset in load_presets().values():
        spec = resolve(preset)
        assert spec.name == preset.endpoint
        assert spec.preset == preset.name
        assert spec.served_model_name == (spec.name if spec.framework == "aibrix" else preset.model)


def test_an_unknown_preset_names_what_was_probably_meant() -> None:
    with pytest.raises(InputError, match=r"'qwen3-vllm' does not exist; did you mean qwen3-1\.7b-vllm "):
        get_preset("qwen3-vllm")


def test_all_mistakes_in_all_files_are_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "fine.yaml").write_text(GOOD)
    (tmp_path / "typo.yaml").write_text(GOOD + "engin:\n  max_model_len: 1\nengine:\n  max_modellen: 5\n")
    (tmp_path / "wrong.yaml").write_text(GOOD.replace("gpu", "tpu").replace("a-model", "A_Model"))
    (tmp_path / "broken.yaml").write_text("title: [")
    with pytest.raises(InputError) as caught:
        load_presets(tmp_path)
    text = str(caught.value)
    assert "typo.yaml: engin is not a known field; did you mean engine" in text
    assert "typo.yaml: engine.max_modellen is not a known field; did you mean max_model_len?" in text
    assert "wrong.yaml: accelerator is 'tpu', should be 'gpu', 'neuron' or 'cpu'" in text
    assert "wrong.yaml: endpoint is 'A_Model', should begin with a lower-case letter" in text
    assert "broken.yaml is not YAML" in text
    assert "fine.yaml" not in text


SMOKE = """\
smoke:
  prompt: What is 7 times 6? Answer with the number alone.
  expect: "42"
  max_seconds: 20
"""


def test_a_presets_question_proves_its_endpoint_unless_the_user_asks_another(tmp_path: Path) -> None:
    (tmp_path / "sums.yaml").write_text(GOOD + SMOKE)
    (tmp_path / "plain.yaml").write_text(GOOD)
    sums, plain = get_preset("sums", tmp_path), get_preset("plain", tmp_path)
    assert sums.smoke is not None
    assert (
        resolve(sums).smoke
        == sums.smoke
        == SmokeOptions(prompt="What is 7 times 6? Answer with the number alone.", expect="42", max_seconds=20)
    )
    assert resolve(sums, None, {"expect": "forty", "max_tokens": 9}).smoke == sums.smoke.model_copy(
        update={"expect": "forty", "max_tokens": 9}
    )
    assert resolve(plain).smoke == SmokeOptions()
    assert resolve(plain, None, {"prompt": "Who are you?"}).smoke == SmokeOptions(prompt="Who are you?")
    with pytest.raises(InputError, match=r"sums .* smoke\.expect: '\(' is no regular expression"):
        resolve(sums, None, {"expect": "("})


def test_a_wrong_question_is_refused_with_field_value_and_what_is_allowed(tmp_path: Path) -> None:
    wrong = {"expct": "42", "max_tokens": 0, "max_seconds": -1, "expect": "(", "min_tokens_per_second": "many"}
    (tmp_path / "sums.yaml").write_text(GOOD + "smoke:\n" + "".join(f"  {k}: {v!r}\n" for k, v in wrong.items()))
    with pytest.raises(InputError) as caught:
        load_presets(tmp_path)
    text = str(caught.value)
    assert "sums.yaml: smoke.expct is not a known field; did you mean expect?" in text
    assert "sums.yaml: smoke.max_tokens is 0, should be greater than or equal to 1" in text
    assert "sums.yaml: smoke.max_seconds is -1, should be greater than 0" in text
    assert "sums.yaml: smoke.expect: '(' is no regular expression" in text
    assert "sums.yaml: smoke.min_tokens_per_second is 'many', should be" in text


def preset() -> Preset:
    return get_preset("qwen3-1.7b-vllm")


def test_overrides_change_what_they_name_and_nothing_else() -> None:
    before = resolve(get_preset("llama-31-8b-vllm-neuron"))
    after = resolve(
        get_preset("llama-31-8b-vllm-neuron"),
        Overrides.read(
            {
                "name": "mine",
                "namespace": "inference",
                "revision": "v2",
                "replicas": 3,
                "engine": {"max_model_len": 512},
                "resources": {"memory": "60Gi"},
                "env": {"A": "1"},
            }
        ),
    )
    assert after == before.model_copy(
        update={
            "name": "mine",
            "namespace": "inference",
            "model": before.model.model_copy(update={"revision": "v2"}),
            "replicas": 3,
            "engine": before.engine.model_copy(update={"max_model_len": 512}),
            "resources": before.resources.model_copy(update={"memory": "60Gi"}),
            "env": {"A": "1"},
        }
    )
    assert after.engine.tensor_parallel_size == 2


def test_another_model_is_served_under_its_own_name() -> None:
    spec = resolve(preset(), Overrides(model="org/other"))
    assert (spec.model.repo_id, spec.served_model_name) == ("org/other", "org/other")
    assert resolve(preset(), Overrides(model="org/other", served_model_name="chat")).served_model_name == "chat"


def test_cpu_takes_no_device_from_the_preset() -> None:
    image = "public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo:v0.17.1"
    spec = resolve(preset(), Overrides(accelerator=Accelerator.CPU, image=image))
    assert spec.resources.accelerators == 0


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"replicas": 0}, "replicas is 0, should be greater than or equal to 1"),
        ({"engine": {"gpu_memory_utilization": 1.5}}, "engine.gpu_memory_utilization is 1.5, should be less than or"),
        ({"engine": {"max_modellen": 1}}, "engine.max_modellen is not a known field; did you mean max_model_len?"),
        ({"name": "Not_Dns"}, "name is 'Not_Dns', should begin with a lower-case letter"),
        ({"name": "a" * 41}, "should have at most 40 characters"),
        ({"model": "no-slash"}, "should be a Hub repository, organization/name"),
        ({"resources": {"cpu": "many"}}, "resources.cpu: should be a Kubernetes quantity such as 2, 500m or 16Gi"),
        ({"replica": 2}, "replica is not a known field; did you mean replicas?"),
        ({"env": {"A-B": "1"}}, "env.A-B"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(overrides: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError) as caught:
        Overrides.read(overrides)
    assert expected in str(caught.value)


def test_all_wrong_values_come_in_one_error() -> None:
    with pytest.raises(InputError, match=r"2 problems: \(1\) replicas .* \(2\) engine\.max_model_len"):
        Overrides.read({"replicas": 0, "engine": {"max_model_len": 0}})


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (Overrides(accelerator=Accelerator.NEURON), "is built for gpu, accelerator is neuron; use for example public"),
        (
            Overrides(
                accelerator=Accelerator.NEURON,
                image="public.ecr.aws/q9t5s3a7/vllm-neuron-release-repo:v0.9.1",
                weights=WeightsSource.STREAM,
            ),
            "weights=stream does not work on neuron",
        ),
        (
            Overrides(image="vllm/vllm-openai:v0.6.0", weights=WeightsSource.STREAM),
            "brings no S3 streamer; use sync",
        ),
        (Overrides(engine=VllmOptions(tensor_parallel_size=4)), "needs 4 workers, the pod has 1 GPUs"),
        (Overrides(engine=VllmOptions(extra_args=("--port=1",))), "extra_args may not hold --port"),
        (Overrides(engine=VllmOptions(extra_args=("--max_model_len", "1"))), "use engine.max_model_len instead"),
        (Overrides.read({"resources": {"accelerators": 0}}), "accelerator=gpu needs at least 1"),
        (Overrides(instance_type="m8g.4xlarge"), "instance_type m8g.4xlarge has no gpu accelerator"),
        (
            Overrides.read({"instance_type": "g6e.2xlarge", "resources": {"accelerators": 2, "memory": "64Gi"}}),
            "(1) resources.accelerators is 2, instance_type g6e.2xlarge has 1. (2) resources.memory is 64Gi",
        ),
        (
            Overrides.read({"instance_type": "g6e.2xlarge", "pod": {"architecture": "arm64"}}),
            "pod.architecture is arm64, instance_type g6e.2xlarge is amd64",
        ),
        (Overrides.read({"resources": {"memory": "4Gi", "memory_limit": "2Gi"}}), "memory 4Gi is above memory_limit"),
    ],
)
def test_what_cannot_work_together_is_refused_before_anything_is_touched(overrides: Overrides, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve(preset(), overrides)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("image", "accelerator", "expected"),
    [
        ("public.ecr.aws/deep-learning-containers/vllm:0.10.2-gpu-py312-ec2", "gpu", "sync"),
        ("vllm/vllm-openai:v0.11.0", "gpu", "stream"),
        ("vllm/vllm-openai:latest", "gpu", "stream"),
        ("docker.io/vllm/vllm-openai:v0.8.1@sha256:" + "0" * 64, "gpu", "sync"),
        ("public.ecr.aws/q9t5s3a7/vllm-neuron-release-repo:v0.9.1", "neuron", "sync"),
        ("public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo:v0.17.1", "cpu", "sync"),
        ("registry.example.com:5000/team/engine", "gpu", "sync"),
    ],
)
def test_weights_come_by_default_in_the_way_that_the_image_is_known_to_take(
    image: str, accelerator: str, expected: str
) -> None:
    overrides = Overrides(image=image, accelerator=Accelerator(accelerator))
    assert resolve(preset(), overrides).weights == expected
