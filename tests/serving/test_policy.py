"""When an endpoint may move: windows on wall clocks, over midnight, across changes of the clock."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from serving.catalog import Overrides, get_preset, resolve
from serving.models import PinnedModel
from serving.policy import RefreshMode, RefreshPolicy, Weekday
from serving.release import release_of

CLOCK = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Seoul", "Australia/Lord_Howe"])
MOMENTS = st.datetimes(datetime(2025, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("policy", "moment", "is_open"),
    [
        ({}, "2026-11-25T12:00+00:00", True),
        ({"opens": "22:00", "closes": "04:00"}, "2026-11-25T23:30+00:00", True),
        ({"opens": "22:00", "closes": "04:00"}, "2026-11-25T03:59+00:00", True),
        ({"opens": "22:00", "closes": "04:00"}, "2026-11-25T04:00+00:00", False),
        ({"opens": "22:00", "timezone": "Asia/Seoul"}, "2026-11-25T13:30+00:00", True),  # 22:30 there
        ({"opens": "22:00", "timezone": "Asia/Seoul"}, "2026-11-25T15:00+00:00", False),  # midnight there
        ({"days": ["friday"], "opens": "22:00", "closes": "04:00"}, "2026-11-28T02:00+00:00", True),  # of Friday
        ({"days": ["saturday"], "opens": "22:00", "closes": "04:00"}, "2026-11-28T02:00+00:00", False),
        ({"days": ["saturday", "sunday"]}, "2026-11-27T23:59+00:00", False),
        ({"days": ["saturday", "sunday"]}, "2026-11-29T23:59+00:00", True),
        # Summer time ends on 2026-10-25 at 03:00 in Berlin: 01:30 UTC is 02:30 for the second time.
        ({"opens": "03:00", "timezone": "Europe/Berlin"}, "2026-10-25T01:30+00:00", False),
    ],
)
def test_windows(policy: dict[str, object], moment: str, is_open: bool) -> None:
    assert RefreshPolicy.model_validate(policy).is_open(at(moment)) is is_open


def test_the_next_opening_is_told_on_the_policys_clock() -> None:
    policy = RefreshPolicy(days=(Weekday.SUNDAY,), opens="02:00", closes="05:00", timezone="Europe/Berlin")
    assert policy.next_opening(at("2026-11-25T12:00+00:00")).isoformat() == "2026-11-29T02:00:00+01:00"
    assert policy.next_opening(at("2026-11-29T03:00+00:00")).isoformat() == "2026-12-06T02:00:00+01:00"


@given(
    moment=MOMENTS,
    zone=ZONES,
    opens=st.one_of(st.just(""), CLOCK),
    closes=st.one_of(st.just(""), CLOCK),
    days=st.sets(st.sampled_from(Weekday)),
    share=st.floats(0, 1, exclude_max=True),
)
def test_a_closed_window_opens_when_it_says(
    moment: datetime, zone: str, opens: str, closes: str, days: set[Weekday], share: float
) -> None:
    try:
        policy = RefreshPolicy(days=tuple(days), opens=opens, closes=closes, timezone=zone)
    except ValidationError:
        assert opens == closes
        return
    opening = policy.next_opening(moment)
    assert opening > moment
    assert policy.is_open(opening)
    if not policy.is_open(moment):
        before = min(moment + share * (opening - moment), opening - timedelta(microseconds=1))
        assert not policy.is_open(max(before, moment))
    assert opening - moment < timedelta(days=16)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"timezone": "Europe/Berlni"}, "did you mean Europe/Berlin"),
        ({"timezone": ""}, "no time zone"),
        ({"timezone": "../../etc/passwd"}, "no time zone"),
        ({"opens": "25:00"}, "opens"),
        ({"opens": "10:00", "closes": "10:00"}, "leave both empty"),
    ],
)
def test_what_is_no_window_is_refused(policy: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        RefreshPolicy.model_validate(policy)


def test_a_policy_renames_no_release_and_is_taken_over_presets() -> None:
    pinned = PinnedModel(repo_id="Qwen/Qwen3-1.7B", revision="main", commit="1" * 40)
    preset = get_preset("qwen3-1.7b-vllm")
    plain = resolve(preset)
    asking = resolve(preset, Overrides.read({"refresh": {"approval": True, "mode": "pinned"}}))
    assert asking.refresh == RefreshPolicy(approval=True, mode=RefreshMode.PINNED)
    assert release_of(plain, pinned, None) == release_of(asking, pinned, None)
