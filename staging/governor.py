"""How many connections a run uses: what the wire gives decides, within what the memory allows."""

from __future__ import annotations

from dataclasses import dataclass

WORTH = 1.15
"""A step up must raise the rate by this factor to be kept."""
WAITING = 0.66
"""Readers that wait for the Hub for so much of their time leave the processors idle: the step up is a large one."""
LARGE_STEP = 4
AGAIN_SECONDS, LONGEST_AGAIN = 3.0, 24.0
"""After so long at one setting a step that did not pay is tried again, each time later: wires change, and the interval
that decided may have been disturbed."""


@dataclass(frozen=True)
class Setting:
    """What the governor decides.

    Attributes:
        readers: Connections to the Hub.
        uplinks: Parts that are sent by threads of their own; 0 lets the readers send.
    """

    readers: int
    uplinks: int = 0


class Governor:
    """Raises the number of connections while that pays, on the side that holds up the other.

    Where processors or the wire as a whole are the limit, another connection brings nothing, and the step is taken
    back. Where each connection is slow by itself (a Hub that caps them, a distant bucket), it does: as long as the
    first readers do little but wait, every interval has a large step, as TCP's slow start has.

    Args:
        start: The first setting.
        most: The largest setting that the memory allows.
    """

    def __init__(self, start: Setting, most: Setting) -> None:
        self.setting = start
        self._most = most
        self._kept = start
        self._rate_kept = 0.0
        self._starting, self._trying, self._settling = True, False, False
        self._settled_for, self._again = 0.0, AGAIN_SECONDS
        self._refused: set[str] = set()

    def observe(self, rate: float, receiving: float, sending: float, seconds: float) -> Setting:
        """Take note of an interval, and decide on the next.

        Args:
            rate: Bytes a second.
            receiving: Seconds that threads spent reading from the Hub.
            sending: Seconds that threads spent writing to the store.
            seconds: Length of the interval.
        """
        if rate <= 0:
            return self.setting
        waiting = receiving >= WAITING * seconds * self.setting.readers
        if self._starting:
            self._starting = self._start(rate, waiting=waiting)
            if not self._starting:  # what nobody waits for is tried later: to try costs as well
                busy = sending >= WAITING * seconds * self.setting.readers
                self._refused = {"readers"} if busy else {"readers", "uplinks"}
            return self.setting
        if self._settling:  # its connections were being made: the interval says nothing of them
            self._settling = False
            return self.setting
        if self._trying:
            self._judge(rate)
        else:
            self._rate_kept = max(rate, self._rate_kept * 0.9)
            self._settled_for += seconds
            if self._settled_for >= self._again:
                self._settled_for, self._refused, self._rate_kept = 0.0, set(), rate
                self._again = min(self._again * 2, LONGEST_AGAIN)
        if not self._trying:
            self._step_up("readers" if receiving >= sending else "uplinks", LARGE_STEP if waiting else 2)
        return self.setting

    def _start(self, rate: float, *, waiting: bool) -> bool:
        """A large step while that pays; whether the start goes on."""
        if rate >= self._rate_kept * WORTH:
            self._rate_kept, self._kept = rate, self.setting
            most = min(self.setting.readers * LARGE_STEP, self._most.readers)
            self.setting = Setting(most) if waiting else self.setting
            self._settling = self.setting != self._kept
            return self._settling
        if self._settling:  # its connections may still be made
            self._settling = False
            return True
        self.setting = self._kept
        return False

    def _judge(self, rate: float) -> None:
        self._trying = False
        if rate >= self._rate_kept * WORTH:
            self._rate_kept, self._kept, self._refused = rate, self.setting, set()
        else:
            self._refused.add("readers" if self.setting.readers > self._kept.readers else "uplinks")
            self.setting = self._kept

    def _step_up(self, side: str, factor: int) -> None:
        kept = self._kept
        if side == "readers":
            larger = Setting(min(kept.readers * factor, self._most.readers), kept.uplinks)
        else:
            larger = Setting(kept.readers, min(max(4, kept.uplinks * 2), self._most.uplinks))
        if side not in self._refused and larger != kept:
            self.setting, self._trying, self._settling, self._settled_for = larger, True, True, 0.0
