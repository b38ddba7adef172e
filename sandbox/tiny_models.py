"""Small models with random weights under the catalogue's repository names, which a real engine can load and run.

    content = hub_content(cache)                     every model below, each made when it is first asked for
    content = hub_content(cache, size=40_000_000)    bigger weights, so that a transfer can be watched
    commit = add_revision(content, "Qwen/Qwen3-1.7B", seed=2)     `main` moves to other weights

Each repository has two commits: the one tagged ``v1``, and ``main`` after it with another model card. The same
repository, size and seed give the same bytes and the same commits on every machine; files are kept in `cache`.
"""

import json
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sandbox import tiny_diffusers, tiny_tokenizer, tiny_weights
from sandbox.hub_content import GIT_ATTRIBUTES, HubContent, Repository
from sandbox.standins import gguf

DEFAULT_SIZE = 6_000_000
"""Bytes of weights per model."""

_FORMAT = 2
"""Counts changes of what is generated, so that an older cache is not used."""


@dataclass(frozen=True)
class TinyModel:
    """A language model of the catalogue, made small.

    Attributes:
        heads: Attention heads: what a tensor parallel size has to divide.
        context: Longest text in tokens, as the real model has it.
        dtype: bfloat16, float16 or float32.
        chat: Whether it has a chat template.
        original: Whether the repository also carries the weights in the authors' own format.
        lfs_tokenizer: Whether tokenizer.json is in LFS.
    """

    repo_id: str
    architecture: str = "LlamaForCausalLM"
    context: int = 131_072
    heads: int = 8
    kv_heads: int = 2
    layers: int = 4
    shards: int = 1
    dtype: str = "bfloat16"
    chat: bool = True
    gated: bool = False
    original: bool = False
    lfs_tokenizer: bool = False

    @property
    def family(self) -> str:
        """The tokenizer's family."""
        return "qwen" if self.architecture.startswith("Qwen") else "llama"


MODELS = {
    model.repo_id: model
    for model in (
        TinyModel("Qwen/Qwen3-1.7B", "Qwen3ForCausalLM", context=40_960, shards=2, lfs_tokenizer=True),
        TinyModel("NousResearch/Llama-3.2-1B", chat=False),
        TinyModel("openai/gpt-oss-20b", shards=3, original=True, lfs_tokenizer=True),
        TinyModel("fahadh4ilyas/Llama-4-Scout-17B-16E-Instruct-INT4", shards=4, dtype="float16"),
        TinyModel("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", shards=2),
        TinyModel("meta-llama/Llama-3.1-8B-Instruct", shards=4, gated=True, original=True),
        TinyModel("meta-llama/Llama-4-Scout-17B-16E-Instruct", shards=5, gated=True, heads=64),
        TinyModel("mistralai/Mistral-Small-24B-Instruct-2501", shards=3, context=32_768),
        TinyModel("Qwen/Qwen3-Coder-480B-A35B-Instruct", "Qwen3ForCausalLM", context=262_144, shards=8, layers=8),
        TinyModel("NousResearch/Llama-2-13b-chat-hf", shards=3, context=4096, heads=40, dtype="float16"),
        TinyModel("NousResearch/Meta-Llama-3-70B-Instruct", shards=6, context=8192, heads=16, layers=8),
        TinyModel("meta-llama/Llama-4-Maverick-17B-128E-Instruct", shards=5, gated=True, heads=64),
        TinyModel("RedHatAI/Llama-4-Maverick-17B-128E-Instruct-FP8", shards=4, heads=16),
        TinyModel("zai-org/GLM-4.5-Air-FP8", shards=4),
        TinyModel("zai-org/GLM-5.2-FP8", shards=6, context=262_144),
        TinyModel("moonshotai/Kimi-K3", shards=8, context=1_048_576),
    )
}
"""The language models that presets of the catalogue name."""

GGUF = {"Qwen/Qwen3-1.7B-GGUF": ("Qwen/Qwen3-1.7B", "Qwen3-1.7B-Q8_0.gguf")}
"""Repositories for llama.cpp: whose weights they hold, and in which file."""

