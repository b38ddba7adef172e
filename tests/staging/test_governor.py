"""The number of connections follows what a wire gives."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from staging.governor import Governor, Setting

TICK = 0.2
MOST = Setting(64, 64)

Wire = Callable[[Setting], float]


def capped(each: float, whole: float = 1000.0, *, uplink: float = 1e9) -> Wire:
    """A Hub that gives so much per connection, over a wire or processors that carry so much in all."""
    return lambda setting: min(setting.readers * each, whole, max(1, setting.uplinks) * uplink)


def run(
    wire: Wire, seconds: float, *, noise: Callable[[int], float] = lambda _: 1.0, busy: str = "hub"
) -> list[Setting]:
    """Lets a governor watch the wire; connections that are new in an interval bring nothing in it."""
    governor = Governor(Setting(4), MOST)
    before, settings = governor.setting, [governor.setting]
    for tick in range(round(seconds / TICK)):
        setting = governor.setting
        rate = min(wire(before), wire(setting)) * noise(tick)
        threads = TICK * setting.readers
        receiving, sending = (threads, 0.0) if busy == "hub" else (0.1 * threads, 0.9 * threads)
        before = setting
        settings.append(governor.observe(rate, receiving, sending, TICK))
    return settings


def test_capped_connections_soon_are_as_many_as_the_wire_carries() -> None:
    settings = run(capped(40), 1.4)
    assert settings[-1].readers >= 25, "40 MB/s each on a wire of 1,000"


def test_where_another_connection_brings_nothing_there_are_few() -> None:
    settings = run(capped(250), 30)
    assert sum(setting.readers == 4 for setting in settings) >= 0.85 * len(settings)


def test_slow_connections_to_the_store_become_more() -> None:
    settings = run(capped(1000, uplink=30), 6, busy="store")
    assert settings[-1].uplinks >= 16


def test_a_disturbed_interval_is_no_last_word() -> None:
    settings = run(capped(40), 5, noise=lambda tick: 0.3 if tick in {2, 3} else 1.0)
    assert settings[-1].readers >= 25


def test_a_wire_that_becomes_faster_is_used() -> None:
    whole = iter([100.0] * 40 + [1000.0] * 400)
    current = [100.0]

    def wire(setting: Setting) -> float:
        return min(setting.readers * 40, current[0])

    def noise(_: int) -> float:
        current[0] = next(whole)
        return 1.0

    assert run(wire, 40, noise=noise)[-1].readers >= 25


@given(
    st.floats(1, 1000),
    st.floats(10, 5000),
    st.lists(st.floats(0.05, 2), min_size=5, max_size=200),
    st.sampled_from(["hub", "store"]),
)
def test_the_setting_stays_within_its_bounds_whatever_comes(
    each: float, whole: float, noise: list[float], busy: str
) -> None:
    for setting in run(capped(each, whole), len(noise) * TICK, noise=lambda tick: noise[tick % len(noise)], busy=busy):
        assert 4 <= setting.readers <= MOST.readers
        assert 0 <= setting.uplinks <= MOST.uplinks


@pytest.mark.parametrize("most", [Setting(1), Setting(3), Setting(30)])
def test_memory_is_the_limit(most: Setting) -> None:
    governor = Governor(Setting(min(4, most.readers)), most)
    for _ in range(50):
        readers = governor.setting.readers
        assert readers <= most.readers
        governor.observe(readers * 40.0, readers * TICK, 0.0, TICK)
    assert governor.setting.readers == most.readers


def test_while_the_first_readers_only_wait_every_interval_has_a_large_step() -> None:
    governor = Governor(Setting(4), MOST)
    steps = []
    for _ in range(4):
        readers = governor.setting.readers
        steps.append(readers)
        governor.observe(min(readers * 40.0, 1000.0), readers * TICK, 0.0, TICK)
    assert steps[:3] == [4, 16, 64], "connections that answer within an interval need none to settle"


def test_a_start_that_went_too_far_is_taken_back_and_not_repeated_at_once() -> None:
    settings = run(capped(40, whole=640), 2)
    assert max(setting.readers for setting in settings) == 64
    assert settings[-1].readers == 16


def test_where_nobody_waits_nothing_is_tried_at_first() -> None:
    governor = Governor(Setting(4), MOST)
    settings = [governor.observe(1000.0, 0.3 * 4 * TICK, 0.3 * 4 * TICK, TICK) for _ in range(25)]
    assert settings[:14] == [Setting(4)] * 14
    assert len(set(settings)) > 1, "but later, in case that it pays"
