"""Load tests, pure: scenarios, inference-perf's configuration and reports, the Job, comparison, limits, report."""

import json
import random
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from serving.benchmark.comparison import Limits, changes, comparable, violations
from serving.benchmark.inference_perf import config_for, read_reports, stage_under_way
from serving.benchmark.job import JobOptions, Place, job_name, owned_config, read_log, render_job, tokenizer_of
from serving.benchmark.pictures import charts
from serving.benchmark.questions import question_for, read_line
from serving.benchmark.report import failure_markdown, result_markdown, rows
from serving.benchmark.result import BenchmarkResult, Sample, Spread, StageResult, percentile, summarize
from serving.benchmark.scenario import (
    SCENARIOS,
    Lengths,
    ScenarioName,
    Sweep,
    arrivals,
    require_fits,
    scenario_for,
    stages_up_to,
)
from serving.build import build_spec
from serving.diagnosis import Category, Diagnosis, Evidence
from serving.errors import BenchmarkError, InputError, RolloutError
from serving.models import PinnedModel, StagedModel
from serving.release import Release
from serving.smoke import expectation_for
from serving.spec import Accelerator, EndpointSpec, Framework
from tests.serving.manifest_schemas import check

DATA = Path(__file__).parents[1] / "data" / "inference_perf"
PINNED = PinnedModel(repo_id="org/model", revision="main", commit="a" * 40)
STAGED = StagedModel(model=PINNED, uri=f"s3://models/org/model/{'a' * 40}/", files=(), region="us-west-2")


def spec_of(framework: Framework = Framework.VLLM, **fields: Any) -> EndpointSpec:
    return build_spec(framework, Accelerator.GPU, {"name": "chat", "model": {"repo_id": "org/model"}, **fields})


def place_of(spec: EndpointSpec, **changes: Any) -> Place:
    given = {"staged": STAGED, "run": "0f3c", "seconds": 600.0} | changes
    return Place(spec=spec, release=Release("chat", "0123456789", PINNED), **given)


def stage(rate: float, tokens: float = 100.0, first: float = 0.1, **fields: Any) -> StageResult:
    spread = Spread(mean=first, p50=first, p90=2 * first, p99=3 * first, max=4 * first)
    known = {"sent_rate": rate, "seconds": 10, "succeeded": 10, "failed": 0, "requests_per_second": rate}
    speeds = {"output_tokens_per_second": tokens, "input_tokens_per_second": 50.0}
    return StageResult(
        **(known | speeds | {"rate": rate, "latency": spread, "first_token": spread, "inter_token": spread} | fields)
    )


def result_of(*stages: StageResult, **fields: Any) -> BenchmarkResult:
    known = {
        "cluster": "prod",
        "namespace": "ml",
        "endpoint": "chat",
        "release": "0123456789",
        "model": "org/model",
        "commit": "a" * 40,
        "framework": "vllm",
        "accelerator": "gpu",
        "replicas": 1,
        "image": "vllm:1",
        "scenario": SCENARIOS[ScenarioName.QUICK],
        "engine": "built-in",
        "via": "proxy",
        "started_at": "2026-11-25T10:00:00+00:00",
        "seconds": 30,
        "stages": stages or (stage(1), stage(2)),
    }
    return BenchmarkResult(**(known | fields))


# Scenarios


def test_the_scenarios_are_those_of_the_chart() -> None:
    """awslabs/ai-on-eks-charts, charts/benchmark-charts/values.yaml, but for quick."""
    found = {
        name.value: (one.arrivals, one.rates, one.stage_seconds, one.input.mean, one.output.mean, one.workers)
        for name, one in SCENARIOS.items()
        if name is not ScenarioName.QUICK
    }
    assert found == {
        "baseline": ("constant", (1,), 300, 512, 128, 4),
        "saturation": ("constant", (5, 10, 20, 40), 180, 512, 256, 8),
        "sweep": ("constant", (), 180, 512, 256, 8),
        "production": ("poisson", (15,), 600, 1024, 512, 8),
    }
    sweep = SCENARIOS[ScenarioName.SWEEP]
    assert sweep.sweep == Sweep(requests=2000, probe_seconds=60, stages=5, percentile=95)
    assert sweep.seconds == 60 + 5 * 180


