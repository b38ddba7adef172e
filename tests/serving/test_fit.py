import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from serving.build import build_spec
from serving.catalog import get_preset, load_presets, resolve
from serving.errors import InputError
from serving.fit import Model, estimate_fit, findings, smallest_instance, weight_bytes_of
from serving.instances import instance_types
from serving.shape import ModelShape
from serving.spec import Accelerator, EndpointSpec, Framework

GB = 10**9
LLAMA_8B: dict[str, Any] = {
    "model_type": "llama",
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_size": 4096,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}
LLAMA_70B = LLAMA_8B | {"num_hidden_layers": 80, "num_attention_heads": 64, "hidden_size": 8192}
DEEPSEEK: dict[str, Any] = {
    "model_type": "deepseek_v3",
    "num_nextn_predict_layers": 1,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "hidden_size": 7168,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "max_position_embeddings": 163840,
}


def model(weight_bytes: int, config: dict[str, Any] | None) -> Model:
    return Model(weight_bytes, ModelShape.read(config) if config else None)


def spec(instance: str, accelerators: int = 1, accelerator: str = "gpu", **engine: Any) -> EndpointSpec:
    return build_spec(
        Framework.VLLM,
        Accelerator(accelerator),
        {
            "name": "chat",
            "model": {"repo_id": "org/name"},
            "engine": engine,
            "resources": {"accelerators": accelerators},
            "instance_type": instance,
        },
    )


def test_the_table_says_what_ec2_says() -> None:
    moto = importlib.util.find_spec("moto")  # importing its EC2 takes seconds
    assert moto is not None
    assert moto.origin is not None
    path = Path(moto.origin).parent / "ec2" / "resources" / "instance_types.json.gz"
    described = json.loads(gzip.decompress(path.read_bytes()))
    for name, entry in instance_types().items():
        facts = described[name]
        assert entry.vcpu == facts["VCpuInfo"]["DefaultVCpus"], name
        assert entry.memory * 1024 == facts["MemoryInfo"]["SizeInMiB"], name
        assert entry.nvme == (facts.get("InstanceStorageInfo") or {}).get("TotalSizeInGB", 0), name
        assert (entry.architecture == "arm64") == ("arm64" in facts["ProcessorInfo"]["SupportedArchitectures"]), name
        if entry.accelerator is Accelerator.GPU:
            (gpu,) = facts["GpuInfo"]["Gpus"]
            assert (entry.accelerators, entry.chip) == (gpu["Count"], gpu["Name"]), name
            assert entry.accelerator_memory == gpu["MemoryInfo"]["SizeInMiB"], name
        elif entry.accelerator is Accelerator.NEURON:
            (chip,) = facts["NeuronInfo"]["NeuronDevices"]
            assert (entry.accelerators, entry.cores) == (chip["Count"], chip["CoreInfo"]["Count"]), name
            if not name.startswith("trn2"):
                assert entry.accelerator_memory == chip["MemoryInfo"]["SizeInMiB"], name


def test_every_presets_instance_type_is_known_and_offers_what_the_preset_asks() -> None:
    for preset in load_presets().values():
        if not preset.instance_type:
            continue
        instance = instance_types()[preset.instance_type]
        assert instance.accelerator is preset.accelerator, preset.name
        assert preset.resources.accelerators <= instance.accelerators, preset.name


def test_a_table_with_a_typo_names_it(tmp_path: Path) -> None:
    path = tmp_path / "types.yaml"
    path.write_text("g9.big: {vcpu: 1, memory: 2, nvme: 0, architecture: amd64, acelerator: gpu}\n")
    with pytest.raises(InputError, match=r"g9\.big: acelerator is not a known field; did you mean accelerator"):
        instance_types(path)


def test_the_cache_per_token_follows_the_models_shape() -> None:
    llama = ModelShape.read(LLAMA_8B)
    assert llama is not None
    assert llama.cache_bytes_per_token(1, 1) == 2 * 32 * 8 * 128 * 2 == 131072
    assert llama.cache_bytes_per_token(4, 1) == 131072 // 4
    assert llama.cache_bytes_per_token(16, 1) == 131072 // 8
    assert llama.cache_bytes_per_token(1, 2) == 131072 // 2
    assert llama.cache_bytes_per_token(1, 1, "fp8") == 131072 // 2
    latent = ModelShape.read(DEEPSEEK)
    assert latent is not None
    assert latent.cache_bytes_per_token(8, 1) == 61 * (512 + 64) * 2
    assert ModelShape.read({"text_config": LLAMA_8B}) == llama
    assert ModelShape.read({"model_type": "something-else"}) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"model_type": "a-new-one"},
        {"sliding_window": 4096},
        {"attention_chunk_size": 8192},
        {"layer_types": ["sliding_attention"] * 32},
        {"full_attention_interval": 4},
    ],
)
def test_what_is_not_known_to_keep_a_whole_cache_counts_as_none(changed: dict[str, Any]) -> None:
    shape = ModelShape.read(LLAMA_8B | changed)
    assert shape is not None
    assert shape.cache_bytes_per_token(1, 1) == 0
    switched_off = ModelShape.read(LLAMA_8B | {"sliding_window": 4096, "use_sliding_window": False})
    assert switched_off == ModelShape.read(LLAMA_8B)
    some = ModelShape.read(LLAMA_8B | {"layer_types": ["full_attention", "sliding_attention"] * 16})
    assert some is not None
    assert some.cached_layers == 16


