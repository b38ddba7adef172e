"""Smoke tests over real HTTP: servers that are ready and serve what they should not, and what is said of them."""

import io
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from PIL import Image

from kube.connect import from_kubeconfig
from kube.service import ServiceWay
from serving.smoke import CHAT, COMPLETIONS, SmokeExpectation, SmokeReport
from tasks.smoke import converse

MODEL = "org/name"
TEXT = SmokeExpectation(model=MODEL, streaming=True, metrics="/metrics")
PICTURE = SmokeExpectation(model=MODEL, api="images", width=64, height=48)
Answers = Mapping[str, Any]


def picture(plain: bool) -> bytes:
    made = Image.new("RGB", (64, 48)) if plain else Image.effect_noise((64, 48), 60).convert("RGB")
    written = io.BytesIO()
    made.save(written, format="PNG")
    return written.getvalue()


def says(content: str) -> dict[str, Any]:
    return {"model": MODEL, "choices": [{"message": {"content": content}}], "usage": {"completion_tokens": 3}}


def served(**answers: Any) -> Answers:
    return {"/v1/models": {"data": [{"id": MODEL}]}, CHAT: says("Paris."), "/metrics": b"# HELP", **answers}


@contextmanager
def engine(answers: Answers) -> Iterator[str]:
    """A server with these answers, by path; a chat that is streamed comes word by word."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, asked: Mapping[str, Any]) -> None:
            found = answers.get(self.path)
            if asked.get("stream") and isinstance(found, dict):
                words = found["choices"][0]["message"]["content"].split()
                pieces = [json.dumps({"model": MODEL, "choices": [{"delta": {"content": word}}]}) for word in words]
                found = "".join(f"data: {piece}\n\n" for piece in [*pieces, "[DONE]"]).encode()
            content = found if isinstance(found, bytes) else json.dumps(found or {"detail": "Not Found"}).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "image/png" if content.startswith(b"\x89PNG") else "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def asked(expectation: SmokeExpectation, answers: Answers) -> SmokeReport:
    nowhere = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "a", "user": {"token": "t"}}],
    }
    with engine(answers) as url, from_kubeconfig(nowhere) as cluster:
        return converse(ServiceWay(cluster, "inference", "chat", 8000, direct=url), expectation)


@pytest.mark.parametrize(
    ("expectation", "answers", "said"),
    [
        (TEXT, served(**{"/v1/models": {"data": [{"id": "another/model"}]}}), "another/model"),
        (TEXT, served(**{CHAT: says("  ")}), "empty"),
        (TEXT, served(**{CHAT: {"error": {"message": "engine is dead"}}}), "engine is dead"),
        (TEXT, served(**{CHAT: None, COMPLETIONS: None}), "HTTP 404"),
        (PICTURE, served(**{"/v1/generations": picture(plain=True)}), "one colour"),
        (PICTURE, served(**{"/v1/generations": {"error": "boom"}}), "boom"),
    ],
    ids=["another model", "no text", "an error in a body", "no route", "a black picture", "no picture"],
)
def test_what_is_wrong_fails_and_is_said(expectation: SmokeExpectation, answers: Answers, said: str) -> None:
    report = asked(expectation, answers)
    assert not report.passed
    assert said in " ".join(report.problems), report.problems


def test_what_is_right_passes_by_the_way_that_is_said() -> None:
    text = asked(TEXT, served())
    assert text.passed, text.problems
    assert text.answer == "Paris."
    assert text.first_token_seconds is not None
    assert text.way.startswith("by cluster DNS (http://127.0.0.1:")
    shown = asked(replace(PICTURE, metrics=""), served(**{"/v1/generations": picture(plain=False)}))
    assert shown.passed, shown.problems
    assert shown.picture.startswith(b"\x89PNG")
