"""Server-side apply with our own field manager and strict validation."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kube.connect import Cluster
from kube.diff import unified_diff, without_secrets
from kube.discovery import ApiResource, find_kind
from kube.errors import failure
from kube.order import step
from kube.read import describe, get, namespace_of
from kube.rejections import conflicting_managers, rejection
from kube.transport import Reply, call
from serving.errors import ApplyError

MANAGER = "inference-flows"
"""Field manager under which the project owns what it applies."""

PAUSER = "inference-flows-pause"
"""Field manager of what is set for a while beside what was applied: no pods, for example."""

OURS = frozenset({MANAGER, PAUSER})
"""Among these nobody asks: the one that comes takes over."""

Object = dict[str, Any]


class Outcome(StrEnum):
    """What an apply did."""

    CREATED = "created"
    CONFIGURED = "configured"
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Applied:
    """An applied object.

    Attributes:
        object: The object as the API server has it now (for a dry run: would have it), a Secret's values hidden.
        outcome: What the apply did to its contents; the API server's bookkeeping does not count.
        diff: Unified diff from what was live before; empty if nothing changed. Secret values are masked.
        warnings: What the API server warns of, such as a deprecated version.
    """

    object: Object = field(repr=False)
    outcome: Outcome
    diff: str = field(repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """How messages name it: ``Deployment chat/llama``."""
        return _describe(self.object)


@dataclass(frozen=True)
class _Planned:
    manifest: Object
    resource: ApiResource
    live: Object | None


def apply(
    cluster: Cluster,
    manifest: Mapping[str, Any],
    *,
    manager: str = MANAGER,
    force: bool = False,
    dry_run: bool = False,
) -> Applied:
    """Apply one manifest. Fields that it does not name stay as they are, or go if they were ours.

    Args:
        cluster: Where to.
        manifest: The object; without a namespace it goes to the cluster's default one.
        manager: Field manager that owns the fields.
        force: Take over fields that other managers own.
        dry_run: Let the API server compute everything and keep nothing.

    Raises:
        ApplyError: The API server rejected it; see `kube.rejections` for the codes.
        ClusterError: The API cannot be reached, refuses, or does not know the kind.
    """
    return _apply(cluster, _plan(cluster, manifest), manager=manager, force=force, dry_run=dry_run)


def apply_all(
    cluster: Cluster,
    manifests: Iterable[Mapping[str, Any]],
    *,
    manager: str = MANAGER,
    force: bool = False,
    dry_run: bool = False,
) -> list[Applied]:
    """Apply manifests so that what others need comes first (namespace, service account, secret, …, autoscaler).

    Everything is tried as a dry run before anything is changed: a manifest that the API server rejects leaves the
    cluster as it was.

    Args:
        cluster: Where to.
        manifests: The objects.
        manager: Field manager that owns the fields.
        force: Take over fields that other managers own.
        dry_run: Stop after the dry run. Objects in a namespace that this very call would create cannot be tried.

    Returns:
        What was applied, in the order of applying.

    Raises:
        ApplyError: The API server rejected one of them.
        ClusterError: The API cannot be reached, refuses, or does not know a kind.
    """
    ordered = sorted(manifests, key=lambda manifest: step(str(manifest.get("kind"))))
    plans = [_plan(cluster, manifest) for manifest in ordered]
    new = {plan.manifest["metadata"]["name"] for plan in plans if plan.resource.kind == "Namespace" and not plan.live}
    if dry_run:
        return [_apply(cluster, plan, manager=manager, force=force, dry_run=True) for plan in plans]
    for plan in plans:
        if plan.manifest["metadata"].get("namespace") not in new:
            _try(cluster, plan, manager=manager, force=force)
    return [_apply(cluster, plan, manager=manager, force=force, dry_run=False) for plan in plans]


def _plan(cluster: Cluster, manifest: Mapping[str, Any]) -> _Planned:
    metadata = manifest.get("metadata") or {}
    if not (manifest.get("apiVersion") and manifest.get("kind") and metadata.get("name")):
        raise ApplyError(
            f"A manifest was not applied: {_describe(manifest)} lacks its apiVersion, kind or metadata.name.",
            fix="Complete it.",
            code="apply.invalid",
        )
    resource = find_kind(cluster, str(manifest["apiVersion"]), str(manifest["kind"]))
    namespace = namespace_of(cluster, resource, metadata.get("namespace"))
    placed = {**manifest, "metadata": {**metadata, **({"namespace": namespace} if namespace else {})}}
    live = get(cluster, resource.api_version, resource.kind, metadata["name"], namespace)
    return _Planned(placed, resource, live)


def _try(cluster: Cluster, plan: _Planned, *, manager: str, force: bool) -> None:
    try:
        _apply(cluster, plan, manager=manager, force=force, dry_run=True)
    except ApplyError as error:
        if error.code != "apply.no_dry_run":  # an admission webhook that only judges the real thing
            raise


def _apply(cluster: Cluster, plan: _Planned, *, manager: str, force: bool, dry_run: bool) -> Applied:
    doing = f"{'try to apply' if dry_run else 'apply'} {_describe(plan.manifest)}"
    reply = _send(cluster, plan, doing, manager=manager, force=force, dry_run=dry_run)
    if not force and reply.status == 409 and conflicting_managers(failure(reply.status, reply.body)) <= OURS:
        reply = _send(cluster, plan, doing, manager=manager, force=True, dry_run=dry_run)
    if reply.status >= 400:
        raise _rejected(cluster, plan, reply, doing)
    applied: Object = reply.json()
    if applied["metadata"].get("deletionTimestamp"):
        raise ApplyError(
            f"{_describe(applied)} was applied in vain: it is being deleted.",
            cause="An earlier deletion still waits for its pods or for a finalizer.",
            fix="Wait until it is gone, then apply again.",
            code="apply.terminating",
        )
    # A repeated request finds what its first try created: what was there before decides, not the status alone.
    before = None if reply.status == 201 else plan.live
    diff = unified_diff(before, applied, _describe(plan.manifest))
    outcome = Outcome.CREATED if before is None else Outcome.CONFIGURED if diff else Outcome.UNCHANGED
    return Applied(without_secrets(applied), outcome, diff, reply.warnings)


def _send(cluster: Cluster, plan: _Planned, doing: str, *, manager: str, force: bool, dry_run: bool) -> Reply:
    metadata = plan.manifest["metadata"]
    query: dict[str, str | bool] = {"fieldManager": manager, "fieldValidation": "Strict"}
    if force:
        query["force"] = True
    if dry_run:
        query["dryRun"] = "All"
    return call(
        cluster,
        "PATCH",
        plan.resource.path(metadata.get("namespace", ""), metadata["name"]),
        doing=doing,
        query=query,
        body=plan.manifest,
        headers={"Content-Type": "application/apply-patch+yaml"},
    )


def _rejected(cluster: Cluster, plan: _Planned, reply: Reply, doing: str) -> Exception:
    return rejection(failure(reply.status, reply.body), plan.manifest, server=cluster.server, doing=doing)


def _describe(manifest: Mapping[str, Any]) -> str:
    metadata = manifest.get("metadata") or {}
    return describe(str(manifest.get("kind")), str(metadata.get("name")), str(metadata.get("namespace") or ""))
