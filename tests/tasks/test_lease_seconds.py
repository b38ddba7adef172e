"""After how long without renewal a run counts as dead is set in the environment, and what is no number is refused."""

import pytest

from serving.errors import InputError
from tasks.record import LEASE_SECONDS, LEASE_SECONDS_VARIABLE, lease_seconds


def test_the_environment_or_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LEASE_SECONDS_VARIABLE, raising=False)
    assert lease_seconds() == LEASE_SECONDS
    monkeypatch.setenv(LEASE_SECONDS_VARIABLE, "5")
    assert lease_seconds() == 5


@pytest.mark.parametrize("given", ["0", "-3", "half a minute", "1.5"])
def test_what_is_no_number_of_seconds_is_named(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LEASE_SECONDS_VARIABLE, given)
    with pytest.raises(InputError, match=LEASE_SECONDS_VARIABLE) as raised:
        lease_seconds()
    assert given in str(raised.value)
