"""Bring endpoints up to date with the branches that they follow."""

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any

from prefect import flow, runtime, tags
from prefect.artifacts import acreate_table_artifact
from prefect.blocks.core import Block
from prefect.client.schemas.objects import State
from pydantic import BaseModel

from flows.naming import in_namespace
from flows.parameters import ClusterBlock, HubBlock, Namespace, StoreBlock, TimeoutMinutes, WaitMinutes, titled
from flows.pipeline import settle_endpoint
from flows.refresh_endpoint import NOTHING_TO_DO, OVERTAKEN, refresh_endpoint
from flows.target import Target
from serving import events
from serving.errors import BusyError, InferenceError
from serving.lifecycle import changed_since
from serving.refresh import Decision, Step, decide
from tasks.approval import request_approval
from tasks.events import emit
from tasks.explain import explained
from tasks.refresh import decide_again, find_outdated
from tasks.secret import follow_hub_secrets

BAD_TOKENS = frozenset({"hub.token_expired", "hub.bad_token"})
"""A token that the Hub does not take is not brought into the cluster."""


class RefreshReport(BaseModel):
    """What a refresh did, by ``namespace/endpoint``.

    Attributes:
        current: Endpoints that serve what they should: their branch's commit, or what they are pinned to.
        refreshed: Endpoints that serve another commit now.
        waiting: Endpoints that are behind and whose window is closed, with when it opens.
        asked: Endpoints that are behind and wait for an answer, with where to give it.
        failed: Endpoints that serve what they served, with the reason.
        busy: Endpoints that another run changes, and for longer than was to be waited, with that run.
        settled: Endpoints that a run had left half way when it died: finished or undone, before the rest.
        secrets: Secrets of the cluster that got the block's changed token, as ``namespace/name``.
    """

    current: list[str] = []
    refreshed: list[str] = []
    waiting: dict[str, str] = {}
    asked: dict[str, str] = {}
    failed: dict[str, str] = {}
    busy: dict[str, str] = {}
    settled: list[str] = []
    secrets: list[str] = []


@dataclass(frozen=True)
class _Terms:
    """What holds for every endpoint of a refresh."""

    target: Target
    timeout_minutes: int
    ignore_windows: bool

    @property
    def blocks(self) -> dict[str, Block]:
        """The blocks as flow parameters."""
        return {name: getattr(self.target, name) for name in ("cluster", "hub", "store")}


@flow(name="refresh-models", flow_run_name=in_namespace("refresh endpoints"))
async def refresh_models(
    cluster: ClusterBlock,
    hub: HubBlock,
    store: StoreBlock,
    namespace: Namespace = "",
    endpoint: Annotated[str, titled("Endpoint")] = "",
    repo_id: Annotated[str, titled("Model")] = "",
    ignore_windows: Annotated[bool, titled("At any hour")] = False,
    timeout_minutes: TimeoutMinutes = 60,
    wait_minutes: WaitMinutes = 60,
) -> RefreshReport | State[Any]:
    """Brings every endpoint that follows a branch to the commit that the branch is now.

    One request to the Hub per repository; endpoints whose commit did not move are not touched. What is behind moves as
    its refresh policy says: at once, in its window, or when a person approves. A commit that cannot be proved leaves
    the endpoint serving what it served, and is passed over until the branch moves on. One endpoint's failure stops no
    other. What a run that died left half way is finished or undone first. An endpoint that another run changes comes
    last: it is waited for, and decided about anew. A token that was changed in the Hub block reaches the cluster's
    Secrets, too.

    Args:
        cluster: Cluster whose endpoints are looked at.
        hub: Token and address of the Hub.
        store: Bucket and prefix that hold staged models.
        namespace: By default all namespaces.
        endpoint: Only the endpoint of this name; by default all.
        repo_id: Only endpoints of this Hub repository, organization/name; by default all.
        ignore_windows: Whether endpoints may move outside the hours of their policies.
        timeout_minutes: How long each workload may take to become ready.
        wait_minutes: How long to wait, in all, for other runs that change endpoints; 0 reports these endpoints as busy.
    """

    async def work() -> RefreshReport:
        chosen = {"namespace": namespace, "endpoint": endpoint, "repo_id": repo_id}
        decisions = await find_outdated(cluster, hub, **chosen, ignore_windows=ignore_windows)
        report = RefreshReport()
        if not any(one.code in BAD_TOKENS for one in decisions):
            used = {(one.record.spec.namespace, one.record.spec.token_secret) for one in decisions}
            changed, failed = await follow_hub_secrets([one for one in used if one[1]], hub, cluster)
            report.secrets.extend(changed)
            report.failed.update({f"Secret {name}": why for name, why in failed.items()})
        terms = _Terms(Target(cluster=cluster, hub=hub, store=store), timeout_minutes, ignore_windows)
        decisions = [await _attend(one, report, terms, wait_seconds=0.0) for one in decisions]
        deadline = time.monotonic() + 60.0 * wait_minutes
        for position, one in enumerate(decisions):
            if one.step is Step.BUSY:
                left = max(0.0, deadline - time.monotonic())
                decisions[position] = await _attend(one, report, terms, wait_seconds=left)
        report.busy.update({one.name: one.why for one in decisions if one.step is Step.BUSY})
        await _show(decisions, report)
        if report.failed:
            raise _failure(decisions, report)
        return report

    return await explained(work())


