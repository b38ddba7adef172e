"""Endpoints and EndpointSlices: the addresses behind each Service, ready or not."""

from typing import Any

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.controllers.meta import (
    MANAGER,
    Obj,
    is_terminating,
    owner_reference,
    random_suffix,
    timestamp,
)
from sandbox.kubernetes.controllers.pods import is_finished, is_ready
from sandbox.kubernetes.controllers.workqueue import Key, own_key, run_controller
from sandbox.kubernetes.resources import ENDPOINTS, ENDPOINTSLICES, PODS, SERVICES, Resource

CHANGED = "endpoints.kubernetes.io/last-change-trigger-time"
HEADLESS = "service.kubernetes.io/headless"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
SLICE_CONTROLLER = "endpointslice-controller.k8s.io"
SERVICE_NAME = "kubernetes.io/service-name"

Ports = tuple[tuple[str, str, int], ...]
"""Name, protocol and number of each port, as one group of pods has them."""


class EndpointControllers:
    """The Endpoints and the EndpointSlice controller in one: both follow the same Services and pods."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._selected: dict[tuple[str, str], set[Key]] = {}

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await run_controller(
            self._cluster,
            {SERVICES: own_key, PODS: self._keys_of_pod, ENDPOINTSLICES: _keys_of_slice, ENDPOINTS: own_key},
            self.reconcile,
        )

    def _keys_of_pod(self, pod: Obj) -> set[Key]:
        """Services that take the pod, and those that took it before its labels changed."""
        meta = pod["metadata"]
        labels = (meta.get("labels") or {}).items()
        now = {
            (meta["namespace"], service["metadata"]["name"])
            for service in self._cluster.list(SERVICES, meta["namespace"])
            if (selector := service["spec"].get("selector")) and selector.items() <= labels
        }
        before = self._selected.get((meta["namespace"], meta["uid"]), set())
        if self._cluster.get(PODS, meta["namespace"], meta["name"]) is None:
            self._selected.pop((meta["namespace"], meta["uid"]), None)
        else:
            self._selected[meta["namespace"], meta["uid"]] = now
        return now | before

    def reconcile(self, key: Key) -> None:
        """Bring the endpoints of one Service up to date; without the Service the slices go with their owner."""
        service = self._cluster.get(SERVICES, *key)
        if service is None:
            self._cluster.delete(ENDPOINTS, *key)
            return
        selector = service["spec"].get("selector")
        if not selector or service["spec"].get("type") == "ExternalName" or is_terminating(service):
            return
        pods = [pod for pod in self._cluster.list(PODS, key[0], selector) if _has_endpoint(pod)]
        pods.sort(key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))
        groups: dict[Ports, list[Obj]] = {}
        for pod in pods:
            groups.setdefault(pod_ports(service, pod), []).append(pod)
        self._write_slices(service, groups)
        self._write_endpoints(service, groups)

    def _write_slices(self, service: Obj, groups: dict[Ports, list[Obj]]) -> None:
        meta = service["metadata"]
        marks = {SERVICE_NAME: meta["name"], MANAGED_BY: SLICE_CONTROLLER}
        existing = self._cluster.list(ENDPOINTSLICES, meta["namespace"], marks)
        wanted = [slice_content(service, ports, pods) for ports, pods in groups.items()]
        wanted = wanted or [{"addressType": "IPv4", "endpoints": None, "ports": None}]
        for content in wanted:
            same_ports = [one for one in existing if one.get("ports") == content["ports"]]
            candidates = same_ports or [one for one in existing if not one.get("ports")] or existing
            if not candidates:
                self._create_slice(service, marks, content)
                continue
            current = candidates[0]
            existing.remove(current)
            self._update_slice(service, current, marks, content)
        for one in existing:
            self._cluster.delete(ENDPOINTSLICES, meta["namespace"], one["metadata"]["name"])

    def _create_slice(self, service: Obj, marks: dict[str, str], content: Obj) -> None:
        meta = service["metadata"]
        created = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{meta['name']}-{random_suffix()}",
                "generateName": f"{meta['name']}-",
                "namespace": meta["namespace"],
                "labels": _labels(service, marks),
                "annotations": {CHANGED: meta["creationTimestamp"]},
                "ownerReferences": [owner_reference(service)],
            },
            **content,
        }
        self._cluster.create(ENDPOINTSLICES, created, manager=MANAGER)

    def _update_slice(self, service: Obj, current: Obj, marks: dict[str, str], content: Obj) -> None:
        labels = _labels(service, marks)
        if content.items() <= current.items() and current["metadata"].get("labels") == labels:
            return

        def change(one: Obj) -> None:
            one.update(content)
            one["metadata"]["labels"] = labels
            one["metadata"].setdefault("annotations", {})[CHANGED] = timestamp()

        self._replace(ENDPOINTSLICES, current, change)

    def _write_endpoints(self, service: Obj, groups: dict[Ports, list[Obj]]) -> None:
        meta = service["metadata"]
        subsets = [subset for ports, pods in groups.items() if (subset := _subset(service, ports, pods))]
        content: Obj = {"subsets": subsets} if subsets else {}
        labels = _labels(service, {"endpoints.kubernetes.io/managed-by": "endpoint-controller"})
        current = self._cluster.get(ENDPOINTS, meta["namespace"], meta["name"])
        if current is None:
            created = {
                "apiVersion": "v1",
                "kind": "Endpoints",
                "metadata": {
                    "name": meta["name"],
                    "namespace": meta["namespace"],
                    "labels": labels,
                    "annotations": {CHANGED: meta["creationTimestamp"]},
                },
                **content,
            }
            self._cluster.create(ENDPOINTS, created, manager=MANAGER)
            return
        if current.get("subsets", []) == subsets and current["metadata"].get("labels") == labels:
            return

        def change(one: Obj) -> None:
            one.pop("subsets", None)
            one.update(content)
            one["metadata"]["labels"] = labels
            one["metadata"].setdefault("annotations", {})[CHANGED] = timestamp()

        self._replace(ENDPOINTS, current, change)

    def _replace(self, resource: Resource, current: Obj, change: Any) -> None:
        meta = current["metadata"]
        self._cluster.update(resource, meta["namespace"], meta["name"], change, manager=MANAGER)


def _keys_of_slice(obj: Obj) -> list[Key]:
    labels = obj["metadata"].get("labels") or {}
    if labels.get(MANAGED_BY) != SLICE_CONTROLLER:
        return []
    return [(obj["metadata"]["namespace"], labels[SERVICE_NAME])]


def _labels(service: Obj, marks: dict[str, str]) -> dict[str, str]:
    headless = {HEADLESS: ""} if service["spec"].get("clusterIP") == "None" else {}
    return {**(service["metadata"].get("labels") or {}), **headless, **marks}


def _has_endpoint(pod: Obj) -> bool:
    return bool(pod.get("status", {}).get("podIP")) and not is_finished(pod)


def pod_ports(service: Obj, pod: Obj) -> Ports:
    """The Service's ports as this pod has them; a port name that no container of it has is left out."""
    found = []
    for port in service["spec"].get("ports") or []:
        number = port_number(pod, port.get("targetPort", port["port"]), port.get("protocol", "TCP"))
        if number is not None:
            found.append((port.get("name", ""), port.get("protocol", "TCP"), number))
    return tuple(found)


