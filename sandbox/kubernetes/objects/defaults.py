"""The defaults that the server fills into objects of built-in kinds before it stores them."""

import base64
from collections.abc import Callable, Mapping
from typing import Any

from sandbox.kubernetes.objects import pod_defaults

Manifest = dict[str, Any]


def _deployment(obj: Manifest) -> None:
    spec = obj["spec"]
    spec.setdefault("replicas", 1)
    pod_defaults.pod_spec(spec["template"]["spec"])
    strategy = spec["strategy"]
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)


def _replica_set(obj: Manifest) -> None:
    spec = obj["spec"]
    spec.setdefault("replicas", 1)
    pod_defaults.pod_spec(spec["template"]["spec"])


def _job(obj: Manifest) -> None:
    spec = obj["spec"]
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    if "backoffLimit" not in spec:
        spec["backoffLimit"] = 2**31 - 1 if "backoffLimitPerIndex" in spec else 6
    spec.setdefault("podReplacementPolicy", "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed")
    labels = spec["template"]["metadata"].get("labels")
    if labels and "labels" not in obj["metadata"]:
        obj["metadata"]["labels"] = dict(labels)
    pod_defaults.pod_spec(spec["template"]["spec"])


def _pod(obj: Manifest) -> None:
    pod_defaults.pod_spec(obj["spec"])
    pod_defaults.pod(obj)


def _service(obj: Manifest) -> None:
    spec = obj["spec"]
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["sessionAffinity"] == "ClientIP":
        spec.setdefault("sessionAffinityConfig", {"clientIP": {"timeoutSeconds": 10800}})
    for port in spec.get("ports", []):
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port", 0)
    if spec["type"] in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    if spec["type"] != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")


def _secret(obj: Manifest) -> None:
    obj.setdefault("type", "Opaque")
    plain = obj.pop("stringData", None)
    if plain:
        encoded = {name: base64.b64encode(text.encode()).decode() for name, text in plain.items()}
        obj["data"] = {**obj.get("data", {}), **encoded}


def _claim(obj: Manifest) -> None:
    obj["spec"].setdefault("volumeMode", "Filesystem")
    obj["status"].setdefault("phase", "Pending")


def _volume(obj: Manifest) -> None:
    obj["spec"].setdefault("persistentVolumeReclaimPolicy", "Retain")
    obj["spec"].setdefault("volumeMode", "Filesystem")
    obj["status"].setdefault("phase", "Pending")


def _autoscaler(obj: Manifest) -> None:
    spec = obj["spec"]
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    for direction, rules in (spec.get("behavior") or {}).items():
        rules.setdefault("selectPolicy", "Max")
        if not rules.get("policies"):
            rules["policies"] = _SCALE_UP if direction == "scaleUp" else _SCALE_DOWN
        if direction == "scaleUp":
            rules.setdefault("stabilizationWindowSeconds", 0)


_SCALE_UP = [
    {"type": "Pods", "value": 4, "periodSeconds": 15},
    {"type": "Percent", "value": 100, "periodSeconds": 15},
]
_SCALE_DOWN = [{"type": "Percent", "value": 100, "periodSeconds": 15}]


def _namespace(obj: Manifest) -> None:
    labels = obj["metadata"].setdefault("labels", {})
    if "name" in obj["metadata"]:
        labels["kubernetes.io/metadata.name"] = obj["metadata"]["name"]
    obj["status"].setdefault("phase", "Active")


def _endpoint_slice(obj: Manifest) -> None:
    for port in obj["ports"] or []:
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def _endpoints(obj: Manifest) -> None:
    for subset in obj.get("subsets", []):
        for port in subset.get("ports", []):
            port.setdefault("protocol", "TCP")


def _role_binding(obj: Manifest) -> None:
    obj["roleRef"].setdefault("apiGroup", "rbac.authorization.k8s.io")
    for subject in obj.get("subjects", []):
        if subject.get("kind") in ("User", "Group"):
            subject.setdefault("apiGroup", "rbac.authorization.k8s.io")


def _storage_class(obj: Manifest) -> None:
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")


def _priority_class(obj: Manifest) -> None:
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


def _crd(obj: Manifest) -> None:
    spec = obj["spec"]
    names = spec.get("names", {})
    if "kind" in names:
        names.setdefault("singular", names["kind"].lower())
        names.setdefault("listKind", names["kind"] + "List")
    spec.setdefault("conversion", {"strategy": "None"})


_DEFAULTS: Mapping[str, Callable[[Manifest], None]] = {
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "Job": _job,
    "Pod": _pod,
    "Service": _service,
    "Secret": _secret,
    "PersistentVolumeClaim": _claim,
    "PersistentVolume": _volume,
    "HorizontalPodAutoscaler": _autoscaler,
    "Namespace": _namespace,
    "EndpointSlice": _endpoint_slice,
    "Endpoints": _endpoints,
    "RoleBinding": _role_binding,
    "ClusterRoleBinding": _role_binding,
    "StorageClass": _storage_class,
    "PriorityClass": _priority_class,
    "CustomResourceDefinition": _crd,
}


def set_defaults(kind: str, obj: Manifest) -> None:
    """Fill the server's defaults into a decoded object of a built-in kind, in place."""
    default = _DEFAULTS.get(kind)
    if default:
        default(obj)
