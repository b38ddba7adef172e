"""Every change of an object goes through here: defaults, admission, validation, ownership, then the store."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sandbox.kubernetes import errors
from sandbox.kubernetes.resources import PODS, Resource
from sandbox.kubernetes.store import Store
from sandbox.kubernetes.trees import clone

Manifest = dict[str, Any]


def now() -> str:
    """The current time as objects carry it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class WriteOptions:
    """How to write: by whom, and whether for real."""

    manager: str
    subresource: str = ""
    dry_run: bool = False


@dataclass(frozen=True)
class DeleteOptions:
    """How to delete."""

    propagation: str = ""
    grace_seconds: int | None = None
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False


class Writer:
    """Creates, changes and deletes objects."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def create(self, resource: Resource, namespace: str, obj: Manifest, options: WriteOptions) -> Manifest:
        """Create."""
        meta = obj["metadata"]
        if "name" not in meta:
            meta["name"] = meta["generateName"] + uuid.uuid4().hex[:5]
        if self.store.get(resource.key, namespace, meta["name"]):
            raise errors.already_exists(resource, meta["name"])
        obj.setdefault("apiVersion", resource.api_version)
        obj.setdefault("kind", resource.kind)
        meta.update(uid=str(uuid.uuid4()), creationTimestamp=now(), generation=1)
        return self.store.put(resource.key, obj)

    def update(self, resource: Resource, current: Manifest, changed: Manifest, options: WriteOptions) -> Manifest:
        """Update."""
        if changed == current:
            return current
        if changed.get("spec") != current.get("spec") and not options.subresource:
            changed["metadata"]["generation"] = current["metadata"].get("generation", 0) + 1
        return self.store.put(resource.key, changed)

    def delete(self, resource: Resource, namespace: str, name: str, options: DeleteOptions) -> Manifest:
        """Delete."""
        current = self.store.get(resource.key, namespace, name)
        if current is None:
            raise errors.not_found(resource, name)
        if resource is PODS and current["spec"].get("nodeName") and options.grace_seconds != 0:
            grace = options.grace_seconds or current["spec"].get("terminationGracePeriodSeconds", 30)
            changed = clone(current)
            changed["metadata"].update(deletionTimestamp=now(), deletionGracePeriodSeconds=grace)
            return self.store.put(resource.key, changed)
        self.store.remove(resource.key, namespace, name)
        return current

    def finalize(self, resource: Resource, namespace: str, name: str) -> None:
        """Remove for good."""
        self.store.remove(resource.key, namespace, name)
