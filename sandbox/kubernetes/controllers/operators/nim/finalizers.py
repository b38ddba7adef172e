"""The finalizers of the operator's objects: without it nobody takes them off, and the objects stay."""

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.controllers.meta import Obj, is_terminating
from sandbox.kubernetes.resources import Resource

MANAGER = "k8s-nim-operator"


def is_kept(cluster: Cluster, resource: Resource, obj: Obj) -> bool:
    """Puts the finalizer on an object, or takes it off one that is deleted; whether there is more to do for it."""
    finalizer = f"finalizer.{resource.kind.lower()}.apps.nvidia.com"
    leaving = is_terminating(obj)
    meta = obj["metadata"]

    def change(one: Obj) -> None:
        others = [name for name in one["metadata"].get("finalizers") or [] if name != finalizer]
        one["metadata"]["finalizers"] = others if leaving else [*others, finalizer]

    if (finalizer in (meta.get("finalizers") or [])) is leaving:
        cluster.update(resource, meta["namespace"], meta["name"], change, manager=MANAGER)
    return not leaving
