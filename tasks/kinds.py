"""Which kinds of objects endpoints consist of, by framework: what is applied, waited for and taken away."""

from serving.options import NimOptions
from serving.spec import EndpointSpec, Framework, WeightsSource

Kind = tuple[str, str]
"""``(api_version, kind)``."""

DEPLOYMENT: Kind = ("apps/v1", "Deployment")
RAY_SERVICE: Kind = ("ray.io/v1", "RayService")
LEADER_WORKER_SET: Kind = ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet")
NIM_SERVICE: Kind = ("apps.nvidia.com/v1alpha1", "NIMService")
NIM_CACHE: Kind = ("apps.nvidia.com/v1alpha1", "NIMCache")
CLAIM: Kind = ("v1", "PersistentVolumeClaim")
VOLUME: Kind = ("v1", "PersistentVolume")

WORKLOADS = (DEPLOYMENT, RAY_SERVICE, LEADER_WORKER_SET, NIM_SERVICE)
"""What runs a release's pods."""

COMMON: tuple[Kind, ...] = (("v1", "Service"), ("v1", "ConfigMap"), ("policy/v1", "PodDisruptionBudget"))
"""What releases of all frameworks may consist of besides their workload."""

SCALERS: dict[str, Kind] = {
    "hpa": ("autoscaling/v2", "HorizontalPodAutoscaler"),
    "keda": ("keda.sh/v1alpha1", "ScaledObject"),
    "aibrix": ("autoscaling.aibrix.ai/v1alpha1", "PodAutoscaler"),
}
"""Autoscalers, by who scales."""

POD_MONITOR: Kind = ("monitoring.coreos.com/v1", "PodMonitor")
"""What has the Prometheus operator scrape the pods."""

JOB_KINDS: tuple[Kind, ...] = (("batch/v1", "Job"), ("v1", "ConfigMap"))
"""What a load test consists of."""

VOLUME_KINDS = (CLAIM, VOLUME)
"""What mounted weights stand on."""

KINDS = (*WORKLOADS, *COMMON, *SCALERS.values(), NIM_CACHE, POD_MONITOR)
"""All that releases may consist of but for volumes, whatever the framework."""


def workload_kind(spec: EndpointSpec) -> Kind:
    """Returns the kind of the object that runs the endpoint's pods."""
    if spec.framework is Framework.RAY_VLLM:
        return RAY_SERVICE
    if spec.framework is Framework.LWS_VLLM:
        return LEADER_WORKER_SET
    return NIM_SERVICE if _by_operator(spec) else DEPLOYMENT


def kinds_of(spec: EndpointSpec) -> tuple[Kind, ...]:
    """Returns the kinds that the endpoint's own releases consist of."""
    kinds: list[Kind] = [workload_kind(spec), *COMMON, *shared_kinds(spec)]
    if _by_operator(spec):
        kinds.append(NIM_CACHE)
    if spec.autoscaling is not None:
        kinds.append(SCALERS[spec.autoscaling.by])
    if spec.pod.monitor:
        kinds.append(POD_MONITOR)
    if spec.weights is WeightsSource.MOUNT:
        kinds += VOLUME_KINDS
    return tuple(dict.fromkeys(kinds))


def shared_kinds(spec: EndpointSpec) -> tuple[Kind, ...]:
    """Returns the kinds whose objects releases of the endpoint share: NIM's cache, which outlives a release.

    It does where many nodes can mount it; else each release has its own.
    """
    if spec.framework is not Framework.NIM or not (spec.nim or NimOptions()).storage_class:
        return ()
    return (NIM_CACHE,) if _by_operator(spec) else (CLAIM,)


def _by_operator(spec: EndpointSpec) -> bool:
    return spec.framework is Framework.NIM and (spec.nim or NimOptions()).operator