def test_overrides_replace_what_they_name() -> None:
    own = scenario_for(ScenarioName.SWEEP, rates=[3], stage_seconds=20, input_tokens=10, output_tokens=5)
    assert (own.rates, own.seconds, own.longest, own.sweep) == ((3,), 20, 15, None)
    assert scenario_for(ScenarioName.BASELINE) == SCENARIOS[ScenarioName.BASELINE]


def test_requests_that_the_endpoint_cannot_take_are_refused_with_what_to_lower() -> None:
    require_fits(SCENARIOS[ScenarioName.QUICK], 96, "ml/chat")
    require_fits(SCENARIOS[ScenarioName.PRODUCTION], None, "ml/chat")
    with pytest.raises(InputError, match=r"takes 95 together.*Lower load.input_tokens"):
        require_fits(SCENARIOS[ScenarioName.QUICK], 95, "ml/chat")


@given(rate=st.floats(0.2, 50), kind=st.sampled_from(["constant", "poisson"]), number=st.integers(0, 5))
def test_arrivals_are_in_order_within_the_stage_and_the_same_again(rate: float, kind: str, number: int) -> None:
    scenario = SCENARIOS[ScenarioName.QUICK].model_copy(update={"arrivals": kind})
    due = list(arrivals(scenario, rate, number))
    assert due == list(arrivals(scenario, rate, number))
    assert due[0] == 0
    assert all(0 <= earlier < later < scenario.stage_seconds for earlier, later in pairwise(due))
    if kind == "constant":
        assert abs(len(due) - rate * scenario.stage_seconds) < 1 + 1e-6


@given(limit=st.floats(0.1, 1000), count=st.integers(1, 12), geometric=st.booleans())
def test_a_sweep_climbs_to_its_limit(limit: float, count: int, geometric: bool) -> None:
    rates = stages_up_to(limit, Sweep(stages=count), geometric=geometric)
    assert 1 <= len(rates) <= count
    assert list(rates) == sorted(rates)
    assert rates[-1] == pytest.approx(limit, abs=0.001)
    assert rates[0] == pytest.approx(min(1.0, limit) if count > 1 else limit, abs=0.001)


@given(mean=st.integers(1, 500), deviation=st.integers(0, 200), seed=st.integers())
def test_lengths_stay_within_their_bounds(mean: int, deviation: int, seed: int) -> None:
    lengths = Lengths(mean=mean, std_dev=deviation, min=max(1, mean // 2), max=2 * mean)
    drawn = lengths.sample(random.Random(seed))
    assert lengths.min <= drawn <= lengths.max
    assert Lengths.exactly(mean).sample(random.Random(seed)) == mean


# What is asked and read


@pytest.mark.parametrize(
    ("framework", "fields", "path", "stream"),
    [
        (Framework.VLLM, {}, "/v1/completions", True),
        (Framework.RAY_VLLM, {}, "/v1/completions", True),
        (Framework.TRITON_VLLM, {}, "/v2/models/vllm_model/generate_stream", True),
        (Framework.DIFFUSERS, {}, "/v1/generations", False),
        (Framework.NIM, {"image": "nvcr.io/nim/a/b:1", "nim": {"kind": "image"}}, "/v1/infer", False),
    ],
)
def test_each_api_is_asked_in_its_own_words_and_never_the_same_twice(
    framework: Framework, fields: dict[str, Any], path: str, stream: bool
) -> None:
    expectation, scenario = expectation_for(spec_of(framework, **fields)), SCENARIOS[ScenarioName.QUICK]
    first, second = (question_for(expectation, scenario, number) for number in (1, 2))
    assert (first.path, first.stream) == (path, stream)
    assert first.body != second.body
    assert first == question_for(expectation, scenario, 1)
    if framework is Framework.VLLM:
        assert len(first.body["prompt"].split()) == 64
        assert first.body["max_tokens"] == 32
        assert first.body["model"] == "org/model"


@pytest.mark.parametrize(
    ("line", "text", "tokens", "error"),
    [
        ('data: {"choices": [{"text": "a"}]}', True, None, ""),
        ('data: {"choices": [{"delta": {"content": "a"}}]}', True, None, ""),
        ('data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}', False, None, ""),
        ('data: {"text_output": "a"}', True, None, ""),
        ('data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}', False, 5, ""),
        ('data: {"error": {"message": "no"}}', False, None, "an error in the stream"),
        ("data: {broken", False, None, "the stream holds a line that is not JSON"),
        ("data: [DONE]", False, None, ""),
        (": comment", False, None, ""),
        ("", False, None, ""),
    ],
)
def test_a_line_of_a_stream(line: str, text: bool, tokens: int | None, error: str) -> None:
    piece = read_line(line)
    assert (piece.text, piece.output_tokens, piece.error) == (text, tokens, error)


# Results


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=60))
def test_percentiles_lie_between_the_values(values: list[float]) -> None:
    spread = Spread.of(values)
    assert spread is not None
    assert min(values) <= spread.p50 <= spread.p90 <= spread.p99 <= spread.max == max(values)


