"""What cannot work together, said in one sentence each before anything is touched."""

from collections.abc import Iterator

from serving.errors import InputError
from serving.explain import input_error
from serving.frameworks.arguments import flag, options_from_arguments
from serving.frameworks.defaults import default_image
from serving.frameworks.groups import group_size
from serving.frameworks.images import EngineImage, Family, Version, engine_image, ray_streams
from serving.frameworks.monitor import has_metrics
from serving.frameworks.neuron import neuron_cores
from serving.frameworks.scaling import metrics
from serving.instances import instance_types
from serving.options import DiffusersOptions
from serving.quantities import GIB, parse
from serving.servers.diffusion import NEURON_PIPELINES
from serving.spec import (
    DEPLOYMENT_BASED,
    SECTIONS,
    VLLM_BASED,
    Accelerator,
    EndpointSpec,
    Framework,
    VllmOptions,
    WeightsSource,
)

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
        "--nnodes",
        "--node-rank",
        "--master-addr",
        "--headless",
    }
)
"""Flags that the renderer sets: probes, Service and smoke test rely on them."""

_NOT_ON: dict[Framework, dict[Accelerator, str]] = {
    Framework.NIM: {
        Accelerator.NEURON: "NVIDIA publishes NIM images for GPUs only",
        Accelerator.CPU: "NVIDIA publishes NIM images for GPUs only",
    },
    Framework.LLAMA_CPP: {Accelerator.NEURON: "llama.cpp has no Neuron backend"},
    Framework.RAY_VLLM: {Accelerator.CPU: "its images are built for gpu and neuron"},
    Framework.LWS_VLLM: {Accelerator.CPU: "a group of pods without accelerators serves nothing that one pod could not"},
    Framework.TRITON_VLLM: {Accelerator.CPU: "Triton's vLLM images are built for gpu"},
}

_WEIGHTS_FROM: dict[Framework, frozenset[WeightsSource]] = {
    Framework.TRITON_VLLM: frozenset({WeightsSource.SYNC, WeightsSource.MOUNT, WeightsSource.HUB}),
    Framework.DIFFUSERS: frozenset({WeightsSource.SYNC, WeightsSource.MOUNT, WeightsSource.HUB}),
    Framework.NIM: frozenset({WeightsSource.HUB}),
    Framework.LLAMA_CPP: frozenset({WeightsSource.SYNC, WeightsSource.MOUNT}),
}
_WEIGHTS_WHY: dict[Framework, str] = {
    Framework.TRITON_VLLM: "its model.json takes a directory or a Hub repository",
    Framework.DIFFUSERS: "pipelines load from a directory with its folders",
    Framework.NIM: "the container fetches its own profile of the model",
    Framework.LLAMA_CPP: "it reads a GGUF file, and cannot hold a Hub download to one commit",
}


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
    if why := not_on(spec.framework, spec.accelerator):
        yield why
    yield from _image(spec, image)
    yield from _weights(spec, image)
    yield from _accelerators(spec)
    yield from _instance(spec)
    yield from _sections(spec)
    yield from _extra_arguments(spec)
    yield from _autoscaling(spec)
    yield from _nim(spec)
    if spec.pod.monitor and not has_metrics(spec):
        yield "pod.monitor needs metrics, and a NIM that makes pictures has none for Prometheus; leave it out."
    if spec.framework is Framework.AIBRIX and spec.served_model_name != spec.name:
        yield (
            f"served_model_name is {spec.served_model_name!r}, AIBrix routes by it and wants the endpoint's own name: "
            f"{spec.name}."
        )


def not_on(framework: Framework, accelerator: Accelerator) -> str:
    """Returns why a framework does not run on an accelerator, in one sentence; empty if it does."""
    why = _NOT_ON.get(framework, {}).get(accelerator)
    if not why:
        return ""
    possible = [a.value for a in Accelerator if a not in _NOT_ON[framework]]
    return f"{framework} does not run on {accelerator}: {why}; use accelerator={' or '.join(possible)}."


