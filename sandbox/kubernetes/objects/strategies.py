"""What differs from kind to kind when objects are created and changed: allocation, generations, status."""

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.kubernetes.objects.fieldsets import Path
from sandbox.kubernetes.resources import Resource

Manifest = dict[str, Any]

SERVICE_RANGE = ipaddress.ip_network("10.96.0.0/16")
"""Where cluster IPs come from; nothing listens there: clients reach Services through the API server's proxy."""
NODE_PORTS = range(30000, 32768)


def _spec_changed(old: Manifest, new: Manifest) -> bool:
    return bool(old.get("spec") != new.get("spec"))


def _spec_or_annotations_changed(old: Manifest, new: Manifest) -> bool:
    return _spec_changed(old, new) or old["metadata"].get("annotations") != new["metadata"].get("annotations")


def _pod_spec_changed(old: Manifest, new: Manifest) -> bool:
    """Binding a pod to its node is no new generation."""
    before, after = ({**one["spec"], "nodeName": ""} for one in (old, new))
    return before != after


def _content_changed(old: Manifest, new: Manifest) -> bool:
    """Anything but metadata and status."""
    without = ("metadata", "status", "apiVersion", "kind")
    before, after = ({name: one[name] for name in one if name not in without} for one in (old, new))
    return before != after


_GENERATIONS: Mapping[str, Callable[[Manifest, Manifest], bool]] = {
    "Deployment": _spec_or_annotations_changed,
    "ReplicaSet": _spec_changed,
    "Job": _spec_changed,
    "Pod": _pod_spec_changed,
    "PodDisruptionBudget": _spec_changed,
    "CustomResourceDefinition": _spec_changed,
    "EndpointSlice": _content_changed,
    "PriorityClass": _content_changed,
}
"""Built-in kinds that count generations, and what moves them."""

_STATUS_AT_CREATION: Mapping[str, Manifest] = {
    "Namespace": {"phase": "Active"},
    "PersistentVolumeClaim": {"phase": "Pending"},
    "PersistentVolume": {"phase": "Pending"},
    "Service": {"loadBalancer": {}},
    "ReplicaSet": {"replicas": 0},
    "HorizontalPodAutoscaler": {"desiredReplicas": 0, "currentMetrics": None},
    "PodDisruptionBudget": {
        "disruptionsAllowed": 0,
        "currentHealthy": 0,
        "desiredHealthy": 0,
        "expectedPods": 0,
    },
}


@dataclass(frozen=True)
class Allocations:
    """What is taken already, for kinds that get something allocated."""

    cluster_ips: frozenset[str] = frozenset()
    node_ports: frozenset[int] = frozenset()


def allocations(services: Iterable[Manifest]) -> Allocations:
    """What the Services of the cluster hold."""
    ips: set[str] = set()
    ports: set[int] = set()
    for one in services:
        ips |= set(one["spec"].get("clusterIPs", ()))
        ports |= {port["nodePort"] for port in one["spec"].get("ports", ()) if "nodePort" in port}
    return Allocations(frozenset(ips), frozenset(ports))


def counts_generations(resource: Resource) -> bool:
    """Whether objects of the kind carry a generation."""
    return resource.custom or resource.kind in _GENERATIONS


def moves_generation(resource: Resource, old: Manifest, new: Manifest) -> bool:
    """Whether this change is a new generation."""
    if resource.custom:
        changed = _content_changed if "status" in resource.subresources else _custom_without_status_changed
        return changed(old, new)
    rule = _GENERATIONS.get(resource.kind)
    return rule is not None and rule(old, new)


def _custom_without_status_changed(old: Manifest, new: Manifest) -> bool:
    before, after = ({name: one[name] for name in one if name != "metadata"} for one in (old, new))
    return before != after


def has_status(resource: Resource) -> bool:
    """Whether the status is written through its own subresource, and only there."""
    return "status" in resource.subresources


def not_written(resource: Resource, subresource: str) -> tuple[Path, ...]:
    """The paths that this endpoint leaves alone, and so cannot own."""
    if not has_status(resource):
        return ()
    if subresource == "scale":
        return (("f:status",),)
    if subresource != "status":
        return (("f:status",),)
    if resource.custom:
        return (("f:spec",), ("f:metadata",))
    if resource.kind == "Deployment":
        return (("f:spec",), ("f:metadata", "f:labels"))
    return (("f:spec",),)


