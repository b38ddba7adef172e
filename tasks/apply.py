"""Apply an endpoint's manifests, and take away what it no longer renders."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from kube.apply import Applied, Outcome, apply_all
from kube.connect import Cluster
from serving.frameworks.workload import Manifest


@dataclass(frozen=True)
class Changes:
    """What an apply changed, or would change.

    Attributes:
        changed: ``Kind namespace/name`` of everything created or configured.
        diff: Unified diffs, Secret values masked; empty if all was as wanted.
    """

    changed: tuple[str, ...]
    diff: str


@task(name="apply-workload", task_run_name="apply-workload", cache_policy=NO_CACHE)
async def apply_workload(manifests: Sequence[Manifest], cluster: Cluster) -> Changes:
    """Server-side apply of all manifests; a rejected one leaves the cluster as it was."""
    applied = await asyncio.to_thread(apply_all, cluster, manifests)
    changes = changes_of(applied)
    log = get_run_logger()
    for entry in applied:
        log.info("%s %s", entry.name, entry.outcome.value)
        for warning in entry.warnings:
            log.warning("%s: %s", entry.name, warning)
    return changes


@task(name="dry-run", task_run_name="dry-run", cache_policy=NO_CACHE)
async def try_workload(manifests: Sequence[Manifest], cluster: Cluster) -> Changes:
    """What applying would change, computed by the API server; nothing is kept."""
    return changes_of(await asyncio.to_thread(apply_all, cluster, manifests, dry_run=True))


def changes_of(applied: Sequence[Applied]) -> Changes:
    """Sums up what an apply did."""
    moved = [entry for entry in applied if entry.outcome is not Outcome.UNCHANGED]
    return Changes(
        changed=tuple(entry.name for entry in moved),
        diff="\n".join(entry.diff.rstrip("\n") for entry in moved if entry.diff),
    )
