"""The doctor's look at Prefect's side."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, WorkerFilter
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from pydantic import ValidationError

from blocks.cluster import InferenceCluster
from blocks.hub import HuggingFaceHub
from blocks.store import ModelStore
from deployments.automations import differences as automation_differences
from deployments.automations import find_automation, undeclared_automations, wanted_automations
from deployments.declared import BLOCK_NAME
from deployments.findings import Check, failed, ok, warning
from deployments.notifiers import find_notifiers
from deployments.pools import HEARTBEAT_VARIABLE
from deployments.prefect_yaml import KUBERNETES, PROCESS, Pool
from deployments.register import differences, existing, load, read, with_block_ids
from tasks.limits import STAGING_LIMIT

BOOTSTRAP = "python -m deployments.bootstrap"

_RUNS = 200
"""Planned runs that are looked at: Prefect answers with no more at a time."""

_SCHEDULER_TAKES = timedelta(minutes=3)
"""Its loop has 60 seconds."""


@dataclass(frozen=True)
class Blocks:
    """The three blocks; None for one that cannot be loaded."""

    cluster: InferenceCluster | None = None
    hub: HuggingFaceHub | None = None
    store: ModelStore | None = None


async def read_blocks() -> tuple[Blocks, list[Check]]:
    """Loads the blocks that the deployments refer to."""
    kinds: dict[str, Any] = {"cluster": InferenceCluster, "hub": HuggingFaceHub, "store": ModelStore}
    found: dict[str, Any] = {}
    checks = []
    for parameter, kind in kinds.items():
        name = f"{kind.get_block_type_slug()}/{BLOCK_NAME}"
        try:
            found[parameter] = await kind.aload(BLOCK_NAME, validate=False)
            checks.append(ok("block", f"{name} loads."))
        except ValidationError as error:
            fields = ", ".join(".".join(map(str, one["loc"])) or "its fields together" for one in error.errors())
            checks.append(
                failed("block", f"{name} is not as this version wants it: {fields}.", "Correct it in the UI.")
            )
        except ValueError:
            checks.append(failed("block", f"{name} is not there.", f"{BOOTSTRAP} makes it."))
    return Blocks(**found), checks


async def prefect_side(pool: Pool | None) -> list[Check]:
    """Looks at pool, worker, limit, deployments and automations."""
    async with get_client() as client:
        chosen = pool or await _pool_in_use(client)
        return [
            *await _pool(client, chosen),
            await _limit(client),
            *await _deployments(client, chosen),
            *await _automations(client),
        ]


async def _pool_in_use(client: PrefectClient) -> Pool:
    try:
        there = await client.read_deployment_by_name("stage-model/stage-model")
    except ObjectNotFound:
        return PROCESS
    return KUBERNETES if there.work_pool_name == KUBERNETES.name else PROCESS


async def _pool(client: PrefectClient, pool: Pool) -> list[Check]:
    command = BOOTSTRAP if pool is PROCESS else f"{BOOTSTRAP} --pool kubernetes --image IMAGE"
    try:
        there = await client.read_work_pool(pool.name)
    except ObjectNotFound:
        return [failed("work pool", f"There is no work pool {pool.name}.", f"{command} makes it.")]
    if there.type != pool.type:
        fix = f"Delete it, then {command}."
        return [failed("work pool", f"Work pool {pool.name} is of type {there.type}, not {pool.type}.", fix)]
    checks = [ok("work pool", f"{pool.name}, type {there.type}.")]
    if there.is_paused:
        checks.append(failed("work pool", f"{pool.name} is paused.", f"prefect work-pool resume {pool.name}"))
    properties = there.base_job_template.get("variables", {}).get("properties", {})
    if HEARTBEAT_VARIABLE not in (properties.get("env", {}).get("default") or {}):
        what = "Its runs send heartbeats more seldom than the automation expects that finds dead runs."
        checks.append(warning("work pool", what, f"{command} sets {HEARTBEAT_VARIABLE}."))
    online = WorkerFilter.model_validate({"status": {"any_": ["ONLINE"]}})
    workers = await client.read_workers_for_work_pool(pool.name, worker_filter=online)
    if workers:
        checks.append(ok("worker", f"{len(workers)} online: {', '.join(one.name for one in workers)}."))
    else:
        start = f"prefect worker start --pool {pool.name}"
        how = start if pool is PROCESS else "Install the worker's chart (docs/eks.md), and look at its log."
        checks.append(failed("worker", f"No worker of {pool.name} is online: no run would start.", how))
    return checks


async def _limit(client: PrefectClient) -> Check:
    try:
        limit = await client.read_global_concurrency_limit_by_name(STAGING_LIMIT)
    except ObjectNotFound:
        return warning("limit", f"There is no limit {STAGING_LIMIT}: any number of transfers may run.", BOOTSTRAP)
    return ok("limit", f"{limit.limit} transfers at the same time.")


async def _deployments(client: PrefectClient, pool: Pool) -> list[Check]:
    wanted = load(await with_block_ids(client, read(pool)))
    there = await existing(client, wanted)
    missing = [one.name for one in wanted if one.name not in there]
    stale = [one.name for one in wanted if one.name in there and differences(one, there[one.name])]
    again = f"{BOOTSTRAP} --pool {pool.type}"
    checks = []
    if missing:
        checks.append(failed("deployments", f"{len(missing)} are not registered: {_some(missing)}.", again))
    if stale:
        what = f"{len(stale)} are not as the catalogue says now: {_some(stale)}."
        checks.append(warning("deployments", what, again))
    paused = [name for name, one in there.items() if one.paused]
    if paused:
        fix = "Resume them in the UI, or the runs stay scheduled."
        checks.append(warning("deployments", f"{len(paused)} are paused: {_some(paused)}.", fix))
    checks = checks or [ok("deployments", f"All {len(wanted)} are registered and up to date.")]
    return [*checks, *await _schedules(client, there)]


async def _schedules(client: PrefectClient, there: Mapping[str, DeploymentResponse]) -> list[Check]:
    """Looks whether the server's scheduler does its work: it plans the runs of a schedule within a minute or so."""
    active = {name: one for name, one in there.items() if not one.paused and any(plan.active for plan in one.schedules)}
    if not active:
        how = "Switch refresh-models and check-endpoints on in the UI if wanted (docs/operations.md)."
        return [warning("schedules", "None is on: nothing is refreshed or checked by itself.", how)]
    on = {one.id: name for name, one in active.items() if any(plan.active and _settled(plan) for plan in one.schedules)}
    chosen = FlowRunFilter.model_validate(
        {"deployment_id": {"any_": [*on]}, "state": {"type": {"any_": ["SCHEDULED"]}}}
    )
    planned = {run.deployment_id for run in await client.read_flow_runs(flow_run_filter=chosen, limit=_RUNS)}
    idle = sorted(name for deployment, name in on.items() if deployment not in planned)
    if idle:
        fix = "Look for the scheduler's errors in the server's log. It needs SQLAlchemy before 2.1, not --no-services."
        return [failed("schedules", f"The server plans no runs of {_some(idle)}, whose schedules are on.", fix)]
    young = len(active) - len(on)
    return [ok("schedules", f"{len(on)} on, with runs planned{f'; {young} more just now' if young else ''}.")]


