"""vLLM on Ray Serve: a RayService of KubeRay.

KubeRay brings a new Ray cluster up beside the old one when the cluster's part of the spec changes, and injects the
probes of head and workers itself.
"""

import json
from typing import Any

import yaml

from serving.combinations import require_possible
from serving.frameworks import neuron, resources
from serving.frameworks import ray_files as files
from serving.frameworks.images import Family, engine_image, split_reference
from serving.frameworks.labels import RELEASE_LABEL, annotations, workload_labels
from serving.frameworks.pod import CONTAINER_SECURITY, SHARED_MEMORY, engine_container, environment, pod_template
from serving.frameworks.ray_serve import serve_config
from serving.frameworks.vllm import compile_disk, compile_mounts, compile_volumes, engine_environment
from serving.frameworks.weights import Weights, store_access, weights_for
from serving.frameworks.workload import Door, Manifest, disruption_budget, service
from serving.models import StagedModel
from serving.options import RayOptions
from serving.release import Release
from serving.spec import Accelerator, EndpointSpec

PORT_NAME = "serve"
"""KubeRay finds Serve's port by this name."""

DOOR = Door(ports=(("http", 8000, PORT_NAME),), select={"ray.io/serve": "true"}, alias="-serve-svc")
"""Pods carry this label while their Serve proxy is healthy. The alias is the name that KubeRay gives such Services."""

_RAY_STOP = {"preStop": {"exec": {"command": ["ray", "stop"]}}}
_LOGICAL_CPUS = "16"
_OBJECT_STORE_BYTES = "1000000000"


def render(spec: EndpointSpec, staged: StagedModel | None, release: Release) -> list[Manifest]:
    """Returns the endpoint's manifests, in the order in which they are applied.

    Raises:
        InputError: The spec holds a combination that cannot work.
    """
    require_possible(spec)
    options = spec.ray or RayOptions()
    weights = weights_for(spec, staged, release)
    configmaps = files.configmaps(spec, staged, release, options)
    head = _head(spec, staged, release, weights, options, configmaps)
    worker = _worker(spec, staged, release, weights, options, configmaps)
    cluster: dict[str, Any] = {
        "rayVersion": ray_version(spec, options),
        "headGroupSpec": {
            "rayStartParams": {"dashboard-host": "0.0.0.0", "num-cpus": "0"},
            "template": head,
        },
        "workerGroupSpecs": [
            {
                "groupName": "worker",
                "replicas": _workers(spec, options)[0],
                "minReplicas": _workers(spec, options)[0],
                "maxReplicas": _workers(spec, options)[1],
                "numOfHosts": 1,
                "rayStartParams": _worker_parameters(spec),
                "template": worker,
            }
        ],
        **_autoscaler(options),
        **_fault_tolerance(options),
    }
    return [
        *weights.objects,
        *configmaps,
        service(spec, release, DOOR),
        {
            "apiVersion": "ray.io/v1",
            "kind": "RayService",
            "metadata": {
                "name": release.name,
                "namespace": spec.namespace,
                "labels": workload_labels(spec, release),
                "annotations": annotations(release, staged),
            },
            "spec": {
                "serveConfigV2": yaml.safe_dump(
                    serve_config(spec, staged, release, weights, options), sort_keys=True, width=10**6
                ),
                "rayClusterConfig": cluster,
            },
        },
        *_budget(spec, release, options),
    ]


def _worker_parameters(spec: EndpointSpec) -> dict[str, str]:
    """What ``ray start`` is told: Serve's own actors need some CPUs by name, whatever the pod reserves.

    KubeRay finds GPUs in the limits by itself, but of Neuron's resources only ``aws.amazon.com/neuroncore``; its
    autoscaler knows what a worker offers from here alone.
    """
    parameters = {"num-cpus": _LOGICAL_CPUS, "object-store-memory": _OBJECT_STORE_BYTES}
    if spec.accelerator is Accelerator.NEURON:
        cores = spec.resources.accelerators * neuron.neuron_cores(spec.instance_type)[0]
        cores = max(cores, spec.engine.tensor_parallel_size or 0)
        parameters["resources"] = f"'{json.dumps({neuron.RAY_RESOURCE: cores})}'"
    return parameters


def ray_version(spec: EndpointSpec, options: RayOptions) -> str:
    """Returns Ray's version: as given, else as the image's tag says it; empty if neither does."""
    if options.version:
        return options.version
    return ".".join(str(part) for part in engine_image(spec.image).version)


def worker_image(spec: EndpointSpec) -> str:
    """Returns the workers' image: plain Ray images have a CUDA build of their own, ``<tag>-gpu``."""
    if spec.accelerator is not Accelerator.GPU or engine_image(spec.image).family is not Family.RAY:
        return spec.image
    repository, tag = split_reference(spec.image)
    built_for_gpu = not tag or "@" in spec.image or "-gpu" in tag or "-cu" in tag
    return spec.image if built_for_gpu else f"{repository}:{tag}-gpu"


