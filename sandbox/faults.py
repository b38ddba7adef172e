"""Faults that a test orders from one of the sandbox's HTTP servers: what, where and how often.

    hub.faults.add(Truncate(at=1_000_000), path="*/model-00001-of-00002.safetensors", times=1)
    s3.faults.add(slow_down(), operation="UploadPart", times=3)

`path` is a shell pattern (`fnmatch`) over the request's path without its query; `method` and `operation` (S3's name of
what is asked: UploadPart, CompleteMultipartUpload …) are exact, empty for any; `times` counts the requests that the
fault hits, None for all. Of several that match, the oldest wins.
"""

import fnmatch
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Status:
    """Answer with this status instead of the content."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Reset:
    """Reset the connection: at once, or when the content's byte `at` is due."""

    at: int = -1


@dataclass(frozen=True)
class Truncate:
    """Close the connection before the content's byte `at`, although the headers promised more."""

    at: int


@dataclass(frozen=True)
class FlipBit:
    """Turn one bit of the content's byte `at`: everything else about the answer stays right."""

    at: int = 0
    bit: int = 0


@dataclass(frozen=True)
class Stall:
    """Send nothing for some seconds: before the headers, or before the content's byte `at`."""

    seconds: float
    at: int = -1


@dataclass(frozen=True)
class Slow:
    """Send each connection's content at this rate."""

    bytes_per_second: float


@dataclass(frozen=True)
class LoseAnswer:
    """Do what was asked, then reset the connection instead of answering."""


Action = Status | Reset | Truncate | FlipBit | Stall | Slow | LoseAnswer


@dataclass
class _Order:
    action: Action
    path: str
    method: str
    operation: str
    left: int | None


class FaultPlan:
    """The faults still due on one server. Safe to use from any thread."""

    def __init__(self) -> None:
        self._orders: list[_Order] = []
        self._lock = threading.Lock()

    def add(
        self, action: Action, *, path: str = "*", method: str = "", operation: str = "", times: int | None = 1
    ) -> None:
        """Order a fault.

        Args:
            action: What goes wrong.
            path: Shell pattern over the request's path.
            method: HTTP method; empty for any.
            operation: The API's name of what is asked; empty for any.
            times: Number of requests that it hits; None for all until `clear`.
        """
        with self._lock:
            self._orders.append(_Order(action, path, method, operation, times))

    def clear(self) -> None:
        """Take back all that is still due."""
        with self._lock:
            self._orders.clear()

    @property
    def due(self) -> int:
        """Orders that have not been used up."""
        with self._lock:
            return len(self._orders)

    def take(
        self, method: str, path: str, *, operation: str = "", start: int = 0, end: int | None = None
    ) -> Action | None:
        """The fault that hits this request, if any; it counts as used.

        Args:
            method: The request's method.
            path: The request's path without its query.
            operation: The API's name of what is asked.
            start: First byte of the content that the answer would carry.
            end: One past the last byte; None if the answer is not known yet, and then only faults that act
                before the content are taken.
        """
        with self._lock:
            for order in self._orders:
                if order.method not in ("", method) or order.operation not in ("", operation):
                    continue
                if not fnmatch.fnmatchcase(path, order.path) or not _acts_on(order.action, start, end):
                    continue
                if order.left is not None:
                    order.left -= 1
                    if order.left <= 0:
                        self._orders.remove(order)
                return order.action
        return None


def _acts_on(action: Action, start: int, end: int | None) -> bool:
    """Whether the fault belongs to this phase: before the content (`end` None), or in these bytes of it."""
    match action:
        case Reset(at=at) | Stall(at=at):
            return at < 0 if end is None else start <= at < end
        case Truncate(at=at) | FlipBit(at=at):
            return end is not None and start <= at < end
        case Slow():
            return end is not None
        case _:
            return end is None
