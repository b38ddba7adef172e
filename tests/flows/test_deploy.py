"""A deploy, whole: staged, proved, promoted; again without effect; changed beside the old; failures explained."""

import asyncio
import json
import time
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State

from flows.deploy_model import deploy_model
from flows.deploy_nim import deploy_nim
from flows.parameters import WorkloadOptions
from flows.pipeline import DeployReport
from kube.apply import apply
from kube.connect import from_kubeconfig
from kube.proxy import request
from kube.read import get, list_
from serving.catalog import Overrides
from serving.models import ModelSource
from serving.record import from_manifest, record_name
from serving.spec import NimOptions, PodOptions
from tests.flows.conftest import NAMESPACE, World

pytestmark = pytest.mark.server
LONG = pytest.mark.long


def deploy(world: World, endpoint: str, **parameters: Any) -> State[Any]:
    overrides = Overrides.read(
        {"name": endpoint, "pod": {"drain_seconds": 0}, "rollout": {"retire_after": 0}}
        | parameters.pop("overrides", {})
    )
    given = {"preset": "qwen3-1.7b-vllm", "overrides": overrides, "timeout_minutes": 1, **world.target(), **parameters}
    return asyncio.run(deploy_model(**given, return_state=True))


def report_of(state: State[Any]) -> DeployReport:
    assert state.is_completed(), state.message
    report = asyncio.run(state.aresult())
    assert isinstance(report, DeployReport)
    return report


def of_endpoint(world: World, endpoint: str, kind: str, api_version: str = "apps/v1") -> list[dict[str, Any]]:
    with from_kubeconfig(world.kubernetes.kubeconfig) as cluster:
        return list_(cluster, api_version, kind, NAMESPACE, labels=f"inference-flows/endpoint={endpoint}")


def release_of(thing: dict[str, Any]) -> str:
    label: str = thing["metadata"]["labels"]["inference-flows/release"]
    return label


def test_a_preset_becomes_a_verified_endpoint_and_again_nothing_changes(world: World) -> None:
    question = {"prompt": "How many seas are there?", "max_tokens": 9}
    first = report_of(deploy(world, "whole", smoke=question))
    assert first.record is not None
    release = first.record.current
    assert release.spec.smoke.model_dump(exclude_defaults=True) == question
    assert world.s3.keys("models")
    assert release.staged_uri == f"s3://models/Qwen/Qwen3-1.7B/{release.model.commit}/"
    assert release.smoke is not None
    assert (release.smoke.prompt, bool(release.smoke.answer.strip())) == (question["prompt"], True)
    with from_kubeconfig(world.kubernetes.kubeconfig) as cluster:
        service = get(cluster, "v1", "Service", "whole", NAMESPACE)
        assert service is not None
        assert service["spec"]["selector"]["inference-flows/release"] == release.id
        models = request(cluster, "GET", NAMESPACE, "whole", "http", "/v1/models").json()
        record = get(cluster, "v1", "ConfigMap", record_name("whole"), NAMESPACE)
    assert models["data"][0]["id"] == "Qwen/Qwen3-1.7B"
    assert record is not None
    assert from_manifest(record) == first.record

    before = {name: seen for name, seen in world.objects().items() if "-record" not in name[1]}
    keys = world.staged_keys()
    second = report_of(deploy(world, "whole", smoke=question))
    after = {name: seen for name, seen in world.objects().items() if "-record" not in name[1]}
    assert second.moved_bytes == 0
    assert second.changed == ()
    assert after == before
    assert world.staged_keys() == keys


@pytest.mark.long
def test_a_change_comes_up_beside_the_old_release_and_replaces_it(world: World) -> None:
    old = report_of(deploy(world, "change")).record
    new = report_of(deploy(world, "change", overrides={"engine": {"max_model_len": 4096}})).record
    assert old is not None
    assert new is not None
    assert old.current.id != new.current.id
    workloads = of_endpoint(world, "change", "Deployment")
    assert [thing["metadata"]["labels"]["inference-flows/release"] for thing in workloads] == [new.current.id]
    arguments = workloads[0]["spec"]["template"]["spec"]["containers"][0]["command"]
    assert "4096" in arguments


