import gzip
import json
from pathlib import Path
from typing import Any

import moto.ec2
import pytest

from serving.build import build_spec
from serving.catalog import Overrides, get_preset, load_presets, resolve
from serving.errors import InputError
from serving.fit import ModelShape, estimate_fit, findings, smallest_instance, weight_bytes_of
from serving.instances import instance_types
from serving.models import StagedFile
from serving.spec import Accelerator, EndpointSpec, Framework

GB = 10**9
LLAMA_8B = {
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_size": 4096,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}
LLAMA_70B = LLAMA_8B | {"num_hidden_layers": 80, "num_attention_heads": 64, "hidden_size": 8192}
DEEPSEEK = {
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "hidden_size": 7168,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "max_position_embeddings": 163840,
}


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
    path = Path(moto.ec2.__file__).parent / "resources" / "instance_types.json.gz"
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


def test_a_model_that_fits_is_let_through() -> None:
    assert findings(spec("g6e.2xlarge", max_model_len=8192), 16 * GB, LLAMA_8B) == []
    assert findings(spec("p5.48xlarge", 8, max_model_len=8192), 141 * GB, LLAMA_70B) == []
    assert findings(spec("", 1), 10**15, LLAMA_8B) == []
    assert findings(spec("g6e.2xlarge"), 16 * GB, None) == []


def test_a_context_that_is_too_long_names_the_longest_that_fits() -> None:
    endpoint = spec("g6.2xlarge", max_model_len=131072)
    (finding,) = findings(endpoint, 16 * GB, LLAMA_8B)
    assert finding.fatal
    assert "org/name needs about" in finding.message
    assert "cache for 131072 tokens" in finding.message
    allowed = int(finding.fix.split("at most ")[1].split(",")[0])
    assert findings(spec("g6.2xlarge", max_model_len=allowed), 16 * GB, LLAMA_8B) == []
    assert findings(spec("g6.2xlarge", max_model_len=allowed + 512), 16 * GB, LLAMA_8B)


def test_weights_that_are_too_large_name_more_devices_and_the_smallest_instance() -> None:
    endpoint = spec("g6e.48xlarge", 1, max_model_len=8192)
    (finding,) = findings(endpoint, 141 * GB, LLAMA_70B)
    assert "engine.max_model_len" not in finding.fix
    assert "Set resources.accelerators to 4 and engine.tensor_parallel_size to 4" in finding.fix
    smallest = smallest_instance(endpoint, 141 * GB, ModelShape.read(LLAMA_70B))
    assert smallest is not None
    assert f"use instance_type {smallest.name}" in finding.fix
    on_it = spec(smallest.name, smallest.accelerators, max_model_len=8192)
    assert findings(on_it, 141 * GB, LLAMA_70B) == []
    total = smallest.accelerators * smallest.accelerator_memory
    for other in instance_types().values():
        if other.accelerator is Accelerator.GPU and other.accelerators * other.accelerator_memory < total:
            assert findings(spec(other.name, other.accelerators, max_model_len=8192), 141 * GB, LLAMA_70B), other.name


def test_heads_must_divide_by_the_tensor_parallel_size() -> None:
    (finding,) = findings(spec("", 6, tensor_parallel_size=6), 16 * GB, LLAMA_8B)
    assert "tensor_parallel_size is 6, and the model's 32 attention heads do not divide by it" in finding.message
    assert finding.fix.endswith("one of 1, 2, 4.")


def test_a_neuron_engine_lays_out_the_cache_of_all_its_requests() -> None:
    few = estimate_fit(
        spec("inf2.48xlarge", 12, "neuron", tensor_parallel_size=16, max_model_len=4096, max_num_seqs=1),
        141 * GB,
        ModelShape.read(LLAMA_70B),
        instance_types()["inf2.48xlarge"],
    )
    many = estimate_fit(
        spec("inf2.48xlarge", 12, "neuron", tensor_parallel_size=16, max_model_len=4096, max_num_seqs=10),
        141 * GB,
        ModelShape.read(LLAMA_70B),
        instance_types()["inf2.48xlarge"],
    )
    assert many.cache == 10 * few.cache
    assert few.weights == 141 * GB * 2 // 16


def test_the_seeds_large_presets_fit_where_they_are_meant_to_run() -> None:
    scout = resolve(get_preset("llama-4-scout-17b-lws-vllm"))
    shape = {
        "text_config": {
            "num_hidden_layers": 48,
            "num_attention_heads": 40,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 10485760,
        }
    }
    assert findings(scout, 218 * GB, shape) == []
    single = resolve(get_preset("llama-3-70b-ray-vllm-neuron"), Overrides.read({"engine": {"max_num_seqs": 10}}))
    assert findings(single, 141 * GB, LLAMA_70B) == []


def test_only_what_the_engine_loads_counts() -> None:
    def file(path: str, size: int) -> StagedFile:
        return StagedFile(path=path, size=size, sha256="0" * 64)

    mixed = [file("model-00001-of-00002.safetensors", 5), file("model-00002-of-00002.safetensors", 6)]
    extra = [file("pytorch_model.bin", 100), file("original/consolidated.00.pth", 100), file("config.json", 1)]
    assert weight_bytes_of([*mixed, *extra, file("consolidated.safetensors", 11)]) == 11
    assert weight_bytes_of([file("pytorch_model.bin", 100), file("x.txt", 5)]) == 100
    assert weight_bytes_of([file("unet/model.safetensors", 3), file("vae/model.safetensors", 4)]) == 7
    assert weight_bytes_of([]) == 0
