"""Staged commits that no release uses: found over all clusters that read the store, shown, and taken away."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from blocks.cluster import InferenceCluster
from blocks.store import ModelStore
from kube.read import ALL_NAMESPACES
from serving.errors import ClusterError
from serving.events import ModelPruned
from serving.record import EndpointRecord
from serving.usage import Use, in_use
from staging.inventory import PrunePlan, Remains, StagedCommit, inventory, plan_prune, prune
from staging.store import StoreAccess
from tasks.events import emit
from tasks.kinds import workload_kind
from tasks.live import holders, staged_by_workloads
from tasks.record import read_records


@dataclass(frozen=True)
class Usage:
    """What the endpoints of all clusters use.

    Attributes:
        staged: Who uses a staged model, by its URI.
        busy: Endpoints that a run is changing now: what they will use is not known yet.
    """

    staged: dict[str, list[Use]] = field(default_factory=dict)
    busy: tuple[str, ...] = ()


@dataclass(frozen=True)
class PruneChoice:
    """What is to be pruned.

    Attributes:
        plan: What goes.
        rows: Every staged commit, with what becomes of it and why.
    """

    plan: PrunePlan
    rows: tuple[dict[str, str], ...]


@task(name="find-usage", task_run_name="find-usage", cache_policy=NO_CACHE)
async def find_usage(clusters: Sequence[InferenceCluster], keep_releases: int) -> Usage:
    """Reads the records and live workloads of all namespaces of these clusters.

    Raises:
        ClusterError: One of them cannot be read in full: then nothing may be pruned.
    """
    found = await asyncio.gather(*(asyncio.to_thread(usage_of, one, keep_releases) for one in clusters))
    staged: dict[str, list[Use]] = {}
    for usage in found:
        for uri, uses in usage.staged.items():
            staged.setdefault(uri, []).extend(uses)
    return Usage(staged, tuple(name for usage in found for name in usage.busy))


def usage_of(block: InferenceCluster, keep_releases: int) -> Usage:
    """What the endpoints of one cluster use: by their records, and by the workloads that are there."""
    with block.connect() as cluster:
        records = read_records(ALL_NAMESPACES, cluster)
        staged = in_use(records, keep_releases=keep_releases)
        namespaces = {one.spec.namespace for one in records} | {block.namespace}
        for uri, endpoints in staged_by_workloads(cluster, namespaces, _kinds(records)).items():
            named = {use.endpoint for use in staged.get(uri, [])}
            staged.setdefault(uri, []).extend(Use(one, "has pods") for one in sorted(endpoints - named))
        running = [f"{where}/{name}" for place in sorted(namespaces) for where, name in holders(cluster, place)]
    return Usage(staged, tuple(running))


def _kinds(records: Sequence[EndpointRecord]) -> set[tuple[str, str]]:
    return {workload_kind(one.spec) for one in records}


@task(name="plan-prune", task_run_name="plan-prune", cache_policy=NO_CACHE)
async def choose(usage: Usage, store: ModelStore, *, keep_newest: int, keep_days: int, stale_days: int) -> PruneChoice:
    """Says of every staged commit whether it goes, and why. Removes nothing.

    Args:
        usage: Who uses what.
        store: Where staged models are.
        keep_newest: So many commits of each model stay in any case.
        keep_days: Commits staged less than so many days ago stay.
        stale_days: Unfinished uploads, and remains of interrupted runs, below this age stay.

    Raises:
        StoreError: The bucket cannot be read.
    """
    return await asyncio.to_thread(
        choice, usage, store.access(), keep_newest=keep_newest, keep_days=keep_days, stale_days=stale_days
    )


def choice(usage: Usage, store: StoreAccess, *, keep_newest: int, keep_days: int, stale_days: int) -> PruneChoice:
    """Does what `choose` says."""
    found, now = inventory(store), datetime.now(UTC)
    under_way = found.under_way(store.prefix)
    why: dict[str, str] = {}
    for commit in found.staged:
        if uses := usage.staged.get(uri_of(commit, store)):
            why[commit.name] = ", ".join(map(str, uses))
        elif commit.name in under_way:
            why[commit.name] = "is being staged now"
        elif now - commit.manifest.staged_at < timedelta(days=keep_days):
            why[commit.name] = f"staged less than {keep_days} days ago"
    planned = plan_prune(store, {*why, *under_way}, keep_newest=keep_newest, stale=timedelta(days=stale_days), now=now)
    going = {commit.name for commit in planned.commits}
    rows = [
        {
            "model": commit.manifest.repo_id,
            "commit": commit.manifest.commit[:12],
            "staged": f"{commit.manifest.staged_at:%Y-%m-%d}",
            "bytes": f"{commit.manifest.total_bytes:,}",
            "goes": "yes" if commit.name in going else "",
            "why": "no release uses it" if commit.name in going else why.get(commit.name, "newest of its model"),
        }
        for commit in found.staged
    ]
    rows += [
        {
            "model": one.name.partition("@")[0],
            "commit": one.name.partition("@")[2][:12],
            "staged": "",
            "bytes": f"{one.bytes:,}",
            "goes": "yes",
            "why": "left by an interrupted run",
        }
        for one in planned.remains
    ]
    return PruneChoice(planned, tuple(rows))


def uri_of(commit: StagedCommit, store: StoreAccess) -> str:
    """Where a staged commit stands, as records have it."""
    return f"s3://{store.bucket}/{commit.prefix}"


@task(name="prune", task_run_name="prune", cache_policy=NO_CACHE)
async def remove_pruned(plan: PrunePlan, store: ModelStore) -> None:
    """Removes what was chosen, and tells an event for each commit.

    Raises:
        StoreError: The bucket cannot be written.
    """
    access = store.access()
    await asyncio.to_thread(prune, plan, access)
    for commit in plan.commits:
        manifest = commit.manifest
        emit(
            ModelPruned(
                model=manifest.repo_id,
                revision=manifest.revision,
                commit=manifest.commit,
                uri=uri_of(commit, access),
                bytes=manifest.total_bytes,
            )
        )
        get_run_logger().info("%s removed: %d bytes", commit.name, manifest.total_bytes)


def staged_of_nobody_else(
    uris: Collection[str], usage: Usage, endpoint: str, store: StoreAccess
) -> tuple[PrunePlan, dict[str, str]]:
    """Of an endpoint's staged models those that nobody else uses; and why the others stay.

    Args:
        uris: What its releases use.
        usage: Who uses what.
        endpoint: ``namespace/endpoint``, which does not count.
        store: Where staged models are; what stands elsewhere stays.
    """
    found = inventory(store)
    at = {uri_of(commit, store): commit for commit in found.staged}
    # A removal that was interrupted, or a staging that never ended.
    remains = {f"s3://{store.bucket}/{one.prefix}": one for one in found.remains}
    under_way = found.under_way(store.prefix)
    going: list[StagedCommit] = []
    left: list[Remains] = []
    stays: dict[str, str] = {}
    for uri in sorted(set(uris)):
        others = [use for use in usage.staged.get(uri, []) if use.endpoint != endpoint]
        if others:
            stays[uri] = f"used by {', '.join(map(str, others))}"
        elif uri not in at and uri not in remains:
            stays[uri] = "not in this model store"
        elif (at.get(uri) or remains[uri]).name in under_way:
            stays[uri] = "being staged now"
        elif uri in at:
            going.append(at[uri])
        else:
            left.append(remains[uri])
    return PrunePlan(tuple(going), (), (), tuple(left)), stays


def require_quiet(usage: Usage, *, apart_from: str = "") -> None:
    """Raises if a run is changing an endpoint, but for one.

    Raises:
        ClusterError: ``prune.busy``.
    """
    busy = [name for name in usage.busy if name != apart_from]
    if busy:
        raise ClusterError(
            f"Nothing was removed: {', '.join(busy)} {'is' if len(busy) == 1 else 'are'} being changed by a run.",
            cause="What it is about to use is not known before it ends.",
            fix="Run this again when it has ended.",
            code="prune.busy",
        )
