"""Autoscalers for Deployments, on the engine's own metrics."""

from typing import Any

from serving.frameworks.images import engine_image
from serving.frameworks.labels import object_labels
from serving.frameworks.probes import progress_deadline
from serving.frameworks.workload import Manifest
from serving.options import Autoscaling
from serving.release import Release
from serving.spec import EndpointSpec, Framework

# What each engine calls a metric (vLLM and NIM documentation; llama.cpp's server README; our own image server).
_VLLM = {
    "requests-waiting": "vllm:num_requests_waiting",
    "requests-running": "vllm:num_requests_running",
    "cache-usage": "",  # by the engine's version
}
_LONGEST_WINDOW = 3600
_PROOF_SECONDS = 900
"""For smoke test and promotion of a release that may go down to zero pods."""

_METRICS: dict[Framework, dict[str, str]] = {
    Framework.VLLM: _VLLM,
    Framework.AIBRIX: _VLLM,
    Framework.NIM: {
        "requests-waiting": "num_requests_waiting",
        "requests-running": "num_requests_running",
        "cache-usage": "gpu_cache_usage_perc",
    },
    Framework.DIFFUSERS: {
        "requests-waiting": "diffusers_requests_waiting",
        "requests-running": "diffusers_requests_running",
    },
    Framework.LLAMA_CPP: {
        "requests-waiting": "llamacpp:requests_deferred",
        "requests-running": "llamacpp:requests_processing",
    },
}


def metrics(spec: EndpointSpec) -> dict[str, str]:
    """Returns what an endpoint's engine calls the metrics that autoscaling knows; empty where it measures none of them.

    Triton's vLLM backend tells neither waiting nor running requests (triton-inference-server/vllm_backend
    ``src/utils/metrics.py``), and passes each on as soon as it comes, so that Triton's own count of pending requests
    stays at zero. Image NIMs have no such metrics.
    """
    if spec.nim is not None and spec.nim.kind == "image":
        return {}
    found = _METRICS.get(spec.framework, {})
    return {name: called or engine_image(spec.image).cache_metric for name, called in found.items()}


def scaler(spec: EndpointSpec, release: Release, total_bytes: int | None) -> list[Manifest]:
    """Returns the autoscaler's manifest; none where the number of replicas is fixed.

    Args:
        spec: The endpoint.
        release: The release that it scales.
        total_bytes: Bytes of the model; None if they are not known.
    """
    if spec.autoscaling is None:
        return []
    scaling = spec.autoscaling
    metric = metrics(spec).get(scaling.metric, "")
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": release.name}
    if scaling.by == "keda":
        api_version, kind, body = _keda(spec, scaling, metric, target, total_bytes)
    else:
        api_version, kind, body = {"hpa": _hpa, "aibrix": _aibrix}[scaling.by](scaling, metric, target)
    metadata = {"name": release.name, "namespace": spec.namespace, "labels": object_labels(spec, release)}
    return [{"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": body}]


def _hpa(scaling: Autoscaling, metric: str, target: dict[str, str]) -> tuple[str, str, dict[str, Any]]:
    """HorizontalPodAutoscaler on a pod metric, as the Prometheus adapter offers it (a colon becomes ``_``)."""
    return (
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        {
            "scaleTargetRef": target,
            "minReplicas": scaling.min_replicas,
            "maxReplicas": scaling.max_replicas,
            "metrics": [
                {
                    "type": "Pods",
                    "pods": {
                        "metric": {"name": metric.replace(":", "_")},
                        "target": {"type": "AverageValue", "averageValue": quantity(scaling.target)},
                    },
                }
            ],
            "behavior": _down(scaling),
        },
    )


def _keda(
    spec: EndpointSpec, scaling: Autoscaling, metric: str, target: dict[str, str], total_bytes: int | None
) -> tuple[str, str, dict[str, Any]]:
    """ScaledObject on PromQL: the metric summed over the endpoint's pods, the target per pod."""
    query = scaling.query or f'sum({metric}{{namespace="{spec.namespace}",pod=~"{target["name"]}-.*"}})'
    trigger = {
        "type": "prometheus",
        "metricType": "AverageValue",
        "metadata": {"serverAddress": scaling.prometheus, "query": query, "threshold": plain(scaling.target)},
    }
    body: dict[str, Any] = {
        "scaleTargetRef": target,
        "minReplicaCount": scaling.min_replicas,
        "maxReplicaCount": scaling.max_replicas,
        # To zero pods and from it KEDA counts itself; in between it leaves the scaling to an HPA of its own.
        "cooldownPeriod": scaling.cooldown_seconds,
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _down(scaling)}},
        "triggers": [trigger],
    }
    if scaling.min_replicas == 0:
        # KEDA takes away at once what nobody has asked yet: the first pod must load and be proved before.
        body["initialCooldownPeriod"] = progress_deadline(spec, total_bytes) + _PROOF_SECONDS
    return "keda.sh/v1alpha1", "ScaledObject", body


def _aibrix(scaling: Autoscaling, metric: str, target: dict[str, str]) -> tuple[str, str, dict[str, Any]]:
    return (
        "autoscaling.aibrix.ai/v1alpha1",
        "PodAutoscaler",
        {
            "scaleTargetRef": target,
            "minReplicas": scaling.min_replicas,
            "maxReplicas": scaling.max_replicas,
            "scalingStrategy": "KPA",
            "metricsSources": [
                {
                    "metricSourceType": "pod",
                    "protocolType": "http",
                    "port": "8000",
                    "path": "metrics",
                    "targetMetric": metric.removeprefix("vllm:"),
                    "targetValue": plain(scaling.target),
                }
            ],
        },
    )


def _down(scaling: Autoscaling) -> dict[str, Any]:
    """The quiet time before pods go; an HPA takes an hour at most."""
    return {"scaleDown": {"stabilizationWindowSeconds": min(scaling.cooldown_seconds, _LONGEST_WINDOW)}}


def quantity(value: float) -> str:
    """Returns a number as a Kubernetes quantity: ``5``, ``500m``."""
    return str(int(value)) if value == int(value) else f"{round(value * 1000)}m"


def plain(value: float) -> str:
    """Returns a number as text without needless digits."""
    return f"{value:g}"
