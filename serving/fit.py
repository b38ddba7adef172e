"""Will the model fit? Weights and cache against the accelerators' memory, before any of them is rented.

An estimate, on the side of caution for what is known: the bytes of the weights, the size of the cache from the model's
``config.json``, and an allowance for activations. It says no only where the engine itself would.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from serving.frameworks.groups import group_size
from serving.frameworks.vllm import default_tensor_parallel_size
from serving.instances import InstanceType, instance_types
from serving.models import StagedFile
from serving.preflight import Finding
from serving.quantities import GIB, human
from serving.spec import VLLM_BASED, Accelerator, EndpointSpec, Framework

ACTIVATIONS = int(1.5 * GIB)
"""Bytes per accelerator for activations, kernels and captured graphs. vLLM's own profile of 1B to 70B models at its
default batch sizes lies between 0.5 and 3 GiB."""

DEFAULT_UTILIZATION = 0.9
"""vLLM's default of gpu_memory_utilization."""

_BYTES = {"float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}
_LENGTH_STEP = 256


@dataclass(frozen=True)
class ModelShape:
    """What of a model's ``config.json`` decides the size of its cache.

    Attributes:
        heads: Attention heads; the tensor parallel size must divide them.
        cache_values: Numbers that the cache keeps per token and layer for one key-value head, keys and values.
        kv_heads: Key-value heads; 1 where the cache is shared by all heads (multi-head latent attention).
        shareable: Whether tensor parallel ranks share the cache out by head.
        longest: Longest sequence that the model allows; 0 if it does not say.
        dtype: Data type of weights and cache.
    """

    layers: int
    heads: int
    kv_heads: int
    cache_values: int
    shareable: bool
    longest: int
    dtype: str

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> "ModelShape | None":
        """Reads a ``config.json``; None if it does not describe a transformer that is known."""
        text = config.get("text_config") or config.get("llm_config") or config
        layers, heads = _integer(text, "num_hidden_layers", "n_layer"), _integer(text, "num_attention_heads", "n_head")
        hidden = _integer(text, "hidden_size", "n_embd")
        if not layers or not heads:
            return None
        dtype = str(text.get("torch_dtype") or text.get("dtype") or config.get("torch_dtype") or "bfloat16")
        longest = _integer(text, "max_position_embeddings", "n_positions")
        if latent := _integer(text, "kv_lora_rank"):
            values = latent + _integer(text, "qk_rope_head_dim")
            return cls(layers, heads, 1, values, False, longest, dtype)
        head_dim = _integer(text, "head_dim") or (hidden // heads if hidden else 0)
        if not head_dim:
            return None
        kv_heads = _integer(text, "num_key_value_heads") or heads
        return cls(layers, heads, kv_heads, 2 * head_dim, True, longest, dtype)

    def cache_bytes_per_token(self, tensor_parallel_size: int, pipeline_parallel_size: int, dtype: str = "") -> int:
        """Returns the cache's bytes per token on one accelerator."""
        heads = max(1, -(-self.kv_heads // tensor_parallel_size)) if self.shareable else 1
        layers = -(-self.layers // pipeline_parallel_size)
        return layers * heads * self.cache_values * _BYTES.get(dtype or self.dtype, 2)


@dataclass(frozen=True)
class Fit:
    """The estimate for one accelerator.

    Attributes:
        weights: Bytes of weights.
        cache: Bytes of the cache that must be there: one request of full length.
        available: Bytes that the engine may use.
        length: Length of that request, tokens.
    """

    weights: int
    cache: int
    available: int
    length: int

    @property
    def needed(self) -> int:
        """Bytes in all."""
        return self.weights + self.cache + ACTIVATIONS

    @property
    def fits(self) -> bool:
        """Whether it fits."""
        return self.needed <= self.available


def findings(spec: EndpointSpec, weight_bytes: int, config: Mapping[str, Any] | None) -> list[Finding]:
    """Returns why the model cannot run with these settings on this instance type.

    Args:
        spec: The endpoint.
        weight_bytes: Bytes of the weights that the engine loads.
        config: The model's ``config.json``; None if it is not known.
    """
    if spec.framework not in VLLM_BASED or spec.accelerator is Accelerator.CPU:
        return []
    shape = ModelShape.read(config) if config else None
    found = list(_heads(spec, shape))
    if found:
        return found
    instance = instance_types().get(spec.instance_type)
    if instance is None or instance.accelerator is not spec.accelerator:
        return []
    estimate = estimate_fit(spec, weight_bytes, shape, instance)
    return [] if estimate.fits else [_too_small(spec, weight_bytes, shape, instance, estimate)]


def estimate_fit(spec: EndpointSpec, weight_bytes: int, shape: ModelShape | None, instance: InstanceType) -> Fit:
    """Returns the estimate for one accelerator of the instance type.

    A GPU engine needs the cache of one request of full length at least; a Neuron engine lays out the cache of all its
    `max_num_seqs` requests beforehand.
    """
    tensor, pipeline, ranks = _parallel(spec)
    length = spec.engine.max_model_len or (shape.longest if shape else 0)
    requests = (spec.engine.max_num_seqs or 1) if spec.accelerator is Accelerator.NEURON else 1
    per_token = shape.cache_bytes_per_token(tensor, pipeline, spec.engine.kv_cache_dtype or "") if shape else 0
    ranks_per_device = -(-ranks // (spec.resources.accelerators * _pods(spec)))
    cache = per_token * length * requests * ranks_per_device
    utilization = spec.engine.gpu_memory_utilization or DEFAULT_UTILIZATION
    return Fit(
        weights=weight_bytes * ranks_per_device // ranks,
        cache=cache,
        available=int(instance.accelerator_bytes * utilization),
        length=length,
    )


def _pods(spec: EndpointSpec) -> int:
    return group_size(spec) if spec.framework is Framework.LWS_VLLM else 1


def _parallel(spec: EndpointSpec) -> tuple[int, int, int]:
    """Returns tensor and pipeline parallel size, and the ranks in all."""
    pipeline = spec.engine.pipeline_parallel_size or _pods(spec)
    tensor = spec.engine.tensor_parallel_size or default_tensor_parallel_size(spec, _pods(spec)) or 1
    return tensor, pipeline, tensor * pipeline


def _heads(spec: EndpointSpec, shape: ModelShape | None) -> Iterator[Finding]:
    tensor = _parallel(spec)[0]
    if shape is None or shape.heads % tensor == 0:
        return
    allowed = [size for size in range(1, tensor + 1) if shape.heads % size == 0]
    yield Finding(
        True,
        "fit.tensor-parallel",
        f"engine.tensor_parallel_size is {tensor}, and the model's {shape.heads} attention heads do not divide by it.",
        f"Set engine.tensor_parallel_size to one of {', '.join(map(str, allowed))}.",
    )


def _too_small(
    spec: EndpointSpec, weight_bytes: int, shape: ModelShape | None, instance: InstanceType, estimate: Fit
) -> Finding:
    chip = f"{instance.chip} of {spec.instance_type}"
    parts = f"{human(estimate.weights)} weights, {human(ACTIVATIONS)} activations"
    if estimate.cache:
        parts += f", {human(estimate.cache)} cache for {estimate.length} tokens"
    message = (
        f"{spec.model.repo_id} needs about {human(estimate.needed)} on each {chip} ({parts}); the engine may use "
        f"{human(estimate.available)}."
    )
    fixes = [*_fixes(spec, weight_bytes, shape, instance, estimate), "use a quantized or smaller model"]
    fix = ", or ".join(fixes)
    return Finding(True, "fit.memory", message, f"{fix[0].upper()}{fix[1:]}.")


def _fixes(
    spec: EndpointSpec, weight_bytes: int, shape: ModelShape | None, instance: InstanceType, estimate: Fit
) -> Iterator[str]:
    """Yields the smallest change of a setting that fits, and the smallest instance type that does."""
    left = estimate.available - estimate.weights - ACTIVATIONS
    if estimate.cache and left > 0:
        length = int(estimate.length * left / estimate.cache) // _LENGTH_STEP * _LENGTH_STEP
        if length:
            yield f"set engine.max_model_len to at most {length}"
    for devices in range(spec.resources.accelerators + 1, instance.accelerators + 1):
        wider = _with_devices(spec, devices, shape, instance)
        if estimate_fit(wider, weight_bytes, shape, instance).fits:
            tensor = wider.engine.tensor_parallel_size
            yield f"set resources.accelerators to {devices} and engine.tensor_parallel_size to {tensor}"
            break
    if smallest := smallest_instance(spec, weight_bytes, shape):
        yield f"use instance_type {smallest.name} with all of its {smallest.accelerators} {smallest.chip}"


def smallest_instance(spec: EndpointSpec, weight_bytes: int, shape: ModelShape | None) -> InstanceType | None:
    """Returns the instance type with the least accelerator memory that holds the model with all its accelerators."""
    candidates = [entry for entry in instance_types().values() if entry.accelerator is spec.accelerator]
    for entry in sorted(candidates, key=lambda e: (e.accelerators * e.accelerator_memory, e.vcpu, e.memory)):
        wider = _with_devices(spec, entry.accelerators, shape, entry)
        if estimate_fit(wider, weight_bytes, shape, entry).fits:
            return entry
    return None


def _with_devices(spec: EndpointSpec, devices: int, shape: ModelShape | None, instance: InstanceType) -> EndpointSpec:
    """Returns the endpoint with so many devices per pod, as many of them as the heads allow at work."""
    update = {
        "instance_type": instance.name,
        "resources": spec.resources.model_copy(update={"accelerators": devices}),
        "engine": spec.engine.model_copy(update={"tensor_parallel_size": None}),
    }
    wider = spec.model_copy(update=update)
    most = _parallel(wider)[0]
    tensor = next((size for size in range(most, 0, -1) if shape is None or shape.heads % size == 0), 1)
    engine = wider.engine.model_copy(update={"tensor_parallel_size": tensor})
    return wider.model_copy(update={"engine": engine})


def weight_bytes_of(files: Iterable[StagedFile]) -> int:
    """Returns the bytes that an engine loads of a repository's files: safetensors, else PyTorch files, else GGUF.

    Files that repeat the same weights in another form (``original/``, ``consolidated…``) do not count.
    """
    sizes = {file.path: file.size for file in files}
    for ending in (".safetensors", ".bin", ".pt", ".pth", ".gguf"):
        found = {path: size for path, size in sizes.items() if path.endswith(ending)}
        plain = {path: size for path, size in found.items() if "/" not in path and "consolidated" not in path}
        if found:
            return sum((plain or found).values())
    return 0


def _integer(config: Mapping[str, Any], *names: str) -> int:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return 0
