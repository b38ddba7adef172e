"""What a pod asks of a node, and on which nodes it may run."""

from typing import Any

from serving.quantities import GIB, gibibytes
from serving.spec import Accelerator, EndpointSpec

INSTANCE_TYPE_LABEL = "node.kubernetes.io/instance-type"
ARCHITECTURE_LABEL = "kubernetes.io/arch"


def requests_and_limits(
    spec: EndpointSpec, *, total_bytes: int | None = None, disk_bytes: int = 0
) -> dict[str, dict[str, Any]]:
    """Returns the container's resources.

    What the spec leaves open is asked for modestly, so that a pod neither crowds a node nor is the first one to be
    evicted: one core, 2Gi; on cpu, where the weights live in memory, their bytes and 4Gi.

    Args:
        spec: The endpoint.
        total_bytes: Bytes of the model, None if not known.
        disk_bytes: Node-local disk that the container fills; 0 asks for none.
    """
    asked = spec.resources
    wanted: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    if asked.cpu or not asked.cpu_limit:
        wanted["cpu"] = asked.cpu or "1"
    if asked.memory or not asked.memory_limit:
        wanted["memory"] = asked.memory or _default_memory(spec, total_bytes)
    if asked.cpu_limit:
        limits["cpu"] = asked.cpu_limit
    if asked.memory_limit:
        limits["memory"] = asked.memory_limit
    if disk_bytes:
        wanted["ephemeral-storage"] = gibibytes(disk_bytes)
    if spec.accelerator.resource:
        wanted[spec.accelerator.resource] = str(asked.accelerators)
        limits[spec.accelerator.resource] = str(asked.accelerators)
    return {"requests": wanted, "limits": limits} if limits else {"requests": wanted}


def disk_for(total_bytes: int) -> int:
    """Returns the disk that files of these bytes need on a node: a gibibyte of headroom beyond them."""
    return total_bytes + GIB


def tolerations(spec: EndpointSpec) -> list[dict[str, str]]:
    """Returns what lets the pod onto nodes that are kept for its accelerator, and what the user added."""
    own = []
    if spec.accelerator.resource:
        own.append({"key": spec.accelerator.resource, "operator": "Exists", "effect": "NoSchedule"})
    further = [entry.model_dump(exclude_defaults=True, mode="json") for entry in spec.pod.tolerations]
    return own + [entry for entry in further if entry not in own]


def node_selector(spec: EndpointSpec) -> dict[str, str]:
    """Returns the node labels that the pod insists on."""
    wanted = dict(spec.pod.node_selector)
    if spec.instance_type:
        wanted[INSTANCE_TYPE_LABEL] = spec.instance_type
    if spec.pod.architecture:
        wanted[ARCHITECTURE_LABEL] = spec.pod.architecture
    return wanted


def near(labels: dict[str, str]) -> dict[str, Any]:
    """Returns the wish to stand in the zone of the pods with these labels; a wish only."""
    term = {"topologyKey": "topology.kubernetes.io/zone", "labelSelector": {"matchLabels": labels}}
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    return {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


def spread(labels: dict[str, str]) -> list[dict[str, Any]]:
    """Returns the wish to spread over zones and nodes; a wish only, so a lone pod always finds its place."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": labels},
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]


def shared_memory(spec: EndpointSpec) -> dict[str, Any]:
    """Returns the volume for ``/dev/shm``: tensor-parallel workers talk through it, and the default is 64 MiB."""
    size = spec.shared_memory or f"{2 * max(1, spec.resources.accelerators)}Gi"
    return {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": size}}


def _default_memory(spec: EndpointSpec, total_bytes: int | None) -> str:
    if spec.accelerator is Accelerator.CPU and total_bytes is not None:
        return gibibytes(total_bytes + 4 * GIB)
    return "2Gi"