def _image(spec: EndpointSpec, image: EngineImage) -> Iterator[str]:
    if spec.accelerator in _NOT_ON.get(spec.framework, {}):
        return
    if image.accelerator is not None and image.accelerator is not spec.accelerator:
        example = default_image(spec.framework, spec.accelerator)
        instead = f"use for example {example}" if example else "none is published: name one of your own"
        yield (
            f"image {spec.image} is built for {image.accelerator}, accelerator is {spec.accelerator}; {instead}, or "
            f"accelerator={image.accelerator}."
        )
    if (
        spec.framework is Framework.LWS_VLLM
        and spec.accelerator is Accelerator.NEURON
        and group_size(spec) > 1
        and not image.spans_nodes
    ):
        yield (
            f"image {spec.image} cannot span pods: vLLM for Neuron has no pipeline parallelism at that version; use "
            "framework=vllm with tensor_parallel_size up to the NeuronCores of one instance, or a newer image."
        )
    if spec.framework is Framework.DIFFUSERS and spec.accelerator is Accelerator.NEURON:
        pipeline = (spec.diffusers or DiffusersOptions()).pipeline
        if pipeline not in NEURON_PIPELINES:
            yield (
                f"diffusers.pipeline {pipeline} does not run on neuron: optimum-neuron has no class for it; allowed: "
                f"{', '.join(sorted(NEURON_PIPELINES))}."
            )
    if spec.framework is Framework.RAY_VLLM and image.family is Family.RAY and not (spec.ray and spec.ray.vllm_version):
        yield f"image {spec.image} brings no vLLM; set ray.vllm_version, or use rayproject/ray-llm."


def _weights(spec: EndpointSpec, image: EngineImage) -> Iterator[str]:
    allowed = _WEIGHTS_FROM.get(spec.framework)
    if allowed is not None and spec.weights not in allowed:
        yield (
            f"weights={spec.weights} does not work with {spec.framework}: {_WEIGHTS_WHY[spec.framework]}; use "
            f"{' or '.join(sorted(source.value for source in allowed))}."
        )
    elif spec.weights is not WeightsSource.STREAM:
        return
    elif spec.accelerator is Accelerator.NEURON:
        yield "weights=stream does not work on neuron, whose engine reads local directories; use sync, mount or hub."
    elif image.cannot_stream:
        yield (
            f"weights=stream does not work with image {spec.image}, which brings no S3 streamer; "
            "use sync, or vllm/vllm-openai from v0.9.0 on."
        )
    elif spec.framework is Framework.RAY_VLLM and not ray_streams(_ray_version(spec, image)):
        yield (
            f"weights=stream does not work with Ray {'.'.join(map(str, _ray_version(spec, image)))}, whose LLM "
            "application does not hand s3:// addresses on; use sync, or Ray 2.52 to 2.56, or 2.59 and later."
        )


def _ray_version(spec: EndpointSpec, image: EngineImage) -> Version:
    given = spec.ray.version if spec.ray else ""
    return engine_image(f"ray:{given}").version if given else image.version


def _accelerators(spec: EndpointSpec) -> Iterator[str]:
    devices = spec.resources.accelerators
    if spec.accelerator is Accelerator.CPU:
        if devices:
            yield f"resources.accelerators is {devices}, accelerator=cpu has none; allowed: 0."
        return
    if devices < 1:
        yield f"resources.accelerators is 0, accelerator={spec.accelerator} needs at least 1."
        return
    if spec.framework not in VLLM_BASED:
        return
    tensor, pipeline = spec.engine.tensor_parallel_size or 1, spec.engine.pipeline_parallel_size or 1
    pods = group_size(spec) if spec.framework is Framework.LWS_VLLM else 1
    if pipeline % pods:
        yield (
            f"engine.pipeline_parallel_size {pipeline} cannot be shared by lws.size {pods} pods; "
            f"allowed: a multiple of {pods}."
        )
        return
    wanted, there, unit = tensor * pipeline // pods, devices, "GPUs"
    if spec.accelerator is Accelerator.NEURON:
        most = neuron_cores(spec.instance_type)[1]
        there, unit = devices * most, f"NeuronCores ({devices} chips of at most {most})"
    if wanted > there:
        yield (
            f"engine.tensor_parallel_size {tensor} times pipeline_parallel_size {pipeline} needs {wanted} workers"
            f"{' per pod' if pods > 1 else ''}, the pod has {there} {unit}; raise resources.accelerators or lower the "
            "sizes."
        )


