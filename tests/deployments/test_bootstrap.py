"""One command sets a Prefect server up; a second time it changes nothing, and what a person changed stays."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun

from deployments.automations import find_automation
from deployments.bootstrap import Plan, bootstrap, main
from deployments.outcomes import Done, Outcome
from deployments.pools import PodSettings
from deployments.prefect_yaml import KUBERNETES, PROCESS
from deployments.saved_blocks import Sources
from serving.catalog import get_preset
from tasks.limits import STAGING_LIMIT

pytestmark = pytest.mark.server

T = TypeVar("T")
SECRETS = {"HF_TOKEN": "hf_marked_in_bootstrap", "NOTIFY_WEBHOOK_URL": "http://127.0.0.1:9/marked-address"}
ENVIRON = {**SECRETS, "MODEL_STORE": "s3://models/staged", "AWS_REGION": "us-west-2"}
ONLY = frozenset({"stage-model", "refresh-models", "qwen3-1.7b-vllm"})
PLAN = Plan(
    pool=PROCESS,
    pods=PodSettings(),
    sources=Sources(environ=ENVIRON, eks="inference", namespace="inference"),
    deploy_staged=(get_preset("qwen3-1.7b-vllm"),),
    only=ONLY,
)
DAILY = "refresh-models/refresh-models"


def ask(work: Callable[[PrefectClient], Awaitable[T]]) -> T:
    async def asked() -> T:
        async with get_client() as client:
            return await work(client)

    return asyncio.run(asked())


def set_up(plan: Plan = PLAN) -> list[Done]:
    said: list[Done] = []
    done = asyncio.run(bootstrap(plan, said.append))
    assert [one for one in done if one.outcome is not Outcome.SKIPPED] == [
        one for one in said if one.outcome is not Outcome.SKIPPED
    ]
    return done


def everything() -> dict[str, Any]:
    """All that bootstrap makes, with the moments of its last change."""

    async def read(client: PrefectClient) -> dict[str, Any]:
        routes = {
            "pools": "/work_pools/filter",
            "deployments": "/deployments/filter",
            "limits": "/v2/concurrency_limits/filter",
            "blocks": "/block_documents/filter",
            "types": "/block_types/filter",
            "schemas": "/block_schemas/filter",
            "automations": "/automations/filter",
            "flows": "/flows/filter",
        }
        found = {}
        for name, route in routes.items():
            answer = await client._client.post(route, json={"limit": 200})
            answer.raise_for_status()
            # Whether a worker is there is no setting.
            found[name] = [{**one, "status": None, "last_polled": None} for one in answer.json()]
        return found

    return ask(read)


@pytest.fixture(scope="module")
def first(prefect_server: str) -> list[Done]:
    return set_up()


def test_everything_is_there_afterwards(first: list[Done]) -> None:
    # Other tests share the server, and may have made some of it.
    there = {(one.kind, one.name) for one in first if one.outcome is not Outcome.SKIPPED}
    assert {
        ("block", "hugging-face-hub/default"),
        ("block", "model-store/default"),
        ("block", "inference-cluster/default"),
        ("block", "custom-webhook/inference"),
        ("concurrency limit", STAGING_LIMIT),
        ("deployment", "stage-model/stage-model"),
        ("deployment", DAILY),
        ("deployment", "deploy-model/qwen3-1.7b-vllm"),
        ("automation", "inference: tell custom-webhook of failures"),
        ("automation", "inference: mark dead runs as crashed"),
        ("automation", "inference: refresh endpoints whose repository has changed"),
        ("automation", "inference: deploy qwen3-1.7b-vllm when Qwen/Qwen3-1.7B was staged"),
    } <= there
    assert "work pool" in {one.kind for one in first}
    for secret in SECRETS.values():
        assert secret not in " ".join(map(str, first))


def test_a_second_time_changes_nothing(first: list[Done]) -> None:
    before = everything()
    again = set_up()
    assert {one.outcome for one in again} == {Outcome.UNCHANGED}
    assert everything() == before


def test_what_a_person_changed_stays(first: list[Done]) -> None:
    async def change(client: PrefectClient) -> None:
        daily = await client.read_deployment_by_name(DAILY)
        await client.update_deployment_schedule(daily.id, daily.schedules[0].id, active=True)
        automation = await find_automation(client, "inference: mark dead runs as crashed")
        assert automation is not None
        await client.pause_automation(automation.id)
        await client.update_global_concurrency_limit(STAGING_LIMIT, GlobalConcurrencyLimitUpdate(limit=2))
        # This deployment is out of date besides, and will be written again.
        await client._client.patch(f"/deployments/{daily.id}", json={"description": "old"})

    async def look(client: PrefectClient) -> tuple[bool, bool, int, str | None]:
        daily = await client.read_deployment_by_name(DAILY)
        automation = await find_automation(client, "inference: mark dead runs as crashed")
        assert automation is not None
        limit = await client.read_global_concurrency_limit_by_name(STAGING_LIMIT)
        return daily.schedules[0].active, automation.enabled, limit.limit, daily.description

    ask(change)
    updated = [one for one in set_up() if one.outcome is Outcome.UPDATED]
    assert [(one.name, one.detail) for one in updated] == [(DAILY, "description")]
    active, enabled, limit, description = ask(look)
    assert (active, enabled, limit) == (True, False, 2)
    assert description != "old"


@pytest.mark.long
def test_the_server_plans_the_runs_of_a_schedule_that_is_on(first: list[Done]) -> None:
    """Its scheduler tells of a failure in its own log alone, and no run would ever start."""

    async def switch_on(client: PrefectClient) -> UUID:
        daily = await client.read_deployment_by_name(DAILY)
        await client.update_deployment_schedule(daily.id, daily.schedules[0].id, active=True)
        await client._client.patch(f"/deployments/{daily.id}", json={"description": "seen by the quick loop"})
        return daily.id

    async def switch_off(client: PrefectClient) -> None:
        daily = await client.read_deployment_by_name(DAILY)
        await client.update_deployment_schedule(daily.id, daily.schedules[0].id, active=False)

    async def planned(client: PrefectClient) -> list[FlowRun]:
        return await client.read_flow_runs(flow_run_filter=chosen, limit=200)

    deployment = ask(switch_on)
    wanted = {"deployment_id": {"any_": [deployment]}, "state": {"type": {"any_": ["SCHEDULED"]}}}
    chosen = FlowRunFilter.model_validate(wanted)
    deadline = time.monotonic() + 240
    while not (runs := [run for run in ask(planned) if run.auto_scheduled]):
        assert time.monotonic() < deadline, "no run was planned"
        time.sleep(0.5)
    assert {run.expected_start_time.minute for run in runs if run.expected_start_time} == {0}
    ask(switch_off)  # which takes the planned runs away
    set_up()


@pytest.mark.long
def test_blocks_change_only_when_asked_to(first: list[Done]) -> None:
    other = Sources(environ={**ENVIRON, "HF_TOKEN": "hf_marked_other"}, eks="inference", namespace="elsewhere")
    plan = Plan(pool=PROCESS, pods=PodSettings(), sources=other, only=ONLY)
    assert not [one for one in set_up(plan) if one.kind == "block" and one.outcome is not Outcome.UNCHANGED]
    changed = set_up(Plan(PROCESS, PodSettings(), other, update_blocks=True, only=ONLY))
    assert {(one.name, one.detail) for one in changed if one.outcome is Outcome.UPDATED} == {
        ("hugging-face-hub/default", "token"),
        ("inference-cluster/default", "namespace"),
    }
    set_up(Plan(PROCESS, PodSettings(), PLAN.sources, update_blocks=True, only=ONLY))


@pytest.mark.long
def test_the_same_deployments_move_to_pods_and_back(first: list[Done]) -> None:
    pods = PodSettings(image="example.com/flows:1", namespace="prefect", service_account="inference-flows")
    moved = set_up(Plan(KUBERNETES, pods, PLAN.sources, only=ONLY))
    assert ("work pool", Outcome.CREATED) in {(one.kind, one.outcome) for one in moved}
    assert {one.detail for one in moved if one.kind == "deployment"} == {"work pool, job variables"}

    pool = ask(lambda client: client.read_work_pool(KUBERNETES.name))
    defaults = {name: one.get("default") for name, one in pool.base_job_template["variables"]["properties"].items()}
    assert defaults["image"] == "example.com/flows:1"
    assert defaults["env"] == {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
    # A newer image later on changes the image and nothing else; nothing given changes nothing.
    later = set_up(Plan(KUBERNETES, PodSettings(image="example.com/flows:2"), PLAN.sources, only=ONLY))
    assert [one.detail for one in later if one.outcome is Outcome.UPDATED] == ["image"]
    assert {one.outcome for one in set_up(Plan(KUBERNETES, PodSettings(), PLAN.sources, only=ONLY))} == {
        Outcome.UNCHANGED
    }
    assert {one.detail for one in set_up() if one.kind == "deployment"} == {"work pool, job variables"}


def test_the_command_line_prints_no_secret(
    first: list[Done], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    assert main(["--json", "--only", "stage-model"]) == 0
    printed = capsys.readouterr()
    done = json.loads(printed.out)
    assert {"kind": "deployment", "name": "stage-model/stage-model", "outcome": "unchanged", "detail": ""} in done
    for secret in SECRETS.values():
        assert secret not in printed.out + printed.err


def test_what_is_missing_is_said_before_anything_is_made(
    prefect_server: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["--image", "example.com/flows:1"]) == 1
    assert "Add --pool kubernetes" in capsys.readouterr().err
    assert main(["--deploy-staged", "qwen3-1.7-vllm"]) == 1
    assert "qwen3-1.7b-vllm" in capsys.readouterr().err