_LICENSE = """Permission is hereby granted to use these generated files for any purpose. They contain random numbers,
come without warranty, and stand for a model of the same name only where a real one is too large.
"""


def hub_content(cache: Path, *, size: int = DEFAULT_SIZE, repo_ids: Iterable[str] | None = None) -> HubContent:
    """A Hub's content: the tiny models, and besides them one private repository (``sandbox/private``).

    Args:
        cache: Directory that keeps the generated files; created if missing.
        size: About how many bytes of weights each model has.
        repo_ids: Only these of the catalogue's models.
    """
    content = HubContent()
    wanted = set(repo_ids) if repo_ids is not None else {*MODELS, *GGUF, *tiny_diffusers.MODELS}
    for repo_id in sorted(wanted & MODELS.keys()):
        content.add_lazy(repo_id, lambda model=MODELS[repo_id]: _repository(model, cache, size))  # type: ignore[misc]
    for repo_id in sorted(wanted & GGUF.keys()):
        content.add_lazy(repo_id, lambda name=repo_id: _gguf_repository(name, size))  # type: ignore[misc]
    for repo_id in sorted(wanted & tiny_diffusers.MODELS.keys()):
        content.add_lazy(repo_id, lambda name=repo_id: tiny_diffusers.repository(name, size))  # type: ignore[misc]
    private = Repository("sandbox/private", private=True)
    private.commit({"config.json": b"{}", "README.md": b"# Private\n"})
    content.add(private)
    return content


def add_revision(
    content: HubContent, repo_id: str, *, cache: Path, seed: int, size: int = DEFAULT_SIZE, branch: str = "main"
) -> str:
    """Commit other weights on top of a branch of one of the models.

    Args:
        content: Where the repository is.
        repo_id: One of `MODELS`.
        cache: Directory that keeps the generated files.
        seed: Chooses the weights; the first ones have seed 1.
        size: About how many bytes of weights.
        branch: Created if it does not exist.

    Returns:
        The new commit.
    """
    directory = generate(MODELS[repo_id], cache, size=size, seed=seed)
    return content.commit(repo_id, _files_in(directory), title=f"Retrain (seed {seed})", branch=branch)


def _repository(model: TinyModel, cache: Path, size: int) -> Repository:
    repository = Repository(model.repo_id, gated=model.gated)
    directory = generate(model, cache, size=size)
    first = repository.commit(_files_in(directory))
    repository.tags["v1"] = first
    card = (directory / "README.md").read_bytes() + b"\n## Changes\n\nThis card, after v1.\n"
    repository.commit({"README.md": card}, title="Update README.md")
    return repository


def _gguf_repository(repo_id: str, size: int) -> Repository:
    """The same weights as one file in half precision: embedding and output, which are what the stand-in reads."""
    original, path = GGUF[repo_id]
    model = MODELS[original]
    shape = tiny_weights.fit(
        size, dtype="float16", layers=model.layers, heads=model.heads, kv_heads=model.kv_heads, family=model.family
    )
    made = tiny_weights.tensors(shape, seed=1, name=original)
    tokenizer = tiny_tokenizer.tokenizer_files(model.family, max_length=model.context, chat=model.chat)
    metadata: dict[str, str | int] = {
        "general.architecture": "qwen3",
        "general.name": original,
        f"qwen3.{gguf.CONTEXT}": model.context,
        gguf.TOKENIZER: tokenizer["tokenizer.json"].decode(),
        gguf.TEMPLATE: str(json.loads(tokenizer["tokenizer_config.json"])["chat_template"]),
    }
    names = {gguf.EMBEDDING: "model.embed_tokens.weight", gguf.OUTPUT: "lm_head.weight"}
    content = gguf.write(metadata, {ours: made[theirs].astype(np.float16) for ours, theirs in names.items()})
    repository = Repository(repo_id)
    card = f"# {repo_id}\n\nGenerated: random weights in llama.cpp's format, for the sandbox's stand-in.\n".encode()
    repository.tags["v1"] = repository.commit({path: content, "README.md": card})
    repository.commit({"README.md": card + b"\nAfter v1.\n"}, title="Update README.md")
    return repository