def test_weights_take_what_the_engine_makes_of_them() -> None:
    full = ModelShape.read(LLAMA_8B | {"torch_dtype": "float32"})
    half, packed = ModelShape.read(LLAMA_8B), ModelShape.read(LLAMA_8B | {"quantization_config": {"bits": 4}})
    latent = ModelShape.read(DEEPSEEK | {"quantization_config": {"quant_method": "fp8"}})
    assert full is not None
    assert half is not None
    assert packed is not None
    assert latent is not None
    assert (full.weight_factor(), half.weight_factor(), packed.weight_factor()) == (0.5, 1, 1)
    assert half.weight_factor("float32") == 2
    assert half.weight_factor(quantization="fp8") < 1
    assert latent.weight_factor() == 61 / 62


def test_a_model_that_fits_is_let_through() -> None:
    assert findings(spec("g6e.2xlarge", max_model_len=8192), model(16 * GB, LLAMA_8B)) == []
    assert findings(spec("p5.48xlarge", 8, max_model_len=8192), model(141 * GB, LLAMA_70B)) == []


def test_where_it_cannot_be_known_nothing_is_said() -> None:
    huge = model(10**15, LLAMA_8B)
    assert findings(spec("", 1), huge) == []
    assert findings(spec("g99.large", 1), huge) == []
    assert findings(spec("g6e.2xlarge"), model(10**15, None)) == []
    assert findings(spec("g6e.2xlarge"), model(0, LLAMA_8B)) == []
    assert findings(spec("g6e.2xlarge", extra_args=["--cpu-offload-gb", "40"]), huge) == []
    assert findings(spec("g6e.2xlarge", extra_args=["--hf_overrides={}"]), huge) == []
    assert findings(spec("g6e.2xlarge"), huge, []) == []


def test_any_node_that_may_take_the_pod_will_do() -> None:
    small, large = instance_types()["g6.2xlarge"], instance_types()["g6e.2xlarge"]
    endpoint, mid = spec("", max_model_len=8192), model(30 * GB, LLAMA_8B)
    assert findings(endpoint, mid, [small, large]) == []
    (finding,) = findings(endpoint, mid, [small])
    assert finding.fatal


def test_a_context_that_is_too_long_names_the_longest_that_fits() -> None:
    endpoint, llama = spec("g6.2xlarge", max_model_len=131072), model(16 * GB, LLAMA_8B)
    (finding,) = findings(endpoint, llama)
    assert finding.fatal
    assert "org/name needs at least" in finding.message
    assert "cache for 131072 tokens" in finding.message
    allowed = int(finding.fix.split("at most ")[1].split(",")[0])
    assert findings(spec("g6.2xlarge", max_model_len=allowed), llama) == []
    assert findings(spec("g6.2xlarge", max_model_len=allowed + 512), llama)


def test_weights_that_are_too_large_name_more_devices_and_the_smallest_instance() -> None:
    endpoint, llama = spec("g6e.48xlarge", 1, max_model_len=8192), model(141 * GB, LLAMA_70B)
    (finding,) = findings(endpoint, llama)
    assert "engine.max_model_len" not in finding.fix
    assert "Set resources.accelerators to 4 and engine.tensor_parallel_size to 4" in finding.fix
    smallest = smallest_instance(endpoint, llama)
    assert smallest is not None
    assert f"use instance_type {smallest.name}" in finding.fix
    on_it = spec(smallest.name, smallest.accelerators, max_model_len=8192)
    assert findings(on_it, llama) == []
    total = smallest.accelerators * smallest.accelerator_memory
    for other in instance_types().values():
        if other.accelerator is Accelerator.GPU and other.accelerators * other.accelerator_memory < total:
            assert findings(spec(other.name, other.accelerators, max_model_len=8192), llama), other.name


