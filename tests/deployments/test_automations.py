"""Automations on a real server: a failure is told with its diagnosis, an event starts a run, a dead run is found."""

import asyncio
import json
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Completed, Failed, Running

from deployments import hub_webhook
from deployments.automations import (
    PREFIX,
    dead_runs_crashed,
    differences,
    ensure_automations,
    failure_told,
    find_automation,
    staged_deployed,
    staged_name,
    sweep_automations,
    updates_followed,
)
from deployments.notifiers import Notifier, webhook
from deployments.outcomes import Done, Outcome
from deployments.pools import PodSettings, ensure_pool
from deployments.prefect_yaml import PROCESS
from deployments.register import read, register
from serving.catalog import get_preset
from serving.events import ModelStaged
from tests.deployments.receiver import Receiver, serve_receiver
from tests.deployments.test_hub_webhook import PUSHED, SECRET

pytestmark = pytest.mark.server

T = TypeVar("T")
PRESET = "llama-32-1b-vllm"
WAIT_SECONDS = 60.0


def ask(work: Callable[[PrefectClient], Awaitable[T]]) -> T:
    async def asked() -> T:
        async with get_client() as client:
            return await work(client)

    return asyncio.run(asked())


@pytest.fixture(scope="module")
def receiver(prefect_server: str) -> Iterator[Receiver]:
    """A notification's address, with all automations of this file; they go again at the end."""

    async def set_up(client: PrefectClient) -> None:
        await ensure_pool(client, PROCESS, PodSettings())
        only = {"refresh-models", "list-endpoints", PRESET}
        await register([one for one in read() if one["name"] in only], client=client)
        block = webhook({"NOTIFY_WEBHOOK_URL": receiver.url})
        assert isinstance(block, CustomWebhookNotificationBlock)
        notifier = Notifier("custom-webhook/automations", await block.asave("automations", overwrite=True))
        refresh = await client.read_deployment_by_name("refresh-models/refresh-models")
        deploy = await client.read_deployment_by_name(f"deploy-model/{PRESET}")
        wanted = [
            failure_told(notifier),
            updates_followed(refresh.id),
            staged_deployed(get_preset(PRESET), deploy.id),
        ]
        for one in wanted:
            await ensure_automations(client, [one.model_copy(update={"name": f"{one.name} (test)"})])
        for one in wanted:
            found = await find_automation(client, f"{one.name} (test)")
            assert found is not None
            assert not differences(one, found)

    async def take_down(client: PrefectClient) -> None:
        for one in await client.read_automations():
            if one.name.endswith(" (test)"):
                await client.delete_automation(one.id)

    with serve_receiver() as receiver:
        ask(set_up)
        yield receiver
        ask(take_down)


async def start(client: PrefectClient, deployment: str) -> FlowRun:
    found = await client.read_deployment_by_name(deployment)
    return await client.create_flow_run_from_deployment(found.id, state=Running())