def _instance(spec: EndpointSpec) -> Iterator[str]:
    """What an instance type that is known cannot give; one that is not in the table is left to preflight."""
    instance = instance_types().get(spec.instance_type)
    if instance is None:
        return
    name, asked = spec.instance_type, spec.resources
    if spec.accelerator is not Accelerator.CPU and instance.accelerator is not spec.accelerator:
        yield f"instance_type {name} has no {spec.accelerator} accelerator; name one that has, or leave it out."
        return
    if spec.accelerator is not Accelerator.CPU and asked.accelerators > instance.accelerators:
        yield f"resources.accelerators is {asked.accelerators}, instance_type {name} has {instance.accelerators}."
    for field, quantity, there in (("cpu", asked.cpu, instance.vcpu), ("memory", asked.memory, instance.memory * GIB)):
        if quantity and parse(quantity) >= there:
            shown = f"{instance.memory:g}Gi" if field == "memory" else there
            yield f"resources.{field} is {quantity}, instance_type {name} has {shown} and needs some of it for itself."
    if spec.pod.architecture and spec.pod.architecture != instance.architecture:
        yield f"pod.architecture is {spec.pod.architecture}, instance_type {name} is {instance.architecture}."


def _sections(spec: EndpointSpec) -> Iterator[str]:
    for framework, section in SECTIONS.items():
        if getattr(spec, section) is not None and spec.framework is not framework:
            yield f"{section} is for framework={framework} only, framework is {spec.framework}."
    if spec.framework not in VLLM_BASED:
        given = sorted(spec.engine.model_dump(exclude_defaults=True))
        if given:
            section = SECTIONS.get(spec.framework, "env")
            yield f"engine.{given[0]} is an argument of vLLM, framework is {spec.framework}; use {section}."


def _extra_arguments(spec: EndpointSpec) -> Iterator[str]:
    named = {flag(name): name for name in VllmOptions.model_fields if name != "extra_args"}
    for argument in spec.engine.extra_args:
        given = argument.partition("=")[0].replace("_", "-")
        if given in OWN_FLAGS:
            yield f"engine.extra_args may not hold {given}: the endpoint sets it itself."
        elif given in named or given.replace("--no-", "--", 1) in named:
            field = named.get(given) or named[given.replace("--no-", "--", 1)]
            yield f"engine.extra_args holds {given}; use engine.{field} instead."
    if spec.framework in (Framework.RAY_VLLM, Framework.TRITON_VLLM):
        try:
            options_from_arguments(spec.engine.extra_args)
        except ValueError as error:
            yield f"engine.extra_args cannot be turned into {spec.framework}'s options: {error}."


def _nim(spec: EndpointSpec) -> Iterator[str]:
    options = spec.nim
    if options is not None and options.operator and spec.replicas > 1 and not options.storage_class:
        yield (
            f"nim.storage_class is empty and replicas is {spec.replicas}: pods on several nodes share the operator's "
            "cache; name a class whose volumes many nodes can mount, such as EFS or FSx, or set replicas to 1."
        )


def _autoscaling(spec: EndpointSpec) -> Iterator[str]:
    scaling = spec.autoscaling
    if scaling is None:
        return
    if spec.framework is Framework.RAY_VLLM:
        yield "autoscaling is for Deployments, ray-vllm scales by itself; use ray.autoscaling."
    elif spec.framework not in DEPLOYMENT_BASED or (spec.nim is not None and spec.nim.operator):
        yield f"autoscaling is for Deployments, {spec.framework} is none here; set replicas."
    elif scaling.by == "aibrix" and spec.framework is not Framework.AIBRIX:
        yield f"autoscaling.by=aibrix is for framework=aibrix, framework is {spec.framework}; use hpa or keda."
    elif not scaling.query and scaling.metric not in metrics(spec):
        measured = sorted(metrics(spec))
        query = "by=keda with a query over what it does measure" if not measured else f"one of {', '.join(measured)}"
        yield f"autoscaling.metric is {scaling.metric}, {spec.framework}'s server does not measure that; use {query}."
