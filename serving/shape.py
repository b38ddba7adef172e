"""A model's shape: what of its ``config.json`` decides how much memory its weights and its cache take.

Whatever is not known for sure counts as nothing, so that an estimate never asks for more than the engine does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Architectures whose layers all keep the keys and values of the whole sequence, as vLLM runs them.
# fmt: off
_FULL_ATTENTION = frozenset({
    "bloom", "cohere", "dbrx", "deepseek", "deepseek_v2", "deepseek_v3", "deepseek_v32", "ernie4_5", "ernie4_5_moe",
    "exaone", "falcon", "gemma", "glm", "glm4", "glm4_moe", "glm_moe_dsa", "gpt2", "gpt_bigcode", "gpt_neox", "gptj",
    "granite", "granitemoe", "internlm2", "internlm3", "kimi_k2", "llama", "minimax_m2", "mistral", "mixtral",
    "nemotron", "olmo", "olmo2", "olmoe", "opt", "phi", "phi3", "phimoe", "qwen2", "qwen2_5_vl", "qwen2_moe",
    "qwen2_vl", "qwen3", "qwen3_moe", "qwen3_vl", "qwen3_vl_moe", "stablelm",
})
# fmt: on
# Signs of layers that keep less: windows, chunks, states in place of a cache.
_PARTLY = (
    "attention_chunk_size",
    "attn_layer_period",
    "block_types",
    "full_attention_interval",
    "hybrid_override_pattern",
    "layers_block_type",
    "linear_attn_config",
    "linear_num_key_heads",
    "mamba_d_state",
    "sliding_window_pattern",
)
_NESTED = ("text_config", "llm_config", "language_config")
_BYTES = {"float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2}


@dataclass(frozen=True)
class ModelShape:
    """A transformer's numbers.

    Attributes:
        heads: Attention heads of the language model.
        layers: Layers in all.
        extra_layers: Layers in the files that an engine leaves out (multi-token prediction).
        cached_layers: Layers that keep a cache of the whole sequence; 0 where that is not known.
        kv_heads: Key-value heads; 1 where the cache is shared by all heads (multi-head latent attention).
        cache_values: Numbers that the cache keeps per token and layer for one key-value head, keys and values.
        shareable: Whether tensor parallel ranks share the cache out by head.
        longest: Longest sequence that the model allows; 0 if it does not say.
        dtype: Data type of the weights; empty if it does not say.
        quantized: Whether the files hold quantized weights.
        quantized_cache: Whether they ask for a quantized cache.
    """

    heads: int
    layers: int
    extra_layers: int
    cached_layers: int
    kv_heads: int
    cache_values: int
    shareable: bool
    longest: int
    dtype: str
    quantized: bool
    quantized_cache: bool

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> "ModelShape | None":
        """Reads a ``config.json``; None if it does not describe a transformer."""
        text = next((part for name in _NESTED if isinstance(part := config.get(name), Mapping)), config)
        heads = _integer(text, "num_attention_heads", "n_head")
        layers = _integer(text, "num_hidden_layers", "n_layer")
        if not heads or not layers:
            return None
        latent = _integer(text, "kv_lora_rank")
        if latent:
            kv_heads, values = 1, latent + _integer(text, "qk_rope_head_dim")
        else:
            kv_heads, values = _key_value_heads(text, heads), 2 * _head_size(text, heads)
        quantization = text.get("quantization_config") or config.get("quantization_config") or {}
        return cls(
            heads=heads,
            layers=layers,
            extra_layers=_integer(text, "num_nextn_predict_layers"),
            cached_layers=_cached_layers(text, layers) if values else 0,
            kv_heads=kv_heads,
            cache_values=values,
            shareable=not latent,
            longest=_integer(text, "max_position_embeddings", "n_positions"),
            dtype=str(_first(text, "dtype", "torch_dtype") or _first(config, "dtype", "torch_dtype") or ""),
            quantized=bool(quantization),
            quantized_cache="kv_cache" in str(quantization),
        )

    def cache_bytes_per_token(self, tensor_parallel_size: int, pipeline_parallel_size: int, dtype: str = "") -> int:
        """Returns the cache's bytes per token on one rank.

        Args:
            tensor_parallel_size: Ranks that share the key-value heads, at least one each.
            pipeline_parallel_size: Ranks that share the layers.
            dtype: Type of the cache, as vLLM calls it; by default the model's.
        """
        heads = -(-self.kv_heads // tensor_parallel_size) if self.shareable else 1
        layers = -(-self.cached_layers // pipeline_parallel_size)
        return layers * heads * self.cache_values * self._cache_width(dtype)

    def weight_factor(self, dtype: str = "", quantization: str = "") -> float:
        """Returns the least share of the files' bytes that the weights take in memory.

        Args:
            dtype: Type that the engine is told to compute in; empty or ``auto``: half precision for full (vLLM).
            quantization: How the engine is told to quantize weights while it loads them.
        """
        share = self.layers / (self.layers + self.extra_layers)
        if self.quantized:
            return share
        if quantization:
            return share / 4 if self.dtype != "float32" else share / 8
        stored = _BYTES.get(self.dtype, 4)
        wanted = _BYTES.get(dtype, 2)
        return share * wanted / stored

    def _cache_width(self, dtype: str) -> int:
        if dtype in ("", "auto"):
            return 1 if self.quantized_cache else 2
        return _BYTES.get(dtype, 1)


def _head_size(text: Mapping[str, Any], heads: int) -> int:
    return _integer(text, "head_dim") or _integer(text, "hidden_size", "n_embd") // heads


def _key_value_heads(text: Mapping[str, Any], heads: int) -> int:
    if text.get("multi_query"):
        return 1
    return _integer(text, "num_key_value_heads", "num_kv_heads") or heads


def _cached_layers(text: Mapping[str, Any], layers: int) -> int:
    kinds = text.get("layer_types")
    if isinstance(kinds, list) and kinds:
        return sum(kind == "full_attention" for kind in kinds)
    windowed = text.get("sliding_window") and text.get("use_sliding_window") is not False
    known = text.get("model_type") in _FULL_ATTENTION
    return 0 if windowed or not known or any(text.get(name) for name in _PARTLY) else layers


def _first(config: Mapping[str, Any], *names: str) -> Any:
    return next((config[name] for name in names if config.get(name)), None)


def _integer(config: Mapping[str, Any], *names: str) -> int:
    value = _first(config, *names)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