def _settled(schedule: DeploymentSchedule) -> bool:
    """Whether the scheduler has had the time to see the schedule."""
    return schedule.updated is not None and datetime.now(UTC) - schedule.updated > _SCHEDULER_TAKES


async def _automations(client: PrefectClient) -> list[Check]:
    notifiers = await find_notifiers(client)
    try:
        wanted = await wanted_automations(client, notifiers)
    except ObjectNotFound:
        return [failed("automations", "They need the deployments.", BOOTSTRAP)]
    checks = []
    for one in wanted:
        there = await find_automation(client, one.name)
        if there is None:
            checks.append(warning("automations", f"{one.name!r} is not there.", BOOTSTRAP))
        elif not there.enabled:
            checks.append(warning("automations", f"{one.name!r} is switched off.", "Switch it on in the UI if wanted."))
        elif automation_differences(one, there):
            checks.append(warning("automations", f"{one.name!r} is out of date.", BOOTSTRAP))
    for left in await undeclared_automations(client, wanted):
        checks.append(warning("automations", f"{left.name!r} is declared no more.", f"{BOOTSTRAP} removes it."))
    if not notifiers:
        how = "Set SLACK_WEBHOOK_URL, NOTIFY_WEBHOOK_URL or SENDGRID_API_KEY and run the bootstrap again."
        checks.append(warning("automations", "Nobody is told of failures.", how))
    return checks or [ok("automations", f"All {len(wanted)} are there and on.")]


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
