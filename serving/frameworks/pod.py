"""The pod template that all frameworks share."""

from typing import Any

from serving.frameworks import resources
from serving.frameworks.arguments import literal
from serving.frameworks.labels import annotations, pod_labels, selector
from serving.frameworks.probes import TERMINATION_GRACE, drain
from serving.frameworks.weights import Weights
from serving.models import StagedModel
from serving.release import Release
from serving.spec import EndpointSpec

# What serving images still allow: they run as root (their caches stand below /root) and write to their root file
# system (compiled kernels), but need no capability, no new privilege and no unusual system call.
SHARED_MEMORY = "/dev/shm"  # noqa: S108  a mount of the container's own

CONTAINER_SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
POD_SECURITY = {"seccompProfile": {"type": "RuntimeDefault"}}


def environment(*layers: dict[str, str] | tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
    """Merges environment layers, later ones winning, each name once (the API server refuses duplicates).

    A dict holds plain values, which arrive as written; a tuple holds ready entries.
    """
    merged: dict[str, dict[str, Any]] = {}
    for layer in layers:
        entries = [{"name": n, "value": v} for n, v in layer.items()] if isinstance(layer, dict) else layer
        for entry in entries:
            value = entry.get("value")
            merged[entry["name"]] = entry if value is None else {"name": entry["name"], "value": literal(value)}
    return list(merged.values())


def engine_container(
    spec: EndpointSpec,
    weights: Weights,
    *,
    name: str,
    command: list[str],
    env: list[dict[str, Any]],
    probes: dict[str, Any],
    total_bytes: int | None,
    extra_disk: int = 0,
    mounts: tuple[dict[str, Any], ...] = (),
    ports: tuple[tuple[str, int], ...] = (("http", 8000),),
) -> dict[str, Any]:
    """Returns the container that serves.

    Args:
        spec: The endpoint.
        weights: Where its weights come from.
        name: Container name.
        command: The whole command line, as one list; values arrive as written.
        env: Complete environment.
        probes: The three probes.
        total_bytes: Bytes of the model, None if not known.
        extra_disk: Node-local disk beyond the weights.
        mounts: Mounts beyond weights and shared memory.
        ports: Names and numbers.
    """
    return {
        "name": name,
        "image": spec.image,
        "imagePullPolicy": "IfNotPresent",
        "command": [literal(part) for part in command],
        "env": env,
        "ports": [{"name": label, "containerPort": number, "protocol": "TCP"} for label, number in ports],
        "resources": resources.requests_and_limits(
            spec, total_bytes=total_bytes, disk_bytes=weights.disk_bytes + extra_disk
        ),
        **probes,
        "lifecycle": drain(),
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "shared-memory", "mountPath": SHARED_MEMORY}, *weights.mounts, *mounts],
    }


def pod_template(
    spec: EndpointSpec,
    staged: StagedModel | None,
    release: Release,
    weights: Weights,
    containers: list[dict[str, Any]],
    *,
    volumes: tuple[dict[str, Any], ...] = (),
    metrics: tuple[str, int] | None = ("/metrics", 8000),
) -> dict[str, Any]:
    """Returns the pod template around the containers.

    Args:
        spec: The endpoint.
        staged: The staged model, if the weights come from one.
        release: The release that the pods belong to.
        weights: Where the weights come from.
        containers: Containers, the serving one first.
        volumes: Volumes beyond weights and shared memory.
        metrics: Path and port of Prometheus metrics; None if there are none.
    """
    notes = annotations(release, staged)
    if metrics is not None:
        notes |= {
            "prometheus.io/scrape": "true",
            "prometheus.io/path": metrics[0],
            "prometheus.io/port": str(metrics[1]),
        }
    pod: dict[str, Any] = {
        # A Service called "vllm" would otherwise set VLLM_PORT=tcp://…, which vLLM takes for its own setting.
        "enableServiceLinks": False,
        # S3 identities (Pod Identity, IRSA) bring tokens of their own; nothing in the pod talks to the API server.
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": TERMINATION_GRACE,
        "securityContext": POD_SECURITY,
        "containers": containers,
        "volumes": [resources.shared_memory(spec), *weights.volumes, *volumes],
        "topologySpreadConstraints": resources.spread(selector(release)),
    }
    if weights.init_containers:
        pod["initContainers"] = list(weights.init_containers)
    if spec.service_account:
        pod["serviceAccountName"] = spec.service_account
    if tolerations := resources.tolerations(spec):
        pod["tolerations"] = tolerations
    if nodes := resources.node_selector(spec):
        pod["nodeSelector"] = nodes
    return {"metadata": {"labels": pod_labels(spec, release), "annotations": notes}, "spec": pod}
