"""The way of one model to one endpoint: look, then stage, apply, wait, smoke-test, record."""

import asyncio
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from prefect import get_run_logger, runtime
from pydantic import BaseModel, ConfigDict

from flows.clock import Clock
from flows.look import LookedUp, look
from flows.takeover import MAKE_ROOM, Means, bring_up, finish, give_up, settle, switch
from flows.target import Target
from kube.connect import Cluster
from serving.check import smoke_result
from serving.errors import InferenceError
from serving.frameworks.workload import Manifest
from serving.lifecycle import CHANGED, begun, now, proved, require_unchanged
from serving.models import PinnedModel, StagedModel
from serving.record import Change, EndpointRecord, Rejected, ReleaseRecord
from serving.release import Release, release_of
from serving.rendering import render
from serving.spec import EndpointSpec
from tasks.apply import try_workload
from tasks.pause import named
from tasks.record import held_record
from tasks.release import bringing_run
from tasks.report import report_failure, report_ready
from tasks.runs import describe_deploy, run_id
from tasks.secret import apply_hub_secret
from tasks.stage import plan_staging, stage_planned
from tasks.together import all_of


class DeployReport(BaseModel):
    """What a deploy did.

    Attributes:
        record: The endpoint's record; None after a dry run.
        moved_bytes: Bytes read from the Hub; 0 if the commit was staged before.
        changed: Objects that were created or configured; empty if all was as wanted.
        diff: What changed, or would change, as a unified diff without secrets.
        seconds: Seconds per step, in order.
        gap_seconds: How long the endpoint did not answer, where the candidate needed the old release's accelerators.
    """

    model_config = ConfigDict(frozen=True)

    record: EndpointRecord | None
    moved_bytes: int
    changed: tuple[str, ...]
    diff: str
    seconds: dict[str, float]
    gap_seconds: float | None = None


async def deploy_endpoint(
    spec: EndpointSpec,
    target: Target,
    *,
    timeout_seconds: float,
    wait_seconds: float | None = None,
    dry_run: bool = False,
    action: Literal["deploy", "refresh", "rollback"] = "deploy",
    pinned: PinnedModel | None = None,
    seen: EndpointRecord | None = None,
    rejecting: Rejected | None = None,
) -> DeployReport:
    """Takes the spec's model to a live, verified endpoint.

    Everything that can be refused is looked at first, at the same time: the Hub (revision, access), the store (write
    access), the cluster (namespace, permissions, accelerators), and whether the model fits. Only then does anything
    change, by one run at a time. What a run left that died is finished or undone before.

    Args:
        spec: What the endpoint is to be.
        target: Where.
        timeout_seconds: Longest wait for the workload.
        wait_seconds: Longest wait for another run that changes this endpoint, 0 refuses at once; by default
            `timeout_seconds`.
        dry_run: Show what would change and change nothing.
        action: What this is, for the record. A commit that a refresh could not prove is passed over by later ones.
        pinned: The commit to serve; by default what the spec's revision is now.
        seen: The record that the caller looked at when it chose what to deploy: nothing is done if another run has
            changed the endpoint since.
        rejecting: A commit that refreshes shall pass over once this one is promoted.

    Raises:
        InferenceError: With its cause and fix. Nothing half-staged is visible, the endpoint serves what it served.
    """
    patience = timeout_seconds if wait_seconds is None else wait_seconds
    clock = Clock()
    try:
        cluster = await asyncio.to_thread(target.cluster.connect)
        try:
            model = await clock.time("check", look(spec, target, pinned, cluster))
            await describe_deploy(spec, model.pinned)
            if dry_run:
                return await _dry_run(spec, model, cluster, clock)
            async with held_record(spec.namespace, spec.name, cluster, wait_seconds=patience) as held:
                change = Change(action=action, run=run_id(), started_at=now(), rejecting=rejecting)
                plan = _Plan(spec, model, target, change)
                means = Means(held, partial(recorded_manifests, target=target), timeout_seconds)
                if seen is not None:
                    require_unchanged(seen, held.record)
                await settle(means, coming=_candidate(plan).id)
                return await _deploy(plan, means, clock)
        finally:
            await asyncio.to_thread(cluster.close)
    except InferenceError as error:
        if error.code != CHANGED:  # what the other run made of the endpoint is its own to tell
            await report_failure(spec, error, clock.since(MAKE_ROOM))
        raise


async def settle_endpoint(
    seen: EndpointRecord, target: Target, *, timeout_seconds: float, wait_seconds: float
) -> EndpointRecord | None:
    """Waits until no other run changes an endpoint, and finishes or undoes what one left that died; no more is done.

    Args:
        seen: The endpoint's record.
        target: Where.
        timeout_seconds: Longest wait for a workload.
        wait_seconds: Longest wait for a run that changes the endpoint; 0 refuses at once.

    Returns:
        The record as it is then; None if the endpoint is gone: it was removed, or its first release was not proved.

    Raises:
        BusyError: Another run changes it for longer than that.
        InferenceError: It cannot be done now: the next run goes on with it.
    """
    spec = seen.spec
    cluster = await asyncio.to_thread(target.cluster.connect)
    try:
        async with held_record(spec.namespace, spec.name, cluster, wait_seconds=wait_seconds) as held:
            await settle(Means(held, partial(recorded_manifests, target=target), timeout_seconds))
            return held.record
    finally:
        await asyncio.to_thread(cluster.close)