def port_number(pod: Obj, target: int | str, protocol: str = "TCP") -> int | None:
    """The number of a port of the pod, given by number or by a container port's name."""
    if isinstance(target, int):
        return target
    sidecars = [one for one in pod["spec"].get("initContainers") or [] if one.get("restartPolicy") == "Always"]
    for container in [*pod["spec"]["containers"], *sidecars]:
        for port in container.get("ports") or []:
            if (port.get("name"), port.get("protocol", "TCP")) == (target, protocol):
                number: int = port["containerPort"]
                return number
    return None


def slice_content(service: Obj, ports: Ports, pods: list[Obj]) -> Obj:
    """An EndpointSlice's own fields for pods that share their ports."""
    listed = [{"name": name, "protocol": protocol, "port": number} for name, protocol, number in ports]
    return {
        "addressType": "IPv4",
        "endpoints": [_endpoint(service, pod) for pod in pods],
        "ports": listed,
    }


def _endpoint(service: Obj, pod: Obj) -> Obj:
    ready, ending = is_ready(pod), is_terminating(pod)
    endpoint = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {
            "ready": (ready and not ending) or bool(service["spec"].get("publishNotReadyAddresses")),
            "serving": ready,
            "terminating": ending,
        },
        "targetRef": _target(pod),
        "nodeName": pod["spec"]["nodeName"],
    }
    if pod["spec"].get("hostname") and pod["spec"].get("subdomain") == service["metadata"]["name"]:
        endpoint["hostname"] = pod["spec"]["hostname"]
    return endpoint


def _target(pod: Obj) -> Obj:
    meta = pod["metadata"]
    return {"kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}


def _subset(service: Obj, ports: Ports, pods: list[Obj]) -> Obj | None:
    """One subset of the older Endpoints kind, which leaves terminating pods out."""
    every = service["spec"].get("publishNotReadyAddresses")
    addresses: dict[str, list[Obj]] = {"addresses": [], "notReadyAddresses": []}
    for pod in pods:
        if is_terminating(pod) and not every:
            continue
        kind = "addresses" if every or is_ready(pod) else "notReadyAddresses"
        entry = {"ip": pod["status"]["podIP"], "nodeName": pod["spec"]["nodeName"], "targetRef": _target(pod)}
        addresses[kind].append(entry)
    listed = [{"name": name, "port": number, "protocol": protocol} for name, protocol, number in ports]
    present = {kind: entries for kind, entries in addresses.items() if entries}
    if not present or not listed:
        return None
    return {**present, "ports": [{k: v for k, v in port.items() if v != ""} for port in listed]}
