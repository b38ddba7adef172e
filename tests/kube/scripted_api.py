"""An HTTP server that answers as a test says and remembers what it was asked: for what no sound API server does."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml

from kube.connect import Cluster, from_kubeconfig

TOKEN = "token-that-nobody-may-see"

PODS = {"name": "pods", "kind": "Pod", "namespaced": True, "verbs": ["get", "list", "watch", "delete"]}
CONFIGMAPS = {"name": "configmaps", "kind": "ConfigMap", "namespaced": True, "verbs": ["get", "list", "patch"]}
CORE = {"kind": "APIResourceList", "groupVersion": "v1", "resources": [PODS, CONFIGMAPS]}


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Streamed:
    """Parts that are sent one by one; `cut` breaks the connection after the last, without an end of the stream."""

    parts: Iterator[bytes] | list[bytes]
    cut: bool = False
    status: int = 200


class Broken:
    """The connection is closed without an answer."""


Script = Callable[[Asked], Answer | Streamed | Broken]


def status(code: int, message: str = "", reason: str = "", **details: Any) -> Answer:
    said = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    return Answer(code, {**said, "reason": reason, "details": details, "code": code})


def event(kind: str, obj: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, parts.path, dict(parse_qsl(parts.query)), headers, body)
        self.server.asked.append(asked)  # type: ignore[attr-defined]
        answer = self.server.script(asked)  # type: ignore[attr-defined]
        if isinstance(answer, Broken):
            self.close_connection = True
        elif isinstance(answer, Streamed):
            self._stream(answer)
        else:
            self._whole(answer)

    do_GET = do_POST = do_PATCH = do_DELETE = _serve

    def _whole(self, answer: Answer) -> None:
        raw = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _stream(self, answer: Streamed) -> None:
        self.send_response(answer.status)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for part in answer.parts:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                self.wfile.flush()
            if not answer.cut:
                self.wfile.write(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        self.close_connection = answer.cut

    def log_message(self, *_: object) -> None:
        pass


@dataclass(frozen=True)
class Api:
    url: str
    asked: list[Asked]
    cluster: Cluster


@contextmanager
def scripted_api(script: Script) -> Iterator[Api]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.asked = []  # type: ignore[attr-defined]

    def with_discovery(asked: Asked) -> Answer | Streamed | Broken:
        return Answer(200, CORE) if asked.path == "/api/v1" else script(asked)

    server.script = with_discovery  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        with from_kubeconfig(kubeconfig(url)) as cluster:
            yield Api(url, server.asked, cluster)  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def kubeconfig(url: str, token: str = TOKEN, namespace: str = "inference") -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
            "clusters": [{"name": "test", "cluster": {"server": url}}],
            "users": [{"name": "test", "user": {"token": token}}],
        }
    )
