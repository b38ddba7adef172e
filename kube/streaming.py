"""Responses that are read as they come: watches, logs that are followed, answers token by token."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import urllib3

from kube.connect import Cluster
from kube.errors import connection_error
from kube.transport import BROKEN, READ_SECONDS, Query, Request, lower_case, send


class Stream:
    """A response that is read as it comes. Another thread may `interrupt` it."""

    def __init__(self, response: urllib3.HTTPResponse) -> None:
        self._response = response
        self._lock = threading.Lock()
        self._open = True
        self.status: int = response.status
        self.headers = lower_case(response)

    def read(self) -> bytes:
        """The rest of the body."""
        return self._response.read()

    def lines(self) -> Iterator[bytes]:
        """Lines without their ends, each as soon as it is complete; a last one without an end is given too.

        Raises:
            urllib3.exceptions.HTTPError: The connection broke or was silent for too long.
        """
        pieces: list[bytes] = []
        for chunk in self._chunks():
            *complete, rest = chunk.split(b"\n")
            for line in complete:
                yield b"".join([*pieces, line])
                pieces.clear()
            if rest:
                pieces.append(rest)
        if pieces:
            yield b"".join(pieces)

    def interrupt(self) -> None:
        """End the reading from outside: `lines` stops, or raises as for a broken connection."""
        with self._lock, suppress(ValueError, RuntimeError, OSError):
            if self._open:
                self._response.shutdown()

    def close(self) -> None:
        """Close the connection: what is left unread is dropped."""
        with self._lock:
            self._open = False
            self._response.close()

    def _chunks(self) -> Iterator[bytes]:
        if self._response.chunked:
            yield from self._response.stream(None)
            return
        while chunk := self._response.read1(65536):
            yield chunk


@contextmanager
def stream(
    cluster: Cluster,
    method: str,
    path: str,
    *,
    doing: str,
    query: Query | None = None,
    body: object = None,
    headers: Mapping[str, str] | None = None,
    read_timeout: float = READ_SECONDS,
) -> Iterator[Stream]:
    """Send a request once and give its response to be read as it comes, whatever its status.

    Args:
        cluster: Where to.
        method: HTTP method.
        path: Absolute path, its segments quoted.
        doing: What is asked, as a verb phrase for error messages.
        query: Query parameters.
        body: Sent as JSON unless the headers name another content type; then bytes.
        headers: Request headers.
        read_timeout: Seconds of silence after which the connection counts as broken.

    Raises:
        ClusterError: As for `call`, also when the connection breaks while it is read inside the `with` block.
    """
    request = Request(method, path, doing, query or {}, body, headers or {}, read_timeout)
    opened: Stream | None = None
    try:
        opened = Stream(send(cluster, request))
        yield opened
    except BROKEN as error:
        raise connection_error(error, server=cluster.server, doing=doing, timeout=read_timeout) from error
    finally:
        if opened is not None:
            opened.close()