def _workers(spec: EndpointSpec, options: RayOptions) -> tuple[int, int]:
    """Returns the fewest and most worker pods; without autoscaling as many as there are replicas."""
    if not options.autoscaling:
        return spec.replicas, max(spec.replicas, options.max_workers)
    return options.min_workers, options.max_workers


def _budget(spec: EndpointSpec, release: Release, options: RayOptions) -> list[Manifest]:
    """The budget for workers counts what must stay: nothing tells Kubernetes how many a RayCluster should have."""
    fewest = _workers(spec, options)[0]
    if fewest < 2:
        return []
    budget = disruption_budget(spec, release, at_least_two=True)[0]
    budget["spec"].pop("maxUnavailable")
    budget["spec"]["minAvailable"] = fewest - 1
    budget["spec"]["selector"]["matchLabels"]["ray.io/node-type"] = "worker"
    return [budget]


def _autoscaler(options: RayOptions) -> dict[str, Any]:
    if not options.autoscaling:
        return {}
    settings = {"upscalingMode": options.upscaling_mode, "idleTimeoutSeconds": options.idle_timeout_seconds}
    return {"enableInTreeAutoscaling": True, "autoscalerOptions": settings}


def _fault_tolerance(options: RayOptions) -> dict[str, Any]:
    if not options.redis_address:
        return {}
    settings: dict[str, Any] = {"redisAddress": options.redis_address}
    if options.redis_secret:
        reference = {"name": options.redis_secret, "key": options.redis_secret_key}
        settings["redisPassword"] = {"valueFrom": {"secretKeyRef": reference}}
    return {"gcsFaultToleranceOptions": settings}


def _security(spec: EndpointSpec) -> dict[str, Any]:
    """Ray's own images run as user ``ray``; what others run as is not known."""
    if engine_image(spec.image).family in (Family.RAY, Family.RAY_LLM):
        return {**CONTAINER_SECURITY, "runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 100}
    return CONTAINER_SECURITY


def _head(
    spec: EndpointSpec,
    staged: StagedModel | None,
    release: Release,
    weights: Weights,
    options: RayOptions,
    configmaps: list[Manifest],
) -> dict[str, Any]:
    """The head schedules, routes and shows the dashboard; it holds no weights and no accelerator."""
    dashboards = {
        "RAY_PROMETHEUS_HOST": options.prometheus_host,
        "RAY_GRAFANA_HOST": options.grafana_host,
        "RAY_GRAFANA_IFRAME_HOST": options.grafana_iframe_host,
    }
    access = tuple(store_access(spec, staged)) if staged else weights.env
    container = {
        "name": "ray-head",
        "image": spec.image,
        "imagePullPolicy": "IfNotPresent",
        "env": environment(files.paths(spec), {k: v for k, v in dashboards.items() if v}, access, spec.env),
        "ports": [
            {"name": name, "containerPort": number, "protocol": "TCP"}
            for name, number in (("gcs", 6379), ("dashboard", 8265), ("client", 10001), (PORT_NAME, 8000))
        ],
        "resources": {
            "requests": {"cpu": options.head_cpu, "memory": options.head_memory},
            "limits": {"memory": options.head_memory},
        },
        "lifecycle": _RAY_STOP,
        "securityContext": _security(spec),
        "volumeMounts": [{"name": "shared-memory", "mountPath": SHARED_MEMORY}, files.LOGS, *files.app_mounts(spec)],
    }
    own = spec.model_copy(
        update={
            "accelerator": Accelerator.CPU,
            "instance_type": "",
            "resources": spec.resources.model_copy(update={"accelerators": 0}),
        }
    )
    template = pod_template(
        own,
        staged,
        release,
        Weights(location=weights.location),
        [container, *files.fluent_bit(options)],
        volumes=files.volumes(spec, options, configmaps),
        metrics=("/metrics", 8080),
        api_access=options.autoscaling,
    )
    return template


def _worker(
    spec: EndpointSpec,
    staged: StagedModel | None,
    release: Release,
    weights: Weights,
    options: RayOptions,
    configmaps: list[Manifest],
) -> dict[str, Any]:
    total = staged.total_bytes if staged else None
    container = engine_container(
        spec,
        weights,
        name="ray-worker",
        command=[],
        image=worker_image(spec),
        env=environment(files.paths(spec), engine_environment(spec), weights.env, spec.env),
        probes={},
        total_bytes=total,
        extra_disk=compile_disk(spec, total),
        mounts=(files.LOGS, *files.app_mounts(spec), *compile_mounts(spec)),
        ports=((PORT_NAME, 8000),),
        security=_security(spec),
        lifecycle=_RAY_STOP,
    )
    return pod_template(
        spec,
        staged,
        release,
        weights,
        [container, *files.fluent_bit(options)],
        volumes=(*files.volumes(spec, options, configmaps), *compile_volumes(spec)),
        metrics=("/metrics", 8080),
        affinity=resources.near({"ray.io/node-type": "head", RELEASE_LABEL: release.id}),
    )
