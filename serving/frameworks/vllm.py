"""vLLM in a Deployment behind a Service, on GPU, Neuron or CPU. AIBrix is the same with its labels on top."""

import json
from typing import Any

from serving.combinations import require_possible
from serving.frameworks import neuron
from serving.frameworks.arguments import as_written, vllm_flags
from serving.frameworks.images import engine_image
from serving.frameworks.labels import GATEWAY_MODEL_LABEL
from serving.frameworks.pod import HTTP_PORT, engine_container, environment, pod_template
from serving.frameworks.probes import http_probes, load_seconds
from serving.frameworks.resources import disk_for
from serving.frameworks.scaling import scaler
from serving.frameworks.weights import Weights, weights_for
from serving.frameworks.workload import Door, Manifest, deployment, disruption_budget, service
from serving.models import StagedModel
from serving.release import Release
from serving.spec import Accelerator, EndpointSpec, Framework, WeightsSource

CONTAINER = "vllm"
STREAM_CONCURRENCY = 16

_KV_CACHE_GIB = "2"
_ENDING_SECONDS = 10


def render(spec: EndpointSpec, staged: StagedModel | None, release: Release) -> list[Manifest]:
    """Returns the endpoint's manifests, in the order in which they are applied.

    Args:
        spec: The endpoint.
        staged: Its staged model; None for ``weights=hub``.
        release: The release's name and commit.

    Raises:
        InputError: The spec holds a combination that cannot work.
    """
    require_possible(spec)
    weights = weights_for(spec, staged, release)
    total = staged.total_bytes if staged else None
    labels = gateway_labels(spec)
    container = engine_container(
        spec,
        weights,
        name=CONTAINER,
        command=as_written(command_line(spec, weights, release)),
        env=environment(engine_environment(spec), weights.env, spec.env),
        probes=http_probes(load_seconds(spec, total), ready="/health"),
        total_bytes=total,
        extra_disk=compile_disk(spec, total),
        mounts=compile_mounts(spec),
    )
    template = pod_template(spec, staged, release, weights, [container], volumes=compile_volumes(spec), labels=labels)
    return [
        *weights.objects,
        service(spec, release, door(spec)),
        deployment(spec, staged, release, template, total, labels=labels),
        *disruption_budget(spec, release),
        *scaler(spec, release, total),
    ]


def door(spec: EndpointSpec) -> Door:
    """Returns how the pods are reached. AIBrix' gateway knows a model by the labels of its Service and pods.

    The Service does not select by them: a candidate's pods are without them until they are promoted.
    """
    return Door(labels=gateway_labels(spec))


def gateway_labels(spec: EndpointSpec) -> dict[str, str]:
    """Returns the labels by which AIBrix' gateway finds a model; none elsewhere.

    The gateway sends plain requests to the Service that is called like the model, which is the endpoint's, and requests
    with a routing strategy straight to ready pods with these labels. A candidate's pods are without the model's until
    it is promoted: `tasks.gateway`.
    """
    if spec.framework is not Framework.AIBRIX:
        return {}
    return {
        GATEWAY_MODEL_LABEL: spec.name,
        "model.aibrix.ai/port": str(HTTP_PORT),
        "model.aibrix.ai/engine": "vllm",
    }


def command_line(spec: EndpointSpec, weights: Weights, release: Release, *, port: int = HTTP_PORT) -> list[str]:
    """Returns the engine's whole command line."""
    command = ["vllm", "serve", weights.location, "--host", "0.0.0.0", "--port", str(port)]
    command += ["--served-model-name", spec.served_model_name]
    return command + engine_flags(spec, release)


