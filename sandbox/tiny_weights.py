"""Random weights of a Llama or Qwen3 model, sized on demand, as safetensors files."""

import json
import zlib
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import safetensors

from sandbox import tiny_tokenizer

Array = npt.NDArray[np.float32]
Encoded = npt.NDArray[np.generic]

_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}


@dataclass(frozen=True)
class Shape:
    """Dimensions of a model. `head_dim` is one that vLLM's CPU attention has a kernel for."""

    family: str
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    hidden: int = 256
    head_dim: int = 32
    vocabulary: int = 1280


def fit(size: int, *, dtype: str, layers: int, heads: int, kv_heads: int, family: str) -> Shape:
    """The shape whose weights come closest to `size` bytes; only the feed-forward width gives way."""
    hidden = 256 if 256 % heads == 0 else 8 * heads  # transformers wants a multiple of the heads
    slim = Shape(family, layers, heads, kv_heads, intermediate=0, hidden=hidden)
    rest = size // _BYTES[dtype] - sum(_count(dims) for dims in _dimensions(slim).values())
    step = 8 * heads  # every tensor parallel size that divides the heads divides the width too
    width = rest // (3 * slim.hidden * layers)
    return replace(slim, intermediate=max(step, round(width / step) * step))


def _count(dims: tuple[int, ...]) -> int:
    return int(np.prod(dims))


def _dimensions(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Every tensor's name and dimensions, in the order of the model's layers."""
    query, pairs = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    dims: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (shape.vocabulary, shape.hidden)}
    for number in range(shape.layers):
        layer = f"model.layers.{number}"
        dims[f"{layer}.input_layernorm.weight"] = (shape.hidden,)
        dims[f"{layer}.self_attn.q_proj.weight"] = (query, shape.hidden)
        dims[f"{layer}.self_attn.k_proj.weight"] = (pairs, shape.hidden)
        dims[f"{layer}.self_attn.v_proj.weight"] = (pairs, shape.hidden)
        dims[f"{layer}.self_attn.o_proj.weight"] = (shape.hidden, query)
        if shape.family == "qwen":
            dims[f"{layer}.self_attn.q_norm.weight"] = (shape.head_dim,)
            dims[f"{layer}.self_attn.k_norm.weight"] = (shape.head_dim,)
        dims[f"{layer}.post_attention_layernorm.weight"] = (shape.hidden,)
        dims[f"{layer}.mlp.gate_proj.weight"] = (shape.intermediate, shape.hidden)
        dims[f"{layer}.mlp.up_proj.weight"] = (shape.intermediate, shape.hidden)
        dims[f"{layer}.mlp.down_proj.weight"] = (shape.hidden, shape.intermediate)
    dims["model.norm.weight"] = (shape.hidden,)
    dims["lm_head.weight"] = (shape.vocabulary, shape.hidden)
    return dims


def tensors(shape: Shape, *, seed: int, name: str) -> dict[str, Array]:
    """Random weights; the same for the same arguments.

    The output rows of whole words are large and all others zero: what such a model says, greedily or sampled, is
    words, and never the token that ends an answer before it began.
    """
    generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
    made: dict[str, Array] = {}
    for tensor, dims in _dimensions(shape).items():
        if len(dims) == 1:
            made[tensor] = np.ones(dims, np.float32)
        else:
            made[tensor] = generator.standard_normal(dims, np.float32) / np.float32(np.sqrt(dims[1]))
    words = tiny_tokenizer.word_ids(shape.family)
    output = np.zeros_like(made["lm_head.weight"])
    output[words] = 8 * made["lm_head.weight"][words]
    made["lm_head.weight"] = output
    return made


def safetensors_files(tensors: dict[str, Array], *, dtype: str, shards: int) -> dict[str, bytes]:
    """The tensors as safetensors files: one, or several of about the same size and their index."""
    encoded = {name: _encode(array, dtype) for name, array in tensors.items()}
    if shards == 1:
        return {"model.safetensors": _serialize(encoded, tensors, dtype)}
    total = sum(data.nbytes for data in encoded.values())
    groups = _split(encoded, shards)
    files: dict[str, bytes] = {}
    where: dict[str, str] = {}
    for number, group in enumerate(groups, 1):
        path = f"model-{number:05d}-of-{len(groups):05d}.safetensors"
        files[path] = _serialize(group, tensors, dtype)
        where |= dict.fromkeys(group, path)
    index = {"metadata": {"total_size": total}, "weight_map": where}
    files["model.safetensors.index.json"] = (json.dumps(index, indent=2) + "\n").encode()
    return files


def _split(encoded: dict[str, Encoded], shards: int) -> list[dict[str, Encoded]]:
    """Cut the tensors, in their order, into groups of about the same size, none empty."""
    left, rest = list(encoded.items()), sum(data.nbytes for data in encoded.values())
    groups: list[dict[str, Encoded]] = []
    for number in range(shards, 0, -1):
        group: dict[str, Encoded] = {}
        size = 0
        while left and (
            not group or number == 1 or (size + left[0][1].nbytes / 2 < rest / number and len(left) >= number)
        ):
            name, data = left.pop(0)
            group[name] = data
            size += data.nbytes
        rest -= size
        groups.append(group)
    return groups


def _encode(array: Array, dtype: str) -> Encoded:
    if dtype != "bfloat16":
        return array.astype(dtype)
    bits = array.view(np.uint32)
    rounded: Encoded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)  # nearest even
    return rounded


def _serialize(group: dict[str, Encoded], tensors: dict[str, Array], dtype: str) -> bytes:
    specs = {
        name: safetensors.TensorSpec(
            dtype=dtype, shape=list(tensors[name].shape), data_ptr=data.ctypes.data, data_len=data.nbytes
        )
        for name, data in group.items()
    }
    serialized: bytes = safetensors.serialize(specs, {"format": "pt"})
    return serialized
