"""How a candidate takes over from the release that serves, and what becomes of both when it cannot.

Each step is announced in the endpoint's record before it is taken, and may be taken again: whoever comes after a run
that died finishes what was proved and undoes what was not. docs/releases.md draws it.
"""

import asyncio
from dataclasses import dataclass

from prefect import get_run_logger

from flows.clock import Clock
from kube.connect import Cluster
from serving.errors import InferenceError, SmokeTestError
from serving.frameworks.workload import Manifest
from serving.lifecycle import failed, now, paused, promoted, retired, retiring, seconds_until, undone
from serving.record import Failure, Rejected, ReleaseRecord, ReleaseState
from serving.rollback import blames_model
from serving.smoke import SmokeReport, expectation_for
from tasks.apply import Changes, apply_workload
from tasks.gateway import kept_out, let_in, let_out
from tasks.pause import live_replicas, named
from tasks.record import HeldRecord
from tasks.release import (
    Restore,
    bring_back,
    has_workload,
    make_room,
    promote,
    remove_release,
    retire_others,
)
from tasks.remove import remove_all
from tasks.report import picture_key
from tasks.smoke import gateway, own_address, smoke_test, through_gateway
from tasks.wait import wait_until_ready

MAKE_ROOM = "make room"
"""The step with which the endpoint stops answering, where the candidate needs the old release's accelerators."""

LOOK_SECONDS = 5.0
"""How often a run that waits for the old release's time looks whether it still holds the lease."""


@dataclass(frozen=True)
class Means:
    """What the steps work with.

    Attributes:
        held: The endpoint's record, in this run's hands.
        restore: Renders a release that the record holds.
        timeout_seconds: How long a workload may take to become ready.
    """

    held: HeldRecord
    restore: Restore
    timeout_seconds: float

    @property
    def cluster(self) -> Cluster:
        """Where the endpoint is."""
        return self.held.cluster


async def settle(means: Means, *, coming: str = "") -> None:
    """Finishes or undoes what a run that died left; nothing to do otherwise.

    Args:
        means: What it works with.
        coming: Id of the release that is brought up next: where the run that died was at that very release, it stays as
            it is, and its pods go on loading.

    Raises:
        InferenceError: It cannot be done, and so nothing else should be.
    """
    held, record = means.held, means.held.record
    if record is None or record.change is None:
        return
    where = f"{held.namespace}/{held.endpoint}"
    doing = f"Run {record.change.run or '(unknown)'} left {where} {record.state}"
    candidate, log = record.candidate, get_run_logger()
    if record.change.action == "remove":
        log.warning("%s: what is left of it goes", doing)
        await remove_all(held.namespace, held.endpoint, held.cluster)
        await held.write(None)
    elif candidate is None:
        log.warning("%s: the replaced release goes", doing)
        await finish(means)
    elif candidate.state is ReleaseState.PROMOTING and await asyncio.to_thread(has_workload, candidate, held.cluster):
        log.warning("%s: release %s was proved and is promoted", doing, candidate.id)
        try:
            await switch(means)
        except SmokeTestError as error:
            await give_up(means, error)
        else:
            await finish(means)
    elif candidate.state is ReleaseState.FAILED:
        log.warning("%s: release %s could not be proved and goes", doing, candidate.id)
        await _undo(means)
    elif candidate.id == coming:
        log.warning("%s: release %s is brought up further", doing, candidate.id)
    else:
        log.warning("%s: release %s was not proved and goes", doing, candidate.id)
        why = f"The run that brought release {candidate.id} up ended before it was proved."
        await give_up(means, InferenceError(why, fix="Deploy it again.", code="run.interrupted"))


async def bring_up(means: Means, manifests: list[Manifest], clock: Clock) -> tuple[Changes, SmokeReport]:
    """Brings the candidate up, beside the current release or in its place, and proves it through its own Service.

    Args:
        means: What it works with; the record has the candidate.
        manifests: What the candidate consists of.
        clock: Takes the time of each step.

    Raises:
        RolloutError: It does not become ready.
        SmokeTestError: It does not answer as it must.
        ClusterError: The API refuses or cannot be reached.
    """
    held, candidate, current = means.held, _candidate(means), _current(means)
    spec, release = candidate.spec, named(candidate)
    in_place = current is not None and current.id == candidate.id
    if current is not None and not in_place and spec.rollout.strategy == "recreate":
        await clock.time(MAKE_ROOM, _make_room(means, current))
    held.check()
    changes: Changes = await clock.time("apply", apply_workload(manifests, means.cluster))
    if in_place:
        await clock.time("wait", wait_until_ready(release, manifests, means.cluster, means.timeout_seconds))
    else:
        with kept_out(spec, release, means.cluster):
            await clock.time("wait", wait_until_ready(release, manifests, means.cluster, means.timeout_seconds))
    address = own_address(release, spec.namespace, manifests)
    proof = smoke_test(address, expectation_for(spec), means.cluster, show=picture_key(spec))
    return changes, await clock.time("smoke test", proof)


