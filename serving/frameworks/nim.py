"""NVIDIA NIM: its container in a Deployment of ours, or left to the NIM operator (NIMCache and NIMService)."""

from hashlib import sha256
from typing import Any

from serving.combinations import require_possible
from serving.frameworks import resources
from serving.frameworks.images import split_reference
from serving.frameworks.labels import annotations, identity, workload_labels
from serving.frameworks.pod import CONTAINER_SECURITY, POD_SECURITY, engine_container, environment, pod_template
from serving.frameworks.probes import http_probes, load_seconds
from serving.frameworks.scaling import scaler
from serving.frameworks.weights import Weights, hub_token, weights_for
from serving.frameworks.workload import PLAIN_DOOR, Door, Manifest, deployment, disruption_budget, service
from serving.models import PinnedModel, StagedModel
from serving.options import NimOptions
from serving.release import Release
from serving.spec import EndpointSpec

CACHE = "/opt/nim/.cache"
_USER = 1000
_KEY = "NGC_API_KEY"
_PORT = 8000
READY, LIVE = "/v1/health/ready", "/v1/health/live"

OPERATOR_PORT = "api"
"""What the operator calls its pods' port (NVIDIA/k8s-nim-operator, DefaultNamedPortAPI)."""


def door(spec: EndpointSpec) -> Door:
    """Returns how the pods are reached: the operator names their port itself."""
    by_operator = spec.nim is not None and spec.nim.operator
    return Door(ports=(("http", _PORT, OPERATOR_PORT),)) if by_operator else PLAIN_DOOR


def pinned(spec: EndpointSpec) -> PinnedModel:
    """Returns what a NIM serves: its model is the image's, of the Hub it knows nothing.

    In place of a commit stands the image's digest, or that of its reference: another image is another model.
    """
    _, found, digest = spec.image.partition("@sha256:")
    commit = digest if found else sha256(spec.image.encode()).hexdigest()
    return PinnedModel(repo_id=spec.model.repo_id, revision=spec.model.revision, commit=commit[:40])


def render(spec: EndpointSpec, staged: StagedModel | None, release: Release) -> list[Manifest]:
    """Returns the endpoint's manifests, in the order in which they are applied.

    Raises:
        InputError: The spec holds a combination that cannot work.
    """
    require_possible(spec)
    options = spec.nim or NimOptions()
    if options.operator:
        return [_cache(spec, options, release), _service(spec, options, release)]
    weights = weights_for(spec, staged, release)
    claim = _claim(spec, options, release)
    template = pod_template(
        spec.model_copy(update={"pod": _pull_secret(spec, options)}),
        staged,
        release,
        weights,
        [_container(spec, options, weights)],
        volumes=(_volume(options, claim),),
        metrics=("/v1/metrics", _PORT) if options.kind == "llm" else None,
        # The images run as this user, and their libraries are set up for it.
        security={
            **POD_SECURITY,
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
        },
    )
    return [
        *([claim] if claim else []),
        service(spec, release),
        deployment(spec, staged, release, template, None),
        *disruption_budget(spec, release),
        *scaler(spec, release, None),
    ]


def _container(spec: EndpointSpec, options: NimOptions, weights: Weights) -> dict[str, Any]:
    own = {"NIM_CACHE_PATH": CACHE, "NIM_HTTP_API_PORT": str(_PORT), **_own_environment(spec, options)}
    secrets = (
        {"name": _KEY, "valueFrom": {"secretKeyRef": {"name": options.key_secret, "key": _KEY}}},
        hub_token(spec),
    )
    return engine_container(
        spec,
        weights,
        name="nim",
        command=[],
        env=environment(own, secrets, spec.env),
        probes=http_probes(load_seconds(spec, None), ready=READY, live=LIVE),
        total_bytes=None,
        mounts=({"name": "nim-cache", "mountPath": CACHE},),
        security=CONTAINER_SECURITY,
    )


def _own_environment(spec: EndpointSpec, options: NimOptions) -> dict[str, str]:
    return {"NIM_SERVED_MODEL_NAME": spec.served_model_name} if options.kind == "llm" else {}


def _pull_secret(spec: EndpointSpec, options: NimOptions) -> Any:
    names = tuple(dict.fromkeys((options.pull_secret, *spec.pod.image_pull_secrets)))
    return spec.pod.model_copy(update={"image_pull_secrets": tuple(name for name in names if name)})


