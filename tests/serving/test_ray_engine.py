"""The Serve application for Neuron, without Ray: it starts an engine, passes requests on, and notices its end."""

import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.requests import Request

from serving.servers.ray_engine import Engine, build

ENGINE = """
import sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
born = time.monotonic()
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/health":
            self.send_response(200 if time.monotonic() - born > 0.5 else 503)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if self.path == "/stream":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for number in range(3):
                text = f"data: {number}\\n\\n".encode()
                self.wfile.write(b"%x\\r\\n%s\\r\\n" % (len(text), text))
                self.wfile.flush()
                time.sleep(0.3)
            return self.wfile.write(b"0\\r\\n\\r\\n")
        self.reply(200, f"GET {self.path} {self.headers['X-Mine']}")
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.reply(422 if "bad" in body else 200, f"{self.path} {body}")
    def reply(self, status, text):
        self.send_response(status)
        self.send_header("X-Engine", "yes")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
    def log_message(self, *_): pass
at = sys.argv.index("--port")
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[at + 1])), Handler).serve_forever()
"""


@pytest.fixture
def engine() -> Iterator[Engine]:
    started = Engine([sys.executable, "-c", textwrap.dedent(ENGINE)], startup_seconds=20)
    yield started
    started.stop()


@pytest.fixture
def client(engine: Engine) -> Iterator[httpx.Client]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            response = await engine(Request(scope, receive))
            await response(scope, receive, send)

    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as found:
        yield found
    server.should_exit = True
    thread.join(timeout=20)


def test_requests_pass_through_with_path_query_headers_body_and_status(engine: Engine, client: httpx.Client) -> None:
    engine.check_health()
    answer = client.get("/v1/models?a=b&c=d", headers={"X-Mine": "kept"})
    assert (answer.status_code, answer.text) == (200, "GET /v1/models?a=b&c=d kept")
    assert answer.headers["X-Engine"] == "yes"
    assert client.post("/v1/completions", content='{"prompt": 1}').text == '/v1/completions {"prompt": 1}'
    assert client.post("/v1/completions", content="bad").status_code == 422


def test_a_stream_arrives_piece_by_piece(client: httpx.Client) -> None:
    with client.stream("GET", "/stream") as answer:
        arrived = [(piece, time.monotonic()) for piece in answer.iter_text()]
    assert "".join(piece for piece, _ in arrived) == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
    assert arrived[-1][1] - arrived[0][1] > 0.3


def test_an_engine_that_ended_is_noticed(engine: Engine, client: httpx.Client) -> None:
    engine.process.kill()
    engine.process.wait()
    with pytest.raises(RuntimeError, match="the engine ended with exit code -9"):
        engine.check_health()
    answer = client.get("/v1/models")
    assert answer.status_code == 502
    assert "the engine does not answer" in answer.text


def test_an_engine_that_ends_or_hangs_while_it_starts_is_an_error_at_once() -> None:
    with pytest.raises(RuntimeError, match="the engine ended with exit code 3"):
        Engine([sys.executable, "-c", "raise SystemExit(3)"], startup_seconds=20)
    with pytest.raises(RuntimeError, match="was not healthy within 1 s"):
        Engine([sys.executable, "-c", "import time; time.sleep(60)"], startup_seconds=1)


def test_the_application_is_built_with_the_deployments_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the package ``ray``, which is in the image and not here, records how it is used."""
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("")
    (tmp_path / "ray" / "serve.py").write_text(
        "def deployment(**options):\n"
        "    def wrap(cls):\n"
        "        class Deployment:\n"
        "            @staticmethod\n"
        "            def bind(*arguments):\n"
        "                return options, cls, arguments\n"
        "        return Deployment\n"
        "    return wrap\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    options = {"name": "engine", "num_replicas": 2}
    built = build({"deployment": options, "command": ["vllm"], "startup_seconds": 9})
    assert built == (options, Engine, (["vllm"], 9))
    for name in ("ray", "ray.serve"):
        sys.modules.pop(name, None)
