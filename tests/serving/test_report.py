"""What people read after a run: how to call each framework's endpoint, and why a deploy failed."""

import re
import shlex

import pytest

from serving.build import build_spec
from serving.calling import call_example, dashboard_example, gateway_example, logs_example
from serving.diagnosis import Category, Diagnosis, Evidence
from serving.errors import InputError, PreflightError, RolloutError, SmokeTestError
from serving.models import ModelSource, PinnedModel
from serving.record import ReleaseRecord, SmokeResult
from serving.report import failure_data, failure_markdown, ready_markdown
from serving.smoke import SmokeReport
from serving.spec import Accelerator, EndpointSpec, Framework

NIM = "nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8.3"


def spec_of(framework: Framework, **fields: object) -> EndpointSpec:
    given = {"name": "chat", "namespace": "ml", "model": ModelSource(repo_id="org/model"), **fields}
    return build_spec(framework, Accelerator.GPU, given)


@pytest.mark.parametrize(
    ("framework", "fields", "route", "logs"),
    [
        (Framework.VLLM, {}, "/v1/chat/completions", "component=chat"),
        (Framework.RAY_VLLM, {}, "/v1/chat/completions", "ray.io/node-type=worker"),
        (Framework.LWS_VLLM, {}, "/v1/chat/completions", "inference-flows/role=leader"),
        (Framework.TRITON_VLLM, {}, "/v2/models/vllm_model/generate", "component=chat"),
        (Framework.AIBRIX, {}, "/v1/chat/completions", "component=chat"),
        (Framework.DIFFUSERS, {}, "/v1/generations", "component=chat"),
        (Framework.NIM, {"image": NIM}, "/v1/chat/completions", "component=chat"),
        (Framework.NIM, {"image": NIM, "nim": {"kind": "image"}}, "/v1/infer", "component=chat"),
    ],
)
def test_each_framework_says_how_to_call_it_and_where_its_logs_are(
    framework: Framework, fields: dict[str, object], route: str, logs: str
) -> None:
    spec = spec_of(framework, **fields)
    forward, curl = call_example(spec).split("\n", 1)
    assert shlex.split(forward) == ["kubectl", "port-forward", "-n", "ml", "svc/chat", "8000"]
    words = shlex.split(curl)
    assert words[:2] == ["curl", f"http://localhost:8000{route}"]
    assert logs in logs_example(spec)
    assert all("-n ml" in line for line in logs_example(spec).splitlines())
    assert bool(gateway_example(spec)) == (framework is Framework.AIBRIX)
    assert bool(dashboard_example(spec)) == (framework is Framework.RAY_VLLM)


def test_the_report_of_an_endpoint_that_answers_shows_question_answer_and_speed() -> None:
    spec = spec_of(Framework.VLLM)
    smoke = SmokeResult(
        passed=True, prompt="Why?", answer="```\nBecause.", seconds=0.5, first_token_seconds=0.25, tokens_per_second=40
    )
    release = ReleaseRecord(
        spec=spec,
        id="0123456789",
        model=PinnedModel(repo_id="org/model", revision="main", commit="a" * 40),
        staged_uri="s3://models/org/model/",
        staged_bytes=10,
        moved_bytes=10,
        image=spec.image,
        flow_run="",
        deployed_at="2026-01-01T00:00:00+00:00",
        smoke=smoke,
    )
    text = ready_markdown(release, 10, {"stage": 1.0, "wait": 3.0})
    assert "first token after 0.25 s, 40.0 tokens per second" in text
    assert "````text\n```\nBecause.\n````" in text
    assert "kubectl port-forward -n ml svc/chat 8000" in text
    assert re.search(r'```mermaid\nxychart-beta horizontal\n +x-axis \["stage", "wait"\]\n.*0 --> 3\.00\n', text)
    assert "bar [1.00, 3.00]\n```" in text
    assert "| wait | 3.00 |" in text


def test_a_diagnosis_is_shown_with_cause_evidence_and_numbered_fixes() -> None:
    spec = spec_of(Framework.VLLM)
    found = Diagnosis(
        Category.GPU_MEMORY,
        "weights",
        "Too large.",
        (Evidence("Pod ml/chat", "CUDA out of memory"),),
        ("Do A.", "Do B."),
    )
    error = RolloutError("Deployment ml/chat cannot become ready.", found)
    text = failure_markdown(spec, error)
    assert "**Cause.** Too large." in text
    assert "1. Do A.\n2. Do B." in text
    assert "CUDA out of memory" in text
    assert "Out of memory" in text, "the topic of the troubleshooting page"
    data = failure_data(spec, error)
    assert data["diagnosis"]["category"] == "gpu-memory"
    assert data["diagnosis"]["fixes"] == ["Do A.", "Do B."]
    assert data["code"] == "rollout.gpu-memory.weights"


def test_a_failed_smoke_test_shows_what_it_got_and_several_problems_are_listed() -> None:
    spec = spec_of(Framework.VLLM)
    report = SmokeReport(False, "/v1/models", "x", "Why?", "nonsense", 0.1, problems=("it is nonsense",))
    error = SmokeTestError("ml/chat", report)
    assert "nonsense" in failure_markdown(spec, error)
    assert failure_data(spec, error)["smoke"]["problems"] == ["it is nonsense"]
    several = PreflightError([InputError("No bucket."), InputError("No token.")])
    assert "1. No bucket.\n\n2. No token." in failure_markdown(spec, several)
    assert [one["message"] for one in failure_data(spec, several)["problems"]] == ["No bucket.", "No token."]
