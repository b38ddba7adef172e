"""When an endpoint may move to another commit of the branch that it follows. Pure."""

import difflib
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import cache
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import Field, StringConstraints, field_validator, model_validator

from serving.forms import FormGroup

ClockTime = Annotated[str, StringConstraints(pattern=r"^(([01]\d|2[0-3]):[0-5]\d)?$")]
"""``HH:MM``, or empty."""


class RefreshMode(StrEnum):
    """Whether refreshes move the endpoint."""

    FOLLOW = "follow"
    PINNED = "pinned"


class Weekday(StrEnum):
    """A day of the week."""

    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"


_WEEKDAYS = tuple(Weekday)


class RefreshPolicy(FormGroup):
    """How refreshes treat an endpoint: whether, when, and whether a person is asked.

    The window is on wall clocks of its time zone. One that closes at or before the hour at which it opens goes over
    midnight, and belongs to the day on which it opens.
    """

    mode: RefreshMode = Field(
        default=RefreshMode.FOLLOW, title="Mode", description="follow the branch, or stay pinned to the present commit"
    )
    approval: bool = Field(
        default=False, title="Ask a person", description="A new commit waits until somebody approves it in the UI"
    )
    days: tuple[Weekday, ...] = Field(
        default=(), title="Days", description="Days on which the endpoint may move; none: every day"
    )
    opens: ClockTime = Field(default="", title="From", description="Hour from which it may move, for example 22:00")
    closes: ClockTime = Field(default="", title="Until", description="Hour until which it may move, for example 04:00")
    timezone: str = Field(
        default="UTC", title="Time zone", description="Of these days and hours, for example Europe/Berlin"
    )

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            _zone(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            close = difflib.get_close_matches(value, available_timezones(), n=3, cutoff=0.5)
            hint = f": did you mean {' or '.join(close)}?" if close else ""
            raise ValueError(f"{value!r} is no time zone of the IANA database{hint}") from None
        return value

    @model_validator(mode="after")
    def _is_some_time(self) -> "RefreshPolicy":
        if self.opens and self.opens == self.closes:
            raise ValueError(f"the window opens and closes at {self.opens}: leave both empty for the whole day")
        return self

    def is_open(self, now: datetime) -> bool:
        """Whether the endpoint may move at this moment (aware)."""
        today = now.astimezone(_zone(self.timezone)).date()
        return any(start <= now < end for start, end in self._windows(today - timedelta(days=1), 2))

    def next_opening(self, now: datetime) -> datetime:
        """The first moment after `now` (aware) at which a window opens, in the policy's time zone."""
        zone = _zone(self.timezone)
        windows = self._windows(now.astimezone(zone).date(), 16)
        return next(start for start, _ in windows if start > now).astimezone(zone)

    def _windows(self, first: date, days: int) -> Iterator[tuple[datetime, datetime]]:
        """Start and end, in UTC, of the windows that open on these days.

        Of hours that the clocks skip or repeat, zoneinfo takes the offset before the change; a window that lies in
        skipped hours is left out.
        """
        opens = time.fromisoformat(self.opens) if self.opens else time()
        closes = time.fromisoformat(self.closes) if self.closes else time()
        zone = _zone(self.timezone)
        for day in (first + timedelta(days=offset) for offset in range(days)):
            if self.days and _WEEKDAYS[day.weekday()] not in self.days:
                continue
            last = day if closes > opens else day + timedelta(days=1)
            start, end = (datetime.combine(*moment, tzinfo=zone) for moment in ((day, opens), (last, closes)))
            if start.astimezone(UTC) < end.astimezone(UTC):
                yield start.astimezone(UTC), end.astimezone(UTC)


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
