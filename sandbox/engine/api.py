"""The engine's HTTP side: vLLM's routes over the standard library's threaded server."""

import hmac
import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from sandbox.engine import VERSION, log
from sandbox.engine.generation import Generator
from sandbox.engine.openai import ApiError, error_body, read_request

_METHODS = {
    "/health": "GET",
    "/ping": "GET",
    "/version": "GET",
    "/metrics": "GET",
    "/v1/models": "GET",
    "/v1/completions": "POST",
    "/v1/chat/completions": "POST",
}


class EngineHandler(http.server.BaseHTTPRequestHandler):
    """vLLM's routes; stand-ins for what is built around vLLM add theirs in `route`."""

    server: "EngineServer"
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def engine(self) -> "EngineServer":
        """What answers."""
        return self.server

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def _serve(self) -> None:
        self.engine.enter()
        try:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.route(urlsplit(self.path).path, body)
        finally:
            self.engine.leave()

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _serve

    def route(self, path: str, body: bytes) -> None:
        """Answer a request."""
        method = _METHODS.get(path)
        if method is None:
            return self.json(404, {"detail": "Not Found"})
        if method != self.command:
            return self.json(405, {"detail": "Method Not Allowed"})
        if path.startswith("/v1") and not self._authorized():
            return self.json(401, {"error": "Unauthorized"})
        match path:
            case "/health" | "/ping":
                return self.text(200 if self.engine.healthy() else 503, "")
            case "/version":
                return self.json(200, {"version": VERSION})
            case "/metrics":
                return self.text(200, self.engine.generator.metrics.render())
            case "/v1/models":
                return self.json(200, self.models())
            case _:
                return self._generate(body, chat=path == "/v1/chat/completions")

    def _authorized(self) -> bool:
        scheme, _, key = self.headers.get("Authorization", "").partition(" ")
        keys = self.engine.api_keys
        return not keys or (scheme.lower() == "bearer" and any(hmac.compare_digest(key, one) for one in keys))

    def models(self) -> dict[str, Any]:
        """The list of models."""
        generator = self.engine.generator
        return {
            "object": "list",
            "data": [
                {
                    "id": name,
                    "object": "model",
                    "created": self.engine.created,
                    "owned_by": "sandbox",
                    "root": self.engine.root,
                    "parent": None,
                    "max_model_len": generator.max_model_len,
                }
                for name in generator.names
            ],
        }

    def _generate(self, body: bytes, *, chat: bool) -> None:
        generator = self.engine.generator
        if "no-answer" in generator.faults:
            threading.Event().wait()
        try:
            try:
                data = json.loads(body)
            except ValueError as error:
                raise ApiError(400, f"[{{'type': 'json_invalid', 'msg': 'JSON decode error: {error}'}}]") from None
            request = read_request(data, chat=chat)
            if request.stream:
                return self._events(generator.stream(request))
            return self.json(200, generator.answer(request))
        except ApiError as error:
            return self.json(error.status, error.body)
        except ConnectionError:
            raise
        except Exception as error:  # a mistake of the stand-in: the client gets what vLLM would answer
            log.api_server(f"{type(error).__name__}: {error}", level="ERROR")
            return self.json(500, error_body(str(error), "InternalServerError", 500))

    def _events(self, chunks: Iterator[dict[str, Any]]) -> None:
        self._head(200, {"Content-Type": "text/event-stream; charset=utf-8", "Transfer-Encoding": "chunked"})
        for data in chunks:
            self._chunk(f"data: {json.dumps(data)}\n\n".encode())
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def json(self, status: int, body: dict[str, Any]) -> None:
        """Answer with a JSON object."""
        self.whole(status, json.dumps(body).encode(), "application/json")

    def text(self, status: int, body: str) -> None:
        """Answer with plain text."""
        self.whole(status, body.encode(), "text/plain; version=0.0.4; charset=utf-8")

    def whole(self, status: int, body: bytes, kind: str) -> None:
        """Answer in one piece."""
        self._head(status, {"Content-Type": kind, "Content-Length": str(len(body))})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        log.access(self.client_address, self.requestline, status)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.engine.draining:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()

    def version_string(self) -> str:
        """The Server header, which says what this is."""
        return "sandbox-engine"

    def log_message(self, format: str, *args: object) -> None:
        """The access log is written by `_head`, in uvicorn's form."""


class EngineServer(http.server.ThreadingHTTPServer):
    """Answers on a socket that was bound before the model was loaded, and listens from now on.

    Args:
        bound: The socket.
        generator: The model.
        root: What the command line calls the model.
        api_keys: One of these has to come with requests under /v1; none if empty.
        handler: The routes.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self,
        bound: socket.socket,
        generator: Generator,
        *,
        root: str,
        api_keys: tuple[str, ...],
        handler: type[EngineHandler] = EngineHandler,
    ) -> None:
        super().__init__(bound.getsockname(), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = bound
        self.server_address = bound.getsockname()
        self.generator = generator
        self.root = root
        self.api_keys = api_keys
        self.ready_at = time.monotonic()
        self.created = int(time.time())
        self.draining = False
        self._active = 0
        self._idle = threading.Condition()
        self.server_activate()

    def drain(self) -> None:
        """Take no new connection, and wait until every request under way is answered."""
        self.draining = True
        self.shutdown()
        self.server_close()
        with self._idle:
            self._idle.wait_for(lambda: self._active == 0)

    def enter(self) -> None:
        """A request begins."""
        with self._idle:
            self._active += 1

    def leave(self) -> None:
        """A request is answered."""
        with self._idle:
            self._active -= 1
            self._idle.notify_all()

    def healthy(self) -> bool:
        """Whether /health says so."""
        after = self.generator.faults.seconds("unhealthy-after")
        return after is None or time.monotonic() - self.ready_at < after
