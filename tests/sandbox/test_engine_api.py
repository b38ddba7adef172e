"""The stand-in engine's API: what clients of vLLM get from it."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sandbox import tiny_models
from sandbox.engine.api import EngineServer
from sandbox.engine.faults import read_faults
from sandbox.engine.generation import Generator
from sandbox.engine.metrics import Metrics
from sandbox.engine.model import load, read_config
from sandbox.engine.sources import DirectorySource
from sandbox.engine.text import TextModel
from sandbox.tiny_tokenizer import WORDS

CHAT, BASE = "Qwen/Qwen3-1.7B", "NousResearch/Llama-3.2-1B"
SIZE = 2_000_000


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def text_model(cache: Path, repo_id: str, seed: int = 1) -> TextModel:
    directory = tiny_models.generate(tiny_models.MODELS[repo_id], cache, size=SIZE, seed=seed)
    source = DirectorySource(repo_id, directory, staged=False)
    return TextModel(load(source, read_config(source), lambda _done, _count: None))


@contextmanager
def serving(text: TextModel, *, fail: str = "", keys: tuple[str, ...] = (), length: int = 8192) -> Iterator[str]:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    ordered = read_faults({"SANDBOX_ENGINE_FAIL": fail})
    generator = Generator(text, ("org/model", "alias"), length, None, Metrics("org/model"), ordered)
    server = EngineServer(bound, generator, root="s3://models/x/", api_keys=keys)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.drain()


@pytest.fixture(scope="module")
def chat_text(cache: Path) -> TextModel:
    return text_model(cache, CHAT)


@pytest.fixture(scope="module")
def chat(chat_text: TextModel) -> Iterator[str]:
    with serving(chat_text) as address:
        yield address


@pytest.fixture(scope="module")
def base(cache: Path) -> Iterator[str]:
    with serving(text_model(cache, BASE)) as address:
        yield address


def ask(address: str, path: str, body: Any = None, method: str = "", **headers: str) -> tuple[int, Any, dict[str, str]]:
    connection = http.client.HTTPConnection(address, timeout=10)
    raw = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
    connection.request(method or ("POST" if raw else "GET"), path, raw, headers)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    kind = answer.headers.get("Content-Type", "")
    return answer.status, json.loads(data) if "json" in kind else data.decode(), dict(answer.getheaders())


def completion(address: str, **fields: Any) -> Any:
    status, body, _ = ask(address, "/v1/completions", {"model": "org/model", "prompt": "The capital", **fields})
    assert status == 200, body
    return body


def test_it_says_what_it_is(chat: str) -> None:
    status, body, headers = ask(chat, "/version")
    assert (status, body) == (200, {"version": "sandbox-stand-in"})
    assert headers["Server"] == "sandbox-engine"


def test_health_and_models(chat: str) -> None:
    assert ask(chat, "/health")[:2] == (200, "")
    status, body, _ = ask(chat, "/v1/models")
    assert status == 200
    assert [(model["id"], model["root"], model["max_model_len"]) for model in body["data"]] == [
        ("org/model", "s3://models/x/", 8192),
        ("alias", "s3://models/x/", 8192),
    ]


def test_chat_answers_with_words_and_counts_tokens(chat: str, chat_text: TextModel) -> None:
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
    ]
    status, body, _ = ask(chat, "/v1/chat/completions", {"model": "alias", "messages": messages, "max_tokens": 10})
    assert status == 200
    choice = body["choices"][0]
    assert choice["message"]["role"] == "assistant"
    words = choice["message"]["content"].split()
    assert words
    assert set(words) <= set(WORDS)
    prompt = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert body["usage"]["prompt_tokens"] == len(chat_text.encode(prompt))
    assert body["usage"]["completion_tokens"] == len(words)
    assert (body["model"], body["object"]) == ("org/model", "chat.completion")


def test_the_same_weights_always_say_the_same_and_others_something_else(chat: str, cache: Path) -> None:
    first = completion(chat)["choices"][0]["text"]
    assert completion(chat, temperature=1.0)["choices"][0]["text"] == first
    assert completion(chat, prompt="Another prompt")["choices"][0]["text"] != first
    with serving(text_model(cache, CHAT, seed=2)) as other:
        assert completion(other)["choices"][0]["text"] != first


def test_limits(chat: str) -> None:
    short = completion(chat, max_tokens=3)
    assert short["choices"][0]["finish_reason"] == "length"
    assert short["usage"]["completion_tokens"] == 3
    full = completion(chat, max_tokens=200)
    assert full["choices"][0]["finish_reason"] == "stop"
    word = full["choices"][0]["text"].split()[2]
    stopped = completion(chat, max_tokens=200, stop=f" {word}")["choices"][0]
    assert stopped["text"].split() == full["choices"][0]["text"].split()[:2]
    assert len(completion(chat, prompt=["a", "b"], n=2)["choices"]) == 4
    status, body, _ = ask(chat, "/v1/completions", {"model": "org/model", "prompt": "x", "max_tokens": 9000})
    assert status == 400
    assert body["error"]["message"].startswith(
        "This model's maximum context length is 8192 tokens. However, you requested"
    )


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_streams_carry_the_same_text(chat: str, path: str) -> None:
    body = {"model": "org/model", "prompt": "Hello", "messages": [{"role": "user", "content": "Hello"}]}
    whole = ask(chat, path, body)[1]
    status, events, headers = ask(chat, path, {**body, "stream": True, "stream_options": {"include_usage": True}})
    assert (status, headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    lines = [line.removeprefix("data: ") for line in events.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
    if "chat" in path:
        assert choices[0]["delta"]["role"] == "assistant"
        text = "".join(choice["delta"]["content"] for choice in choices)
        assert text == whole["choices"][0]["message"]["content"]
    else:
        assert "".join(choice["text"] for choice in choices) == whole["choices"][0]["text"]
    reasons = [choice["finish_reason"] for choice in choices]
    assert reasons[:-1] == [None] * (len(reasons) - 1)
    assert reasons[-1] == whole["choices"][0]["finish_reason"]
    assert chunks[-1]["usage"] == whole["usage"]


def test_a_base_model_refuses_chat_as_vllm_does(base: str) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    status, body, _ = ask(base, "/v1/chat/completions", {"model": "org/model", "messages": messages})
    assert status == 400
    assert body["error"] == {
        "message": "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat"
        " template if the tokenizer does not define one.",
        "type": "BadRequestError",
        "param": None,
        "code": 400,
    }
    assert completion(base)["choices"][0]["text"].split()


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        (
            "/v1/completions",
            {"model": "nobody/nothing", "prompt": "x"},
            404,
            "The model `nobody/nothing` does not exist.",
        ),
        ("/v1/completions", {"prompt": ""[:0] or []}, 400, "Either prompt or prompt_embeds must be provided"),
        ("/v1/completions", b"{", 400, "JSON decode error"),
        ("/v1/completions", {"prompt": "x", "max_tokens": 0}, 400, "max_tokens must be at least 1, got 0."),
        ("/v1/completions", {"prompt": "x", "temperature": -1}, 400, "temperature must be non-negative"),
        ("/v1/completions", {"prompt": "x", "logprobs": 2}, 400, "does not support 'logprobs'"),
        ("/v1/chat/completions", {"messages": []}, 400, "Field required"),
    ],
)
def test_wrong_requests(chat: str, path: str, body: Any, status: int, message: str) -> None:
    found, answer, _ = ask(chat, path, body)
    assert found == status
    assert message in answer["error"]["message"]
    assert answer["error"]["code"] == status


def test_routes_and_methods_that_do_not_exist(chat: str) -> None:
    assert ask(chat, "/v2/health/ready")[:2] == (404, {"detail": "Not Found"})
    assert ask(chat, "/v1/completions")[0] == 405


def test_metrics_count(base: str) -> None:
    def value(name: str) -> float:
        text = ask(base, "/metrics")[1]
        return float(next(line for line in text.splitlines() if line.startswith(f"vllm:{name}{{")).rpartition(" ")[2])

    before = value("generation_tokens_total"), value("e2e_request_latency_seconds_count")
    completion(base, max_tokens=5)
    assert value("generation_tokens_total") == before[0] + 5
    assert value("e2e_request_latency_seconds_count") == before[1] + 1
    assert value("num_requests_running") == 0


def test_api_keys(chat_text: TextModel) -> None:
    with serving(chat_text, keys=("sesame",)) as address:
        assert ask(address, "/health")[0] == 200
        assert ask(address, "/v1/models")[:2] == (401, {"error": "Unauthorized"})
        assert ask(address, "/v1/models", Authorization="Bearer sesame")[0] == 200


def test_faults_of_answers(chat_text: TextModel) -> None:
    with serving(chat_text, fail="empty-text") as address:
        assert completion(address)["choices"][0]["text"] == ""
    with serving(chat_text, fail="error-body") as address:
        assert completion(address)["error"]["type"] == "InternalServerError"
    with serving(chat_text, fail="unhealthy-after=0") as address:
        assert ask(address, "/health")[0] == 503