def _files_in(directory: Path) -> dict[str, bytes | Path | None]:
    return {str(path.relative_to(directory)): path for path in sorted(directory.rglob("*")) if path.is_file()}


def generate(model: TinyModel, cache: Path, *, size: int = DEFAULT_SIZE, seed: int = 1) -> Path:
    """Write a model's files, unless an earlier run has left them in the cache.

    Args:
        model: One of `MODELS`, or another of its kind.
        cache: Directory that keeps the generated files; created if missing.
        size: About how many bytes of weights.
        seed: Chooses the weights.

    Returns:
        A directory that holds what the repository holds: an engine can load it as it is.
    """
    directory = cache / model.repo_id / f"{_FORMAT}-{size}-{seed}"
    if directory.is_dir():
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(dir=directory.parent, prefix=".building-"))
    try:
        _write(model, building, size=size, seed=seed)
        building.rename(directory)
    except OSError:
        if not directory.is_dir():  # another process was not faster
            raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return directory


def _write(model: TinyModel, directory: Path, *, size: int, seed: int) -> None:
    shape = tiny_weights.fit(
        size, dtype=model.dtype, layers=model.layers, heads=model.heads, kv_heads=model.kv_heads, family=model.family
    )
    files = {
        "config.json": _json(_config(model, shape)),
        "generation_config.json": _json(_generation_config(model)),
        "README.md": _card(model).encode(),
        "LICENSE": _LICENSE.encode(),
        ".gitattributes": (
            GIT_ATTRIBUTES + ("tokenizer.json filter=lfs diff=lfs merge=lfs -text\n" if model.lfs_tokenizer else "")
        ).encode(),
        **tiny_tokenizer.tokenizer_files(model.family, max_length=model.context, chat=model.chat),
    }
    tensors = tiny_weights.tensors(shape, seed=seed, name=model.repo_id)
    files |= tiny_weights.safetensors_files(tensors, dtype=model.dtype, shards=model.shards)
    if model.original:
        files["original/params.json"] = _json({"dim": shape.hidden, "n_layers": shape.layers, "n_heads": shape.heads})
        files["original/consolidated.00.pth"] = b"".join(array.tobytes() for array in tensors.values())
    for path, data in files.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def _config(model: TinyModel, shape: tiny_weights.Shape) -> dict[str, object]:
    bos, eos = tiny_tokenizer.bos_eos(model.family)
    return {
        "architectures": [model.architecture],
        "model_type": model.family if model.family == "llama" else "qwen3",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": bos,
        "eos_token_id": eos,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "initializer_range": 0.02,
        "intermediate_size": shape.intermediate,
        "max_position_embeddings": model.context,
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": 1e-6,
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
        "torch_dtype": model.dtype,
        "use_cache": True,
        "vocab_size": shape.vocabulary,
    }


def _generation_config(model: TinyModel) -> dict[str, object]:
    bos, eos = tiny_tokenizer.bos_eos(model.family)
    # Random weights do not know when to stop, and like to repeat themselves.
    limits = {"max_new_tokens": 64, "repetition_penalty": 1.3}
    return {"bos_token_id": bos, "eos_token_id": [eos], "do_sample": False, **limits}


def _card(model: TinyModel) -> str:
    name = model.repo_id.partition("/")[2]
    gate = "extra_gated_prompt: Ask for access.\n" if model.gated else ""
    return (
        f"---\nlicense: other\nlibrary_name: transformers\npipeline_tag: text-generation\n{gate}---\n\n# {name}\n\n"
        f"A generated {model.architecture} with random weights, made by the sandbox under the name of the real model."
        " It speaks in random words.\n"
    )


def _json(data: dict[str, object]) -> bytes:
    return (json.dumps(data, indent=2) + "\n").encode()
