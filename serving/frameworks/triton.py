"""NVIDIA Triton with its vLLM backend: the model repository is a ConfigMap, the weights stand on a volume."""

import hashlib
import json
from typing import Any

from serving.combinations import require_possible
from serving.frameworks.arguments import as_written, vllm_engine_options
from serving.frameworks.labels import annotations, object_labels
from serving.frameworks.pod import engine_container, environment, pod_template
from serving.frameworks.probes import http_probes, load_seconds
from serving.frameworks.scaling import scaler
from serving.frameworks.vllm import (
    compile_disk,
    compile_mounts,
    compile_volumes,
    default_tensor_parallel_size,
    engine_environment,
    time_to_finish,
    weights_options,
)
from serving.frameworks.weights import Weights, weights_for
from serving.frameworks.workload import Door, Manifest, deployment, disruption_budget, service
from serving.models import StagedModel
from serving.release import Release
from serving.spec import EndpointSpec

MODEL = "vllm_model"
REPOSITORY = "/model-repository"
PORTS = (("http", 8000), ("grpc", 8001), ("metrics", 8002))

DOOR = Door(ports=tuple((name, number, name) for name, number in PORTS))

CONFIG = """backend: "vllm"

instance_group [
  {
    count: 1
    kind: KIND_MODEL
  }
]
"""


def render(spec: EndpointSpec, staged: StagedModel | None, release: Release) -> list[Manifest]:
    """Returns the endpoint's manifests, in the order in which they are applied.

    Raises:
        InputError: The spec holds a combination that cannot work.
    """
    require_possible(spec)
    weights = weights_for(spec, staged, release)
    total = staged.total_bytes if staged else None
    repository = _repository(spec, staged, release, weights)
    # Triton answers only after its models are loaded, and ends when one cannot be: so one path starts all probes.
    probes = http_probes(load_seconds(spec, total), ready="/v2/health/ready", live="/v2/health/live")
    container = engine_container(
        spec,
        weights,
        name="triton-vllm",
        command=as_written(
            [
                "tritonserver",
                f"--model-repository={REPOSITORY}",
                "--http-port=8000",
                "--grpc-port=8001",
                "--metrics-port=8002",
                "--allow-metrics=true",
                f"--exit-timeout-secs={time_to_finish(spec)}",
            ]
        ),
        env=environment(engine_environment(spec), weights.env, spec.env),
        probes=probes,
        total_bytes=total,
        extra_disk=compile_disk(spec, total),
        mounts=(
            {"name": "model-repository", "mountPath": f"{REPOSITORY}/{MODEL}", "readOnly": True},
            *compile_mounts(spec),
        ),
        ports=PORTS,
    )
    template = pod_template(
        spec,
        staged,
        release,
        weights,
        [container],
        volumes=(_volume(repository), *compile_volumes(spec)),
        metrics=("/metrics", 8002),
    )
    return [
        *weights.objects,
        repository,
        service(spec, release, DOOR),
        deployment(spec, staged, release, template, total),
        *disruption_budget(spec, release),
        *scaler(spec, release, total),
    ]


def engine_arguments(spec: EndpointSpec, release: Release, location: str) -> dict[str, Any]:
    """Returns the content of ``model.json``: vLLM's engine arguments, the model among them."""
    options = vllm_engine_options(spec.engine, tensor_parallel_size=default_tensor_parallel_size(spec))
    return {"model": location, **weights_options(spec, release), **options}


def _repository(spec: EndpointSpec, staged: StagedModel | None, release: Release, weights: Weights) -> Manifest:
    """The model repository. Named by its content and immutable, so that pods of two releases keep their own."""
    arguments = engine_arguments(spec, release, weights.location)
    data = {"config.pbtxt": CONFIG, "model.json": json.dumps(arguments, indent=1, sort_keys=True) + "\n"}
    digest = hashlib.sha256("".join(data.values()).encode()).hexdigest()[:8]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"{release.name}-repository-{digest}",
            "namespace": spec.namespace,
            "labels": object_labels(spec, release),
            "annotations": annotations(release, staged),
        },
        "immutable": True,
        "data": data,
    }


def _volume(repository: Manifest) -> dict[str, Any]:
    items = [{"key": "config.pbtxt", "path": "config.pbtxt"}, {"key": "model.json", "path": "1/model.json"}]
    return {"name": "model-repository", "configMap": {"name": repository["metadata"]["name"], "items": items}}