def prepare_create(resource: Resource, obj: Manifest, taken: Allocations) -> None:
    """Reset and allocate what a client cannot set on a new object."""
    if resource.custom:
        if has_status(resource):
            obj.pop("status", None)
    elif has_status(resource):
        if resource.kind == "Node":
            obj.setdefault("status", {})
        else:
            obj["status"] = dict(_STATUS_AT_CREATION.get(resource.kind, {}))
    match resource.kind if not resource.custom else "":
        case "Namespace":
            obj["spec"]["finalizers"] = ["kubernetes"]
        case "Pod":
            obj["status"] = {"phase": "Pending", "qosClass": qos_class(obj["spec"])}
        case "PersistentVolumeClaim":
            _add_finalizer(obj, "kubernetes.io/pvc-protection")
        case "PersistentVolume":
            _add_finalizer(obj, "kubernetes.io/pv-protection")
        case "Job":
            _label_job(obj)
        case "Service":
            _allocate_service(obj, taken)


def prepare_update(resource: Resource, old: Manifest, new: Manifest, subresource: str) -> None:
    """Restore what this endpoint cannot change."""
    if subresource == "status":
        for name in (old.keys() | new.keys()) - {"status", "metadata", "apiVersion", "kind"}:
            _restore(old, new, name)
        if resource.custom:
            new["metadata"] = {**old["metadata"], "managedFields": new["metadata"].get("managedFields", [])}
        elif resource.kind == "Deployment":
            _restore(old["metadata"], new["metadata"], "labels")
    elif has_status(resource):
        _restore(old, new, "status")
    if resource.kind == "Service" and not resource.custom and not subresource:
        for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if name in old["spec"]:
                new["spec"].setdefault(name, old["spec"][name])
    if resource.kind == "Job" and not resource.custom and "selector" in old["spec"]:
        new["spec"].setdefault("selector", old["spec"]["selector"])


def _restore(old: Manifest, new: Manifest, name: str) -> None:
    if name in old:
        new[name] = old[name]
    else:
        new.pop(name, None)


def _add_finalizer(obj: Manifest, name: str) -> None:
    finalizers = obj["metadata"].setdefault("finalizers", [])
    if name not in finalizers:
        finalizers.append(name)


def _label_job(obj: Manifest) -> None:
    if obj["spec"].get("manualSelector"):
        return
    uid, name = obj["metadata"]["uid"], obj["metadata"]["name"]
    labels = obj["spec"]["template"]["metadata"].setdefault("labels", {})
    labels |= {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }
    obj["spec"]["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}


def _allocate_service(obj: Manifest, taken: Allocations) -> None:
    spec = obj["spec"]
    if spec["type"] == "ExternalName":
        return
    if not spec.get("clusterIP"):
        spec["clusterIP"] = next(str(ip) for ip in SERVICE_RANGE.hosts() if str(ip) not in taken.cluster_ips)
    spec["clusterIPs"] = [spec["clusterIP"]]
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    if spec["type"] in ("NodePort", "LoadBalancer"):
        free = (port for port in NODE_PORTS if port not in taken.node_ports)
        for port in spec.get("ports", []):
            if "nodePort" not in port:
                port["nodePort"] = next(free)


def qos_class(spec: Manifest) -> str:
    """A pod's quality of service, from the requests and limits for cpu and memory of its containers."""
    containers = [*spec.get("initContainers", ()), *(spec["containers"] or ())]
    guaranteed, anything = True, False
    for container in containers:
        resources = container.get("resources", {})
        requests = _compute(resources.get("requests", {}))
        limits = _compute(resources.get("limits", {}))
        anything = anything or bool(requests or limits)
        guaranteed = guaranteed and limits.keys() == {"cpu", "memory"} and {**limits, **requests} == limits
    if not anything:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _compute(quantities: Mapping[str, str]) -> dict[str, str]:
    return {name: quantity for name, quantity in quantities.items() if name in ("cpu", "memory")}