async def switch(means: Means) -> None:
    """Points the endpoint at the candidate, which is the current release from then on.

    A gateway in front of the endpoint knows a release only after it was promoted: it is asked at once.

    Raises:
        SmokeTestError: The gateway does not answer as it must; the endpoint points at the candidate still.
        ClusterError: The API refuses or cannot be reached.
    """
    candidate, current = _candidate(means), _current(means)
    spec, release = candidate.spec, named(candidate)
    means.held.check()
    await promote(spec, release, means.cluster)
    await asyncio.to_thread(let_in, spec, release, means.cluster)
    front = await asyncio.to_thread(gateway, spec, means.cluster)
    if front is not None:
        await smoke_test(front, through_gateway(expectation_for(candidate.spec)), means.cluster, show=picture_key(spec))
    if current is not None and current.id != candidate.id:
        await asyncio.to_thread(let_out, current.spec, named(current), means.cluster)
    await means.held.write(promoted(means.held.current_record))


async def finish(means: Means, manifests: list[Manifest] | None = None) -> None:
    """Takes the releases before the current one away, once their time is over; then the change is done.

    Args:
        means: What it works with.
        manifests: What the current release consists of; by default as the record has it.

    Raises:
        ClusterError: ``lease.lost``; something could not be deleted: the next run goes on with it.
    """
    held, current = means.held, _current(means)
    leaving = retiring(means.held.current_record)
    if current is None:
        return
    last = max((one.retire_at for one in leaving), default="")
    if left := seconds_until(last):
        names = ", ".join(one.id for one in leaving)
        get_run_logger().info("Release %s stays for %.0f s more", names, left)
    while left := seconds_until(last):
        await asyncio.sleep(min(left, LOOK_SECONDS))
        held.check()
    wanted = manifests if manifests is not None else await _as_recorded(means, current)
    held.check()
    await retire_others(current.spec, named(current), wanted, held.cluster)
    await held.write(retired(means.held.current_record))


async def _as_recorded(means: Means, current: ReleaseRecord) -> list[Manifest] | None:
    try:
        return await means.restore(current)
    except InferenceError as error:
        # What this release consisted of once and does no longer goes with its next deploy.
        get_run_logger().warning("Only other releases are looked at: %s", error)
        return None


async def give_up(means: Means, error: InferenceError, *, rejecting: bool = False, patient: bool = True) -> None:
    """Takes the candidate away and leaves the endpoint with what it served.

    Args:
        means: What it works with.
        error: Why.
        rejecting: Whether refreshes shall pass the candidate's commit over, if it is to blame.
        patient: Whether to wait for the end of the candidate's pods although nothing waits for their accelerators.

    Raises:
        InferenceError: It could not be undone: the next run goes on with it.
    """
    candidate, record = _candidate(means), means.held.current_record
    run = record.change.run if record.change else ""
    reason = str(error)
    why = Failure(
        release=candidate.id, commit=candidate.model.commit, code=error.code, reason=reason, run=run, at=now()
    )
    rejected = None
    if rejecting and blames_model(error):
        rejected = Rejected(commit=candidate.model.commit, reason=reason, at=now())
    await means.held.write(failed(record, why, rejected=rejected))
    await _undo(means, patient=patient)


async def _undo(means: Means, *, patient: bool = True) -> None:
    held, candidate, current = means.held, _candidate(means), _current(means)
    spec, release = candidate.spec, named(candidate)
    if current is not None and current.id == candidate.id:
        await _undo_in_place(means, current)
    else:
        if current is not None:
            # Both names of the endpoint, whatever they point at now: what they point at is taken away next.
            await promote(current.spec, named(current), held.cluster)
        held.check()
        room = patient or (current is not None and current.state is ReleaseState.PAUSED)
        served = current.id if current else ""
        await remove_release(spec, release, held.cluster, served=served, patient=room)
        if current is not None:
            await _bring_back(means, current)
    await held.write(undone(means.held.current_record))


async def _undo_in_place(means: Means, current: ReleaseRecord) -> None:
    """The same pods with other numbers: what the record has is applied again."""
    manifests = await means.restore(current)
    means.held.check()
    await apply_workload(manifests, means.cluster)
    await promote(current.spec, named(current), means.cluster)
    await retire_others(current.spec, named(current), manifests, means.cluster)


async def _bring_back(means: Means, current: ReleaseRecord) -> None:
    """Has the current release serve again, if it gave its accelerators to the candidate."""
    if current.state is ReleaseState.PAUSED:
        await bring_back(current, means.cluster, means.restore, means.timeout_seconds)
    await asyncio.to_thread(let_in, current.spec, named(current), means.cluster)


async def _make_room(means: Means, current: ReleaseRecord) -> None:
    replicas = await asyncio.to_thread(live_replicas, current, means.cluster)
    await means.held.write(paused(means.held.current_record, replicas))
    await make_room(current, means.cluster)


def _candidate(means: Means) -> ReleaseRecord:
    candidate = means.held.current_record.candidate
    if candidate is None:
        raise ValueError(f"endpoint {means.held.namespace}/{means.held.endpoint} has no candidate")
    return candidate


def _current(means: Means) -> ReleaseRecord | None:
    return means.held.current_record.current
