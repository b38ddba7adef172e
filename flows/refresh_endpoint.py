"""Bring one endpoint to the commit that its branch is now, after asking a person where its policy says so."""

import time
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
    WaitMinutes,
    titled,
)
from flows.pipeline import DeployReport, deploy_endpoint, settle_endpoint
from flows.target import Target
from serving import events
from serving.errors import InferenceError
from serving.lifecycle import CHANGED, changed_since
from serving.models import PinnedModel
from serving.record import EndpointRecord
from serving.refresh import Decision, Step, decide, follows
from tasks.approval import ask_person
from tasks.events import emit
from tasks.explain import explained
from tasks.record import load_record, unknown_endpoint
from tasks.refresh import approve, reject
from tasks.runs import describe_deploy
from tasks.stage import pin_model

NOTHING_TO_DO, OVERTAKEN = "NothingToDo", "Overtaken"
"""Names of the states of runs that changed nothing: it serves what it should; another run and its branch moved on."""


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
    wait_minutes: WaitMinutes = 60,
) -> DeployReport | State[Any]:
    """Takes one endpoint to the commit that its branch is now: staged, proved, switched. Else it stays as it is.

    Where its refresh policy asks for approval, the run is suspended before anything is changed, and goes on when
    somebody has answered its form. A commit that was approved outside the policy's hours moves with the first refresh
    inside them; one that was turned down is passed over until the branch moves on.

    Another run that changes the endpoint is waited for, and what it leaves is decided about anew.

    Args:
        endpoint: Name of the endpoint.
        cluster: Cluster and namespace of the endpoint.
        hub: Token and address of the Hub.
        store: Bucket and prefix that hold staged models.
        namespace: By default the cluster block's.
        commit: The commit that it is to serve; by default what its branch is. If another run changes the endpoint
            meanwhile, only as long as the branch is there still.
        ignore_windows: Whether it may move outside the hours of its policy.
        approval_hours: How long the run waits for an answer; the next refresh asks again.
        timeout_minutes: How long the workload may take to become ready.
        wait_minutes: How long to wait for another run that changes this endpoint; 0 refuses at once.
    """
    target, timeout = Target(cluster=cluster, hub=hub, store=store), 60.0 * timeout_minutes

    async def work() -> DeployReport | State[Any]:
        seen = await load_record(namespace or cluster.namespace, endpoint, cluster)
        deadline = time.monotonic() + 60.0 * wait_minutes
        while True:
            record = await _undisturbed(seen, target, timeout, deadline)
            newest = await _newest(record, commit, hub, afresh=changed_since(seen, record))
            await describe_deploy(record.spec, newest)
            decision = decide(record, newest, datetime.now(UTC), ignore_windows=ignore_windows)
            if newest is not None and commit not in ("", newest.commit):
                return _ended(OVERTAKEN, f"Another run changed {decision.name}, and its branch is on {newest.commit}.")
            if newest is not None and decision.step is Step.ASKS:
                if commit and record.serving.model == await pin_model(record.spec.model, hub):
                    return _ended(NOTHING_TO_DO, f"{decision.name} {Step.CURRENT}: a run moved it since {commit[:12]}.")
                answered = await _ask(record, newest, target, approval_hours)
                if answered is None:
                    return _ended("Rejected", f"{newest.commit[:12]} was turned down; nothing was changed.")
                decision = decide(answered, newest, datetime.now(UTC), ignore_windows=ignore_windows)
            if decision.step is not Step.MOVES:
                name = "Approved" if decision.step is Step.WAITS else NOTHING_TO_DO
                return _ended(name, f"{decision.name} {decision.step}. {decision.why}".strip())
            try:
                return await _move(decision, target, timeout, deadline)
            except InferenceError as error:
                if error.code != CHANGED or time.monotonic() >= deadline:
                    raise
            seen = decision.record

    return await explained(work())


async def _undisturbed(seen: EndpointRecord, target: Target, timeout_seconds: float, deadline: float) -> EndpointRecord:
    """The record once no other run changes the endpoint, and what one left that died was finished or undone."""
    patience = max(0.0, deadline - time.monotonic())
    record = await settle_endpoint(seen, target, timeout_seconds=timeout_seconds, wait_seconds=patience)
    if record is None:
        raise unknown_endpoint(seen.spec.namespace, seen.spec.name)
    return record


def _ended(name: str, message: str) -> State[Any]:
    return Completed(name=name, message=message)


async def _newest(record: EndpointRecord, commit: str, hub: HuggingFaceHub, *, afresh: bool) -> PinnedModel | None:
    """The commit to go to; None if the endpoint follows no branch."""
    source = record.spec.model
    if not follows(record):
        return None
    if commit and not afresh:
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


async def _move(decision: Decision, target: Target, timeout_seconds: float, deadline: float) -> DeployReport:
    record = decision.record
    report = await deploy_endpoint(
        record.spec,
        target,
        timeout_seconds=timeout_seconds,
        wait_seconds=max(0.0, deadline - time.monotonic()),
        action="refresh",
        pinned=decision.newest,
        seen=record,
    )
    if report.record is not None:
        emit(events.refreshed(report.record))
    return report
