"""Bring one endpoint to the commit that its branch is now, after asking a person where its policy says so."""

from datetime import UTC, datetime
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from blocks.hub import HuggingFaceHub
from flows.parameters import (
    ClusterBlock,
    HubBlock,
    NamedEndpoint,
    Namespace,
    StoreBlock,
    TimeoutMinutes,
    titled,
)
from flows.pipeline import DeployReport, deploy_endpoint, settle_endpoint
from flows.target import Target
from serving import events
from serving.models import PinnedModel
from serving.record import EndpointRecord
from serving.refresh import Decision, Step, decide
from tasks.approval import ask_person
from tasks.events import emit
from tasks.explain import explained
from tasks.record import load_record
from tasks.refresh import approve, reject
from tasks.runs import describe_deploy
from tasks.stage import pin_model


@flow(name="refresh-endpoint", flow_run_name="refresh {endpoint}")
async def refresh_endpoint(
    endpoint: NamedEndpoint,
    cluster: ClusterBlock,
    hub: HubBlock,
    store: StoreBlock,
    namespace: Namespace = "",
    commit: Annotated[str, Field(pattern=r"^([0-9a-f]{40})?$", json_schema_extra={"title": "Commit"})] = "",
    ignore_windows: Annotated[bool, titled("At any hour")] = False,
    approval_hours: Annotated[
        int, Field(gt=0, le=24 * 90, json_schema_extra={"title": "Wait for an answer (hours)"})
    ] = 168,
    timeout_minutes: TimeoutMinutes = 60,
) -> DeployReport | State[Any]:
    """Takes one endpoint to the commit that its branch is now: staged, proved, switched. Else it stays as it is.

    Where its refresh policy asks for approval, the run is suspended before anything is changed, and goes on when
    somebody has answered its form. A commit that was approved outside the policy's hours moves with the first refresh
    inside them; one that was turned down is passed over until the branch moves on.

    Args:
        endpoint: Name of the endpoint.
        cluster: Cluster and namespace of the endpoint.
        hub: Token and address of the Hub.
        store: Bucket and prefix that hold staged models.
        namespace: By default the cluster block's.
        commit: The commit that it is to serve; by default what its branch is.
        ignore_windows: Whether it may move outside the hours of its policy.
        approval_hours: How long the run waits for an answer; the next refresh asks again.
        timeout_minutes: How long the workload may take to become ready.
    """
    target, timeout = Target(cluster=cluster, hub=hub, store=store), 60.0 * timeout_minutes

    async def work() -> DeployReport | State[Any]:
        record = await load_record(namespace or cluster.namespace, endpoint, cluster)
        if not record.settled:
            await settle_endpoint(record, target, timeout_seconds=timeout, wait_seconds=timeout)
            record = await load_record(record.spec.namespace, endpoint, cluster)
        newest = await _newest(record, commit, hub)
        await describe_deploy(record.spec, newest)
        decision = decide(record, newest, datetime.now(UTC), ignore_windows=ignore_windows)
        if decision.step is Step.ASKS:
            answered = await _ask(record, newest, target, approval_hours)
            if answered is None:
                return Completed(name="Rejected", message=f"{newest.commit[:12]} was turned down; nothing was changed.")
            decision = decide(answered, newest, datetime.now(UTC), ignore_windows=ignore_windows)
        if decision.step is not Step.MOVES:
            name = "Approved" if decision.step is Step.WAITS else "NothingToDo"
            return Completed(name=name, message=f"{decision.name} {decision.step}. {decision.why}".strip())
        return await _move(decision, newest, target, timeout)

    return await explained(work())


async def _newest(record: EndpointRecord, commit: str, hub: HuggingFaceHub) -> PinnedModel:
    source = record.spec.model
    if commit:
        return PinnedModel(repo_id=source.repo_id, revision=source.revision, commit=commit)
    return await pin_model(source, hub)


async def _ask(record: EndpointRecord, newest: PinnedModel, target: Target, hours: int) -> EndpointRecord | None:
    """The record with the approval; None if the commit was turned down."""
    answer = await ask_person(record, newest, target.hub, target.store, hours=hours)
    by = f" by {answer.by}" if answer.by else ""
    note = f": {answer.note}" if answer.note else ""
    if not answer.approve:
        await reject(record, newest, f"turned down{by}{note}", target.cluster)
        return None
    await approve(record, newest, answer.by, answer.note, target.cluster)
    return await load_record(record.spec.namespace, record.spec.name, target.cluster)


async def _move(decision: Decision, newest: PinnedModel, target: Target, timeout_seconds: float) -> DeployReport:
    record = decision.record
    report = await deploy_endpoint(
        record.spec, target, timeout_seconds=timeout_seconds, action="refresh", pinned=newest, seen=record
    )
    if report.record is not None:
        emit(events.refreshed(report.record))
    return report
