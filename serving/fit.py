"""Will the model fit? Weights and cache against the accelerators' memory, before any of them is rented.

The estimate is what the engine needs at the very least, so it says no only where the engine itself would. Where it
cannot know (an architecture, an instance type, an argument that moves memory elsewhere), it says nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.frameworks.groups import group_size
from serving.frameworks.images import engine_image
from serving.frameworks.vllm import default_tensor_parallel_size
from serving.instances import InstanceType, instance_types
from serving.preflight import Finding
from serving.quantities import GIB, human
from serving.shape import ModelShape
from serving.spec import VLLM_BASED, Accelerator, EndpointSpec, Framework

ACTIVATIONS = GIB // 2
"""Bytes per accelerator for activations, kernels and captured graphs: the least of what vLLM's own profile shows for
models of 1B to 70B (0.5 to 3 GiB at its default batch sizes)."""

_UTILIZATION = 0.92
_EARLIER_UTILIZATION = 0.9
_UTILIZATION_RAISED: tuple[int, ...] = (0, 20)
"""vLLM's default of gpu_memory_utilization: 0.9 up to 0.19, 0.92 in 0.24; the larger one wherever it is not known."""

_ANOTHER_SHAPE = "--hf-overrides"
_MOVES_MEMORY = (
    "--cpu-offload",
    "--offload",
    "--data-parallel",
    "--decode-context-parallel",
    "--prefill-context-parallel",
    "--kv-cache-memory-bytes",
    "--num-gpu-blocks-override",
)
_LENGTH_STEP = 256


@dataclass(frozen=True)
class Model:
    """A model, as far as its fit is concerned.

    Attributes:
        weight_bytes: Bytes of the files that an engine loads.
        shape: None: not a transformer that is known.
    """

    weight_bytes: int
    shape: ModelShape | None


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


def findings(spec: EndpointSpec, model: Model, instances: Sequence[InstanceType] | None = None) -> list[Finding]:
    """Returns why the model cannot run with these settings.

    Args:
        spec: The endpoint.
        model: The model.
        instances: Instance types that its pods may land on; by default the one that the spec names.
    """
    if spec.framework not in VLLM_BASED or spec.accelerator is Accelerator.CPU or model.shape is None:
        return []
    given = [argument.replace("_", "-") for argument in spec.engine.extra_args]
    if any(argument.startswith(_ANOTHER_SHAPE) for argument in given):
        return []
    found = list(_heads(spec, model.shape))
    moved = any(argument.startswith(_MOVES_MEMORY) for argument in given)
    if moved or not model.weight_bytes or any(finding.fatal for finding in found):
        return found
    if instances is None:
        instances = named_instance(spec)
    suited = [entry for entry in instances if entry.accelerator is spec.accelerator]
    estimates = [(estimate_fit(spec, model, entry), entry) for entry in suited]
    if estimates and not any(estimate.fits for estimate, _ in estimates):
        estimate, instance = max(estimates, key=lambda pair: pair[0].available)
        found.append(_too_small(spec, model, instance, estimate))
    return found


def named_instance(spec: EndpointSpec) -> list[InstanceType]:
    """Returns the instance type that the spec names, if it is known."""
    known = instance_types().get(spec.instance_type)
    return [known] if known else []