async def _attend(decision: Decision, report: RefreshReport, terms: _Terms, wait_seconds: float) -> Decision:
    """Does what was decided about one endpoint, unless a run changes it for longer than `wait_seconds`."""
    decision = await _undisturbed(decision, report, terms, wait_seconds)
    match decision.step:
        case Step.BUSY | Step.GONE:
            pass  # what is busy may be waited for later
        case Step.UNKNOWN:
            report.failed[decision.name] = decision.why
        case Step.WAITS:
            report.waiting[decision.name] = decision.why
        case Step.ASKS:
            try:
                report.asked[decision.name] = await request_approval(decision, terms.blocks, terms.timeout_minutes)
            except InferenceError as error:
                report.failed[decision.name] = str(error)
        case Step.MOVES:
            return await _move(decision, report, terms, wait_seconds)
        case _:
            report.current.append(decision.name)
    return decision


async def _undisturbed(decision: Decision, report: RefreshReport, terms: _Terms, wait_seconds: float) -> Decision:
    """What to do once no other run changes the endpoint, and what one left that died was finished or undone."""
    if decision.step not in (Step.LEFT, Step.MOVES, Step.ASKS, Step.BUSY):
        return decision
    try:
        record = await settle_endpoint(
            decision.record, terms.target, timeout_seconds=60.0 * terms.timeout_minutes, wait_seconds=wait_seconds
        )
    except BusyError as error:
        return _busy(decision, error)
    except InferenceError as error:
        return replace(decision, step=Step.UNKNOWN, why=str(error), code=error.code)
    left = decision.step is Step.LEFT
    if left:
        report.settled.append(decision.name)
    if record is None:
        why = "Nothing of it was to stay." if left else "It was removed meanwhile."
        return replace(decision, step=Step.GONE, why=why)
    if decision.step is not Step.BUSY and not changed_since(decision.record, record):
        return decide(record, decision.newest, datetime.now(UTC), ignore_windows=terms.ignore_windows)
    return await decide_again(record, terms.target.hub, ignore_windows=terms.ignore_windows)


def _busy(decision: Decision, error: BusyError) -> Decision:
    return replace(decision, step=Step.BUSY, why=f"Run {error.holder} is changing it.")


async def _move(decision: Decision, report: RefreshReport, terms: _Terms, wait_seconds: float) -> Decision:
    spec, newest = decision.record.spec, decision.newest
    assert newest is not None  # what moves has somewhere to go
    parameters: dict[str, Any] = {
        "endpoint": spec.name,
        "namespace": spec.namespace,
        "commit": newest.commit,
        "ignore_windows": True,  # its window was open when it was decided
        "timeout_minutes": terms.timeout_minutes,
        "wait_minutes": int(wait_seconds // 60),
        **terms.blocks,
    }
    with tags(*runtime.flow_run.tags):  # a subflow's run does not have its parent's by itself
        state = await refresh_endpoint(**parameters, return_state=True)
    if state.is_completed():
        if state.name == NOTHING_TO_DO:
            report.current.append(decision.name)
            return replace(decision, step=Step.CURRENT, why=state.message or "")
        if state.name == OVERTAKEN:
            return replace(decision, step=Step.BUSY, why=state.message or "")
        report.refreshed.append(decision.name)
        return decision
    error = await state.aresult(raise_on_failure=False)
    if isinstance(error, BusyError):
        return _busy(decision, error)
    report.failed[decision.name] = state.message or str(state.type.value)
    fields = events.serving(decision.record)
    message = report.failed[decision.name]
    emit(events.EndpointRefreshFailed(**fields, rejected_commit=newest.commit, message=message))
    return decision


def _failure(decisions: list[Decision], report: RefreshReport) -> InferenceError:
    """The run's failure; a reason that several endpoints share, such as an expired token, is told once."""
    reasons: dict[str, list[str]] = {}
    for name, why in report.failed.items():
        reasons.setdefault(why, []).append(name)
    told = "; ".join(f"{', '.join(names)}: {why}" for why, names in reasons.items())
    codes = {one.code for one in decisions if one.name in report.failed}
    return InferenceError(
        f"{len(report.failed)} of {len(decisions)} endpoints were not refreshed: {told}",
        code=next(iter(codes)) if len(codes) == 1 and len(reasons) == 1 and codes != {""} else "refresh.failed",
    )


async def _show(decisions: list[Decision], report: RefreshReport) -> None:
    rows = [
        {
            "endpoint": one.name,
            "outcome": "refreshed" if one.name in report.refreshed else _outcome(one, report),
            "commit": one.record.current.model.commit[:12] if one.record.current else "",
            "branch": one.newest.commit[:12] if one.newest else "",
            "why": report.failed.get(one.name) or report.asked.get(one.name) or one.why,
        }
        for one in sorted(decisions, key=lambda one: (one.step is Step.CURRENT, one.name))
    ]
    rows += [
        {"endpoint": name, "outcome": "not changed", "commit": "", "branch": "", "why": why}
        for name, why in report.failed.items()
        if name.startswith("Secret ")
    ]
    await acreate_table_artifact(table=rows, key="refresh", description=f"{len(report.refreshed)} refreshed")


def _outcome(decision: Decision, report: RefreshReport) -> str:
    return "serves its earlier commit" if decision.name in report.failed else decision.step.value
