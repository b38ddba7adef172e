"""How far a staging is."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

RATE_WINDOW_SECONDS = 5.0


@dataclass(frozen=True)
class StageProgress:
    """A moment of a staging.

    Attributes:
        phase: ``waiting`` (another run stages this commit), ``transfer``, ``publish`` or ``done``.
        total_bytes: Bytes of the staged model.
        done_bytes: Bytes that are in the bucket, whether moved, copied or there before.
        moved_bytes: Bytes that travelled from the Hub.
        files_total: Files of the staged model.
        files_done: Files that are verified and in the bucket.
        seconds: Since the start.
        rate: Bytes a second that travel now.
        connections: Connections to the Hub in use.
    """

    phase: str
    total_bytes: int
    done_bytes: int
    moved_bytes: int
    files_total: int
    files_done: int
    seconds: float
    rate: float
    connections: int = 0

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the present rate; None while there is none."""
        return (self.total_bytes - self.done_bytes) / self.rate if self.rate > 0 else None


class Tally:
    """Counters that the transfer's threads add to.

    Args:
        total_bytes: Bytes of the staged model.
        files_total: Its files.
    """

    def __init__(self, total_bytes: int, files_total: int) -> None:
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._recent: deque[tuple[float, int]] = deque([(self._started, 0)])
        self._total_bytes, self._files_total = total_bytes, files_total
        self.phase = "transfer"
        self.connections = 0
        self.moved = self.copied = self.reused = 0
        self.retries = self.resent = 0
        self._receiving = self._sending = 0.0
        self._files_done = 0

    def add(
        self,
        *,
        moved: int = 0,
        copied: int = 0,
        reused: int = 0,
        files: int = 0,
        retries: int = 0,
        resent: int = 0,
    ) -> None:
        """Add to the counters. A file that starts over takes its bytes back with a negative `moved`."""
        with self._lock:
            self.moved += moved
            self.copied += copied
            self.reused += reused
            self.retries += retries
            self.resent += resent
            self._files_done += files

    def timing(self, *, receiving: float = 0.0, sending: float = 0.0) -> None:
        """Add seconds that a thread spent in a connection to the Hub or to the store."""
        with self._lock:
            self._receiving += receiving
            self._sending += sending

    def timings(self) -> tuple[float, float]:
        """Seconds spent receiving and sending since the last call, over all threads."""
        with self._lock:
            spent = (self._receiving, self._sending)
            self._receiving = self._sending = 0.0
            return spent

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    def now(self, phase: str = "", seconds: float = 0.0) -> StageProgress:
        """A snapshot, by default of the present phase."""
        with self._lock:
            moment = time.monotonic()
            self._recent.append((moment, self.moved))
            while len(self._recent) > 2 and moment - self._recent[0][0] > RATE_WINDOW_SECONDS:
                self._recent.popleft()
            then, before = self._recent[0]
            return StageProgress(
                phase=phase or self.phase,
                total_bytes=self._total_bytes,
                done_bytes=max(0, self.moved + self.copied + self.reused),
                moved_bytes=max(0, self.moved),
                files_total=self._files_total,
                files_done=self._files_done,
                seconds=seconds or moment - self._started,
                rate=max(0.0, (self.moved - before) / (moment - then)) if moment > then else 0.0,
                connections=self.connections,
            )