def test_percentiles_are_interpolated_as_numpy_does() -> None:
    assert [percentile([1, 2, 3, 4], share) for share in (0, 0.5, 0.9, 1)] == pytest.approx([1, 2.5, 3.7, 4])
    assert Spread.of([]) is None


def test_samples_become_figures() -> None:
    samples = [
        Sample(0.0, 0.0, 1.0, first=0.2, gaps=(0.4, 0.4), input_tokens=4, output_tokens=3),
        Sample(0.5, 0.6, 1.4, first=0.4, gaps=(0.5, 0.5), input_tokens=4, output_tokens=3),
        Sample(1.0, 1.0, 0.1, error="HTTP 503: busy"),
    ]
    found = summarize(2.0, samples, at_least_seconds=4)
    assert (found.succeeded, found.failed, found.errors) == (2, 1, {"HTTP 503: busy": 1})
    assert found.seconds == 4
    assert found.sent_rate == pytest.approx(2.0)
    assert found.output_tokens_per_second == pytest.approx(1.5)
    assert found.first_token is not None
    assert found.first_token.p50 == pytest.approx(0.3)
    assert found.per_output_token is not None
    assert found.per_output_token.max == pytest.approx(0.5)
    assert found.delay is not None
    assert found.delay.max == pytest.approx(0.1)
    assert summarize(2.0, samples).seconds == pytest.approx(2.0)


# inference-perf


def reports() -> dict[str, str]:
    return {path.name: path.read_text() for path in DATA.iterdir()}


def test_reports_of_a_real_run_are_read() -> None:
    """Written by inference-perf 0.7.0 against the sandbox's engine, with a configuration of ours."""
    first, second = read_reports(reports() | {"summary_lifecycle_metrics.json": "{}", "config.yml": "a: 1"})
    assert (first.rate, second.rate) == (1.0, 1.58)
    assert (second.succeeded, second.failed) == (9, 0)
    recorded = json.loads((DATA / "stage_1_lifecycle_metrics.json").read_text())
    assert second.first_token is not None
    assert second.first_token.p99 == recorded["successes"]["latency"]["time_to_first_token"]["p99"]
    assert second.output_tokens_per_second == recorded["successes"]["throughput"]["output_tokens_per_sec"]


def test_a_stage_in_which_all_failed_is_read_with_its_errors() -> None:
    report = json.loads(reports()["stage_0_lifecycle_metrics.json"])
    latency = dict.fromkeys(report["successes"]["latency"])
    report["successes"] |= {"count": 0, "latency": latency}
    report["failures"] = {"count": 24, "by_label": {"Connection Error": {"count": 24, "messages": []}}}
    (found,) = read_reports({"stage_0_lifecycle_metrics.json": json.dumps(report)})
    assert (found.succeeded, found.failed, found.first_token) == (0, 24, None)
    assert found.errors == {"Connection Error": 24}


def test_no_or_broken_reports_are_explained() -> None:
    log = "2026 - x - INFO - fine\n2026 - x - ERROR - failed to gather enough samples\n"
    with pytest.raises(BenchmarkError, match="failed to gather enough samples") as raised:
        read_reports({}, log)
    assert raised.value.code == "benchmark.no-results"
    with pytest.raises(BenchmarkError, match="cannot be read"):
        read_reports({"stage_0_lifecycle_metrics.json": '{"load_summary"'})


