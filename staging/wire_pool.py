"""Wires that one thread after the other uses."""

from __future__ import annotations

import threading

from staging.wire import Wire


class WirePool:
    """Wires that nobody uses at the moment, so that few connections serve many requests one after the other.

    Args:
        stall_seconds: See `Wire`.
    """

    def __init__(self, stall_seconds: float) -> None:
        self._stall_seconds = stall_seconds
        self._lock = threading.Lock()
        self._idle: list[Wire] = []

    def take(self) -> Wire:
        """A wire, the one used last if any is idle."""
        with self._lock:
            return self._idle.pop() if self._idle else Wire(self._stall_seconds)

    def give(self, wire: Wire) -> None:
        """Take a wire back."""
        with self._lock:
            self._idle.append(wire)

    def close(self) -> None:
        """Close all idle wires."""
        with self._lock:
            for wire in self._idle:
                wire.close()
            self._idle.clear()