def test_heads_must_divide_by_the_tensor_parallel_size() -> None:
    (finding,) = findings(spec("", 6, tensor_parallel_size=6), model(16 * GB, LLAMA_8B))
    assert finding.fatal
    assert "tensor_parallel_size is 6, and the model's 32 attention heads do not divide by it" in finding.message
    assert finding.fix.endswith("one of 1, 2, 4.")
    (note,) = findings(spec("inf2.48xlarge", 12, "neuron", tensor_parallel_size=24), model(16 * GB, LLAMA_8B))
    assert not note.fatal


def test_a_neuron_engine_lays_out_the_cache_of_all_its_requests() -> None:
    few, many = (
        estimate_fit(
            spec("inf2.48xlarge", 12, "neuron", tensor_parallel_size=16, max_model_len=4096, max_num_seqs=requests),
            model(141 * GB, LLAMA_70B),
            instance_types()["inf2.48xlarge"],
        )
        for requests in (1, 10)
    )
    assert many.cache == 10 * few.cache
    assert few.weights == 141 * GB * 2 // 16


# What the Hub says of the presets' models: bytes of weights, and what of their config.json counts here.
LLAMA_4 = {"num_hidden_layers": 48, "num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128}
PUBLISHED: dict[str, tuple[float, dict[str, Any]]] = {
    "deepseek-r1-distill-llama-8b-ray-vllm-gpu": (16, LLAMA_8B),
    "deepseek-r1-distill-llama-8b-vllm-neuron": (16, LLAMA_8B),
    "gpt-oss-20b-vllm": (
        13.8,
        {
            "model_type": "gpt_oss",
            "num_hidden_layers": 24,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "layer_types": ["sliding_attention", "full_attention"] * 12,
            "quantization_config": {"quant_method": "mxfp4"},
        },
    ),
    "llama-2-13b-ray-vllm-neuron": (
        26,
        {"model_type": "llama", "num_hidden_layers": 40, "num_attention_heads": 40, "hidden_size": 5120},
    ),
    "llama-3-70b-ray-vllm-neuron": (141, LLAMA_70B),
    "llama-31-8b-vllm-neuron": (16, LLAMA_8B),
    "llama-31-8b-ray-vllm-neuron": (16, LLAMA_8B),
    "llama-4-scout-17b-lws-vllm": (217, {"text_config": LLAMA_4 | {"attention_chunk_size": 8192}}),
    "llama-4-scout-17b-vllm-neuron": (217, {"text_config": LLAMA_4 | {"attention_chunk_size": 8192}}),
    "llama-4-maverick-17b-vllm": (
        405,
        {"text_config": LLAMA_4 | {"attention_chunk_size": 8192}, "quantization_config": {"bits": 8}},
    ),
    "llama-4-maverick-17b-vllm-neuron": (802, {"text_config": LLAMA_4 | {"attention_chunk_size": 8192}}),
    "glm-5-2-vllm": (756, DEEPSEEK | {"model_type": "glm_moe_dsa", "num_attention_heads": 64}),
}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_no_preset_is_refused_on_its_own_instance_type(name: str) -> None:
    size, config = PUBLISHED[name]
    given = {"torch_dtype": "bfloat16"} | config
    assert not [one for one in findings(resolve(get_preset(name)), model(int(size * GB), given)) if one.fatal]


def test_only_what_the_engine_loads_counts() -> None:
    mixed = {"model-00001-of-00002.safetensors": 5, "model-00002-of-00002.safetensors": 6}
    extra = {"pytorch_model.bin": 100, "original/consolidated.00.pth": 100, "config.json": 1}
    assert weight_bytes_of({**mixed, **extra, "consolidated.safetensors": 11}) == 11
    assert weight_bytes_of({"pytorch_model.bin": 100, "x.txt": 5}) == 100
    assert weight_bytes_of({"unet/model.safetensors": 3, "vae/model.safetensors": 4}) == 7
    assert weight_bytes_of({}) == 0