def test_the_configuration_says_the_scenario_and_a_sweep_has_lengths_for_all_its_requests() -> None:
    given_ = {"base_url": "http://chat.ml.svc:8000", "model": "org/model", "tokenizer": "tokenizer"}
    config = config_for(SCENARIOS[ScenarioName.PRODUCTION], **given_)
    assert config["load"]["type"] == "poisson"
    assert config["load"]["stages"] == [{"rate": 15, "duration": 600}]
    assert config["data"]["input_distribution"] == {"mean": 1024, "std_dev": 512, "min": 128, "max": 4096}
    assert config["server"] == {
        "type": "vllm",
        "model_name": "org/model",
        "base_url": "http://chat.ml.svc:8000",
        "ignore_eos": True,
    }
    swept = config_for(SCENARIOS[ScenarioName.SWEEP], **given_)
    assert swept["load"]["stages"] == []
    assert swept["load"]["sweep"]["num_stages"] == 5
    assert swept["data"]["output_distribution"]["total_count"] >= 2000
    assert config_for(SCENARIOS[ScenarioName.QUICK], chat=True, **given_)["api"]["type"] == "chat"


def test_the_stage_under_way_is_read_from_the_log() -> None:
    assert stage_under_way("starting") is None
    assert stage_under_way("Stage -1 - run started") == -1
    assert stage_under_way("Stage 0 - run started\nStage 0 - run completed\nStage 1 - run started\n") == 1


# The Job


def test_the_job_is_valid_finds_its_pods_and_is_not_found_by_the_endpoints_services() -> None:
    spec = spec_of(service_account="reader", pod={"image_pull_secrets": ("registry",)})
    rendered = render_job({"a": 1}, place_of(spec), JobOptions())
    for manifest in (rendered.config, rendered.job, owned_config(rendered, "uid-1")):
        assert check(manifest)
    template = rendered.job["spec"]["template"]
    assert rendered.labels.items() <= template["metadata"]["labels"].items()
    assert "inference-flows/release" not in template["metadata"]["labels"]
    assert template["spec"]["serviceAccountName"] == "reader"
    assert template["spec"]["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
    assert yaml.safe_load(rendered.config["data"]["config.yml"]) == {"a": 1}
    assert rendered.job["spec"]["backoffLimit"] == 0
    assert rendered.job["spec"]["activeDeadlineSeconds"] == 600


def test_the_tokenizer_is_the_staged_models_or_the_hubs() -> None:
    spec = spec_of()
    (init,) = render_job({}, place_of(spec), JobOptions()).job["spec"]["template"]["spec"]["initContainers"]
    assert STAGED.uri in init["command"]
    assert "*.py" not in init["command"]
    assert tokenizer_of(place_of(spec), JobOptions()) == "tokenizer"
    loads = spec_of(weights="hub")
    assert tokenizer_of(place_of(loads, staged=None), JobOptions()) == "org/model"
    pod = render_job({}, place_of(loads, staged=None), JobOptions()).job["spec"]["template"]["spec"]
    assert "initContainers" not in pod
    secrets = [one["valueFrom"]["secretKeyRef"] for one in pod["containers"][0]["env"] if "valueFrom" in one]
    assert secrets == [{"name": "hf-token", "key": "token", "optional": True}]
    assert tokenizer_of(place_of(spec), JobOptions(tokenizer="org/base")) == "org/base"


@given(endpoint=st.from_regex(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True), run=st.text())
def test_names_of_jobs_are_labels_and_belong_to_one_run(endpoint: str, run: str) -> None:
    name = job_name(endpoint, run)
    assert len(name) <= 63
    assert name == job_name(endpoint, run) != job_name(endpoint, f"{run}x")
    assert name.startswith(endpoint[:30])


def test_reports_are_found_in_a_log_and_incomplete_ones_left_out() -> None:
    log = "noise\n\n=== report a.json\n{\n}\n=== end of report\nnoise\n=== report b.json\n{"
    assert read_log(log) == {"a.json": "{\n}"}


# Comparison and limits


def test_only_results_of_the_same_load_made_in_the_same_way_are_compared() -> None:
    now = result_of()
    assert comparable(result_of(release="other", commit="b" * 40), now)
    for other in (
        {"cluster": "test"},
        {"engine": "inference-perf"},
        {"via": "service"},
        {"scenario": SCENARIOS[ScenarioName.BASELINE]},
        {"scenario": scenario_for(ScenarioName.QUICK, rates=[9])},
    ):
        assert not comparable(result_of(**other), now)


def test_changes_are_by_rate_and_know_what_is_worse() -> None:
    before, now = result_of(stage(1, 100, 0.1), stage(4)), result_of(stage(1.01, 80, 0.05), stage(2))
    found = {change.figure.name: change for change in changes(before, now)}
    assert {change.rate for change in found.values()} == {1.01}
    assert found["output tokens per second"].worse_by == pytest.approx(20)
    assert found["first token, p50"].worse_by == pytest.approx(-50)


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({}, []),
        ({"max_ttft_seconds": 0.2}, ["first token, p99, is 0.300 s at 1", "at 2"]),
        ({"max_itl_seconds": 0.5}, []),
        ({"min_output_tokens_per_second": 150}, ["100.0 output tokens per second at best, at least 150"]),
        ({"max_regression_percent": 20}, ["is 25 % worse than before (133.3 → 100.0)"]),
        ({"max_regression_percent": 30}, []),
    ],
)
def test_limits_name_what_does_not_keep_to_them(limits: dict[str, float], says: list[str]) -> None:
    before = result_of(stage(1, 133.3), stage(2, 100))
    found = violations(result_of(), before, Limits(**limits))
    assert len(found) == len(says)
    for problem, part in zip(found, says, strict=True):
        assert part in problem


