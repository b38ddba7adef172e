"""What a wait watches: the workload, what its controllers make of it, its pods, and the events about all of these."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kube.connect import Cluster
from kube.discovery import has_kind
from kube.watch import WatchTarget
from serving.record import ENDPOINT_LABEL
from serving.spec import EndpointSpec
from tasks.kinds import DEPLOYMENT, LEADER_WORKER_SET, NIM_CACHE, NIM_SERVICE, RAY_SERVICE, Kind, workload_kind


@dataclass(frozen=True)
class Made:
    """Objects that a workload's controller makes.

    Attributes:
        kind: Their kind.
        label: Label under which they carry the workload's name; empty: they carry the release's own labels.
    """

    kind: Kind
    label: str = ""


_REPLICA_SET: Kind = ("apps/v1", "ReplicaSet")

MADE: dict[Kind, tuple[Made, ...]] = {
    DEPLOYMENT: (Made(_REPLICA_SET),),
    # KubeRay names the RayService on the clusters that it makes; a RayCluster's pods have the labels of our templates.
    RAY_SERVICE: (Made(("ray.io/v1", "RayCluster"), "ray.io/originated-from-cr-name"),),
    LEADER_WORKER_SET: (Made(("apps/v1", "StatefulSet"), "leaderworkerset.sigs.k8s.io/name"),),
    # The operator hands `spec.labels` of a NIMService on to all that it makes.
    NIM_SERVICE: (Made(DEPLOYMENT), Made(_REPLICA_SET), Made(NIM_CACHE)),
}
"""By the workload's kind."""


def made_by_controllers(spec: EndpointSpec) -> tuple[Kind, ...]:
    """Returns the kinds that a wait for this endpoint watches besides workload, pods and events."""
    return tuple(made.kind for made in MADE[workload_kind(spec)])


def watch_targets(cluster: Cluster, workload: Mapping[str, Any], labels: Mapping[str, str]) -> list[WatchTarget]:
    """Returns what to watch for a workload.

    Args:
        cluster: Where it is: kinds that are not installed there are left out.
        workload: The manifest that was applied.
        labels: The release's own, which its pods carry.
    """
    metadata, kind = workload["metadata"], (workload["apiVersion"], workload["kind"])
    namespace, mine = metadata["namespace"], ",".join(f"{key}={value}" for key, value in labels.items())
    targets = [
        WatchTarget(*kind, namespace, name=metadata["name"]),
        # Pods of the endpoint's other releases too: one of them may hold what a new one waits for.
        WatchTarget("v1", "Pod", namespace, labels=f"{ENDPOINT_LABEL}={labels[ENDPOINT_LABEL]}"),
        WatchTarget("v1", "Event", namespace),
    ]
    for made in MADE.get(kind, ()):
        if has_kind(cluster, *made.kind):
            chosen = f"{made.label}={metadata['name']}" if made.label else mine
            targets.append(WatchTarget(*made.kind, namespace, labels=chosen))
    return targets