def engine_flags(spec: EndpointSpec, release: Release) -> list[str]:
    """Returns the flags of weights, device and engine options."""
    flags = weights_flags(spec, release)
    image = engine_image(spec.image)
    if image.takes_device_flag and spec.accelerator is not Accelerator.GPU:
        flags += ["--device", spec.accelerator.value]
    if image.takes_shutdown_timeout and not _given(spec, "--shutdown-timeout"):
        flags += ["--shutdown-timeout", str(time_to_finish(spec))]
    return flags + vllm_flags(spec.engine, tensor_parallel_size=default_tensor_parallel_size(spec))


def weights_flags(spec: EndpointSpec, release: Release) -> list[str]:
    """Returns the flags that belong to the weights source."""
    if spec.weights is WeightsSource.STREAM:
        flags = ["--load-format", "runai_streamer"]
        if not _given(spec, "--model-loader-extra-config"):
            flags += ["--model-loader-extra-config", json.dumps({"concurrency": STREAM_CONCURRENCY})]
        return flags
    if spec.weights is WeightsSource.HUB:
        commit = release.model.commit
        flags = ["--revision", commit, "--tokenizer-revision", commit]
        return [*flags, "--code-revision", commit] if spec.engine.trust_remote_code else flags
    return []


def time_to_finish(spec: EndpointSpec) -> int:
    """Returns the seconds that a server told to stop has for the requests in flight, some left to end itself in."""
    left = spec.pod.termination_seconds - spec.pod.drain_seconds
    return max(1, left - min(_ENDING_SECONDS, left // 2))


def _given(spec: EndpointSpec, flag: str) -> bool:
    return any(argument.partition("=")[0].replace("_", "-") == flag for argument in spec.engine.extra_args)


def weights_options(spec: EndpointSpec, release: Release) -> dict[str, Any]:
    """Returns the same as engine options, for stacks that take these instead of flags."""
    if spec.weights is WeightsSource.STREAM:
        return {
            "load_format": "runai_streamer",
            "model_loader_extra_config": {"concurrency": STREAM_CONCURRENCY},
        }
    if spec.weights is WeightsSource.HUB:
        commit = release.model.commit
        pinned = {"revision": commit, "tokenizer_revision": commit}
        return pinned | ({"code_revision": commit} if spec.engine.trust_remote_code else {})
    return {}


def default_tensor_parallel_size(spec: EndpointSpec, pods: int = 1) -> int | None:
    """Returns the tensor parallel size that uses all devices of a pod; None leaves it to the engine (1).

    Args:
        spec: The endpoint.
        pods: Pods that share the pipeline's stages.
    """
    devices = spec.resources.accelerators
    if spec.accelerator is Accelerator.CPU:
        return None
    if spec.accelerator is Accelerator.NEURON:
        return devices * neuron.neuron_cores(spec.instance_type)[0]
    share = devices * pods // (spec.engine.pipeline_parallel_size or pods)
    return share if share > 1 else None


def engine_environment(spec: EndpointSpec) -> dict[str, str]:
    """Returns what the engine needs in its environment on this accelerator."""
    if spec.accelerator is Accelerator.NEURON:
        return neuron.environment()
    if spec.accelerator is Accelerator.CPU:
        return {"VLLM_CPU_KVCACHE_SPACE": _KV_CACHE_GIB}
    return {}


def compile_disk(spec: EndpointSpec, total_bytes: int | None) -> int:
    """Returns the bytes of node-local disk that a compiled model may take: about those of the model itself."""
    return disk_for(total_bytes or 0) if spec.accelerator is Accelerator.NEURON else 0


def compile_mounts(spec: EndpointSpec) -> tuple[dict[str, Any], ...]:
    """Returns the mount that compiled models are written to; none where nothing is compiled to disk."""
    if spec.accelerator is not Accelerator.NEURON:
        return ()
    return ({"name": "neuron-artifacts", "mountPath": neuron.COMPILED},)


def compile_volumes(spec: EndpointSpec) -> tuple[dict[str, Any], ...]:
    """Returns the volume behind `compile_mounts`."""
    return ({"name": "neuron-artifacts", "emptyDir": {}},) if spec.accelerator is Accelerator.NEURON else ()
