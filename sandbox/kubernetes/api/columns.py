"""What `kubectl get` shows of each kind: the columns of its table."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sandbox.kubernetes.api import cells
from sandbox.kubernetes.api.pod_columns import POD_COLUMNS
from sandbox.kubernetes.api.printing import age, selector_text, since

Manifest = Mapping[str, Any]


class Column(NamedTuple):
    """One column; those of priority 1 show with `-o wide` alone."""

    name: str
    cell: Callable[[Manifest], Any]
    priority: int = 0
    type: str = "string"


NAME = Column("Name", cells.name)
AGE = Column("Age", age)


def _workload_tail(selector: Callable[[Manifest], str]) -> list[Column]:
    return [
        AGE,
        Column("Containers", lambda obj: cells.containers(obj, "name"), 1),
        Column("Images", lambda obj: cells.containers(obj, "image"), 1),
        Column("Selector", selector, 1),
    ]


_CREATED = Column("Created At", cells.created, type="date")

COLUMNS: Mapping[str, list[Column]] = {
    "pods": [Column(*one) for one in POD_COLUMNS],
    "deployments.apps": [
        NAME,
        Column("Ready", cells.ready_of_desired),
        Column("Up-to-date", lambda obj: obj["status"].get("updatedReplicas", 0), type="integer"),
        Column("Available", lambda obj: obj["status"].get("availableReplicas", 0), type="integer"),
        *_workload_tail(cells.selector),
    ],
    "replicasets.apps": [
        NAME,
        Column("Desired", lambda obj: obj["spec"].get("replicas", 1), type="integer"),
        Column("Current", lambda obj: obj["status"].get("replicas", 0), type="integer"),
        Column("Ready", lambda obj: obj["status"].get("readyReplicas", 0), type="integer"),
        *_workload_tail(cells.selector),
    ],
    "jobs.batch": [
        NAME,
        Column("Status", cells.job_status),
        Column("Completions", cells.job_completions),
        Column("Duration", cells.job_duration),
        *_workload_tail(cells.selector),
    ],
    "services": [
        NAME,
        Column("Type", lambda obj: obj["spec"]["type"]),
        Column("Cluster-IP", lambda obj: obj["spec"].get("clusterIP") or "<none>"),
        Column("External-IP", cells.external_ip),
        Column("Port(s)", cells.ports),
        AGE,
        Column("Selector", lambda obj: selector_text({"matchLabels": obj["spec"].get("selector", {})}), 1),
    ],
    "endpoints": [NAME, Column("Endpoints", cells.endpoint_addresses), AGE],
    "endpointslices.discovery.k8s.io": [
        NAME,
        Column("AddressType", lambda obj: obj["addressType"]),
        Column("Ports", cells.slice_ports),
        Column("Endpoints", cells.slice_endpoints),
        AGE,
    ],
    "events": [
        Column("Last Seen", cells.event_last_seen),
        Column("Type", lambda obj: obj.get("type", "")),
        Column("Reason", lambda obj: obj.get("reason", "")),
        Column("Object", cells.event_object),
        Column("Subobject", lambda obj: obj["involvedObject"].get("fieldPath", ""), 1),
        Column("Source", lambda obj: (obj.get("source") or {}).get("component", ""), 1),
        Column("Message", lambda obj: obj.get("message", "").strip()),
        Column("First Seen", lambda obj: since(obj["firstTimestamp"]) if obj.get("firstTimestamp") else "", 1),
        Column("Count", lambda obj: obj.get("count", 1), 1),
        Column("Name", cells.name, 1),
    ],
    "nodes": [
        NAME,
        Column("Status", cells.node_status),
        Column("Roles", cells.node_roles),
        AGE,
        Column("Version", cells.node_info("kubeletVersion")),
        Column("Internal-IP", cells.node_address("InternalIP"), 1),
        Column("External-IP", cells.node_address("ExternalIP"), 1),
        Column("OS-Image", cells.node_info("osImage"), 1),
        Column("Kernel-Version", cells.node_info("kernelVersion"), 1),
        Column("Container-Runtime", cells.node_info("containerRuntimeVersion"), 1),
    ],
    "namespaces": [NAME, Column("Status", lambda obj: obj["status"].get("phase", "")), AGE],
    "secrets": [
        NAME,
        Column("Type", lambda obj: obj.get("type", "")),
        Column("Data", lambda obj: len(obj.get("data", {})), type="string"),
        AGE,
    ],
    "configmaps": [NAME, Column("Data", lambda obj: len(obj.get("data", {})) + len(obj.get("binaryData", {}))), AGE],
    "serviceaccounts": [NAME, Column("Secrets", lambda obj: len(obj.get("secrets", ()))), AGE],
    "persistentvolumeclaims": [
        NAME,
        Column("Status", lambda obj: cells.terminating_or(obj, obj["status"].get("phase", ""))),
        Column("Volume", lambda obj: obj["spec"].get("volumeName", "")),
        Column("Capacity", cells.claim_capacity),
        Column("Access Modes", cells.claim_modes),
        Column("StorageClass", lambda obj: obj["spec"].get("storageClassName", "")),
        Column("VolumeAttributesClass", lambda obj: obj["spec"].get("volumeAttributesClassName", "<unset>")),
        AGE,
        Column("VolumeMode", lambda obj: obj["spec"].get("volumeMode", "<unset>"), 1),
    ],
    "horizontalpodautoscalers.autoscaling": [
        NAME,
        Column("Reference", cells.hpa_reference),
        Column("Targets", cells.hpa_targets),
        Column("MinPods", lambda obj: str(obj["spec"].get("minReplicas", "<unset>"))),
        Column("MaxPods", lambda obj: obj["spec"]["maxReplicas"], type="integer"),
        Column("Replicas", lambda obj: obj["status"].get("currentReplicas", 0), type="integer"),
        AGE,
    ],
    "resourcequotas": [
        NAME,
        Column("Request", cells.quota_amounts("request")),
        Column("Limit", cells.quota_amounts("limits")),
        AGE,
    ],
    "leases.coordination.k8s.io": [NAME, Column("Holder", lambda obj: obj["spec"].get("holderIdentity", "")), AGE],
    "roles.rbac.authorization.k8s.io": [NAME, _CREATED],
    "clusterroles.rbac.authorization.k8s.io": [NAME, _CREATED],
    "rolebindings.rbac.authorization.k8s.io": [
        NAME,
        Column("Role", lambda obj: f"{obj['roleRef']['kind']}/{obj['roleRef']['name']}"),
        AGE,
    ],
    "clusterrolebindings.rbac.authorization.k8s.io": [
        NAME,
        Column("Role", lambda obj: f"{obj['roleRef']['kind']}/{obj['roleRef']['name']}"),
        AGE,
    ],
    "storageclasses.storage.k8s.io": [
        NAME,
        Column("Provisioner", lambda obj: obj["provisioner"]),
        Column("ReclaimPolicy", lambda obj: obj.get("reclaimPolicy", "")),
        Column("VolumeBindingMode", lambda obj: obj.get("volumeBindingMode", "")),
        Column("AllowVolumeExpansion", lambda obj: bool(obj.get("allowVolumeExpansion")), type="string"),
        AGE,
    ],
    "customresourcedefinitions.apiextensions.k8s.io": [NAME, _CREATED],
}
"""By qualified plural; kinds that are not here show name and age."""
