"""Pauses between restarts that double, as a kubelet counts them."""

import time

RESET_FACTOR = 2
"""A container that ran for this many times the longest pause starts over."""


class Backoff:
    """How long to wait before the next run of one container.

    Args:
        base: Pause before the second restart, in seconds; the first restart comes at once.
        longest: No pause is longer.
    """

    def __init__(self, base: float, longest: float) -> None:
        self._base, self._longest = base, longest
        self.delay: float | None = None

    def remaining(self, ended: float | None) -> float:
        """Seconds to wait before a start, counted from the end of a run (monotonic time); None: no run counts."""
        if ended is None or self.delay is None:
            return 0.0
        return max(ended + self.delay - time.monotonic(), 0.0)

    def restarted(self, ended: float | None, ran_seconds: float) -> None:
        """A restart follows a run that took `ran_seconds`."""
        if ended is None:
            return
        if self.delay is None or ran_seconds > RESET_FACTOR * self._longest:
            self.delay = self._base
        else:
            self.delay = min(self.delay * 2, self._longest)


def go_duration(seconds: float) -> str:
    """Seconds as Go prints a duration: `10s`, `1m20s`, `500ms`."""
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f}m{rest:g}s" if minutes else f"{rest:g}s"
