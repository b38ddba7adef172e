"""Diffusion models behind our own image server (`serving.servers.diffusion`), on GPU, Neuron or CPU."""

import hashlib
from typing import Any

from serving.combinations import require_possible
from serving.frameworks import neuron
from serving.frameworks.arguments import as_written
from serving.frameworks.labels import annotations, object_labels
from serving.frameworks.pod import CONTAINER_SECURITY, engine_container, environment, pod_template
from serving.frameworks.probes import http_probes, load_seconds
from serving.frameworks.resources import disk_for
from serving.frameworks.scaling import scaler
from serving.frameworks.vllm import compile_disk, compile_mounts, compile_volumes
from serving.frameworks.weights import Weights, weights_for
from serving.frameworks.workload import Manifest, deployment, disruption_budget, service
from serving.models import StagedModel
from serving.options import DiffusersOptions
from serving.release import Release
from serving.servers import source
from serving.spec import Accelerator, EndpointSpec, WeightsSource

SERVER_DIR = "/image-server"
PACKAGES_DIR = "/python-packages"
_SCRIPT = "diffusion.py"
_PACKAGES_BYTES = 2 * 10**9
_DEVICES = {Accelerator.GPU: "cuda", Accelerator.NEURON: "neuron", Accelerator.CPU: "cpu"}


def render(spec: EndpointSpec, staged: StagedModel | None, release: Release) -> list[Manifest]:
    """Returns the endpoint's manifests, in the order in which they are applied.

    Raises:
        InputError: The spec holds a combination that cannot work.
    """
    require_possible(spec)
    options = spec.diffusers or DiffusersOptions()
    weights = weights_for(spec, staged, release)
    total = staged.total_bytes if staged else None
    script = _configmap(spec, staged, release)
    container = engine_container(
        spec,
        weights,
        name="diffusers",
        command=as_written(command_line(spec, options, weights, release)),
        env=environment(_environment(spec, options), weights.env, spec.env),
        probes=http_probes(load_seconds(spec, total), ready="/health"),
        total_bytes=total,
        extra_disk=compile_disk(spec, total) + (_PACKAGES_BYTES if options.packages else 0),
        mounts=(
            {"name": "image-server", "mountPath": SERVER_DIR, "readOnly": True},
            *_package_mounts(options),
            *compile_mounts(spec),
        ),
    )
    volumes = [{"name": "image-server", "configMap": {"name": script["metadata"]["name"]}}]
    if options.packages:
        volumes.append({"name": "python-packages", "emptyDir": {}})
    template = pod_template(
        spec,
        staged,
        release,
        weights,
        [container],
        volumes=(*volumes, *compile_volumes(spec)),
        init_containers=_installer(spec, options),
    )
    return [
        *weights.objects,
        script,
        service(spec, release),
        deployment(spec, staged, release, template, total),
        *disruption_budget(spec, release),
        *scaler(spec, release, total),
    ]


def command_line(spec: EndpointSpec, options: DiffusersOptions, weights: Weights, release: Release) -> list[str]:
    """Returns the server's whole command line."""
    command = ["python3", f"{SERVER_DIR}/{_SCRIPT}", "--model", weights.location]
    command += ["--served-model-name", spec.served_model_name, "--pipeline", options.pipeline]
    command += ["--device", _DEVICES[spec.accelerator], "--host", "0.0.0.0", "--port", "8000"]
    command += ["--width", str(options.width), "--height", str(options.height)]
    if spec.weights is WeightsSource.HUB:
        command += ["--revision", release.model.commit]
    if spec.accelerator is Accelerator.GPU and spec.resources.accelerators > 1:
        command += ["--devices", str(spec.resources.accelerators)]
    if spec.accelerator is Accelerator.NEURON:
        cores = spec.resources.accelerators * neuron.neuron_cores(spec.instance_type)[0]
        command += ["--devices", str(cores), "--artifacts", f"{neuron.COMPILED}/pipeline"]
    for flag, value in (
        ("--dtype", options.dtype or None),
        ("--steps", options.steps),
        ("--guidance-scale", options.guidance_scale),
    ):
        if value is not None:
            command += [flag, str(value)]
    return command


def _environment(spec: EndpointSpec, options: DiffusersOptions) -> dict[str, str]:
    found = {"PYTHONUNBUFFERED": "1"}
    if options.packages:
        found["PYTHONPATH"] = PACKAGES_DIR
    if spec.accelerator is Accelerator.NEURON:
        found |= neuron.environment()
    return found


def _package_mounts(options: DiffusersOptions) -> tuple[dict[str, Any], ...]:
    if not options.packages:
        return ()
    return ({"name": "python-packages", "mountPath": PACKAGES_DIR, "readOnly": True},)


def _installer(spec: EndpointSpec, options: DiffusersOptions) -> tuple[dict[str, Any], ...]:
    """Installs what the image lacks, once per pod: a container that starts again finds it there.

    Without dependencies: a resolver that starts from an empty directory would shadow the image's own set (torch,
    transformers and what they agree on) with one of its own.
    """
    if not options.packages:
        return ()
    command = ["python3", "-m", "pip", "install", "--no-cache-dir", "--no-deps", "--disable-pip-version-check"]
    command += ["--target", PACKAGES_DIR, *options.packages]
    return (
        {
            "name": "install-packages",
            "image": spec.image,
            "imagePullPolicy": "IfNotPresent",
            "command": as_written(command),
            "resources": {
                "requests": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": f"{disk_for(_PACKAGES_BYTES)}"}
            },
            "securityContext": CONTAINER_SECURITY,
            "volumeMounts": [{"name": "python-packages", "mountPath": PACKAGES_DIR}],
        },
    )


def _configmap(spec: EndpointSpec, staged: StagedModel | None, release: Release) -> Manifest:
    text = source(_SCRIPT)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"{release.name}-server-{digest}",
            "namespace": spec.namespace,
            "labels": object_labels(spec, release),
            "annotations": annotations(release, staged),
        },
        "immutable": True,
        "data": {_SCRIPT: text},
    }
