"""What is written down of a cluster holds no secret, and keeps what a diagnosis needs."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.redact import HIDDEN, redact_object, redact_text


def pod(**container: object) -> dict:
    return {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", **container}]}}


@pytest.mark.parametrize("name", ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "NGC_API_KEY", "db-password", "OPENAI_APIKEY"])
def test_plain_values_under_a_name_that_speaks_of_a_secret_are_hidden(name: str) -> None:
    shown = redact_object(pod(env=[{"name": name, "value": "marked"}, {"name": "PORT", "value": "8000"}]))
    env = shown["spec"]["containers"][0]["env"]
    assert env == [{"name": name, "value": HIDDEN}, {"name": "PORT", "value": "8000"}]


@pytest.mark.parametrize("name", ["MAX_TOKENS", "TOKENIZERS_PARALLELISM", "VLLM_MAX_NUM_BATCHED_TOKENS"])
def test_tokens_that_are_no_secret_stay(name: str) -> None:
    shown = redact_object(pod(env=[{"name": name, "value": "8"}]))
    assert shown["spec"]["containers"][0]["env"][0]["value"] == "8"


def test_a_reference_to_a_secret_stays() -> None:
    entry = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf-token", "key": "token"}}}
    assert redact_object(pod(env=[copy.deepcopy(entry)]))["spec"]["containers"][0]["env"] == [entry]


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["serve", "--api-key", "marked", "--port", "8000"], ["serve", "--api-key", HIDDEN, "--port", "8000"]),
        (["--api-key=marked"], [f"--api-key={HIDDEN}"]),
        (["--hf-token", "--port", "1"], ["--hf-token", "--port", "1"]),
        (["--max-num-batched-tokens", "4096"], ["--max-num-batched-tokens", "4096"]),
        (["--tokenizer=gpt2", "--tokenizer", "gpt2"], ["--tokenizer=gpt2", "--tokenizer", "gpt2"]),
        (["--hf=hf_abcdefghijklmnopqrstuvwxyz"], [f"--hf={HIDDEN}"]),
    ],
)
def test_arguments(arguments: list[str], shown: list[str]) -> None:
    assert redact_object(pod(args=arguments))["spec"]["containers"][0]["args"] == shown


def test_templates_deep_in_a_custom_resource_are_found() -> None:
    template = {"spec": {"initContainers": [{"name": "i", "env": [{"name": "HF_TOKEN", "value": "marked"}]}]}}
    service = {"kind": "RayService", "spec": {"rayClusterConfig": {"workerGroupSpecs": [{"template": template}]}}}
    assert "marked" not in repr(redact_object(service))


def test_kubectls_copy_of_the_object_goes() -> None:
    obj = pod()
    obj["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "marked", "mine": "kept"}
    assert redact_object(obj)["metadata"]["annotations"] == {"mine": "kept"}


@given(st.text("abcXYZ019", min_size=20, max_size=40), st.text(" \n:=,\"'", min_size=1, max_size=3))
def test_a_hub_token_in_a_log_is_hidden(token: str, around: str) -> None:
    text = f"401 Client Error{around}hf_{token}{around}for url"
    assert token not in redact_text(text)
    assert redact_text(text).startswith("401 Client Error")
    assert redact_text(text).endswith("for url")


def test_usual_log_lines_stay() -> None:
    line = "Engine 000: Avg prompt throughput: 3.2 tokens/s, hf_config loaded, model hf_abc"
    assert redact_text(line) == line


@pytest.mark.parametrize(
    "line",
    [
        "AWS_SECRET_ACCESS_KEY=wJalrMarked/K7MDENG+Marked",
        "{'aws_secret_access_key': 'wJalrMarked/K7MDENG+Marked'}",
        'session_token: "wJalrMarked/K7MDENG+Marked=="',
        "Authorization: Bearer wJalrMarked.K7MDENG",
        "HF_TOKEN=short-Marked-one",
        "password = Marked-password",
    ],
)
def test_what_a_log_says_behind_the_name_of_a_secret_is_hidden(line: str) -> None:
    assert "Marked" not in redact_text(line)
    assert HIDDEN in redact_text(line)


@pytest.mark.parametrize(
    "line",
    [
        "max_num_batched_tokens=8192 tokenizer=Qwen/Qwen3-1.7B",
        "Token count: 123456, first token after 0.25 s",
        "secret hf-token not found: couldn't find key token in Secret inference/hf-token",
    ],
)
def test_what_only_sounds_like_a_secret_stays(line: str) -> None:
    assert redact_text(line) == line