def test_a_dry_run_shows_what_would_change_and_changes_nothing(world: World) -> None:
    before = world.objects(), world.staged_keys()
    report = report_of(deploy(world, "dry", dry_run=True))
    assert report.record is None
    assert any("Deployment" in name for name in report.changed)
    assert "vllm" in report.diff
    assert (world.objects(), world.staged_keys()) == before


@pytest.mark.parametrize(
    ("fault", "names"),
    [
        pytest.param(
            {"SANDBOX_ENGINE_FAIL": "cuda-oom"}, "tensor_parallel_size", id="out-of-accelerator-memory", marks=LONG
        ),
        pytest.param({"SANDBOX_ENGINE_FAIL": "wrong-model-name"}, "Qwen/Qwen3-1.7B", id="another-model", marks=LONG),
        pytest.param({"SANDBOX_ENGINE_FAIL": "empty-text"}, "empty", id="empty-answer"),
    ],
)
def test_a_candidate_that_fails_is_explained_and_goes_while_the_old_release_serves(
    world: World, fault: dict[str, str], names: str
) -> None:
    old = report_of(deploy(world, "proved")).record
    assert old is not None
    state = deploy(world, "proved", overrides={"env": fault})
    assert state.is_failed()
    assert names in (state.message or ""), state.message
    workloads = of_endpoint(world, "proved", "Deployment")
    assert [release_of(thing) for thing in workloads] == [old.current.id]
    # The run does not wait for the candidate's pods, which end as pods do.
    patience = time.monotonic() + 60
    while {release_of(pod) for pod in of_endpoint(world, "proved", "Pod", "v1")} != {old.current.id}:
        assert time.monotonic() < patience, "the candidate's pods stay"
        time.sleep(0.2)
    with from_kubeconfig(world.kubernetes.kubeconfig) as cluster:
        assert request(cluster, "GET", NAMESPACE, "proved", "http", "/v1/models").status == 200


def test_a_nim_becomes_a_verified_endpoint_of_what_its_image_holds(world: World) -> None:
    """The Hub does not know its model, and nothing is staged."""
    key = {"kind": "Secret", "metadata": {"name": "ngc-api"}, "stringData": {"NGC_API_KEY": "nvapi-marked"}}
    with from_kubeconfig(world.kubernetes.kubeconfig, namespace=NAMESPACE) as cluster:
        apply(cluster, {"apiVersion": "v1", **key})
    keys = world.staged_keys()
    state = asyncio.run(
        deploy_nim(
            endpoint="nim",
            model=ModelSource(repo_id="meta/llama-3.1-8b-instruct"),
            image="nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8.3",
            nim=NimOptions(pull_secret=""),
            workload=WorkloadOptions(pod=PodOptions(drain_seconds=0)),
            timeout_minutes=1,
            return_state=True,
            **world.target(),
        )
    )
    record = report_of(state).record
    assert record is not None
    assert record.current.smoke is not None
    assert record.current.smoke.answer.strip()
    assert record.current.model.repo_id == "meta/llama-3.1-8b-instruct"
    assert world.staged_keys() == keys


def test_no_secret_reaches_what_prefect_keeps(world: World) -> None:
    """Everything that the server gives out about runs: parameters, task runs and their states, logs, artifacts."""
    report_of(deploy(world, "secrets"))

    async def everything() -> str:
        async with get_client() as client:
            texts = []
            for path in ("flow_runs", "task_runs", "logs", "artifacts"):
                offset = 0
                while True:
                    answer = await client._client.post(f"/{path}/filter", json={"limit": 200, "offset": offset})
                    page = answer.json()
                    texts.append(json.dumps(page))
                    offset += len(page)
                    if len(page) < 200:
                        break
            return "".join(texts)

    kept = asyncio.run(everything())
    assert "secrets" in kept
    for secret in (world.hub_server.token, world.s3.secret_key, world.kubernetes.admin_token):
        assert secret not in kept
