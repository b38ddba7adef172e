"""An endpoint under load: from the run itself and from a Job, kept, compared, held to limits, and nothing left."""

import asyncio
import json
from typing import Any

import pytest
from prefect.client.schemas.objects import State

from flows.benchmark_endpoint import BenchmarkReport, LoadEngine, LoadOptions, benchmark_endpoint
from flows.deploy_model import deploy_model
from kube.connect import from_kubeconfig
from kube.read import list_
from serving.benchmark.comparison import Limits
from serving.benchmark.job import JobOptions
from serving.benchmark.result import BenchmarkResult
from serving.catalog import Overrides
from serving.events import EndpointBenchmarked
from staging.store import s3
from tests.flows.conftest import NAMESPACE, World
from tests.flows.told import events_about, post, runs_with_tag, validated, wait_for_events

pytestmark = pytest.mark.server
ENDPOINT = "loaded"
SMALL = JobOptions(cpu="100m", memory="256Mi")
SHORT = LoadOptions(rates=(4, 8), stage_seconds=1, input_tokens=8, output_tokens=6)


@pytest.fixture(scope="module")
def endpoint(world: World) -> World:
    overrides = Overrides.read({"name": ENDPOINT, "pod": {"drain_seconds": 0}})
    state = asyncio.run(deploy_model("qwen3-1.7b-vllm", **world.target(), overrides=overrides, return_state=True))
    assert state.is_completed(), state.message
    return world


def put_under_load(world: World, **parameters: Any) -> State[Any]:
    given = {"cluster": world.cluster, "store": world.store, "load": SHORT, "timeout_minutes": 2, **parameters}
    return asyncio.run(benchmark_endpoint(ENDPOINT, **given, return_state=True))


def report_of(state: State[Any]) -> BenchmarkReport:
    assert state.is_completed(), state.message
    report = asyncio.run(state.aresult())
    assert isinstance(report, BenchmarkReport)
    return report


def stored(world: World, uri: str) -> dict[str, str]:
    """What stands below a result's address, by name."""
    prefix, client = uri.removeprefix("s3://models/"), s3(world.store.access())
    keys = [key for key in world.s3.keys("models") if key.startswith(prefix)]
    read = {key: client.get_object(Bucket="models", Key=key)["Body"].read() for key in keys}
    return {key.removeprefix(prefix): content.decode() for key, content in read.items()}


def left_of_jobs(world: World) -> list[str]:
    with from_kubeconfig(world.kubernetes.kubeconfig) as cluster:
        kinds = (("batch/v1", "Job"), ("v1", "ConfigMap"), ("v1", "Pod"))
        return [
            f"{kind} {one['metadata']['name']}"
            for version, kind in kinds
            for one in list_(cluster, version, kind, NAMESPACE, labels="inference-flows/benchmark")
        ]


@pytest.mark.long
def test_a_quick_look_is_kept_shown_told_and_compared_with_the_next(endpoint: World) -> None:
    first = report_of(put_under_load(endpoint))
    assert [stage.rate for stage in first.result.stages] == [4, 8]
    assert (first.result.succeeded, first.result.failed) == (12, 0)
    assert first.result.via == "proxy"
    for stage in first.result.stages:
        assert stage.first_token is not None
        assert stage.inter_token is not None
        assert 0 < stage.first_token.p50 <= stage.first_token.p99
        assert stage.output_tokens_per_second > stage.requests_per_second
    kept = stored(endpoint, first.uri)
    assert BenchmarkResult.model_validate_json(kept["result.json"]) == first.result
    assert kept["charts.svg"].startswith("<svg")

    limits = Limits(max_ttft_seconds=1e-6)
    state = put_under_load(endpoint, limits=limits)
    assert state.is_failed()
    assert "first token, p99, is" in (state.message or "")
    artifacts = asyncio.run(post("/artifacts/latest/filter", {"limit": 200}))
    shown = {one["key"]: one["data"] for one in artifacts if (one["key"] or "").startswith("benchmark-")}
    assert {f"benchmark-{ENDPOINT}", f"benchmark-{ENDPOINT}-rates", f"benchmark-{ENDPOINT}-charts"} <= set(shown)
    assert f"Beside the result of {first.result.started_at}" in shown[f"benchmark-{ENDPOINT}"]
    assert shown[f"benchmark-{ENDPOINT}-charts"].startswith("data:image/svg+xml;base64,")

    name = EndpointBenchmarked.name
    wait_for_events(f"inference.endpoint.{NAMESPACE}.{ENDPOINT}", lambda names: names.count(name) == 2)
    told = [one for one in events_about(f"inference.endpoint.{NAMESPACE}.{ENDPOINT}") if one["event"] == name]
    assert [getattr(validated(one), "within_limits", None) for one in told] == [True, False]
    assert len([run for run in runs_with_tag("scenario:quick") if f"benchmark {ENDPOINT} " in run["name"]]) == 2


def test_a_job_measures_from_inside_and_leaves_nothing(endpoint: World) -> None:
    report = report_of(put_under_load(endpoint, engine=LoadEngine.INFERENCE_PERF, job=SMALL))
    assert [stage.rate for stage in report.result.stages] == [4, 8]
    assert (report.result.succeeded, report.result.failed) == (6, 0)
    assert report.result.via == "service"
    assert report.before == ""  # what the built-in generator measured is no measure for this one
    kept = stored(endpoint, report.uri)
    assert json.loads(kept["stage_1_lifecycle_metrics.json"])["load_summary"]["requested_rate"] == 8
    assert "base_url: http://loaded." in kept["config.yml"]
    assert left_of_jobs(endpoint) == []


@pytest.mark.long
def test_a_job_that_cannot_run_is_explained_and_leaves_nothing(endpoint: World) -> None:
    missing = SMALL.model_copy(update={"image": "example.com/no-such-image:1"})
    state = put_under_load(endpoint, engine=LoadEngine.INFERENCE_PERF, job=missing)
    assert state.is_failed()
    assert "no-such-image" in (state.message or ""), state.message
    assert left_of_jobs(endpoint) == []
    no_tokenizer = SMALL.model_copy(update={"tokenizer": "org/missing"})
    state = put_under_load(endpoint, engine=LoadEngine.INFERENCE_PERF, job=no_tokenizer)
    assert state.is_failed()
    assert "no such repository" in (state.message or ""), state.message
    assert "kubectl delete job" not in (state.message or "")
    mine = {"artifacts": {"key": {"any_": [f"benchmark-{ENDPOINT}"]}}}
    (shown,) = asyncio.run(post("/artifacts/latest/filter", mine))
    assert "org/missing is not a local folder" in shown["data"]
    assert left_of_jobs(endpoint) == []


@pytest.mark.long
def test_what_cannot_be_measured_is_refused_before_anything_is_sent(endpoint: World) -> None:
    refused = {
        "sends up to 1000000 tokens": {"load": LoadOptions(input_tokens=1_000_000)},
        "timeout_minutes is 1": {"load": LoadOptions(rates=(1,), stage_seconds=120), "timeout_minutes": 1},
    }
    for text, parameters in refused.items():
        state = put_under_load(endpoint, **parameters)
        assert state.is_failed()
        assert text in (state.message or ""), state.message
    unknown = asyncio.run(benchmark_endpoint("nobody", endpoint.cluster, endpoint.store, return_state=True))
    assert "no endpoint nobody" in (unknown.message or "")
