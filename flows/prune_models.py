"""Remove staged commits that no release uses."""

from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import acreate_table_artifact
from prefect.client.schemas.objects import State
from pydantic import BaseModel, ConfigDict, Field

from blocks.cluster import InferenceCluster
from flows.parameters import ClusterBlock, DryRun, StoreBlock, titled
from serving.errors import InputError
from serving.record import KEPT_RELEASES
from tasks.explain import explained
from tasks.prune import PruneChoice, choose, find_usage, remove_pruned, require_quiet
from tasks.stage import in_bytes


class PruneReport(BaseModel):
    """What was pruned, or would be.

    Attributes:
        removed: Whether it is gone; False after a dry run.
        commits: ``organization/name@commit`` of staged models.
        remains: The same of commits that interrupted runs have left in part.
        uploads: Unfinished uploads.
        bytes: Bytes of models and remains.
    """

    model_config = ConfigDict(frozen=True)

    removed: bool
    commits: list[str]
    remains: list[str]
    uploads: int
    bytes: int


def _count(title: str, least: int = 0, most: int | None = None) -> Any:
    return Field(ge=least, le=most, json_schema_extra={"title": title})


@flow(name="prune-models", flow_run_name="prune models")
async def prune_models(
    cluster: ClusterBlock,
    store: StoreBlock,
    other_clusters: Annotated[list[str], titled("Other clusters")] = [],
    dry_run: DryRun = True,
    keep_releases: Annotated[int, _count("Releases kept", most=KEPT_RELEASES)] = KEPT_RELEASES,
    keep_newest: Annotated[int, _count("Commits kept per model")] = 0,
    keep_days: Annotated[int, _count("Days kept")] = 7,
    stale_days: Annotated[int, _count("Days until uploads are stale", least=1)] = 7,
) -> PruneReport | State[Any]:
    """Removes staged commits that no release uses: none that serves, comes up, or is kept for rollback, anywhere.

    A dry run unless told otherwise. All clusters that read the store must be named: what another one uses cannot be
    known. Commits that are being staged stay; unfinished uploads and remains of interrupted runs go when they are old.

    Args:
        cluster: Cluster whose endpoints, of all namespaces, use the store.
        store: Bucket and prefix that hold staged models.
        other_clusters: Names of the saved blocks of further clusters that use it.
        dry_run: Show what would go and remove nothing.
        keep_releases: Earlier releases of each endpoint that keep their weights; others would stage them again.
        keep_newest: So many commits of each model stay in any case, the newest.
        keep_days: Commits staged less than so many days ago stay: they may have been staged ahead.
        stale_days: Age from which unfinished uploads, and remains of interrupted runs, go.
    """

    async def work() -> PruneReport:
        clusters = [cluster, *[await _cluster(name) for name in other_clusters]]
        usage = await find_usage(clusters, keep_releases)
        if not dry_run:
            require_quiet(usage)
        ages = {"keep_newest": keep_newest, "keep_days": keep_days, "stale_days": stale_days}
        chosen = await choose(usage, store, **ages)
        report = _report(chosen, removed=not dry_run)
        words = "removed" if report.removed else "would be removed"
        await acreate_table_artifact(
            table=list(chosen.rows),
            key="prune-models",
            description=f"{len(report.commits)} commits {words}: {in_bytes(report.bytes)}",
        )
        if not dry_run:
            await remove_pruned(chosen.plan, store)
        return report

    return await explained(work())


async def _cluster(name: str) -> InferenceCluster:
    try:
        found: Any = await InferenceCluster.aload(name)
    except ValueError:
        raise InputError(
            f"There is no saved block inference-cluster/{name}.",
            fix="Name one that `prefect block ls` shows.",
            code="input.unknown_block",
        ) from None
    return InferenceCluster.model_validate(found)


def _report(chosen: PruneChoice, *, removed: bool) -> PruneReport:
    plan = chosen.plan
    return PruneReport(
        removed=removed,
        commits=[commit.name for commit in plan.commits],
        remains=[one.name for one in plan.remains],
        uploads=len(plan.uploads),
        bytes=plan.bytes,
    )
