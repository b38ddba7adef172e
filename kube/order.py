"""In which order objects are applied and deleted, by kind."""

from collections.abc import Iterable

_STEPS: tuple[tuple[str, ...], ...] = (
    ("Namespace",),
    ("CustomResourceDefinition", "StorageClass", "PriorityClass", "PersistentVolume"),
    ("ServiceAccount",),
    ("Role", "ClusterRole"),
    ("RoleBinding", "ClusterRoleBinding"),
    ("ResourceQuota", "LimitRange", "NetworkPolicy"),
    ("Secret",),
    ("ConfigMap",),
    ("PersistentVolumeClaim", "NIMCache"),
    ("Service",),
    (),  # workloads: every kind that stands nowhere else
    (
        "HorizontalPodAutoscaler",
        "PodAutoscaler",
        "ScaledObject",
        "PodDisruptionBudget",
    ),
    ("Ingress", "HTTPRoute", "GRPCRoute", "ServiceMonitor", "PodMonitor"),
)
WORKLOAD = _STEPS.index(())
_STEP_OF = {kind: step for step, kinds in enumerate(_STEPS) for kind in kinds}


def step(kind: str) -> int:
    """Place of a kind in the order of applying: what others need comes first."""
    return _STEP_OF.get(kind, WORKLOAD)


def deletion_steps(kinds: Iterable[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Group ``(api_version, kind)`` pairs in the order of deleting: the reverse of applying.

    Autoscalers go before the workloads that they would scale up again, workloads before the services, configuration
    and secrets that their pods still use.
    """
    grouped: dict[int, list[tuple[str, str]]] = {}
    for api_version, kind in dict.fromkeys(kinds):
        grouped.setdefault(step(kind), []).append((api_version, kind))
    return [grouped[number] for number in sorted(grouped, reverse=True)]
