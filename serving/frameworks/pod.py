"""The pod template that all frameworks share."""

from typing import Any

from serving.frameworks import resources
from serving.frameworks.arguments import literal
from serving.frameworks.labels import annotations, pod_labels, selector
from serving.frameworks.probes import drain
from serving.frameworks.weights import Weights
from serving.models import StagedModel
from serving.release import Release
from serving.spec import EndpointSpec

SHARED_MEMORY = "/dev/shm"  # noqa: S108  a mount of the container's own
HTTP_PORT = 8000

# What serving images still allow: they run as root (their caches stand below /root) and write to their root file
# system (compiled kernels), but need no capability, no new privilege and no unusual system call.
CONTAINER_SECURITY: dict[str, Any] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
POD_SECURITY: dict[str, Any] = {"seccompProfile": {"type": "RuntimeDefault"}}


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
    image: str = "",
    extra_disk: int = 0,
    mounts: tuple[dict[str, Any], ...] = (),
    ports: tuple[tuple[str, int], ...] = (("http", HTTP_PORT),),
    security: dict[str, Any] = CONTAINER_SECURITY,
    lifecycle: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the container that serves.

    Args:
        spec: The endpoint.
        weights: Where its weights come from.
        name: Container name.
        command: The whole command line, as one list, escaped where its values must arrive as written; empty: the
            image's own.
        env: Complete environment.
        probes: The three probes.
        total_bytes: Bytes of the model, None if not known.
        image: By default the spec's.
        extra_disk: Node-local disk beyond the weights.
        mounts: Mounts beyond weights and shared memory.
        ports: Names and numbers.
        security: Security context.
        lifecycle: Hooks; by default those that drain connections.
    """
    hooks = drain(spec.pod.drain_seconds) if lifecycle is None else lifecycle
    return {
        "name": name,
        "image": image or spec.image,
        "imagePullPolicy": "IfNotPresent",
        **({"command": command} if command else {}),
        "env": env,
        "ports": [{"name": label, "containerPort": number, "protocol": "TCP"} for label, number in ports],
        "resources": resources.requests_and_limits(
            spec, total_bytes=total_bytes, disk_bytes=weights.disk_bytes + extra_disk
        ),
        **probes,
        **({"lifecycle": hooks} if hooks else {}),
        "securityContext": security,
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
    init_containers: tuple[dict[str, Any], ...] = (),
    metrics: tuple[str, int] | None = ("/metrics", HTTP_PORT),
    labels: dict[str, str] | None = None,
    affinity: dict[str, Any] | None = None,
    security: dict[str, Any] = POD_SECURITY,
    api_access: bool = False,
) -> dict[str, Any]:
    """Returns the pod template around the containers.

    Args:
        spec: The endpoint.
        staged: The staged model, if the weights come from one.
        release: The release that the pods belong to.
        weights: Where the weights come from.
        containers: Containers, the serving one first.
        volumes: Volumes beyond weights and shared memory.
        init_containers: Init containers that run after the weights are there.
        metrics: Path and port of Prometheus metrics; None if there are none.
        labels: Labels beyond the endpoint's.
        affinity: Wishes about other pods.
        security: Security context of the pod.
        api_access: Whether something in the pod talks to the Kubernetes API. S3 identities (Pod Identity, IRSA) bring
            tokens of their own and do not need it.
    """
    notes = spec.pod.annotations | annotations(release, staged)
    if metrics is not None:
        notes |= {
            "prometheus.io/scrape": "true",
            "prometheus.io/path": metrics[0],
            "prometheus.io/port": str(metrics[1]),
        }
    pod: dict[str, Any] = {
        # A Service called "vllm" would otherwise set VLLM_PORT=tcp://…, which vLLM takes for its own setting.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": spec.pod.termination_seconds,
        "securityContext": security,
        "containers": containers,
        "volumes": [resources.shared_memory(spec), *weights.volumes, *volumes],
        "topologySpreadConstraints": resources.spread(selector(release)),
    }
    optional = {
        "automountServiceAccountToken": None if api_access else False,
        "initContainers": [*weights.init_containers, *init_containers] or None,
        "serviceAccountName": spec.service_account or None,
        "imagePullSecrets": [{"name": name} for name in spec.pod.image_pull_secrets] or None,
        "priorityClassName": spec.pod.priority_class or None,
        "schedulerName": spec.pod.scheduler or None,
        "tolerations": resources.tolerations(spec) or None,
        "nodeSelector": resources.node_selector(spec) or None,
        "affinity": affinity,
    }
    pod |= {name: value for name, value in optional.items() if value is not None}
    return {
        "metadata": {"labels": pod_labels(spec, release) | (labels or {}), "annotations": notes},
        "spec": pod,
    }
