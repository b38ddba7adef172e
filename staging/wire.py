"""HTTP as the transfer needs it: kept-alive connections that read into and write from a buffer of ours.

The standard library's http.client adds no copy and releases the GIL while it waits, reads and writes; the clients
that know the Hub and S3 (huggingface_hub, boto3) plan and sign the requests that go over these connections.
"""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol
from urllib.parse import SplitResult, urlsplit

from staging.connections import connect
from staging.parts import MIB

CHUNK = MIB
"""Bytes that are read, hashed and sent at a time: they stay in the processor's cache between the three."""
WAKE_BYTES = 256 * 1024
"""A reader sleeps until so much has come: a slow connection would else wake it for every few packets."""
CONNECT_SECONDS = 10.0
MAX_ERROR_BODY = 64 * 1024
MAX_DOCUMENT = 64 * MIB


@dataclass
class WireFault(Exception):
    """A request that did not do what it should.

    Attributes:
        kind: ``status`` (see `status`), ``broken`` (connection refused, reset or cut short) or ``stalled``.
        detail: What happened, without any address's query.
        status: HTTP status, 0 if there was no answer.
        code: S3's or the Hub's error code, if the answer had one.
        retry_after: Seconds that the server asked to wait; negative if it did not say.
    """

    kind: Literal["status", "broken", "stalled"]
    detail: str
    status: int = 0
    code: str = ""
    retry_after: float = -1.0

    def __str__(self) -> str:
        return self.detail


@dataclass(frozen=True)
class Answer:
    """A whole answer, whatever its status.

    Attributes:
        status: HTTP status.
        headers: Header lines.
        body: The document.
    """

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Wire:
    """The kept-alive connections of one thread, one per server.

    Args:
        stall_seconds: A connection that moves no byte for this long is given up.
    """

    def __init__(self, stall_seconds: float = 30.0) -> None:
        self._stall_seconds = stall_seconds
        self._connections: dict[tuple[str, str], http.client.HTTPConnection] = {}

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def ask(self, method: str, url: str, headers: Mapping[str, str]) -> Answer:
        """Make a request without a body and read the document that answers it. Follows no redirect.

        Raises:
            WireFault: There was no whole answer.
        """
        parts = urlsplit(url)
        connection = self._connect(parts)
        try:
            connection.request(method, _target(parts), headers={**headers, "Accept-Encoding": "identity"})
            response = connection.getresponse()
            body = response.read(MAX_DOCUMENT)
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(parts, error) from None
        if response.will_close or not response.isclosed():
            self._drop(parts)
        return Answer(response.status, response.headers, body)

    def get(self, url: str, headers: dict[str, str], start: int, end: int, size: int) -> Body:
        """Ask for the bytes from `start` up to but not including `end` of an object of `size` bytes.

        Raises:
            WireFault: Also for a redirect (its target is in `code`) and a range other than the one asked for.
        """
        parts = urlsplit(url)
        connection = self._connect(parts)
        asked = dict(headers) if start == 0 and end == size else {**headers, "Range": f"bytes={start}-{end - 1}"}
        try:
            connection.request("GET", _target(parts), headers={**asked, "Accept-Encoding": "identity"})
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(parts, error) from None
        if response.status not in {200, 206}:
            raise self._refused(parts, response)
        length = response.length
        whole = response.status == 200 and start == 0
        if (not whole and not _starts_at(response, start)) or (length is not None and length != end - start):
            self._drop(parts)
            raise WireFault("broken", f"{parts.netloc} answered with other bytes than those asked for")
        return Body(self, parts, response, connection.sock)

    def put(self, url: str, headers: dict[str, str], length: int) -> Upload:
        """Begin a PUT of `length` bytes.

        Raises:
            WireFault: The connection could not be made.
        """
        parts = urlsplit(url)
        connection = self._connect(parts)
        try:
            connection.putrequest("PUT", _target(parts), skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.putheader("Content-Length", str(length))
            connection.endheaders()
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(parts, error) from None
        return Upload(self, parts, connection)

    def _connect(self, parts: SplitResult) -> http.client.HTTPConnection:
        place = (parts.scheme, parts.netloc)
        connection = self._connections.get(place)
        if connection is None:
            connection = self._connections[place] = connect(parts, self._stall_seconds)
        return connection

    def _drop(self, parts: SplitResult) -> None:
        connection = self._connections.pop((parts.scheme, parts.netloc), None)
        if connection is not None:
            connection.close()

    def _broken(self, parts: SplitResult, error: Exception) -> WireFault:
        self._drop(parts)
        if isinstance(error, TimeoutError):
            return WireFault("stalled", f"{parts.netloc} sent or took nothing for {self._stall_seconds:g} s")
        return WireFault("broken", f"the connection to {parts.netloc} broke: {str(error) or type(error).__name__}")

    def _refused(self, parts: SplitResult, response: http.client.HTTPResponse) -> WireFault:
        """The fault that an error answer stands for; the connection stays usable if its body was short."""
        try:
            text = response.read(MAX_ERROR_BODY)
            rest = response.read(1)
        except (OSError, http.client.HTTPException):
            text, rest = b"", b"x"
        if rest or response.will_close:
            self._drop(parts)
        code = response.headers.get("X-Error-Code", "") or _between(text, b"<Code>", b"</Code>")
        if 300 <= response.status < 400:
            code = response.headers.get("Location", "")
        return WireFault(
            "status",
            f"{parts.netloc} answered {response.status}" + (f" {code}" if code and response.status >= 400 else ""),
            response.status,
            code,
            _seconds(response.headers.get("Retry-After", "")),
        )


class Readable(Protocol):
    """Bytes that arrive."""

    def read_into(self, view: memoryview) -> None:
        """Fill `view`, or raise `WireFault`."""

    def close(self) -> None:
        """Give up what was not read."""


class Body:
    """The body of an answer, read piece by piece into a buffer."""

    def __init__(
        self,
        wire: Wire,
        parts: SplitResult,
        response: http.client.HTTPResponse,
        sock: socket.socket | None,
    ) -> None:
        self._wire, self._parts, self._response = wire, parts, response
        self._sock, self._wakes_at = sock, 1

    def read_into(self, view: memoryview) -> None:
        """Fill `view`.

        Raises:
            WireFault: The body ended or stalled before it was full; the part that came is not reported.
        """
        got = 0
        try:
            self._wake_at(WAKE_BYTES if (self._response.length or 0) >= len(view) + 2 * WAKE_BYTES else 1)
            while got < len(view):
                count = self._response.readinto(view[got:])
                if count == 0:
                    raise http.client.IncompleteRead(b"", len(view) - got)
                got += count
        except (OSError, http.client.HTTPException) as error:
            detail = ConnectionError("cut short") if isinstance(error, http.client.IncompleteRead) else error
            raise self._wire._broken(self._parts, detail) from None

    def _wake_at(self, count: int) -> None:
        """Sleep until so many bytes have come, or the connection has ended; also in TLS, which waits by polling."""
        if self._sock is not None and self._wakes_at != count:
            self._wakes_at = count
            with contextlib.suppress(OSError):  # not every system can
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)

    def close(self) -> None:
        """Give up on what was not read; the connection is kept only if nothing was left."""
        if not self._response.isclosed():
            self._wire._drop(self._parts)


