"""A release without pods, and with them again: how `recreate` frees accelerators and gives them back. No Prefect here.

What is done depends on the kind:

- Deployment, LeaderWorkerSet, NIMService: no replicas.
- RayService: suspended, which KubeRay answers by deleting its Ray clusters (since 1.7, its pull request 4841). An older
  one has no such field: there the RayService itself goes, and comes back from the record.
- Autoscalers: a HorizontalPodAutoscaler and AIBrix' PodAutoscaler leave a workload of no replicas alone (Kubernetes:
  "Implicit maintenance-mode deactivation"); KEDA does not, and is told to pause by its annotation.
"""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from kube.apply import apply_all
from kube.connect import Cluster
from kube.delete import delete
from kube.patch import patch
from kube.read import get
from kube.watch import Change, WatchTarget, watch
from serving.errors import ApplyError, ClusterError
from serving.frameworks.labels import selector
from serving.frameworks.workload import Manifest
from serving.record import ReleaseRecord
from serving.release import Release
from tasks.kinds import RAY_SERVICE, SCALERS, Kind, workload_kind

KEDA_PAUSED = "autoscaling.keda.sh/paused-replicas"
ENDING_SECONDS = 60.0
"""What pods may take to go beyond the time that they have for requests in flight."""


@dataclass(frozen=True)
class Field:
    """Something to change in an object of a release, as a JSON merge patch."""

    kind: Kind
    body: dict[str, Any]


def fields_to_pause(release: ReleaseRecord) -> list[Field]:
    """What takes a release's pods away, in order: who would bring them back comes first."""
    kind = workload_kind(release.spec)
    workload: dict[str, Any] = {"suspend": True} if kind == RAY_SERVICE else {"replicas": 0}
    return [*_keda(release, "0"), Field(kind, {"spec": workload})]


def fields_to_resume(release: ReleaseRecord) -> list[Field]:
    """What brings a release's pods back, as many as it had."""
    kind = workload_kind(release.spec)
    workload: dict[str, Any] = {"suspend": None} if kind == RAY_SERVICE else {"replicas": usual_replicas(release)}
    return [Field(kind, {"spec": workload}), *_keda(release, None)]


def usual_replicas(release: ReleaseRecord) -> int:
    """Pods that a release has: as many as when it was paused, else as its spec says."""
    if release.replicas:
        return release.replicas
    scaling = release.spec.autoscaling
    return max(1, scaling.min_replicas) if scaling else release.spec.replicas


def _keda(release: ReleaseRecord, replicas: str | None) -> list[Field]:
    scaling = release.spec.autoscaling
    if scaling is None or scaling.by != "keda":
        return []
    return [Field(SCALERS["keda"], {"metadata": {"annotations": {KEDA_PAUSED: replicas}}})]


def live_replicas(release: ReleaseRecord, cluster: Cluster) -> int:
    """Pods that a release's workload is to have now; 0 if it is paused, or of a kind that does not say."""
    found = get(cluster, *workload_kind(release.spec), release_name(release), release.spec.namespace)
    replicas = ((found or {}).get("spec") or {}).get("replicas")
    return int(replicas) if replicas is not None else 0


def pause(release: ReleaseRecord, cluster: Cluster) -> None:
    """Takes a release's pods away and waits until they are gone. What they run is kept, but for their number.

    Raises:
        ClusterError: ``pause.unfinished`` if pods are still there in the end; the API refuses or cannot be reached.
    """
    spec, name = release.spec, release_name(release)
    for field in fields_to_pause(release):
        try:
            patch(cluster, *field.kind, name, field.body, namespace=spec.namespace)
        except ApplyError as error:
            if error.code != "apply.unknown_field" or field.kind != RAY_SERVICE:
                raise
            delete(cluster, *RAY_SERVICE, name, namespace=spec.namespace, wait=_longest(release))
    wait_until_podless(release, cluster)


def resume(release: ReleaseRecord, cluster: Cluster, manifests: Sequence[Manifest] | None = None) -> bool:
    """Gives a release its pods again; does not wait for them.

    Args:
        release: The release.
        cluster: Where it is.
        manifests: What it consists of, to apply if its workload is gone.

    Returns:
        Whether it could be done: False if the workload is gone and there are no manifests.
    """
    spec, name = release.spec, release_name(release)
    found = True
    for field in fields_to_resume(release):
        changed = patch(cluster, *field.kind, name, field.body, namespace=spec.namespace)
        found = found and changed is not None
    if not found and manifests is not None:
        apply_all(cluster, manifests)
    return found or manifests is not None


def wait_until_podless(release: ReleaseRecord, cluster: Cluster) -> None:
    """Waits until no pod of a release is left: its accelerators are free then.

    Raises:
        ClusterError: ``pause.unfinished``: some are still there.
    """
    spec, longest = release.spec, _longest(release)
    labels = ",".join(f"{key}={value}" for key, value in selector(named(release)).items())
    target = WatchTarget("v1", "Pod", spec.namespace, labels=labels)
    present: set[str] = set()
    synced = False
    with closing(watch(cluster, [target], deadline=time.monotonic() + longest)) as events:
        for event in events:
            synced = synced or event.type is Change.SYNCED
            if event.type is Change.DELETED:
                present.discard(event.object["metadata"]["name"])
            elif event.type is not Change.SYNCED:
                present.add(event.object["metadata"]["name"])
            if synced and not present:
                return
    raise ClusterError(
        f"Pods of release {release.id} of {spec.namespace}/{spec.name} are still there after {longest:.0f} s: "
        f"{', '.join(sorted(present))}.",
        cause="They are still ending, or their node is lost.",
        fix="Look at what holds them (kubectl describe pod); those of a lost node go with kubectl delete pod --force.",
        code="pause.unfinished",
    )


def named(release: ReleaseRecord) -> Release:
    """The release as renderers name it."""
    return Release(endpoint=release.spec.name, id=release.id, model=release.model)


def release_name(release: ReleaseRecord) -> str:
    """Name of the release's objects."""
    return named(release).name


def _longest(release: ReleaseRecord) -> float:
    return release.spec.pod.termination_seconds + ENDING_SECONDS
