"""Starts a deployment's run through the Prefect API and follows it, as `prefect deployment run --watch` does."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterTaskRunId,
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.client.schemas.sorting import TaskRunSort

POLL_SECONDS = 0.5
SETTLE_SECONDS = 1.0
"""The server learns of task runs by events, and may write the last ones down after the flow run's end."""
SETTLE_LOOKS = 3


@dataclass(frozen=True)
class Step:
    """One task of a run.

    Attributes:
        name: Task-run name.
        state: Prefect's state name.
        seconds: Run time so far.
        progress: Text of its progress artifact, empty without one.
        final: Whether it has ended.
        started: When it began; None before.
    """

    name: str
    state: str
    seconds: float
    progress: str = ""
    final: bool = False
    started: datetime | None = None


@dataclass(frozen=True)
class RunView:
    """A run at one moment: its state and its steps in the order of their start."""

    id: UUID
    name: str
    state: str
    message: str
    final: bool
    seconds: float
    steps: tuple[Step, ...] = field(default=())


async def start_run(deployment: str, parameters: dict[str, Any]) -> FlowRun:
    """Creates a run of `flow/deployment` that a worker will pick up."""
    async with get_client() as client:
        found = await client.read_deployment_by_name(deployment)
        return await client.create_flow_run_from_deployment(found.id, parameters=parameters)


async def follow(run_id: UUID, show: Callable[[RunView], None]) -> RunView:
    """Shows the run until it ends, and returns its last view."""
    async with get_client() as client:
        while True:
            view = await look(client, run_id)
            show(view)
            if view.final:
                break
            await asyncio.sleep(POLL_SECONDS)
        for _ in range(SETTLE_LOOKS):
            if all(step.final for step in view.steps):
                break
            await asyncio.sleep(SETTLE_SECONDS)
            view = await look(client, run_id)
            show(view)
        return view


async def look(client: PrefectClient, run_id: UUID) -> RunView:
    """Reads a run, the tasks of it and of its subflows, and their progress."""
    run = await client.read_flow_run(run_id)
    runs = await _with_subflows(client, run_id)
    tasks = await client.read_task_runs(
        task_run_filter=TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=runs)),
        sort=TaskRunSort.EXPECTED_START_TIME_ASC,
    )
    tasks = [task for task in tasks if _is_step(task)]
    progress = await _progress(client, tasks)
    state = run.state
    return RunView(
        id=run.id,
        name=run.name,
        state=state.name or state.type.value if state else "Unknown",
        message=(state.message or "") if state else "",
        final=bool(state and state.is_final()),
        seconds=_seconds(run.estimated_run_time),
        steps=tuple(_step(task, progress.get(task.id, "")) for task in sorted(tasks, key=_started)),
    )


async def _with_subflows(client: PrefectClient, run_id: UUID) -> list[UUID]:
    found, level = [run_id], [run_id]
    while level:
        below = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=level))
        )
        level = [run.id for run in below]
        found += level
    return found


async def _progress(client: PrefectClient, tasks: list[TaskRun]) -> dict[UUID, str]:
    if not tasks:
        return {}
    artifacts = await client.read_artifacts(
        artifact_filter=ArtifactFilter(task_run_id=ArtifactFilterTaskRunId(any_=[task.id for task in tasks]))
    )
    return {
        artifact.task_run_id: f"{float(artifact.data):.0f} % {artifact.description or ''}".strip()  # type: ignore[arg-type]
        for artifact in artifacts
        if artifact.type == "progress" and artifact.task_run_id
    }


def _is_step(task: TaskRun) -> bool:
    # A subflow is a task run too: until it starts nothing says so, and then its flow run is named.
    state = task.state
    return state is not None and task.start_time is not None and state.state_details.child_flow_run_id is None


def _step(task: TaskRun, progress: str) -> Step:
    final = task.state is not None and task.state.is_final()
    seconds = _seconds(task.estimated_run_time)
    return Step(task.name, task.state_name or "", seconds, progress, final, task.start_time)


def _started(task: TaskRun) -> float:
    moment = task.start_time or task.expected_start_time
    return moment.timestamp() if moment else float("inf")


def _seconds(duration: Any) -> float:
    return float(duration.total_seconds()) if duration else 0.0