def _claim(spec: EndpointSpec, options: NimOptions, release: Release) -> Manifest | None:
    """The claim that keeps built engines over restarts and releases: a file system that many pods can write."""
    if not options.storage_class:
        return None
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": f"{spec.name}-nim-cache",
            "namespace": spec.namespace,
            "labels": workload_labels(spec, release),
        },
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": options.storage_class,
            "resources": {"requests": {"storage": options.cache_size}},
        },
    }


def _volume(options: NimOptions, claim: Manifest | None) -> dict[str, Any]:
    if claim is None:
        return {"name": "nim-cache", "emptyDir": {"sizeLimit": options.cache_size}}
    return {"name": "nim-cache", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}


def _metadata(name: str, spec: EndpointSpec, release: Release) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": spec.namespace,
        "labels": workload_labels(spec, release),
        "annotations": annotations(release, None),
    }


def _cache_name(spec: EndpointSpec, options: NimOptions, release: Release) -> str:
    """Names the cache by what it holds: releases that need the same one share it, if many nodes can mount it.

    Without a storage class the cluster's default one is used, on EKS a disk that one node mounts at a time: there a
    release that comes up beside another must have a cache of its own.
    """
    if not options.storage_class:
        return f"{release.name}-cache"
    content = "\n".join([spec.image, options.model_dump_json()])
    return f"{spec.name}-cache-{sha256(content.encode()).hexdigest()[:8]}"


def _placement(spec: EndpointSpec) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if nodes := resources.node_selector(spec):
        found["nodeSelector"] = nodes
    if tolerations := resources.tolerations(spec):
        found["tolerations"] = tolerations
    return found


def _cache(spec: EndpointSpec, options: NimOptions, release: Release) -> Manifest:
    model: dict[str, Any] = {}
    if options.cache_engine:
        model["engine"] = options.cache_engine
    if options.cache_tensor_parallelism:
        model["tensorParallelism"] = str(options.cache_tensor_parallelism)
    ngc: dict[str, Any] = {
        "modelPuller": spec.image,
        "pullSecret": options.pull_secret,
        "authSecret": options.key_secret,
        **({"model": model} if model else {}),
    }
    claim: dict[str, Any] = {"create": True, "size": options.cache_size, "volumeAccessMode": "ReadWriteOnce"}
    if options.storage_class:
        claim |= {"storageClass": options.storage_class, "volumeAccessMode": "ReadWriteMany"}
    return {
        "apiVersion": "apps.nvidia.com/v1alpha1",
        "kind": "NIMCache",
        "metadata": _metadata(_cache_name(spec, options, release), spec, release),
        "spec": {"source": {"ngc": ngc}, "storage": {"pvc": claim}, **_placement(spec)},
    }


def _service(spec: EndpointSpec, options: NimOptions, release: Release) -> Manifest:
    repository, tag = split_reference(spec.image)
    startup = http_probes(load_seconds(spec, None), ready=READY, port=_PORT)["startupProbe"]
    return {
        "apiVersion": "apps.nvidia.com/v1alpha1",
        "kind": "NIMService",
        "metadata": _metadata(release.name, spec, release),
        "spec": {
            "image": {
                "repository": repository,
                "tag": tag or "latest",
                "pullPolicy": "IfNotPresent",
                "pullSecrets": list(_pull_secret(spec, options).image_pull_secrets),
            },
            "authSecret": options.key_secret,
            "storage": {"nimCache": {"name": _cache_name(spec, options, release)}},
            "replicas": spec.replicas,
            "labels": spec.pod.labels | identity(spec, release),
            **({"annotations": dict(spec.pod.annotations)} if spec.pod.annotations else {}),
            "env": environment(_own_environment(spec, options), spec.env),
            "resources": resources.requests_and_limits(spec),
            "expose": {"service": {"type": "ClusterIP", "port": _PORT}},
            "startupProbe": {"probe": startup},
            **({"priorityClassName": spec.pod.priority_class} if spec.pod.priority_class else {}),
            **({"schedulerName": spec.pod.scheduler} if spec.pod.scheduler else {}),
            **_placement(spec),
        },
    }
