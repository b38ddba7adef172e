"""How long each step of a run took."""

import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass
class Clock:
    """Seconds per step, in the order of their start."""

    seconds: dict[str, float] = field(default_factory=dict)
    _began: dict[str, float] = field(default_factory=dict)

    async def time(self, step: str, work: Awaitable[T]) -> T:
        """Awaits a step and notes how long it took, whatever came of it."""
        started = self._began[step] = time.monotonic()
        self.seconds[step] = 0.0
        try:
            return await work
        finally:
            self.seconds[step] = time.monotonic() - started

    def since(self, step: str) -> float | None:
        """Seconds since a step began; None if it did not."""
        return time.monotonic() - self._began[step] if step in self._began else None
