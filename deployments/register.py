"""Registers what prefect.yaml declares, over one connection: `python -m deployments.register`.

The same deployments as `prefect --no-prompt deploy --all` makes, which starts over for each of them. Doing it again
changes nothing.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectAlreadyExists
from prefect.flows import Flow
from prefect.utilities.importtools import import_object

from deployments.prefect_yaml import PATH


def read(path: Path = PATH) -> list[dict[str, Any]]:
    """The file's deployments, its anchors resolved."""
    entries: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))["deployments"]
    return entries


async def register(entries: Sequence[dict[str, Any]], *, pool_type: str = "process") -> list[str]:
    """Registers the deployments and creates the work pools that they name where these are missing.

    Args:
        entries: Deployments as prefect.yaml declares them.
        pool_type: Type of a work pool that is created.

    Returns:
        ``flow/deployment`` of each.
    """
    async with get_client() as client:
        for pool in sorted({entry["work_pool"]["name"] for entry in entries}):
            await _create_pool(client, pool, pool_type)
        return [await _register(client, entry) for entry in entries]


async def _create_pool(client: PrefectClient, name: str, pool_type: str) -> None:
    try:
        await client.create_work_pool(WorkPoolCreate(name=name, type=pool_type))
    except ObjectAlreadyExists:
        return


async def _register(client: PrefectClient, entry: dict[str, Any]) -> str:
    flow: Flow[..., Any] = import_object(entry["entrypoint"])
    await client.create_deployment(
        flow_id=await client.create_flow(flow),
        name=entry["name"],
        entrypoint=entry["entrypoint"],
        parameters=entry["parameters"],
        description=entry["description"],
        tags=entry["tags"],
        work_pool_name=entry["work_pool"]["name"],
        parameter_openapi_schema=flow.parameters.model_dump(mode="json"),
        enforce_parameter_schema=True,
        pull_steps=[],
        concurrency_limit=entry.get("concurrency_limit"),
        schedules=[_schedule(**schedule) for schedule in entry.get("schedules", ())],
    )
    return f"{flow.name}/{entry['name']}"


def _schedule(cron: str, timezone: str, active: bool) -> DeploymentScheduleCreate:
    return DeploymentScheduleCreate(schedule=CronSchedule(cron=cron, timezone=timezone), active=active)


def main() -> None:
    """Registers everything and says what."""
    for name in asyncio.run(register(read())):
        print(name)


if __name__ == "__main__":
    main()
