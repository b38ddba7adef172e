"""Bring endpoints up to date with the branches that they follow."""

from typing import Annotated, Any

from prefect import flow, runtime, tags
from prefect.artifacts import acreate_table_artifact
from prefect.client.schemas.objects import State
from pydantic import BaseModel

from blocks.cluster import InferenceCluster
from blocks.hub import HuggingFaceHub
from blocks.store import ModelStore
from flows.naming import in_namespace
from flows.parameters import ClusterBlock, HubBlock, Namespace, StoreBlock, TimeoutMinutes, titled
from flows.pipeline import DeployReport, Target, deploy_endpoint
from serving import events
from serving.errors import InferenceError, RolloutError, SmokeTestError
from serving.models import PinnedModel
from serving.record import EndpointRecord
from tasks.events import emit
from tasks.explain import explained
from tasks.refresh import find_outdated, reject


class RefreshReport(BaseModel):
    """What a refresh did, by ``namespace/endpoint``.

    Attributes:
        current: Endpoints that serve what their branch is.
        refreshed: Endpoints that serve another commit now.
        failed: Endpoints that serve what they served, with the reason.
    """

    current: list[str]
    refreshed: list[str]
    failed: dict[str, str]


@flow(name="refresh-endpoint", flow_run_name="refresh {record.spec.name} to {newest.commit}")
async def refresh_endpoint(
    record: EndpointRecord,
    newest: PinnedModel,
    cluster: InferenceCluster,
    hub: HuggingFaceHub,
    store: ModelStore,
    timeout_minutes: int = 60,
) -> DeployReport | State[Any]:
    """Takes one endpoint to the commit that its branch is now: staged, proved, switched. Else it stays as it is.

    Args:
        record: What the endpoint serves.
        newest: What it is to serve.
        cluster: Cluster of the endpoint.
        hub: Token and address of the Hub.
        store: Bucket and prefix that hold staged models.
        timeout_minutes: How long the workload may take to become ready.
    """
    target = Target(cluster=cluster, hub=hub, store=store)
    return await explained(deploy_endpoint(record.spec, target, timeout_seconds=60.0 * timeout_minutes, pinned=newest))


@flow(name="refresh-models", flow_run_name=in_namespace("refresh endpoints"))
async def refresh_models(
    cluster: ClusterBlock,
    hub: HubBlock,
    store: StoreBlock,
    namespace: Namespace = "",
    repo_id: Annotated[str, titled("Model")] = "",
    timeout_minutes: TimeoutMinutes = 60,
) -> RefreshReport | State[Any]:
    """Brings every endpoint that follows a branch to the commit that the branch is now.

    One request to the Hub per repository and branch; endpoints whose commit did not move are not touched. A commit that
    cannot be proved leaves the endpoint serving what it served, and is passed over until the branch moves on. One
    endpoint's failure stops no other.

    Args:
        cluster: Cluster whose endpoints are looked at.
        hub: Token and address of the Hub.
        store: Bucket and prefix that hold staged models.
        namespace: By default all namespaces.
        repo_id: Only endpoints of this Hub repository, organization/name; by default all.
        timeout_minutes: How long each workload may take to become ready.
    """
    blocks = {"cluster": cluster, "hub": hub, "store": store}
    return await explained(_refresh(namespace, repo_id, blocks, timeout_minutes))


async def _refresh(namespace: str, repo_id: str, blocks: dict[str, Any], timeout_minutes: int) -> RefreshReport:
    found = await find_outdated(namespace, blocks["cluster"], blocks["hub"], repo_id)
    refreshed: list[str] = []
    failed = dict(found.unknown)
    for record, newest in found.outdated:
        name = f"{record.spec.namespace}/{record.spec.name}"
        with tags(*runtime.flow_run.tags):  # a subflow's run does not have its parent's by itself
            state = await refresh_endpoint(record, newest, **blocks, timeout_minutes=timeout_minutes, return_state=True)
        if state.is_completed():
            refreshed.append(name)
            _emit_refreshed(await state.aresult())
            continue
        failed[name] = state.message or str(state.type.value)
        fields = events.serving(record)
        emit(events.EndpointRefreshFailed(**fields, rejected_commit=newest.commit, message=failed[name]))
        outcome = await state.aresult(raise_on_failure=False)
        if isinstance(outcome, (RolloutError, SmokeTestError)):
            await reject(record, newest, str(outcome), blocks["cluster"])
    report = RefreshReport(current=found.current, refreshed=refreshed, failed=failed)
    await _show(report)
    if failed:
        raise InferenceError(
            f"{len(failed)} of {len(failed) + len(refreshed) + len(report.current)} endpoints were not refreshed: "
            f"{'; '.join(f'{name}: {why}' for name, why in failed.items())}",
            code="refresh.failed",
        )
    return report


def _emit_refreshed(outcome: Any) -> None:
    record = DeployReport.model_validate(outcome).record
    if record is not None:
        emit(events.refreshed(record))


async def _show(report: RefreshReport) -> None:
    rows = [{"endpoint": name, "outcome": "refreshed", "why": ""} for name in report.refreshed]
    rows += [
        {"endpoint": name, "outcome": "serves its earlier commit", "why": why} for name, why in report.failed.items()
    ]
    rows += [{"endpoint": name, "outcome": "up to date", "why": ""} for name in report.current]
    await acreate_table_artifact(table=rows, key="refresh", description=f"{len(report.refreshed)} refreshed")
