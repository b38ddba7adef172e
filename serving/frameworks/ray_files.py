"""Files that ride along with a Ray cluster: our Serve application for Neuron, the log side-car and its settings."""

import hashlib
from typing import Any

from serving.frameworks.labels import annotations, object_labels
from serving.frameworks.pod import CONTAINER_SECURITY
from serving.frameworks.workload import Manifest
from serving.models import StagedModel
from serving.options import RayOptions
from serving.release import Release
from serving.servers import source
from serving.spec import Accelerator, EndpointSpec

APP_DIR = "/serve-app"
APP_MODULE = "inference_flows_engine"
LOGS = {"name": "ray-logs", "mountPath": "/tmp/ray"}  # noqa: S108  where Ray writes them
_FLUENT_BIT = "fluent/fluent-bit:3.2.2"

_FLUENT_BIT_CONFIG = """\
service:
  flush: 1
pipeline:
  inputs:
    - name: tail
      path: /tmp/ray/session_latest/logs/*.log,/tmp/ray/session_latest/logs/*/*.log,/tmp/ray/session_latest/logs/*.err
      path_key: file
      tag: ray
      refresh_interval: 5
      read_from_head: true
  filters:
    - name: modify
      match: ray
      add: cluster ${RAY_CLUSTER}
  outputs:
    - name: stdout
      match: ray
      format: json_lines
"""


def paths(spec: EndpointSpec) -> dict[str, str]:
    """Returns the environment in which Ray finds our application, or packages installed at start their library.

    That is the C++ library of the image's Conda, newer than the system's.
    """
    if spec.accelerator is Accelerator.NEURON:
        return {"PYTHONPATH": APP_DIR}
    return {"LD_LIBRARY_PATH": "/home/ray/anaconda3/lib"} if spec.ray and spec.ray.vllm_version else {}


def app_mounts(spec: EndpointSpec) -> tuple[dict[str, Any], ...]:
    """Returns the mount of our application; none where Ray's own is used."""
    if spec.accelerator is not Accelerator.NEURON:
        return ()
    return ({"name": "serve-app", "mountPath": APP_DIR, "readOnly": True},)


def configmaps(spec: EndpointSpec, staged: StagedModel | None, release: Release, options: RayOptions) -> list[Manifest]:
    """Returns the ConfigMap with our application and the side-car's settings; none where neither is used."""
    data: dict[str, str] = {}
    if spec.accelerator is Accelerator.NEURON:
        data[f"{APP_MODULE}.py"] = source("ray_engine.py")
    if options.fluent_bit:
        data["fluent-bit.yaml"] = _FLUENT_BIT_CONFIG
    if not data:
        return []
    digest = hashlib.sha256("".join(data.values()).encode()).hexdigest()[:8]
    metadata = {
        "name": f"{release.name}-files-{digest}",
        "namespace": spec.namespace,
        "labels": object_labels(spec, release),
        "annotations": annotations(release, staged),
    }
    return [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "immutable": True, "data": data}]


def volumes(spec: EndpointSpec, options: RayOptions, maps: list[Manifest]) -> tuple[dict[str, Any], ...]:
    """Returns the volumes for logs, application and side-car settings."""
    found: list[dict[str, Any]] = [{"name": "ray-logs", "emptyDir": {}}]
    name = maps[0]["metadata"]["name"] if maps else ""
    if spec.accelerator is Accelerator.NEURON:
        item = f"{APP_MODULE}.py"
        found.append({"name": "serve-app", "configMap": {"name": name, "items": [{"key": item, "path": item}]}})
    if options.fluent_bit:
        item = "fluent-bit.yaml"
        found.append({"name": "fluent-bit", "configMap": {"name": name, "items": [{"key": item, "path": item}]}})
    return tuple(found)


def fluent_bit(options: RayOptions) -> list[dict[str, Any]]:
    """Returns the side-car: Ray logs to files, it repeats them on its standard output for the cluster to collect."""
    if not options.fluent_bit:
        return []
    cluster = {"fieldRef": {"fieldPath": "metadata.labels['ray.io/cluster']"}}
    small = {"cpu": "100m", "memory": "128Mi"}
    return [
        {
            "name": "fluent-bit",
            "image": _FLUENT_BIT,
            "imagePullPolicy": "IfNotPresent",
            "args": ["--config=/fluent-bit-config/fluent-bit.yaml"],
            "env": [{"name": "RAY_CLUSTER", "valueFrom": cluster}],
            "resources": {"requests": small, "limits": {"memory": "128Mi"}},
            "securityContext": CONTAINER_SECURITY,
            "volumeMounts": [
                {**LOGS, "readOnly": True},
                {"name": "fluent-bit", "mountPath": "/fluent-bit-config", "readOnly": True},
            ],
        }
    ]
