"""Deployment, Service and disruption budget around a pod template."""

from typing import Any

from serving.frameworks.labels import annotations, object_labels, selector, workload_labels
from serving.frameworks.probes import progress_deadline
from serving.models import StagedModel
from serving.release import Release
from serving.spec import EndpointSpec

Manifest = dict[str, Any]


def deployment(
    spec: EndpointSpec, staged: StagedModel | None, release: Release, template: dict[str, Any], total_bytes: int | None
) -> Manifest:
    """Returns the Deployment.

    Its rollout takes one old pod away before it starts a new one: on nodes that are full, as nodes with accelerators
    are, a surge pod would wait for ever for the device that the old pod holds.
    """
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": release.name,
            "namespace": spec.namespace,
            "labels": workload_labels(spec, release),
            "annotations": annotations(release, staged),
        },
        "spec": {
            "replicas": spec.replicas,
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": progress_deadline(spec, total_bytes),
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "selector": {"matchLabels": selector(release)},
            "template": template,
        },
    }


def service(
    spec: EndpointSpec, release: Release, *, ports: tuple[tuple[str, int], ...] = (("http", 8000),)
) -> Manifest:
    """Returns the release's own Service, through which it is proved before it is promoted."""
    return _service(spec, release, release.name, ports)


def endpoint_service(
    spec: EndpointSpec, release: Release, *, ports: tuple[tuple[str, int], ...] = (("http", 8000),)
) -> Manifest:
    """Returns the endpoint: the Service that clients call, pointing at this release."""
    return _service(spec, release, spec.name, ports)


def _service(spec: EndpointSpec, release: Release, name: str, ports: tuple[tuple[str, int], ...]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": spec.namespace, "labels": object_labels(spec, release)},
        "spec": {
            "type": "ClusterIP",
            "selector": selector(release),
            "ports": [{"name": name, "port": port, "targetPort": name, "protocol": "TCP"} for name, port in ports],
        },
    }


def disruption_budget(spec: EndpointSpec, release: Release) -> list[Manifest]:
    """Returns the budget that keeps all but one replica during node drains; none for a single replica.

    A budget on a single replica would only keep its node from ever being drained.
    """
    if spec.replicas < 2:
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
