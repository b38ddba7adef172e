"""Registers what prefect.yaml declares, over one connection: `python -m deployments.register`.

The same deployments as `prefect --no-prompt deploy --all` makes, which starts over for each of them. Doing it again
changes nothing: a deployment that is as it should be is left alone, and a schedule that a person switched on stays on.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions, DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow
from prefect.utilities.importtools import import_object

from deployments.outcomes import Done, Outcome
from deployments.pools import PodSettings, ensure_pool
from deployments.prefect_yaml import PROCESS, Pool, text

_PAGE = 200
"""Deployments that the server answers with at a time."""


@dataclass(frozen=True)
class Wanted:
    """A deployment as it is to be: what prefect.yaml says, with its flow."""

    entry: dict[str, Any]
    flow: Flow[..., Any]

    @property
    def name(self) -> str:
        """``flow/deployment``."""
        return f"{self.flow.name}/{self.entry['name']}"

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the flow's parameters."""
        return self.flow.parameters.model_dump(mode="json")

    @property
    def limit(self) -> int | None:
        """Runs at the same time; None for any number."""
        found = self.entry.get("concurrency_limit") or {}
        return found.get("limit")

    @property
    def collisions(self) -> ConcurrencyOptions | None:
        """What becomes of a run beyond the limit."""
        found = self.entry.get("concurrency_limit") or {}
        strategy = found.get("collision_strategy")
        return ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy(strategy)) if strategy else None


def read(pool: Pool = PROCESS) -> list[dict[str, Any]]:
    """The pool's deployments as its file declares them. An installed project needs no file."""
    entries: list[dict[str, Any]] = yaml.safe_load(text(pool))["deployments"]
    return entries


def load(entries: Iterable[dict[str, Any]]) -> list[Wanted]:
    """The deployments with their flows, which are imported: seconds the first time."""
    return [Wanted(entry, import_object(entry["entrypoint"])) for entry in entries]


async def register(entries: Sequence[dict[str, Any]], *, client: PrefectClient) -> list[Done]:
    """Registers the deployments. The work pools that they name must be there.

    Args:
        entries: Deployments as prefect.yaml declares them.
        client: Prefect's client.

    Returns:
        What was done to each.
    """
    wanted = load(await with_block_ids(client, entries))
    there = await existing(client, wanted)
    return [await _register(client, one, there.get(one.name)) for one in wanted]


async def with_block_ids(client: PrefectClient, entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The deployments with the ids of the blocks that they name: by its id alone the run form knows a chosen block.

    A block that is not saved yet stays a name, which a run looks up.
    """
    slugs = {slug for entry in entries for value in entry["parameters"].values() if (slug := _block_slug(value))}
    ids = {slug: found for slug in sorted(slugs) if (found := await _block_id(client, slug))}

    def known(value: Any) -> Any:
        slug = _block_slug(value)
        return {"$ref": {"block_document_id": ids[slug], "block_document_slug": slug}} if slug in ids else value

    return [
        {**entry, "parameters": {name: known(value) for name, value in entry["parameters"].items()}}
        for entry in entries
    ]


def _block_slug(value: Any) -> str:
    reference = value.get("$ref") if isinstance(value, dict) else None
    return str(reference.get("block_document_slug", "")) if isinstance(reference, dict) else ""


async def _block_id(client: PrefectClient, slug: str) -> str:
    block_type, _, name = slug.partition("/")
    try:
        document = await client.read_block_document_by_name(name, block_type)
    except ObjectNotFound:
        return ""
    return str(document.id)


async def existing(client: PrefectClient, wanted: Iterable[Wanted]) -> dict[str, DeploymentResponse]:
    """All deployments of these flows on the server, by ``flow/deployment``."""
    names = {one.flow.name for one in wanted}
    flows = await client.read_flows(flow_filter=FlowFilter(name=FlowFilterName(any_=sorted(names))))
    of_flow = {flow.id: flow.name for flow in flows}
    found: dict[str, DeploymentResponse] = {}
    while True:
        page = await client.read_deployments(limit=_PAGE, offset=len(found))
        found |= {f"{one.flow_id}/{one.name}": one for one in page}
        if len(page) < _PAGE:
            break
    return {f"{of_flow[one.flow_id]}/{one.name}": one for one in found.values() if one.flow_id in of_flow}


def differences(wanted: Wanted, there: DeploymentResponse) -> list[str]:
    """Fields in which a deployment on the server is not what it should be."""
    entry = wanted.entry
    limit = there.global_concurrency_limit
    collisions = there.concurrency_options
    pairs: dict[str, tuple[Any, Any]] = {
        "entrypoint": (entry["entrypoint"], there.entrypoint),
        "parameters": (entry["parameters"], there.parameters),
        "description": (entry["description"], there.description),
        "tags": (sorted(entry["tags"]), sorted(there.tags)),
        "work pool": (entry["work_pool"]["name"], there.work_pool_name),
        "job variables": (entry["work_pool"].get("job_variables", {}), there.job_variables),
        "concurrency": (
            (wanted.limit, wanted.collisions and wanted.collisions.collision_strategy),
            (limit.limit if limit else None, collisions and collisions.collision_strategy),
        ),
        "schedules": (_timetable(_schedules(entry)), _timetable(there.schedules)),
        "form": (wanted.schema, there.parameter_openapi_schema),
    }
    return [name for name, (should, is_) in pairs.items() if should != is_]


async def _register(client: PrefectClient, wanted: Wanted, there: DeploymentResponse | None) -> Done:
    differs = differences(wanted, there) if there else []
    if there and not differs:
        return Done("deployment", wanted.name, Outcome.UNCHANGED)
    entry = wanted.entry
    switched_on = {one.slug for one in there.schedules if one.active} if there else set()
    await client.create_deployment(
        flow_id=await client.create_flow(wanted.flow),
        name=entry["name"],
        entrypoint=entry["entrypoint"],
        parameters=entry["parameters"],
        description=entry["description"],
        tags=entry["tags"],
        work_pool_name=entry["work_pool"]["name"],
        job_variables=entry["work_pool"].get("job_variables"),
        parameter_openapi_schema=wanted.schema,
        enforce_parameter_schema=True,
        pull_steps=[],
        concurrency_limit=wanted.limit,
        concurrency_options=wanted.collisions,
        schedules=[
            one.model_copy(update={"active": one.active or one.slug in switched_on}) for one in _schedules(entry)
        ],
    )
    return Done("deployment", wanted.name, Outcome.UPDATED if there else Outcome.CREATED, ", ".join(differs))


def _schedules(entry: dict[str, Any]) -> list[DeploymentScheduleCreate]:
    return [
        DeploymentScheduleCreate(
            schedule=CronSchedule(cron=one["cron"], timezone=one["timezone"]),
            active=one["active"],
            slug=one["slug"],
            parameters=one.get("parameters", {}),
        )
        for one in entry.get("schedules", ())
    ]


def _timetable(schedules: Sequence[DeploymentScheduleCreate | DeploymentSchedule]) -> list[tuple[Any, ...]]:
    """When schedules run and with what, whether they are on or not."""
    found = []
    for one in schedules:
        at = one.schedule
        when = (at.cron, at.timezone) if isinstance(at, CronSchedule) else repr(at)
        found.append((one.slug, when, one.parameters))
    return sorted(found, key=repr)


async def _main() -> None:
    async with get_client() as client:
        print(await ensure_pool(client, PROCESS, PodSettings()))
        for one in await register(read(), client=client):
            print(one)


def main() -> None:
    """Registers everything for the process pool and says what."""
    asyncio.run(_main())


if __name__ == "__main__":
    main()
