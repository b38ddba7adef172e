"""The only memory that file contents pass through: pieces of equal size from one fixed pool."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable

from staging.retry import Cancelled

RESERVE = 2
"""Pieces kept for bytes that are next in order."""


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
        self._changed = threading.Condition()

    def take(self, is_next: Callable[[], bool] | None = None) -> memoryview:
        """A piece, as soon as one is free.

        Args:
            is_next: Says whether the bytes to be read into it are the next of their file.

        Raises:
            Cancelled: The run ended.
        """
        with self._changed:
            while True:
                if self._stop.is_set():
                    raise Cancelled
                idle = self.count - self._made + len(self._free)
                if idle > RESERVE or (idle > 0 and is_next is not None and is_next()):
                    break
                self._changed.wait(0.2)
            if self._free:
                return self._free.pop()
            self._made += 1
        # Anonymous pages are touched only as they fill.
        return memoryview(mmap.mmap(-1, self.piece))

    def give(self, piece: memoryview) -> None:
        """Take a piece back."""
        with self._changed:
            self._free.append(piece)
            self._changed.notify_all()

    @property
    def idle(self) -> int:
        """How many pieces nobody holds."""
        with self._changed:
            return self.count - self._made + len(self._free)