class Upload:
    """A PUT under way."""

    def __init__(self, wire: Wire, parts: SplitResult, connection: http.client.HTTPConnection) -> None:
        self._wire, self._parts, self._connection = wire, parts, connection

    def send(self, view: memoryview) -> None:
        """Send the next bytes.

        Raises:
            WireFault: The server refused (its answer is read if it sent one) or the connection broke.
        """
        try:
            self._connection.send(view)
        except (OSError, http.client.HTTPException) as error:
            raise self._answer_or(error) from None

    def answered(self) -> bool:
        """Whether an answer can be read at once."""
        sock = self._connection.sock
        if sock is None:
            return True
        waiting = sock.pending() if isinstance(sock, ssl.SSLSocket) else 0
        return bool(waiting or select.select([sock], [], [], 0)[0])

    def finish(self) -> dict[str, str]:
        """Read the answer: its headers, names in lower case.

        Raises:
            WireFault: The server refused or the connection broke.
        """
        try:
            response = self._connection.getresponse()
            if response.status != 200:
                raise self._wire._refused(self._parts, response)
            response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._wire._broken(self._parts, error) from None
        if response.will_close:
            self._wire._drop(self._parts)
        return {name.lower(): value for name, value in response.headers.items()}

    def abandon(self) -> None:
        """Break the request off."""
        self._wire._drop(self._parts)

    def _answer_or(self, error: Exception) -> WireFault:
        """S3 answers an upload that it refuses before it has all of it, then closes: look for that answer."""
        try:
            response = self._connection.getresponse()
            fault = self._wire._refused(self._parts, response)
        except (OSError, http.client.HTTPException):
            return self._wire._broken(self._parts, error)
        self._wire._drop(self._parts)
        return fault


def _target(parts: SplitResult) -> str:
    return f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"


def _starts_at(response: http.client.HTTPResponse, start: int) -> bool:
    return response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _between(text: bytes, left: bytes, right: bytes) -> str:
    _, found, rest = text.partition(left)
    return rest.partition(right)[0].decode("ascii", "replace") if found else ""


def _seconds(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return -1.0