def post_event(event: dict[str, Any], api_url: str) -> None:
    """As the documentation does it with curl."""
    body = json.dumps([{"id": str(uuid4()), "occurred": datetime.now(UTC).isoformat(), **event}]).encode()
    request = urllib.request.Request(f"{api_url}/events", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 204


def runs_of(deployment: str) -> list[FlowRun]:
    async def look(client: PrefectClient) -> list[FlowRun]:
        found = await client.read_deployment_by_name(deployment)
        chosen = {"deployments": {"id": {"any_": [str(found.id)]}}, "limit": 50}
        answer = await client._client.post("/flow_runs/filter", json=chosen)
        return [FlowRun.model_validate(one) for one in answer.json()]

    return ask(look)


def wait_for_run(deployment: str, **parameters: Any) -> FlowRun:
    """The first run of a deployment with these parameters."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        for run in runs_of(deployment):
            if parameters.items() <= run.parameters.items():
                return run
        assert time.monotonic() < deadline, f"no such run of {deployment}"
        time.sleep(0.2)


def test_a_failure_is_told_with_its_cause_and_fix(receiver: Receiver) -> None:
    paragraph = "Endpoint chat needs 1 nvidia.com/gpu and no node offers that resource. Add gpu nodes."

    async def fail(client: PrefectClient) -> UUID:
        run = await start(client, "list-endpoints/list-endpoints")
        await client.set_flow_run_state(run.id, Failed(message=paragraph), force=True)
        return run.id

    run = ask(fail)
    told = receiver.wait()
    assert told["subject"].startswith("list-endpoints failed: ")
    assert told["body"].startswith(paragraph)
    assert str(run) in told["body"]


def test_a_call_of_the_hub_starts_a_refresh_of_that_repository(receiver: Receiver) -> None:
    async def call() -> None:
        transport = httpx.ASGITransport(app=hub_webhook.receiver(SECRET))
        async with httpx.AsyncClient(transport=transport, base_url="http://webhook") as hub:
            answer = await hub.post(hub_webhook.PATH, json=PUSHED, headers={"X-Webhook-Secret": SECRET})
        assert answer.status_code == 202, answer.text

    asyncio.run(call())
    run = wait_for_run("refresh-models/refresh-models", repo_id=PUSHED["repo"]["name"])
    assert run.parameters["cluster"] == {"$ref": {"block_document_slug": "inference-cluster/default"}}


def test_automations_that_nothing_declares_are_swept_and_only_ours(receiver: Receiver) -> None:
    preset = get_preset(PRESET)

    async def sweep(client: PrefectClient) -> tuple[list[Done], set[str]]:
        refresh = await client.read_deployment_by_name("refresh-models/refresh-models")
        there = updates_followed(refresh.id)
        names = [there.name, f"{PREFIX}of an earlier version", staged_name(preset), "ours too? no"]
        for name in names:
            await ensure_automations(client, [there.model_copy(update={"name": name})])
        # Those of the other tests stay out of it.
        wanted = [there, *[one for one in await client.read_automations() if one.name.endswith(" (test)")]]
        swept = await sweep_automations(client, wanted)
        left = {one.name for one in await client.read_automations()}
        for name in left & set(names):
            found = await find_automation(client, name)
            assert found is not None
            await client.delete_automation(found.id)
        return swept, left

    swept, left = ask(sweep)
    assert [(one.name, one.outcome) for one in swept] == [(f"{PREFIX}of an earlier version", Outcome.REMOVED)]
    assert {staged_name(preset), "ours too? no"} <= left


def test_a_staged_model_is_deployed(receiver: Receiver, prefect_server: str) -> None:
    preset = get_preset(PRESET)
    staged = ModelStaged(
        model=preset.model,
        revision="main",
        commit="a" * 40,
        uri="s3://b/c/",
        files=1,
        bytes=1,
        moved_bytes=1,
        seconds=1,
    )

    def staged_by(flow: str) -> dict[str, Any]:
        by = {"prefect.resource.id": f"prefect.flow.{uuid4()}", "prefect.resource.role": "flow"}
        related = [*staged.related(), {**by, "prefect.resource.name": flow}]
        return {"event": staged.name, "resource": staged.resource(), "related": related, "payload": staged.payload()}

    # A deploy stages too, and must not start itself again.
    post_event(staged_by("deploy-vllm"), prefect_server)
    post_event(staged_by("stage-model"), prefect_server)
    wait_for_run(f"deploy-model/{PRESET}", preset=PRESET)
    assert len(runs_of(f"deploy-model/{PRESET}")) == 1


@pytest.mark.long
def test_a_run_that_is_silent_is_marked_as_crashed(receiver: Receiver, prefect_server: str) -> None:
    """Of two runs with one heartbeat each, the one whose end was told is left alone."""
    silent_seconds = 12

    async def set_up(client: PrefectClient) -> tuple[UUID, UUID]:
        one = dead_runs_crashed(silent_seconds)
        await ensure_automations(client, [one.model_copy(update={"name": f"{one.name} (test)"})])
        dead, well = [await start(client, "list-endpoints/list-endpoints") for _ in range(2)]
        return dead.id, well.id

    async def state_of(client: PrefectClient, run: UUID) -> Any:
        return (await client.read_flow_run(run)).state

    dead, well = ask(set_up)
    tag = {"prefect.resource.id": "prefect.tag.inference", "prefect.resource.role": "tag"}
    for run in (dead, well):
        resource = {"prefect.resource.id": f"prefect.flow-run.{run}"}
        event = {"event": "prefect.flow-run.heartbeat", "resource": resource, "related": [tag]}
        post_event(event, prefect_server)
    ask(lambda client: client.set_flow_run_state(well, Completed()))
    deadline = time.monotonic() + 90
    while (state := ask(lambda client: state_of(client, dead))).type is not StateType.CRASHED:
        assert time.monotonic() < deadline, state
        time.sleep(1.0)
    assert "No sign of life for 12 s" in state.message
    assert ask(lambda client: state_of(client, well)).type is StateType.COMPLETED
    # A crash is told as a failure is.
    assert "No sign of life" in receiver.wait()["body"]
