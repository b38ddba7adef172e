"""The way of one model to one endpoint: look, then stage, apply, wait, smoke-test, record."""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from prefect import runtime
from pydantic import BaseModel, ConfigDict

from blocks.cluster import InferenceCluster
from blocks.hub import HuggingFaceHub
from blocks.store import ModelStore
from flows.parameters import SmokeOptions, smoke_expectation
from kube.connect import Cluster
from kube.lease import HeldLease
from serving.errors import InferenceError, RolloutError, SmokeTestError
from serving.frameworks.nim import pinned as pinned_by_image
from serving.frameworks.workload import Manifest
from serving.lifecycle import begun, now, promoted, retired
from serving.models import PinnedModel, StagedFile, StagedModel
from serving.record import Change, EndpointRecord, Rejected, ReleaseRecord, SmokeResult
from serving.release import Release, release_of
from serving.rendering import render
from serving.smoke import SmokeExpectation, SmokeReport
from serving.spec import EndpointSpec, Framework, WeightsSource
from staging.plan import StagePlan
from tasks.apply import Changes, apply_workload, try_workload
from tasks.fit import check_fit
from tasks.preflight import preflight
from tasks.record import one_writer, read_record
from tasks.release import bringing_run, current_release, promote, remove_release, retire_others
from tasks.report import picture_key, report_failure, write_record
from tasks.runs import describe_deploy
from tasks.secret import apply_hub_secret
from tasks.smoke import gateway, own_address, smoke_test, through_gateway
from tasks.stage import check_model_store, pin_model, plan_staging, stage_planned
from tasks.together import all_of
from tasks.wait import wait_until_ready

T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """The three blocks that a deploy works with."""

    cluster: InferenceCluster
    hub: HuggingFaceHub
    store: ModelStore


class DeployReport(BaseModel):
    """What a deploy did.

    Attributes:
        record: The endpoint's record; None after a dry run.
        moved_bytes: Bytes read from the Hub; 0 if the commit was staged before.
        changed: Objects that were created or configured; empty if all was as wanted.
        diff: What changed, or would change, as a unified diff without secrets.
        seconds: Seconds per step, in order.
    """

    model_config = ConfigDict(frozen=True)

    record: EndpointRecord | None
    moved_bytes: int
    changed: tuple[str, ...]
    diff: str
    seconds: dict[str, float]


@dataclass
class _Clock:
    """Seconds per step, in the order of their start."""

    seconds: dict[str, float] = field(default_factory=dict)

    async def time(self, step: str, work: Awaitable[T]) -> T:
        started = time.monotonic()
        self.seconds[step] = 0.0
        try:
            return await work
        finally:
            self.seconds[step] = time.monotonic() - started


@dataclass(frozen=True)
class _Model:
    """What was found out about the model: the commit, and the plan of its staging unless pods load from the Hub."""

    pinned: PinnedModel
    plan: StagePlan | None


async def deploy_endpoint(
    spec: EndpointSpec,
    target: Target,
    *,
    timeout_seconds: float,
    dry_run: bool = False,
    pinned: PinnedModel | None = None,
    rejecting: Rejected | None = None,
    smoke: SmokeOptions = SmokeOptions(),
) -> DeployReport:
    """Takes the spec's model to a live, verified endpoint.

    Everything that can be refused is looked at first, at the same time: the Hub (revision, access), the store (write
    access), the cluster (namespace, permissions, accelerators), and whether the model fits. Only then does anything
    change, by one run at a time: another that changes this endpoint is waited for.

    Args:
        spec: What the endpoint is to be.
        target: Where.
        timeout_seconds: Longest wait for another run, and then for the workload.
        dry_run: Show what would change and change nothing.
        pinned: The commit to serve; by default what the spec's revision is now.
        rejecting: A commit that refreshes shall pass over from now on.
        smoke: The question that proves it, and bounds for the answer.

    Raises:
        InferenceError: With its cause and fix. Nothing half-staged is visible.
    """
    try:
        cluster = await asyncio.to_thread(target.cluster.connect)
        try:
            clock = _Clock()
            model = await clock.time("check", _check(spec, target, pinned, cluster))
            await describe_deploy(spec, model.pinned)
            if dry_run:
                return await _dry_run(spec, model, cluster, clock)
            async with one_writer(spec.namespace, spec.name, cluster, wait_seconds=timeout_seconds) as lease:
                plan = _Plan(spec, model, target, timeout_seconds, smoke_expectation(spec, smoke), rejecting)
                return await _deploy(plan, cluster, clock, lease)
        finally:
            await asyncio.to_thread(cluster.close)
    except InferenceError as error:
        await report_failure(spec, error)
        raise


@dataclass(frozen=True)
class _Plan:
    """What a deploy is to do, once everything was looked at."""

    spec: EndpointSpec
    model: _Model
    target: Target
    timeout_seconds: float
    expectation: SmokeExpectation
    rejecting: Rejected | None