def test_failed_requests_are_within_a_percent_by_default() -> None:
    some = result_of(stage(1, failed=1, errors={"HTTP 503: busy": 1}))
    assert violations(some, None, Limits()) == [
        "1 of 11 requests failed (9.1 %), mostly: HTTP 503: busy; allowed are 1 %."
    ]
    assert violations(some, None, Limits(max_failed_percent=10)) == []


# Report and picture


def test_the_report_says_the_best_the_load_and_what_changed() -> None:
    before = result_of(stage(1, 50), stage(2, 60), release="9" * 10, started_at="2026-11-24T10:00:00+00:00")
    text = result_markdown(result_of(), before, [], uri="s3://models/.benchmarks/ml/chat/x/")
    assert "At best **100.0 output tokens per second" in text
    assert "prompts of 64 tokens, answers of 32" in text
    assert "That was release `9999999999`" in text
    assert "**+100 %, better**" in text
    assert "`s3://models/.benchmarks/ml/chat/x/`" in text
    failing = result_of(stage(1, failed=2, errors={"HTTP 500: a|b": 2}))
    shown = result_markdown(failing, None, ["2 of 12 requests failed."], uri="")
    assert "Not within its limits" in shown
    assert "2 times: HTTP 500: a/b" in shown


def test_a_table_has_a_row_for_each_rate() -> None:
    found = rows(result_of(stage(1, first=1.5), stage(2)))
    assert [row["rate asked"] for row in found] == ["1/s", "2/s"]
    assert found[0]["first token p50"] == "1.50 s"
    assert found[1]["first token p50"] == "100.0 ms"


def test_a_load_test_that_failed_shows_what_its_pod_said() -> None:
    seen = Evidence("Pod ml/chat-bench container inference-perf log", "OSError: no tokenizer")
    error = RolloutError("It did not complete.", Diagnosis(Category.JOB, "exit", "It ended.", (seen,), ("Fix it.",)))
    text = failure_markdown("ml", "chat", error)
    assert "OSError: no tokenizer" in text
    assert "Fix it." in text


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("with_before", [True, False])
def test_the_picture_is_one_svg_that_scales_and_asks_nobody(streams: bool, with_before: bool) -> None:
    fields = {} if streams else {"first_token": None, "inter_token": None, "output_tokens_per_second": 0.0}
    now = result_of(stage(1, **fields), stage(2, **fields))
    svg = charts(now, result_of(stage(1, **fields)) if with_before else None)
    root = ET.fromstring(svg)
    assert root.attrib["viewBox"].startswith("0 0 ")
    assert len(root) == (3 if streams else 2)
    assert "href" not in svg
    assert ("before" in svg) is with_before
    assert len(svg) < 30_000
