"""The only memory that file contents pass through: pieces of equal size from one fixed pool."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable
from dataclasses import dataclass

from staging.retry import Cancelled

RESERVE = 2
"""Pieces kept for bytes that are next in order."""
POLL_SECONDS = 0.2
"""How often who waits looks whether the run has ended."""


@dataclass(frozen=True, eq=False)
class _Waiter:
    """Somebody who waits for a piece.

    Attributes:
        woken: Told when a piece is there for it.
        is_next: Says whether its bytes are the next of their file.
    """

    woken: threading.Condition
    is_next: Callable[[], bool] | None

    def may_take(self, idle: int) -> bool:
        """Whether one of so many idle pieces is for it."""
        return idle > RESERVE or (idle > 0 and self.is_next is not None and self.is_next())


class PiecePool:
    """Hands out pieces of memory and takes them back; never more than the budget at a time.

    Pieces that come too early for their file wait in memory for those before them. A few pieces are therefore kept
    for readers whose bytes are next in order: with these everything that waits can go on.

    Args:
        budget: Bytes in all.
        piece: Bytes of one piece.
        stop: Ends waiting for a free piece.
    """

    def __init__(self, budget: int, piece: int, stop: threading.Event) -> None:
        self.piece = piece
        self.count = max(4, budget // piece)
        self._stop = stop
        self._made = 0
        self._free: list[memoryview] = []
        self._lock = threading.Lock()
        self._waiters: list[_Waiter] = []

    def take(self, is_next: Callable[[], bool] | None = None) -> memoryview:
        """A piece, as soon as one is free.

        Args:
            is_next: Says whether the bytes to be read into it are the next of their file.

        Raises:
            Cancelled: The run ended.
        """
        with self._lock:
            if self._idle <= RESERVE or self._stop.is_set():
                self._wait(_Waiter(threading.Condition(self._lock), is_next))
            piece = self._free.pop() if self._free else None
            if piece is None:
                self._made += 1
            self._wake()  # another piece may be left for another
        if piece is not None:
            return piece
        # Anonymous pages are touched only as they fill.
        return memoryview(mmap.mmap(-1, self.piece))

    def give(self, piece: memoryview) -> None:
        """Take a piece back."""
        with self._lock:
            self._free.append(piece)
            self._wake()

    def look_again(self) -> None:
        """Say that a file has come further: somebody who waits may be next now."""
        if self._waiters:
            with self._lock:
                self._wake()

    def _wait(self, waiter: _Waiter) -> None:
        while not self._stop.is_set():
            if waiter.may_take(self._idle):
                return
            self._waiters.append(waiter)
            waiter.woken.wait(POLL_SECONDS)
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        raise Cancelled

    def _wake(self) -> None:
        # One piece is for one of them: were all woken, most would go to sleep again, at the cost of those who work.
        idle = self._idle
        waiter = next((one for one in self._waiters if one.may_take(idle)), None)
        if waiter is not None:
            self._waiters.remove(waiter)
            waiter.woken.notify()

    @property
    def _idle(self) -> int:
        return self.count - self._made + len(self._free)

    @property
    def idle(self) -> int:
        """How many pieces nobody holds."""
        with self._lock:
            return self._idle
