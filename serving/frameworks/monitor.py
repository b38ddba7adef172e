"""A PodMonitor: the Prometheus operator scrapes the release's pods, by the port and path of its framework."""

from serving.frameworks.labels import COMMIT_LABEL, MODEL_LABEL, RELEASE_LABEL, object_labels, selector
from serving.frameworks.workload import PLAIN_DOOR, Door, Manifest
from serving.options import NimOptions
from serving.record import ENDPOINT_LABEL
from serving.release import Release
from serving.spec import EndpointSpec, Framework

_AT_METRICS_PORT = frozenset({Framework.RAY_VLLM, Framework.TRITON_VLLM})
"""Their pods have a port called ``metrics``; KubeRay adds it (8080) to every Ray container that names none."""


def monitor(spec: EndpointSpec, release: Release, door: Door = PLAIN_DOOR) -> list[Manifest]:
    """Returns the PodMonitor, where the spec asks for one.

    Endpoint, release, model and commit become labels of every series (``inference_flows_endpoint`` …), so that a
    dashboard tells releases apart. Ports are named, which every version of the operator understands.

    Args:
        spec: The endpoint.
        release: The release whose pods are scraped.
        door: What finds those of the pods that have metrics, beyond the release's labels: the leaders of groups; and
            what their port is called.
    """
    if not spec.pod.monitor or not has_metrics(spec):
        return []
    port, path = _port_and_path(spec, door)
    # All of Ray's nodes have metrics, not only those that serve.
    chosen = {} if spec.framework is Framework.RAY_VLLM else dict(door.select)
    return [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PodMonitor",
            "metadata": {
                "name": release.name,
                "namespace": spec.namespace,
                "labels": dict(spec.pod.monitor_labels) | object_labels(spec, release),
            },
            "spec": {
                "selector": {"matchLabels": selector(release) | chosen},
                "podTargetLabels": [ENDPOINT_LABEL, RELEASE_LABEL, MODEL_LABEL, COMMIT_LABEL],
                "podMetricsEndpoints": [{"port": port, "path": path, "interval": f"{spec.pod.monitor_seconds}s"}],
            },
        }
    ]


def has_metrics(spec: EndpointSpec) -> bool:
    """Whether the framework's pods have metrics for Prometheus: all but NIMs that make pictures."""
    return spec.framework is not Framework.NIM or (spec.nim or NimOptions()).kind == "llm"


def _port_and_path(spec: EndpointSpec, door: Door) -> tuple[str, str]:
    if spec.framework in _AT_METRICS_PORT:
        return "metrics", "/metrics"
    if spec.framework is Framework.NIM:
        return door.ports[0][2], "/v1/metrics"
    return "http", "/metrics"
