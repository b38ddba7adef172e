"""What the Prefect server was told: events and runs, read from its API."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from prefect.client.orchestration import get_client

from serving.events import EVENTS, Event

WAIT_SECONDS = 30.0


async def post(path: str, body: dict[str, Any]) -> Any:
    async with get_client() as client:
        answer = await client._client.post(path, json=body)
        answer.raise_for_status()
        return answer.json()


def events_about(resource: str) -> list[dict[str, Any]]:
    """Events of a resource, the oldest first; the id may end in ``*``."""
    found = {"resource": {"id_prefix": [resource[:-1]]} if resource.endswith("*") else {"id": [resource]}}
    page = asyncio.run(post("/events/filter", {"filter": found, "limit": 50}))
    return sorted(page["events"], key=lambda event: str(event["occurred"]))


def wait_for_events(resource: str, enough: Callable[[list[str]], bool]) -> list[dict[str, Any]]:
    """Events of a resource as soon as their names are enough: they travel beside the run that sends them."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        found = events_about(resource)
        names = [event["event"] for event in found]
        if enough(names):
            return found
        assert time.monotonic() < deadline, f"only {names} came"
        time.sleep(0.2)


def validated(event: dict[str, Any]) -> Event:
    """The event as its model reads it; its resource and what it relates to must be the model's, too."""
    read = EVENTS[event["event"]].model_validate(event["payload"])
    assert event["resource"] == read.resource()
    sent = {(one["prefect.resource.role"], one["prefect.resource.id"]) for one in event["related"]}
    assert {(one["prefect.resource.role"], one["prefect.resource.id"]) for one in read.related()} <= sent
    return read


def runs_with_tag(tag: str) -> list[dict[str, Any]]:
    """Flow runs that carry a tag."""
    body = {"flow_runs": {"tags": {"all_": [tag]}}, "sort": "START_TIME_ASC", "limit": 50}
    found: list[dict[str, Any]] = asyncio.run(post("/flow_runs/filter", body))
    return found
