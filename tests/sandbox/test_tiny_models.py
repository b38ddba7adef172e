"""The sandbox's small models: complete, deterministic, and what the presets need of them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from tokenizers import Tokenizer

from sandbox import tiny_diffusers, tiny_models, tiny_tokenizer, tiny_weights
from sandbox.hub_content import HubContent
from sandbox.tiny_models import MODELS, TinyModel

SIZE = 3_000_000


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def content(cache: Path) -> HubContent:
    return tiny_models.hub_content(cache, size=SIZE)


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.repo_id)
def test_config_index_and_weights_agree(model: TinyModel, cache: Path) -> None:
    directory = tiny_models.generate(model, cache, size=SIZE)
    config = json.loads((directory / "config.json").read_text())
    shards = sorted(directory.glob("*.safetensors"))
    assert len(shards) == model.shards
    headers: dict[str, list[int]] = {}
    for shard in shards:
        with safetensors.safe_open(shard, framework="np") as opened:
            headers |= {name: list(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    if model.shards > 1:
        index = json.loads((directory / "model.safetensors.index.json").read_text())
        assert set(index["weight_map"]) == set(headers)
        assert set(index["weight_map"].values()) == {shard.name for shard in shards}
    assert headers["model.embed_tokens.weight"] == [config["vocab_size"], config["hidden_size"]]
    query = config["num_attention_heads"] * config["head_dim"]
    assert headers["model.layers.0.self_attn.q_proj.weight"] == [query, config["hidden_size"]]
    assert ("model.layers.0.self_attn.q_norm.weight" in headers) == (config["model_type"] == "qwen3")
    assert f"model.layers.{config['num_hidden_layers'] - 1}.mlp.up_proj.weight" in headers
    assert config["max_position_embeddings"] == model.context
    assert config["hidden_size"] % config["num_attention_heads"] == 0  # transformers refuses it otherwise
    assert config["num_attention_heads"] % config["num_key_value_heads"] == 0


def test_weights_are_as_large_as_asked(cache: Path) -> None:
    model = MODELS["Qwen/Qwen3-1.7B"]
    for size in (SIZE, 12_000_000):
        directory = tiny_models.generate(model, cache, size=size)
        total = sum(shard.stat().st_size for shard in directory.glob("*.safetensors"))
        assert abs(total - size) < 0.35 * size


@pytest.mark.parametrize("family", ["qwen", "llama"])
def test_every_word_is_one_token(family: str, cache: Path) -> None:
    repo_id = "Qwen/Qwen3-1.7B" if family == "qwen" else "NousResearch/Llama-3.2-1B"
    directory = tiny_models.generate(MODELS[repo_id], cache, size=SIZE)
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    ids = tiny_tokenizer.word_ids(family)
    assert len(ids) == len(tiny_tokenizer.WORDS) > 250
    assert tokenizer.decode(ids[:3]).split() == sorted(tiny_tokenizer.WORDS)[:3]
    text = "Grüße, 世界! <|weird|>\n\t"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text
    assert tokenizer.get_vocab_size() <= json.loads((directory / "config.json").read_text())["vocab_size"]


def test_only_words_are_ever_likely(cache: Path) -> None:
    directory = tiny_models.generate(MODELS["NousResearch/Llama-2-13b-chat-hf"], cache, size=SIZE)
    output = {}
    for shard in directory.glob("*.safetensors"):
        output |= safetensors.numpy.load_file(shard)
    rows = np.abs(output["lm_head.weight"].astype(np.float32)).max(axis=1)
    assert sorted(np.flatnonzero(rows)) == sorted(tiny_tokenizer.word_ids("llama"))


def test_chat_templates(content: HubContent) -> None:
    def config(repo_id: str) -> dict[str, object]:
        repository = content[repo_id]
        commit = repository.resolve("main")
        assert commit is not None
        loaded: dict[str, object] = json.loads(commit.files["tokenizer_config.json"].read())
        return loaded

    assert "chat_template" not in config("NousResearch/Llama-3.2-1B")
    assert "<|im_start|>" in str(config("Qwen/Qwen3-1.7B")["chat_template"])
    assert "<|eot_id|>" in str(config("meta-llama/Llama-3.1-8B-Instruct")["chat_template"])


def test_repositories_of_the_catalogue(content: HubContent) -> None:
    assert {*MODELS, *tiny_models.GGUF, *tiny_diffusers.MODELS, "sandbox/private"} == set(content.repo_ids)
    for repo_id in content.repo_ids:
        repository = content[repo_id]
        first, head = repository.resolve("v1"), repository.resolve("main")
        if repo_id == "sandbox/private":
            continue
        assert first is not None
        assert head is not None
        assert first.sha != head.sha
        changed = {path for path in head.files if head.files[path].oid != first.files[path].oid}
        assert changed == {"README.md"}
    assert content["meta-llama/Llama-3.1-8B-Instruct"].gated
    gpt = content["openai/gpt-oss-20b"].resolve("main")
    assert gpt is not None
    assert gpt.files["original/consolidated.00.pth"].lfs
    assert gpt.files["tokenizer.json"].lfs
    flux = content["black-forest-labs/FLUX.1-schnell"].resolve("main")
    assert flux is not None
    index = json.loads(flux.files["model_index.json"].read())
    folders = {path.partition("/")[0] for path in flux.files if "/" in path}
    assert folders == {name for name in index if not name.startswith("_")}


def test_other_revisions_have_other_weights(content: HubContent, cache: Path) -> None:
    before = content["Qwen/Qwen3-1.7B"].resolve("main")
    commit = tiny_models.add_revision(content, "Qwen/Qwen3-1.7B", cache=cache, seed=2, size=SIZE)
    after = content["Qwen/Qwen3-1.7B"].resolve("main")
    assert before is not None
    assert after is not None
    assert after.sha == commit
    shard = "model-00001-of-00002.safetensors"
    assert before.files[shard].sha256 != after.files[shard].sha256
    assert before.files["config.json"].oid == after.files["config.json"].oid


def test_another_process_makes_the_same_bytes(content: HubContent, tmp_path: Path) -> None:
    repo_id = "deepseek-ai/DeepSeek-R1-Distill-Llama-8B"
    script = (
        "import sys; from pathlib import Path; from sandbox import tiny_models;"
        f"print(tiny_models.hub_content(Path(sys.argv[1]), size={SIZE})[{repo_id!r}].branches['main'])"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == content[repo_id].branches["main"]


def test_bfloat16_is_rounded_to_nearest_even() -> None:
    values = np.array([1.0, 1.00390625, 1.01171875, -0.1], np.float32)  # halves: to the even neighbour
    files = tiny_weights.safetensors_files({"x": values}, dtype="bfloat16", shards=1)
    bits = np.frombuffer(files["model.safetensors"][-8:], np.uint16)
    assert [hex(bit) for bit in bits] == ["0x3f80", "0x3f80", "0x3f82", "0xbdcd"]
