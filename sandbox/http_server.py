"""A small threaded HTTP/1.1 server for content: ranges, sendfile, a request log, and faults on order.

An application is a function `Request → Response`; the server does the rest, so that a Hub is a pure function of
its content and its clock.
"""

import email.utils
import http.server
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from sandbox.faults import FaultPlan, FlipBit, LoseAnswer, Reset, Slow, Stall, Status, Truncate
from sandbox.http_messages import Request, RequestRecord, Response, parse_range, reset

_CHUNK = 1 << 20


class ContentServer(http.server.ThreadingHTTPServer):
    """Serves one application on 127.0.0.1 until `close`."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(
        self,
        application: Callable[[Request], Response],
        *,
        port: int = 0,
        name: str = "sandbox",
        operation: Callable[[Request], str] = lambda _: "",
    ) -> None:
        self.application = application
        self.operation = operation
        self.server_header = name
        self.faults = FaultPlan()
        self.requests: list[RequestRecord] = []
        self.closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name=f"{name}-server", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Base address, without a trailing slash."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        """Stop at once; open connections are cut."""
        self.closing.set()
        self.shutdown()
        self.server_close()
        with self._open_lock:
            connections = list(self._open)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def process_request(self, request: object, client_address: object) -> None:
        if isinstance(request, socket.socket):
            with self._open_lock:
                self._open.add(request)
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def shutdown_request(self, request: object) -> None:
        if isinstance(request, socket.socket):
            with self._open_lock:
                self._open.discard(request)
        super().shutdown_request(request)  # type: ignore[arg-type]

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that goes away is no error of ours
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Cut(ConnectionError):
    """The connection is to end here."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: ContentServer
    record: RequestRecord
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def handle_expect_100(self) -> bool:
        going_on = super().handle_expect_100()
        self.wfile.flush()  # the client waits for it before it sends the body
        return going_on

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        length = int(self.headers.get("Content-Length") or 0)
        query = parse_qs(parts.query, keep_blank_values=True)
        headers = {name.title(): value for name, value in self.headers.items()}
        request = Request(self.command, parts.path, query, headers, self.rfile.read(length), parts.query)
        shown = "&".join(f"{name}={values[0]}" for name, values in query.items() if name in _SHOWN)
        asked_range, authorized = self.headers.get("Range", ""), "Authorization" in self.headers
        operation = self.server.operation(request)
        self.record = RequestRecord(self.command, path, shown, asked_range, authorized, operation, time.time())
        self.server.requests.append(self.record)
        self._answer(request, path)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def _answer(self, request: Request, path: str) -> None:
        match self.server.faults.take(request.method, path, operation=self.record.operation):
            case Status(status, headers, body):
                return self._send(request, path, Response(status, headers, body))
            case Reset():
                self._reset()
            case Stall(seconds):
                self._wait(seconds)
            case LoseAnswer():
                self.server.application(request)
                self._reset()
        try:
            response = self.server.application(request)
        except Exception:  # a mistake of the sandbox itself: to be seen, and not to look like a network's
            traceback.print_exc()
            response = Response(500, {"Content-Type": "text/plain"}, b"the sandbox failed: see its standard error\n")
        return self._send(request, path, response)

    def _send(self, request: Request, path: str, response: Response) -> None:
        content = response.content
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        status, start, end, headers = response.status, 0, size, dict(response.headers)
        if response.ranged:
            headers["Accept-Ranges"] = "bytes"
            asked = parse_range(request.headers.get("Range", ""), size)
            if asked == (0, 0):
                status, end, headers = 416, 0, {"Content-Range": f"bytes */{size}"}
            elif asked is not None:
                status, (start, end) = 206, asked
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        self.record.status = status
        self.send_response_only(status)
        self.send_header("Server", self.server.server_header)
        self.send_header("Date", email.utils.formatdate(usegmt=True))
        for name, value in headers.items():
            self.send_header(name, value)
        if status not in (204, 304) and "Content-Length" not in headers:
            self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if request.method != "HEAD" and start < end:
            self._send_content(request, path, content, start, end)
        self.wfile.flush()

    def _send_content(self, request: Request, path: str, content: bytes | Path, start: int, end: int) -> None:
        fault = self.server.faults.take(request.method, path, operation=self.record.operation, start=start, end=end)
        if isinstance(content, Path):
            with content.open("rb") as stream:
                self._send_with_fault(fault, _Source(stream.fileno(), b""), start, end)
        else:
            self._send_with_fault(fault, _Source(-1, content), start, end)

    def _send_with_fault(self, fault: object, source: "_Source", start: int, end: int) -> None:
        self.wfile.flush()
        match fault:
            case Truncate(at):
                self._send_bytes(source, start, at)
                raise _Cut
            case Reset(at):
                self._send_bytes(source, start, at)
                self._reset()
            case Stall(seconds, at):
                self._send_bytes(source, start, at)
                self._wait(seconds)
                self._send_bytes(source, at, end)
            case FlipBit(at, bit):
                self._send_bytes(source, start, at)
                self._write(bytes([source.read(at, 1)[0] ^ (1 << bit)]))
                self._send_bytes(source, at + 1, end)
            case Slow(rate):
                step = max(1, int(rate / 20))
                for position in range(start, end, step):
                    self._send_bytes(source, position, min(position + step, end))
                    self._wait(step / rate)
            case _:
                self._send_bytes(source, start, end)

    def _send_bytes(self, source: "_Source", start: int, end: int) -> None:
        if source.fileno < 0:
            self._write(memoryview(source.content)[start:end])
        while source.fileno >= 0 and start < end:
            sent = os.sendfile(self.connection.fileno(), source.fileno, start, min(end - start, 64 * _CHUNK))
            if not sent:
                raise _Cut
            start += sent
            self.record.sent += sent

    def _write(self, data: bytes | memoryview) -> None:
        self.connection.sendall(data)
        self.record.sent += len(data)

    def _wait(self, seconds: float) -> None:
        if self.server.closing.wait(seconds):
            raise _Cut

    def _reset(self) -> None:
        reset(self.connection)
        raise _Cut

    def log_message(self, format: str, *args: object) -> None:
        """Requests are in the log that tests read; the terminal stays clean."""


@dataclass(frozen=True)
class _Source:
    fileno: int
    content: bytes

    def read(self, position: int, size: int) -> bytes:
        return self.content[position : position + size] if self.fileno < 0 else os.pread(self.fileno, size, position)


_SHOWN = frozenset({"blobs", "recursive", "recurse", "expand", "cursor", "limit", "include_prs"}) | {
    "uploads",
    "uploadId",
    "partNumber",
    "list-type",
    "prefix",
    "versionId",
}