async def _deploy(plan: _Plan, cluster: Cluster, clock: _Clock, lease: HeldLease) -> DeployReport:
    spec, pinned, staging = plan.spec, plan.model.pinned, plan.model.plan
    secret = apply_hub_secret(spec.token_secret, spec.namespace, plan.target.hub, cluster)
    result, _ = await all_of(clock.time("stage", stage_planned(staging)) if staging else _nothing(), secret)
    staged = result.staged if result else None
    release = await _named_release(spec, pinned, staged, cluster)
    manifests = render(spec, staged, release)
    before = await asyncio.to_thread(read_record, spec.namespace, spec.name, cluster)
    changes, smoke = await _bring_up(plan, release, manifests, cluster, clock)
    await asyncio.to_thread(lease.check)
    await clock.time("promote", _switch(plan, release, manifests, before, cluster))
    moved = result.moved_bytes if result else 0
    candidate = ReleaseRecord(
        spec=spec,
        id=release.id,
        model=pinned,
        staged_uri=staged.uri if staged else "",
        staged_bytes=staged.total_bytes if staged else 0,
        image=spec.image,
        moved_bytes=moved,
        flow_run=str(runtime.flow_run.root_flow_run_id or runtime.flow_run.id or ""),
        started_at=now(),
        smoke=SmokeResult(
            passed=True,
            prompt=smoke.prompt,
            answer=smoke.answer,
            seconds=smoke.seconds,
            first_token_seconds=smoke.first_token_seconds,
            tokens_per_second=smoke.tokens_per_second,
        ),
    )
    change = Change(action="deploy", run=candidate.flow_run, started_at=candidate.started_at, rejecting=plan.rejecting)
    record = retired(promoted(begun(before, candidate, change)))
    await write_record(record, moved, clock.seconds, cluster)
    return DeployReport(
        record=record, moved_bytes=moved, changed=changes.changed, diff=changes.diff, seconds=clock.seconds
    )


async def _named_release(
    spec: EndpointSpec, pinned: PinnedModel, staged: StagedModel | None, cluster: Cluster
) -> Release:
    """The release, with the run that brought it up first: deploying it again changes nothing in the cluster."""
    release = release_of(spec, pinned, staged)
    run = await asyncio.to_thread(bringing_run, spec, release, cluster)
    return replace(release, run=run or str(runtime.flow_run.id or ""))


async def _bring_up(
    plan: _Plan, release: Release, manifests: list[Manifest], cluster: Cluster, clock: _Clock
) -> tuple[Changes, SmokeReport]:
    """Brings the release up beside what serves now and proves it; one that cannot be proved goes again."""
    spec = plan.spec
    served = await asyncio.to_thread(current_release, spec, cluster)
    changes: Changes = await clock.time("apply", apply_workload(manifests, cluster))
    try:
        await clock.time("wait", wait_until_ready(release, manifests, cluster, plan.timeout_seconds))
        address = own_address(release, spec.namespace, manifests)
        proof = smoke_test(address, plan.expectation, cluster, show=picture_key(spec))
        return changes, await clock.time("smoke test", proof)
    except (RolloutError, SmokeTestError):
        if served != release.id:
            await remove_release(spec, release, cluster, served=served)
        raise


async def _switch(
    plan: _Plan, release: Release, manifests: list[Manifest], before: EndpointRecord | None, cluster: Cluster
) -> None:
    """Points the endpoint at the release and takes the others away.

    A gateway in front of the endpoint knows a release only after it was promoted: it is asked before the old one goes,
    and one that does not answer there gives way to the old one again.
    """
    spec = plan.spec
    served = await asyncio.to_thread(current_release, spec, cluster)
    await promote(spec, release, cluster)
    front = await asyncio.to_thread(gateway, spec, cluster)
    if front is not None:
        try:
            await smoke_test(front, through_gateway(plan.expectation), cluster, show=picture_key(spec))
        except SmokeTestError:
            if served != release.id:
                if before is not None and before.current is not None and before.current.id == served:
                    old = Release(endpoint=spec.name, id=served, model=before.current.model)
                    await promote(before.spec, old, cluster)
                await remove_release(spec, release, cluster, served=served)
            raise
    await retire_others(spec, release, manifests, cluster)


async def _check(spec: EndpointSpec, target: Target, pinned: PinnedModel | None, cluster: Cluster) -> _Model:
    looks = _look_at_model(spec, target, pinned), preflight(spec, cluster), describe_deploy(spec)
    model: _Model = (await all_of(*looks))[0]
    staged = _as_planned(model)
    manifests = render(spec, staged, release_of(spec, model.pinned, staged))
    await check_fit(spec, model.pinned, model.plan, manifests, target.hub.access(), cluster)
    return model


async def _look_at_model(spec: EndpointSpec, target: Target, pinned: PinnedModel | None) -> _Model:
    if spec.framework is Framework.NIM:
        return _Model(pinned_by_image(spec), None)
    known = _given(pinned) if pinned else pin_model(spec.model, target.hub)
    if spec.weights is WeightsSource.HUB:
        return _Model(await known, None)
    pinned, _ = await all_of(known, check_model_store(target.store))
    return _Model(pinned, await plan_staging(pinned, target.hub, target.store))


async def _dry_run(spec: EndpointSpec, model: _Model, cluster: Cluster, clock: _Clock) -> DeployReport:
    staged = _as_planned(model)
    manifests = render(spec, staged, release_of(spec, model.pinned, staged))
    changes = await clock.time("dry run", try_workload(manifests, cluster))
    return DeployReport(record=None, moved_bytes=0, changed=changes.changed, diff=changes.diff, seconds=clock.seconds)


def _as_planned(model: _Model) -> StagedModel | None:
    return (model.plan.staged or _as_if_staged(model.plan)) if model.plan else None


def _as_if_staged(plan: StagePlan) -> StagedModel:
    """The staged model as far as it is known before a byte moved: checksums of small files show as zeros."""
    files = tuple(
        StagedFile(path=entry.file.path, size=entry.file.size, sha256=entry.sha256 or entry.file.sha256 or "0" * 64)
        for entry in plan.files
    )
    return StagedModel(
        model=plan.model, uri=plan.uri, files=files, region=plan.store.region, endpoint_url=plan.store.endpoint_url
    )


async def _nothing() -> Any:
    return None


async def _given(pinned: PinnedModel) -> PinnedModel:
    return pinned