def estimate_fit(spec: EndpointSpec, model: Model, instance: InstanceType) -> Fit:
    """Returns the estimate for one accelerator of the instance type.

    A GPU engine needs the cache of one request of full length at least; a Neuron engine of vLLM 0.9 lays out the cache
    of all its `max_num_seqs` requests beforehand.
    """
    tensor, pipeline, ranks = _parallel(spec)
    shape, engine = model.shape, spec.engine
    length = engine.max_model_len or (shape.longest if shape else 0)
    per_token = shape.cache_bytes_per_token(tensor, pipeline, engine.kv_cache_dtype or "") if shape else 0
    per_device = -(-ranks // (spec.resources.accelerators * _pods(spec)))
    factor = shape.weight_factor(engine.dtype or "", engine.quantization or "") if shape else 0
    return Fit(
        weights=int(model.weight_bytes * factor) * per_device // ranks,
        cache=per_token * length * _requests_laid_out(spec) * per_device,
        available=int(instance.accelerator_bytes * _utilization(spec)),
        length=length,
    )


def _requests_laid_out(spec: EndpointSpec) -> int:
    version = engine_image(spec.image).version
    whole = spec.accelerator is Accelerator.NEURON and (0, 9) <= version < (0, 10)
    return (spec.engine.max_num_seqs or 1) if whole and not spec.engine.enable_prefix_caching else 1


def _utilization(spec: EndpointSpec) -> float:
    """What the engine may use of a GPU; on Neuron it heeds no such share."""
    if spec.accelerator is Accelerator.NEURON:
        return 1.0
    version = engine_image(spec.image).version
    earlier = bool(version) and version < _UTILIZATION_RAISED and spec.framework is not Framework.RAY_VLLM
    return spec.engine.gpu_memory_utilization or (_EARLIER_UTILIZATION if earlier else _UTILIZATION)


def _pods(spec: EndpointSpec) -> int:
    return group_size(spec) if spec.framework is Framework.LWS_VLLM else 1


def _parallel(spec: EndpointSpec) -> tuple[int, int, int]:
    """Returns tensor and pipeline parallel size, and the ranks in all."""
    pipeline = spec.engine.pipeline_parallel_size or _pods(spec)
    tensor = spec.engine.tensor_parallel_size or default_tensor_parallel_size(spec, _pods(spec)) or 1
    return tensor, pipeline, tensor * pipeline


def _heads(spec: EndpointSpec, shape: ModelShape) -> Iterator[Finding]:
    """The heads must divide, vLLM insists on it. Neuron's own model code pads them instead, so there it is a note."""
    tensor = _parallel(spec)[0]
    if shape.heads % tensor == 0:
        return
    allowed = [size for size in range(1, tensor + 1) if shape.heads % size == 0]
    yield Finding(
        spec.accelerator is Accelerator.GPU,
        "fit.tensor-parallel",
        f"engine.tensor_parallel_size is {tensor}, and the model's {shape.heads} attention heads do not divide by it.",
        f"Set engine.tensor_parallel_size to one of {', '.join(map(str, allowed))}.",
    )


def _too_small(spec: EndpointSpec, model: Model, instance: InstanceType, estimate: Fit) -> Finding:
    parts = f"{human(estimate.weights)} weights, {human(ACTIVATIONS)} activations"
    if estimate.cache:
        parts += f", {human(estimate.cache)} cache for {estimate.length} tokens"
    message = (
        f"{spec.model.repo_id} needs at least {human(estimate.needed)} on each {instance.chip} of {instance.name} "
        f"({parts}); the engine may use {human(estimate.available)}."
    )
    fix = ", or ".join([*_fixes(spec, model, instance, estimate), "use a quantized or smaller model"])
    return Finding(True, "fit.memory", message, f"{fix[0].upper()}{fix[1:]}.")


def _fixes(spec: EndpointSpec, model: Model, instance: InstanceType, estimate: Fit) -> Iterator[str]:
    """Yields the smallest change of a setting that fits, and the smallest instance type that does."""
    left = estimate.available - estimate.weights - ACTIVATIONS
    if estimate.cache and left > 0:
        length = int(estimate.length * left / estimate.cache) // _LENGTH_STEP * _LENGTH_STEP
        if length:
            yield f"set engine.max_model_len to at most {length}"
    for devices in range(spec.resources.accelerators + 1, instance.accelerators + 1):
        wider = _with_devices(spec, model, devices, instance)
        if estimate_fit(wider, model, instance).fits:
            tensor = wider.engine.tensor_parallel_size
            yield f"set resources.accelerators to {devices} and engine.tensor_parallel_size to {tensor}"
            break
    if smallest := smallest_instance(spec, model):
        chips = f"all of its {smallest.accelerators} {smallest.chip}" if smallest.accelerators > 1 else smallest.chip
        yield f"use instance_type {smallest.name} with {chips}"


def smallest_instance(spec: EndpointSpec, model: Model) -> InstanceType | None:
    """Returns the instance type with the least accelerator memory that holds the model with all its accelerators."""
    candidates = [entry for entry in instance_types().values() if entry.accelerator is spec.accelerator]
    for entry in sorted(candidates, key=lambda e: (e.accelerators * e.accelerator_memory, e.vcpu, e.memory)):
        wider = _with_devices(spec, model, entry.accelerators, entry)
        if estimate_fit(wider, model, entry).fits:
            return entry
    return None


def _with_devices(spec: EndpointSpec, model: Model, devices: int, instance: InstanceType) -> EndpointSpec:
    """Returns the endpoint with so many devices per pod, as many of them as the heads allow at work."""
    update = {
        "instance_type": instance.name,
        "resources": spec.resources.model_copy(update={"accelerators": devices}),
        "engine": spec.engine.model_copy(update={"tensor_parallel_size": None}),
    }
    wider = spec.model_copy(update=update)
    most = _parallel(wider)[0]
    heads = model.shape.heads if model.shape else 0
    tensor = next((size for size in range(most, 0, -1) if heads % size == 0), 1)
    engine = wider.engine.model_copy(update={"tensor_parallel_size": tensor})
    return wider.model_copy(update={"engine": engine})


def weight_bytes_of(sizes: Mapping[str, int]) -> int:
    """Returns the bytes that an engine loads of a repository's files: safetensors, else PyTorch files, else GGUF.

    Files that repeat the same weights in another form (``original/``, ``consolidated…``) do not count.

    Args:
        sizes: Bytes of each file, by its path.
    """
    for ending in (".safetensors", ".bin", ".pt", ".pth", ".gguf"):
        found = {path: size for path, size in sizes.items() if path.endswith(ending)}
        plain = {path: size for path, size in found.items() if "/" not in path and "consolidated" not in path}
        if found:
            return sum((plain or found).values())
    return 0


def read_model(sizes: Mapping[str, int], config: Mapping[str, Any] | None) -> Model:
    """Returns a model from its files' sizes and its ``config.json``; None for one that has none."""
    return Model(weight_bytes_of(sizes), ModelShape.read(config) if config else None)
