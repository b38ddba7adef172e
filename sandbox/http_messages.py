"""What the sandbox's HTTP servers receive, answer and remember."""

import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """One request. `path` and `raw_query` are as they were sent, percent-encoded; header names are in Title-Case."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    raw_query: str = ""

    def parameter(self, name: str, default: str = "") -> str:
        """First value of a query parameter."""
        return self.query.get(name, [default])[0]


@dataclass(frozen=True)
class Response:
    """One answer. A `ranged` one honours the request's Range header.

    Attributes:
        content: Bytes, or the file that has them.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | Path = b""
    ranged: bool = False


@dataclass
class RequestRecord:
    """What is remembered of a request, from when it was read; never the credential itself.

    Attributes:
        path: Decoded, without the query.
        query: Query parameters that are not part of a signature.
        status: What was answered; 0 until then, and if the connection was reset instead.
        range: The Range header, empty if none.
        sent: Bytes of content that were sent so far.
        authorized: Whether an Authorization header came with it.
        operation: The API's name for what was asked, where the application tells it.
    """

    method: str
    path: str
    query: str
    range: str
    authorized: bool
    operation: str
    at: float
    status: int = 0
    sent: int = 0


def reset(connection: socket.socket) -> None:
    """End a connection with RST, so that the peer sees a reset and not an end of file."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())  # close() would wait for the files made from the socket, and send FIN first


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """First byte and one past the last byte of a single range.

    Returns:
        None if there is no range that is to be honoured (the whole content is then sent, as RFC 9110 has it),
        and (0, 0) if it cannot be satisfied.
    """
    unit, _, ranges = header.partition("=")
    first, dash, last = ranges.strip().partition("-")
    if unit.strip() != "bytes" or not dash or not all(part.isdigit() or not part for part in (first, last)):
        return None
    if first:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
        return (start, end) if start < size else (0, 0)
    if not last:
        return None
    return (max(0, size - int(last)), size) if int(last) and size else (0, 0)
