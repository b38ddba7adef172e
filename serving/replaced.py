"""Pods that tell nothing of a workload any more: others have taken their place, or a newer template has."""

from collections.abc import Mapping
from dataclasses import replace

from serving.snapshot import Object, Snapshot, being_deleted, is_true, name_of

_REVISION = "deployment.kubernetes.io/revision"
_KEEP_COUNT = ("ReplicaSet", "StatefulSet", "RayCluster", "LeaderWorkerSet")


def without_replaced(snapshot: Snapshot) -> Snapshot:
    """Returns the snapshot without pods that ended or go while their controller has all the ready pods it wants.

    Pods of a Deployment's older templates that are not ready go too, once a newer template has pods: the rollout
    replaces them.
    """
    older = _older_replicasets(snapshot)
    kept = [pod for pod in snapshot.pods if not (_gone(pod) and _covered(snapshot, pod)) and not _outdated(pod, older)]
    return snapshot if len(kept) == len(snapshot.pods) else replace(snapshot, pods=kept)


def controller(pod: Object) -> tuple[str, str]:
    """Returns kind and name of what made the pod; empty if nothing did."""
    for reference in (pod.get("metadata") or {}).get("ownerReferences") or ():
        if reference.get("kind") in _KEEP_COUNT:
            return str(reference["kind"]), str(reference.get("name", ""))
    return "", ""


def _gone(pod: Object) -> bool:
    phase = (pod.get("status") or {}).get("phase")
    return not is_true(pod, "Ready") and (being_deleted(pod) or phase in ("Failed", "Succeeded"))


def _covered(snapshot: Snapshot, pod: Object) -> bool:
    owner = controller(pod)
    if not owner[0]:
        return False
    mates = [other for other in snapshot.pods if controller(other) == owner and other is not pod]
    ready = sum(1 for mate in mates if is_true(mate, "Ready") and not being_deleted(mate))
    return ready >= max(1, _wanted(snapshot, *owner))


def _wanted(snapshot: Snapshot, kind: str, name: str) -> int:
    for entry in snapshot.kind(f"{kind.lower()}s"):
        if name_of(entry) == name:
            replicas = (entry.get("spec") or {}).get("replicas")
            return 1 if replicas is None else int(replicas)
    return 1


def _outdated(pod: Object, older: Mapping[str, str]) -> bool:
    kind, name = controller(pod)
    return kind == "ReplicaSet" and name in older and not is_true(pod, "Ready")


def _older_replicasets(snapshot: Snapshot) -> dict[str, str]:
    """Names of ReplicaSets of an older template whose Deployment has pods of the present one, with the Deployment's."""
    revisions = {name_of(one): _annotation(one) for one in snapshot.kind("deployments") if _annotation(one)}
    with_pods = {controller(pod)[1] for pod in snapshot.pods}
    owners: dict[str, str] = {}
    current: set[str] = set()
    for replicaset in snapshot.kind("replicasets"):
        references = (replicaset.get("metadata") or {}).get("ownerReferences") or ()
        deployment = next((str(one.get("name")) for one in references if one.get("kind") == "Deployment"), "")
        if deployment not in revisions:
            continue
        if _annotation(replicaset) == revisions[deployment]:
            current |= {deployment} if name_of(replicaset) in with_pods else set()
        else:
            owners[name_of(replicaset)] = deployment
    return {name: deployment for name, deployment in owners.items() if deployment in current}


def _annotation(thing: Object) -> str:
    return str(((thing.get("metadata") or {}).get("annotations") or {}).get(_REVISION) or "")
