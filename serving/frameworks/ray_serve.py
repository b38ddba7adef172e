"""The Serve configuration of a RayService: one application with the model.

On GPU it is Ray's own LLM application (``ray.serve.llm``). That one knows no Neuron cores; there each replica runs the
engine's server behind a small application of ours (`serving.servers.ray_engine`).
"""

from typing import Any

from serving.frameworks import neuron
from serving.frameworks.arguments import vllm_engine_options
from serving.frameworks.probes import load_seconds
from serving.frameworks.ray_files import APP_MODULE
from serving.frameworks.vllm import default_tensor_parallel_size, engine_flags, weights_options
from serving.frameworks.weights import Weights
from serving.models import StagedModel
from serving.options import RayOptions
from serving.release import Release
from serving.spec import Accelerator, EndpointSpec, WeightsSource

APPLICATION = "llm"
_ONGOING_REQUESTS = 1000


def serve_config(
    spec: EndpointSpec, staged: StagedModel | None, release: Release, weights: Weights, options: RayOptions
) -> dict[str, Any]:
    """Returns the Serve configuration: one application with the model."""
    if spec.accelerator is Accelerator.NEURON:
        return {"applications": [_neuron_application(spec, staged, release, weights, options)]}
    tensor = default_tensor_parallel_size(spec)
    engine = {
        **weights_options(spec, release),
        **vllm_engine_options(spec.engine, tensor_parallel_size=tensor),
    }
    model = {
        "model_loading_config": {"model_id": spec.served_model_name, "model_source": weights.location},
        "engine_kwargs": engine,
        "deployment_config": _scale(spec, options),
    }
    application: dict[str, Any] = {
        "name": APPLICATION,
        "route_prefix": "/",
        "import_path": "ray.serve.llm:build_openai_app",
        "args": {"llm_configs": [model]},
    }
    if options.vllm_version:
        application["runtime_env"] = {"pip": packages(options.vllm_version, spec.weights)}
    return {"applications": [application]}


def packages(vllm_version: str, weights: WeightsSource) -> list[str]:
    """Returns what a plain Ray image lacks for ``ray.serve.llm``.

    vLLM 0.9 breaks with Transformers from 4.54 on, and the Ray images of its time bring NumPy 1.
    """
    extra = "[runai]" if weights is WeightsSource.STREAM else ""
    wanted = [f"vllm{extra}=={vllm_version}", "jsonref>=1.1.0", "jsonschema", "ninja"]
    if vllm_version.startswith(("0.8.", "0.9.")):
        wanted += ["transformers<4.54.0", "numpy==1.26.4"]
    return wanted


def _scale(spec: EndpointSpec, options: RayOptions) -> dict[str, Any]:
    if not options.autoscaling:
        return {"num_replicas": spec.replicas}
    return {
        "autoscaling_config": {
            "min_replicas": options.min_replicas,
            "max_replicas": options.max_replicas,
            "target_ongoing_requests": options.target_ongoing_requests,
        }
    }


def _neuron_application(
    spec: EndpointSpec, staged: StagedModel | None, release: Release, weights: Weights, options: RayOptions
) -> dict[str, Any]:
    cores = spec.engine.tensor_parallel_size or default_tensor_parallel_size(spec) or neuron.neuron_cores("")[0]
    command = ["vllm", "serve", weights.location, "--served-model-name", spec.served_model_name]
    deployment = {
        "name": "engine",
        "ray_actor_options": {"num_cpus": 1, "resources": {neuron.RAY_RESOURCE: cores}},
        # The engine queues by itself; Serve's default of 5 requests at a time would starve it.
        "max_ongoing_requests": _ONGOING_REQUESTS,
        "health_check_period_s": 10,
        "health_check_timeout_s": 30,
        **_scale(spec, options),
    }
    total = staged.total_bytes if staged else None
    return {
        "name": APPLICATION,
        "route_prefix": "/",
        "import_path": f"{APP_MODULE}:build",
        "args": {
            "command": command + engine_flags(spec, release),
            "startup_seconds": load_seconds(spec, total),
            "deployment": deployment,
        },
    }
