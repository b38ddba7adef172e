"""Deleting objects: preconditions, grace periods, finalizers and propagation."""

from dataclasses import dataclass
from typing import Any

from sandbox.kubernetes import errors
from sandbox.kubernetes.errors import ApiError
from sandbox.kubernetes.naming import now
from sandbox.kubernetes.objects.strategies import counts_generations
from sandbox.kubernetes.resources import JOBS, NAMESPACES, PODS, Resource
from sandbox.kubernetes.store import Store
from sandbox.kubernetes.trees import clone

Manifest = dict[str, Any]

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
_FINALIZERS = {"Foreground": FOREGROUND, "Orphan": ORPHAN}


@dataclass(frozen=True)
class DeleteOptions:
    """How to delete.

    Attributes:
        propagation: `Foreground`, `Background`, `Orphan`, or empty for the resource's default.
        grace_seconds: For pods: time to end; None takes the pod's own.
        uid: Only the object with this UID.
        resource_version: Only the object in this version.
        dry_run: Do nothing, but answer.
    """

    propagation: str = ""
    grace_seconds: int | None = None
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False


@dataclass(frozen=True)
class Deleted:
    """What a deletion led to.

    Attributes:
        object: The object as it is now, or was last.
        gone: Whether it is gone already; otherwise finalizers or a grace period hold it.
    """

    object: Manifest
    gone: bool


class Deleter:
    """Deletes objects of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def delete(self, resource: Resource, namespace: str, name: str, options: DeleteOptions) -> Deleted:
        """Delete an object, or mark it as terminating when something holds it.

        Raises:
            ApiError: 404, or 409 when a precondition does not hold.
        """
        current = self._store.get(resource.key, namespace, name)
        if current is None:
            raise errors.not_found(resource, name)
        _check_preconditions(resource, current["metadata"], options)
        if resource is NAMESPACES:
            return self._terminate_namespace(current, options)
        grace = _grace_seconds(resource, current, options)
        finalizers = _finalizers(resource, current, options)
        if not finalizers and not grace:
            return self._remove(resource, current, options)
        changed = _terminating(resource, current, finalizers, grace)
        if changed is current or options.dry_run:
            return Deleted(changed, gone=False)
        return Deleted(self._store.put(resource.key, changed), gone=False)

    def finalize(self, resource: Resource, namespace: str, name: str) -> None:
        """End the grace period of a terminating object: it goes, unless finalizers hold it."""
        current = self._store.get(resource.key, namespace, name)
        if current is None:
            return
        if current["metadata"].get("finalizers"):
            if current["metadata"].get("deletionGracePeriodSeconds"):
                changed = clone(current)
                changed["metadata"]["deletionGracePeriodSeconds"] = 0
                self._store.put(resource.key, changed)
            return
        self._store.remove(resource.key, namespace, name)

    def drop_finalizer(self, resource: Resource, namespace: str, name: str, finalizer: str) -> None:
        """Take one finalizer off a terminating object, which goes when it was the last."""
        current = self._store.get(resource.key, namespace, name)
        if current is None or finalizer not in current["metadata"].get("finalizers", ()):
            return
        changed = clone(current)
        rest = [one for one in changed["metadata"]["finalizers"] if one != finalizer]
        if rest:
            changed["metadata"]["finalizers"] = rest
        else:
            del changed["metadata"]["finalizers"]
        if rest or changed["metadata"].get("deletionGracePeriodSeconds"):
            self._store.put(resource.key, changed)
        else:
            self._store.remove(resource.key, namespace, name)

    def _remove(self, resource: Resource, current: Manifest, options: DeleteOptions) -> Deleted:
        meta = current["metadata"]
        last = current
        if resource is PODS:
            # Pods answer with the object, marked as terminated now.
            last = {**current, "metadata": {**meta, "deletionTimestamp": now(), "deletionGracePeriodSeconds": 0}}
        if not options.dry_run:
            self._store.remove(resource.key, meta.get("namespace", ""), meta["name"])
            last["metadata"].setdefault("resourceVersion", str(self._store.version))
        return Deleted(last, gone=True)

    def _terminate_namespace(self, current: Manifest, options: DeleteOptions) -> Deleted:
        if "deletionTimestamp" in current["metadata"]:
            return Deleted(current, gone=False)
        changed = clone(current)
        changed["metadata"]["deletionTimestamp"] = now()
        changed["status"]["phase"] = "Terminating"
        if not options.dry_run:
            self._store.put(NAMESPACES.key, changed)
        return Deleted(changed, gone=False)


def _check_preconditions(resource: Resource, meta: Manifest, options: DeleteOptions) -> None:
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    subject = f'Operation cannot be fulfilled on {kind} "{meta["name"]}"'
    for what, wanted, found in (
        ("UID", options.uid, meta["uid"]),
        ("ResourceVersion", options.resource_version, meta["resourceVersion"]),
    ):
        if wanted and wanted != found:
            happened = "deleted and then recreated" if what == "UID" else "modified"
            message = (
                f"{subject}: the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). "
                f"The object might have been {happened}"
            )
            group = {"group": resource.group} if resource.group else {}
            raise ApiError(409, "Conflict", message, {"name": meta["name"], **group, "kind": resource.kind})


def _grace_seconds(resource: Resource, obj: Manifest, options: DeleteOptions) -> int:
    if resource is not PODS:
        return 0
    if not obj["spec"].get("nodeName") or obj["status"].get("phase") in ("Succeeded", "Failed"):
        return 0
    if options.grace_seconds is not None:
        return max(options.grace_seconds, 0)
    return int(obj["spec"].get("terminationGracePeriodSeconds", 30))


def _finalizers(resource: Resource, obj: Manifest, options: DeleteOptions) -> list[str]:
    present = list(obj["metadata"].get("finalizers", ()))
    if "deletionTimestamp" in obj["metadata"] and not options.propagation:
        return present
    propagation = options.propagation or ("Orphan" if resource is JOBS else "Background")
    wanted = _FINALIZERS.get(propagation)
    kept = [one for one in present if one not in _FINALIZERS.values()]
    return [*kept, wanted] if wanted else kept


def _terminating(resource: Resource, current: Manifest, finalizers: list[str], grace: int) -> Manifest:
    """`current` as a terminating object; itself when it is one already in just this way."""
    meta = current["metadata"]
    already = "deletionTimestamp" in meta
    if already and grace >= meta.get("deletionGracePeriodSeconds", 0) and finalizers == meta.get("finalizers", []):
        return current
    changed = clone(current)
    if finalizers:
        changed["metadata"]["finalizers"] = finalizers
    changed["metadata"] |= {"deletionTimestamp": now(grace), "deletionGracePeriodSeconds": grace}
    if not already and counts_generations(resource):
        changed["metadata"]["generation"] = meta.get("generation", 0) + 1
    return changed