@dataclass(frozen=True)
class _Plan:
    """What a deploy is to do, once everything was looked at."""

    spec: EndpointSpec
    model: LookedUp
    target: Target
    change: Change


async def _deploy(plan: _Plan, means: Means, clock: Clock) -> DeployReport:
    """Brings the release up, proves it, switches to it; one that cannot be proved goes again."""
    held = means.held
    candidate = _candidate(plan)
    await held.write(begun(held.record, candidate, plan.change))
    try:
        staged, moved = await _stage(plan, held.cluster, clock)
        release = await _named_release(plan.spec, plan.model.pinned, staged, held.cluster)
        manifests = render(plan.spec, staged, release)
        changes, smoke = await bring_up(means, manifests, clock)
        await held.write(proved(held.current_record, smoke_result(smoke), moved_bytes=moved))
        await clock.time("promote", switch(means))
    except InferenceError as error:
        await _gave_up(means, error, rejecting=plan.change.action == "refresh")
        raise
    gap = clock.since(MAKE_ROOM)
    await report_ready(held.current_record, moved, clock.seconds, gap, held.cluster)
    await clock.time("retire", finish(means, manifests))
    return DeployReport(
        record=held.record,
        moved_bytes=moved,
        changed=changes.changed,
        diff=changes.diff,
        seconds=clock.seconds,
        gap_seconds=gap,
    )


async def _gave_up(means: Means, error: InferenceError, *, rejecting: bool) -> None:
    """Undoes a candidate that could not be proved; what cannot be undone now, the next run undoes."""
    if means.held.lease.lost:
        return  # another run may have taken over, and does it
    try:
        await give_up(means, error, rejecting=rejecting, patient=False)
    except InferenceError as further:
        get_run_logger().error("The candidate could not be taken away; the next run does it: %s", further)


async def _stage(plan: _Plan, cluster: Cluster, clock: Clock) -> tuple[StagedModel | None, int]:
    """Moves what is not staged yet and brings the Hub's token into the cluster; returns the bytes that moved, too."""
    spec, staging = plan.spec, plan.model.plan
    secret = apply_hub_secret(spec.token_secret, spec.namespace, plan.target.hub, cluster)
    result, _ = await all_of(clock.time("stage", stage_planned(staging)) if staging else _nothing(), secret)
    return (result.staged, result.moved_bytes) if result else (None, 0)


def _candidate(plan: _Plan) -> ReleaseRecord:
    """The release that is to come, for the record."""
    spec, pinned, staged = plan.spec, plan.model.pinned, plan.model.expected
    return ReleaseRecord(
        spec=spec,
        id=release_of(spec, pinned, staged).id,
        model=pinned,
        staged_uri=staged.uri if staged else "",
        staged_bytes=staged.total_bytes if staged else 0,
        moved_bytes=0,
        image=spec.image,
        flow_run=plan.change.run,
        started_at=plan.change.started_at,
    )


async def _named_release(
    spec: EndpointSpec, pinned: PinnedModel, staged: StagedModel | None, cluster: Cluster
) -> Release:
    """The release, with the run that brought it up first: deploying it again changes nothing in the cluster."""
    release = release_of(spec, pinned, staged)
    run = await asyncio.to_thread(bringing_run, spec, release, cluster)
    return replace(release, run=run or str(runtime.flow_run.id or ""))


async def recorded_manifests(release: ReleaseRecord, *, target: Target) -> list[Manifest]:
    """Renders a release that the record holds, with its weights as they are staged.

    Raises:
        InferenceError: The store cannot be read, or the weights are not staged any more.
    """
    if not release.staged_uri:
        return render(release.spec, None, named(release))
    staged = (await plan_staging(release.model, target.hub, target.store)).staged
    if staged is None:
        raise InferenceError(
            f"Release {release.id} cannot be brought back: {release.staged_uri} is not staged any more.",
            fix="Deploy the endpoint again: that stages it.",
            code="release.not_staged",
        )
    return render(release.spec, staged, named(release))


async def _dry_run(spec: EndpointSpec, model: LookedUp, cluster: Cluster, clock: Clock) -> DeployReport:
    staged = model.expected
    manifests = render(spec, staged, release_of(spec, model.pinned, staged))
    changes = await clock.time("dry run", try_workload(manifests, cluster))
    return DeployReport(record=None, moved_bytes=0, changed=changes.changed, diff=changes.diff, seconds=clock.seconds)


async def _nothing() -> Any:
    return None
