"""vLLM in a Deployment behind a Service, on GPU, Neuron or CPU."""

import json

from serving.combinations import require_possible
from serving.frameworks import neuron
from serving.frameworks.arguments import vllm_flags
from serving.frameworks.images import engine_image
from serving.frameworks.pod import engine_container, environment, pod_template
from serving.frameworks.probes import http_probes, load_seconds
from serving.frameworks.resources import disk_for
from serving.frameworks.weights import Weights, weights_for
from serving.frameworks.workload import Manifest, deployment, disruption_budget, service
from serving.models import StagedModel
from serving.release import Release
from serving.spec import Accelerator, EndpointSpec, WeightsSource

CONTAINER = "vllm"
PORT = 8000
STREAM_CONCURRENCY = 16

_KV_CACHE_GIB = "2"


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
    on_neuron = spec.accelerator is Accelerator.NEURON
    container = engine_container(
        spec,
        weights,
        name=CONTAINER,
        command=command_line(spec, weights, release),
        env=environment(engine_environment(spec), weights.env, spec.env),
        probes=http_probes(load_seconds(spec, total), ready="/health"),
        total_bytes=total,
        extra_disk=disk_for(total or 0) if on_neuron else 0,
        mounts=({"name": "neuron-artifacts", "mountPath": neuron.COMPILED},) if on_neuron else (),
    )
    template = pod_template(
        spec,
        staged,
        release,
        weights,
        [container],
        volumes=({"name": "neuron-artifacts", "emptyDir": {}},) if on_neuron else (),
    )
    return [
        *weights.objects,
        service(spec, release),
        deployment(spec, staged, release, template, total),
        *disruption_budget(spec, release),
    ]


def command_line(spec: EndpointSpec, weights: Weights, release: Release, *, port: int = PORT) -> list[str]:
    """Returns the engine's whole command line."""
    command = ["vllm", "serve", weights.location, "--host", "0.0.0.0", "--port", str(port)]
    command += ["--served-model-name", spec.served_model_name]
    command += weights_flags(spec, release)
    image = engine_image(spec.image)
    if image.takes_device_flag and spec.accelerator is not Accelerator.GPU:
        command += ["--device", spec.accelerator.value]
    return command + vllm_flags(spec.engine, tensor_parallel_size=default_tensor_parallel_size(spec))


def weights_flags(spec: EndpointSpec, release: Release) -> list[str]:
    """Returns the flags that belong to the weights source."""
    if spec.weights is WeightsSource.STREAM:
        flags = ["--load-format", "runai_streamer"]
        if not any(argument.startswith("--model-loader-extra-config") for argument in spec.engine.extra_args):
            flags += ["--model-loader-extra-config", json.dumps({"concurrency": STREAM_CONCURRENCY})]
        return flags
    if spec.weights is WeightsSource.HUB:
        commit = release.model.commit
        flags = ["--revision", commit, "--tokenizer-revision", commit]
        return [*flags, "--code-revision", commit] if spec.engine.trust_remote_code else flags
    return []


def default_tensor_parallel_size(spec: EndpointSpec) -> int | None:
    """Returns the tensor parallel size that uses all devices of the pod; None leaves it to the engine (1)."""
    devices = spec.resources.accelerators
    if spec.accelerator is Accelerator.CPU:
        return None
    if spec.accelerator is Accelerator.NEURON:
        return devices * neuron.neuron_cores(spec.instance_type)[0]
    share = devices // (spec.engine.pipeline_parallel_size or 1)
    return share if share > 1 else None


def engine_environment(spec: EndpointSpec) -> dict[str, str]:
    """Returns what the engine needs in its environment on this accelerator."""
    if spec.accelerator is Accelerator.NEURON:
        return neuron.environment()
    if spec.accelerator is Accelerator.CPU:
        return {"VLLM_CPU_KVCACHE_SPACE": _KV_CACHE_GIB}
    return {}
