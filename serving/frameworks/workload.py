"""Deployment, Service, disruption budget and autoscaler around a pod template."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from serving.frameworks.labels import annotations, object_labels, selector, workload_labels
from serving.frameworks.probes import progress_deadline
from serving.models import StagedModel
from serving.release import Release
from serving.spec import EndpointSpec

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Door:
    """How a framework's pods are reached: what a Service in front of them must say.

    Attributes:
        ports: Name, number and target port.
        select: What finds the pods, beyond the release's labels.
        labels: Labels of the Service, beyond the endpoint's.
        alias: Suffix of a second Service that users of the chart know, with its ports; empty: none.
    """

    ports: tuple[tuple[str, int, str], ...] = (("http", 8000, "http"),)
    select: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    alias: str = ""
    alias_ports: tuple[tuple[str, int, str], ...] = ()


PLAIN_DOOR = Door()


def deployment(
    spec: EndpointSpec,
    staged: StagedModel | None,
    release: Release,
    template: dict[str, Any],
    total_bytes: int | None,
    *,
    labels: dict[str, str] | None = None,
) -> Manifest:
    """Returns the Deployment.

    Its rollout takes one old pod away before it starts a new one: on nodes that are full, as nodes with accelerators
    are, a surge pod would wait for ever for the device that the old pod holds. Where an autoscaler owns the number of
    replicas, the manifest leaves it out.
    """
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": release.name,
            "namespace": spec.namespace,
            "labels": workload_labels(spec, release) | (labels or {}),
            "annotations": annotations(release, staged),
        },
        "spec": {
            **({"replicas": spec.replicas} if spec.autoscaling is None else {}),
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": progress_deadline(spec, total_bytes),
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "selector": {"matchLabels": selector(release)},
            "template": template,
        },
    }


def service(spec: EndpointSpec, release: Release, door: Door = PLAIN_DOOR) -> Manifest:
    """Returns the release's own Service, through which it is proved before it is promoted."""
    return _service(spec, release, release.name, door, door.ports)


def endpoint_services(spec: EndpointSpec, release: Release, door: Door = PLAIN_DOOR) -> list[Manifest]:
    """Returns the endpoint: the Service that clients call, pointing at this release, and its alias if it has one."""
    found = [_service(spec, release, spec.name, door, door.ports)]
    if door.alias:
        found.append(_service(spec, release, f"{spec.name}{door.alias}", door, door.alias_ports or door.ports))
    return found


def _service(
    spec: EndpointSpec, release: Release, name: str, door: Door, ports: tuple[tuple[str, int, str], ...]
) -> Manifest:
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": spec.namespace,
        "labels": object_labels(spec, release) | dict(door.labels),
    }
    if spec.pod.service_annotations:
        metadata["annotations"] = dict(spec.pod.service_annotations)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": "ClusterIP",
            "selector": selector(release) | dict(door.select),
            "ports": [{"name": n, "port": port, "targetPort": to, "protocol": "TCP"} for n, port, to in ports],
        },
    }


def disruption_budget(spec: EndpointSpec, release: Release, *, at_least_two: bool = False) -> list[Manifest]:
    """Returns the budget that keeps all but one replica during node drains; none for a single replica.

    A budget on a single replica would only keep its node from ever being drained.

    Args:
        spec: The endpoint.
        release: The release that it protects.
        at_least_two: There are two pods or more whatever the spec's replicas say.
    """
    most = spec.autoscaling.max_replicas if spec.autoscaling else spec.replicas
    if most < 2 and not at_least_two:
        return []
    return [
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": release.name, "namespace": spec.namespace, "labels": object_labels(spec, release)},
            "spec": {
                "maxUnavailable": 1,
                "selector": {"matchLabels": selector(release)},
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
            },
        }
    ]
