"""What a FailedScheduling event says. Texts are those of Kubernetes 1.36, as recorded."""

from collections import Counter
from collections.abc import Iterable, Mapping

from sandbox.kubernetes.controllers.scheduling.filters import Refusal

NO_VICTIMS = "No preemption victims found for incoming pod"
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_NODES = "no nodes available to schedule pods"
UNBOUND_CLAIMS = "pod has unbound immediate PersistentVolumeClaims"


def no_fit(refusals: Mapping[str, Refusal]) -> str:
    """Every node's reasons, counted, and why removing other pods would not help either."""
    nodes = len(refusals)
    if not nodes:
        return NO_NODES
    reasons = _counted(reason for one in refusals.values() for reason in one.reasons)
    preemption = _counted(
        "No preemption victims found for incoming pod"
        if one.preemptible
        else "Preemption is not helpful for scheduling"
        for one in refusals.values()
    )
    return (
        f"0/{nodes} nodes are available: {reasons}. no new claims to deallocate, "
        f"preemption: 0/{nodes} nodes are available: {preemption}."
    )


def no_start(nodes: int, why: str) -> str:
    """The pod itself keeps it from every node, whatever they offer."""
    return f"0/{nodes} nodes are available: {why}. not found"


def _counted(reasons: Iterable[str]) -> str:
    return ", ".join(sorted(f"{number} {reason}" for reason, number in Counter(reasons).items()))
