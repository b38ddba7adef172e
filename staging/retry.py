"""When a failed request is repeated, and when it is given up."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass

from staging.wire import WireFault

REPEATED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
REPEATED_CODES = frozenset({"RequestTimeout", "SlowDown", "InternalError", "ServiceUnavailable", "OperationAborted"})


class Cancelled(Exception):
    """The run was cancelled, or another part of it failed."""


@dataclass(frozen=True)
class Patience:
    """How long faults are put up with.

    Attributes:
        seconds: Time from the first of several faults without any progress in between to giving up.
        first_wait_seconds: The wait after the second fault; it doubles with each. The first is repeated at once,
            since an idle connection that the server has closed looks like a fault.
        longest_wait_seconds: The wait never grows beyond this, unless the server asks for more.
        stall_seconds: A connection that moves no byte for this long has failed.
    """

    seconds: float = 120.0
    first_wait_seconds: float = 0.2
    longest_wait_seconds: float = 15.0
    stall_seconds: float = 30.0


def can_repeat(fault: WireFault) -> bool:
    """Whether the same request may succeed later."""
    return fault.kind != "status" or fault.status in REPEATED_STATUS or fault.code in REPEATED_CODES


class Repeats:
    """The faults of one operation in a row.

    Args:
        patience: How long to go on.
        stop: Ends waiting at once.
    """

    def __init__(self, patience: Patience, stop: threading.Event) -> None:
        self._patience, self._stop = patience, stop
        self._since = 0.0
        self._count = 0

    def progress(self) -> None:
        """Bytes have moved: earlier faults no longer count."""
        self._count = 0

    def wait(self, fault: WireFault) -> None:
        """Wait until the operation should be repeated.

        Raises:
            WireFault: The fault itself, if repeating cannot help or patience is over.
            Cancelled: The run ended meanwhile.
        """
        now = time.monotonic()
        if self._count == 0:
            self._since = now
        self._count += 1
        delay = 0.0
        if self._count > 1 or fault.kind == "status":
            delay = min(self._patience.first_wait_seconds * 2 ** (self._count - 1), self._patience.longest_wait_seconds)
            delay *= random.uniform(0.7, 1.3)  # noqa: S311
        delay = max(delay, fault.retry_after)
        if not can_repeat(fault) or now + delay - self._since > self._patience.seconds:
            raise fault
        if self._stop.wait(delay):
            raise Cancelled
