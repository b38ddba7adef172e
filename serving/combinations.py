"""What cannot work together, said in one sentence each before anything is touched."""

from collections.abc import Iterator

from serving.errors import InputError
from serving.explain import input_error
from serving.frameworks.arguments import flag
from serving.frameworks.images import EXAMPLES, EngineImage, engine_image
from serving.frameworks.neuron import neuron_cores
from serving.spec import Accelerator, EndpointSpec, VllmOptions, WeightsSource

OWN_FLAGS = frozenset(
    {
        "--host",
        "--port",
        "--model",
        "--served-model-name",
        "--revision",
        "--tokenizer-revision",
        "--code-revision",
        "--load-format",
        "--device",
    }
)
"""Flags that the renderer sets: probes, Service and smoke test rely on them."""


def require_possible(spec: EndpointSpec) -> None:
    """Raises the reasons why this endpoint cannot work.

    Raises:
        InputError: All of them at once.
    """
    found = list(impossibilities(spec))
    if found:
        raise refusal(spec, found)


def refusal(spec: EndpointSpec, found: list[str]) -> InputError:
    """Returns the error for what `impossibilities` found."""
    return input_error(f"Endpoint {spec.name}", found, code="input.combination")


def impossibilities(spec: EndpointSpec) -> Iterator[str]:
    """Yields one sentence for each combination in the spec that cannot work."""
    image = engine_image(spec.image)
    yield from _image_and_accelerator(spec, image)
    yield from _weights(spec, image)
    yield from _accelerators(spec)
    yield from _extra_arguments(spec.engine)


def _image_and_accelerator(spec: EndpointSpec, image: EngineImage) -> Iterator[str]:
    if image.accelerator is not None and image.accelerator is not spec.accelerator:
        yield (
            f"image {spec.image} is built for {image.accelerator}, accelerator is {spec.accelerator}; "
            f"use for example {EXAMPLES[spec.accelerator]}, or accelerator={image.accelerator}."
        )


def _weights(spec: EndpointSpec, image: EngineImage) -> Iterator[str]:
    if spec.weights is not WeightsSource.STREAM:
        return
    if spec.accelerator is Accelerator.NEURON:
        yield "weights=stream does not work on neuron, whose engine reads local directories; use sync, mount or hub."
    elif image.cannot_stream:
        yield (
            f"weights=stream does not work with image {spec.image}, which brings no S3 streamer; "
            "use sync, or vllm/vllm-openai from v0.9.0 on."
        )


def _accelerators(spec: EndpointSpec) -> Iterator[str]:
    devices = spec.resources.accelerators
    if spec.accelerator is Accelerator.CPU:
        if devices:
            yield f"resources.accelerators is {devices}, accelerator=cpu has none; allowed: 0."
        return
    if devices < 1:
        yield f"resources.accelerators is 0, accelerator={spec.accelerator} needs at least 1."
        return
    tensor, pipeline = spec.engine.tensor_parallel_size or 1, spec.engine.pipeline_parallel_size or 1
    wanted, there = tensor * pipeline, devices
    unit = "GPUs"
    if spec.accelerator is Accelerator.NEURON:
        per_chip = neuron_cores(spec.instance_type)[1]
        there, unit = devices * per_chip, f"NeuronCores ({devices} chips of at most {per_chip})"
    if wanted > there:
        yield (
            f"engine.tensor_parallel_size {tensor} times pipeline_parallel_size {pipeline} needs {wanted} workers, "
            f"the pod has {there} {unit}; raise resources.accelerators or lower the sizes."
        )


def _extra_arguments(options: VllmOptions) -> Iterator[str]:
    named = {flag(name): name for name in type(options).model_fields if name != "extra_args"}
    for argument in options.extra_args:
        given = argument.partition("=")[0].replace("_", "-")
        if given in OWN_FLAGS:
            yield f"engine.extra_args may not hold {given}: the endpoint sets it itself."
        elif given in named or given.replace("--no-", "--", 1) in named:
            field = named.get(given) or named[given.replace("--no-", "--", 1)]
            yield f"engine.extra_args holds {given}; use engine.{field} instead."
