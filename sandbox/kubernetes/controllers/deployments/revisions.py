"""The ReplicaSets of a Deployment: which is the new one, what they are called, what their annotations say."""

from collections.abc import Sequence

from sandbox.kubernetes.controllers.deployments import rolling
from sandbox.kubernetes.controllers.meta import Obj, owner_reference, safe_encode
from sandbox.kubernetes.trees import compact_json

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
_NOT_COPIED = {
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    rolling.DESIRED,
    rolling.MAXIMUM,
    "deprecated.deployment.rollback.to",
}
_HISTORY_LENGTH = 2000


def template_hash(template: Obj, collisions: int) -> str:
    """The hash of a pod template in its usual letters.

    The function is the usual one (32-bit FNV-1a); its input is the template's JSON and not Go's dump of it, so
    the same template has another hash than in a real cluster.
    """
    value = 0x811C9DC5
    for byte in compact_json(template, sort=True).encode() + (str(collisions).encode() if collisions else b""):
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return safe_encode(str(value))


def without_hash(template: Obj) -> Obj:
    """The template as the Deployment has it: without the label that was added."""
    meta = template.get("metadata") or {}
    labels = {key: value for key, value in (meta.get("labels") or {}).items() if key != HASH}
    return {**template, "metadata": {**{k: v for k, v in meta.items() if k != "creationTimestamp"}, "labels": labels}}


def find_new(deployment: Obj, replica_sets: Sequence[Obj]) -> Obj | None:
    """The (oldest) ReplicaSet of the Deployment's present template."""
    template = without_hash(deployment["spec"]["template"])
    for one in rolling.by_age(replica_sets):
        if without_hash(one["spec"]["template"]) == template:
            return one
    return None


def revision(obj: Obj) -> int:
    """The revision that an object carries; 0 for none."""
    text = (obj["metadata"].get("annotations") or {}).get(REVISION, "0")
    return int(text) if text.isdigit() else 0


def next_revision(old: Sequence[Obj]) -> int:
    """One more than any old ReplicaSet has."""
    return max((revision(one) for one in old), default=0) + 1


def size_annotations(deployment: Obj) -> dict[str, str]:
    """What the Deployment wanted when it last sized the ReplicaSet."""
    count = rolling.wanted(deployment)
    return {rolling.DESIRED: str(count), rolling.MAXIMUM: str(count + rolling.limits(deployment).surge)}


def annotations_of_new(deployment: Obj, replica_set: Obj, number: int) -> dict[str, str]:
    """The new ReplicaSet's annotations: the Deployment's, its revision, and the revisions that it was before."""
    own = dict(replica_set["metadata"].get("annotations") or {})
    given = deployment["metadata"].get("annotations") or {}
    result = own | {key: value for key, value in given.items() if key not in _NOT_COPIED}
    before = own.get(REVISION)
    if revision(replica_set) < number:
        result[REVISION] = str(number)
        if before is not None:
            history = [*filter(None, own.get(HISTORY, "").split(",")), before]
            while len(",".join(history)) > _HISTORY_LENGTH:
                history.pop(0)
            result[HISTORY] = ",".join(history)
    return result


def new_replica_set(deployment: Obj, old: Sequence[Obj]) -> Obj:
    """The ReplicaSet to create for the Deployment's present template."""
    meta, spec = deployment["metadata"], deployment["spec"]
    template = spec["template"]
    digest = template_hash(template, deployment.get("status", {}).get("collisionCount", 0))
    labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH: digest}
    selector = {**spec["selector"], "matchLabels": {**(spec["selector"].get("matchLabels") or {}), HASH: digest}}
    created: Obj = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{meta['name']}-{digest}",
            "namespace": meta["namespace"],
            "labels": labels,
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": {
            "replicas": 0,
            "selector": selector,
            "template": {**template, "metadata": {**(template.get("metadata") or {}), "labels": labels}},
        },
    }
    if spec.get("minReadySeconds"):
        created["spec"]["minReadySeconds"] = spec["minReadySeconds"]
    created["spec"]["replicas"] = rolling.new_size(deployment, [*old, created], created)
    created["metadata"]["annotations"] = annotations_of_new(deployment, created, next_revision(old))
    created["metadata"]["annotations"] |= size_annotations(deployment)
    return created


def surplus(deployment: Obj, old: Sequence[Obj]) -> list[Obj]:
    """Old ReplicaSets beyond `revisionHistoryLimit` that have no pods any more, the oldest revisions first."""
    limit = deployment["spec"].get("revisionHistoryLimit", 10)
    kept = [one for one in old if "deletionTimestamp" not in one["metadata"]]
    candidates = sorted(kept, key=revision)[: max(len(kept) - limit, 0)]
    return [one for one in candidates if _is_empty(one)]


def _is_empty(one: Obj) -> bool:
    status = one.get("status", {})
    observed: bool = status.get("observedGeneration", 0) >= one["metadata"]["generation"]
    return observed and not status.get("replicas") and not one["spec"]["replicas"]
