"""One writer at a time: a lease is refused, waited for, renewed, taken over when its holder died, and lost aloud."""

import threading
import time
from contextlib import ExitStack
from typing import Any

import pytest

from kube.apply import apply
from kube.lease import API_VERSION, HeldLease, LeaseTerms, held
from kube.read import get
from serving.errors import ClusterError


def terms(place: Any, holder: str, *, seconds: int = 30, wait_seconds: float = 0.0) -> LeaseTerms:
    return LeaseTerms(place.namespace, "chat", holder, seconds=seconds, wait_seconds=wait_seconds)


def spec_of(place: Any) -> dict[str, Any]:
    lease = get(place.cluster, API_VERSION, "Lease", "chat", place.namespace)
    assert lease is not None
    return dict(lease["spec"])


def test_a_second_holder_is_refused_by_name_and_gets_it_afterwards(place: Any) -> None:
    with held(place.cluster, terms(place, "run-1")) as lease:
        lease.check()
        assert spec_of(place)["holderIdentity"] == "run-1"
        with (
            pytest.raises(ClusterError, match="is held by run-1") as caught,
            held(place.cluster, terms(place, "run-2")),
        ):
            pass
        assert caught.value.code == "lease.held"
        assert spec_of(place)["holderIdentity"] == "run-1"
    assert not spec_of(place).get("holderIdentity")
    with held(place.cluster, terms(place, "run-2")):
        assert spec_of(place)["holderIdentity"] == "run-2"
    assert spec_of(place)["leaseTransitions"] >= 3


def test_a_waiting_holder_goes_on_when_the_lease_is_given_back(place: Any) -> None:
    told: list[str] = []
    order: list[str] = []
    first = ExitStack()
    first.enter_context(held(place.cluster, terms(place, "run-1")))

    def second() -> None:
        with held(place.cluster, terms(place, "run-2", wait_seconds=60), waiting=told.append):
            order.append("second")

    waiter = threading.Thread(target=second)
    waiter.start()
    while not told:
        time.sleep(0.02)
    order.append("first ends")
    first.close()
    waiter.join(timeout=60)
    assert told == ["run-1"]
    assert order == ["first ends", "second"]


def test_many_at_once_and_only_one_inside(place: Any) -> None:
    inside, most, entered = 0, 0, 0
    guard = threading.Lock()

    def work(number: int) -> None:
        nonlocal inside, most, entered
        with held(place.cluster, terms(place, f"run-{number}", wait_seconds=60)):
            with guard:
                inside, entered = inside + 1, entered + 1
                most = max(most, inside)
            time.sleep(0.01)
            with guard:
                inside -= 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert (entered, most) == (4, 1)


def dead_holder(place: Any, renewed: str, seconds: int = 30) -> None:
    apply(
        place.cluster,
        {
            "apiVersion": API_VERSION,
            "kind": "Lease",
            "metadata": {"name": "chat", "namespace": place.namespace},
            "spec": {"holderIdentity": "dead", "leaseDurationSeconds": seconds, "renewTime": renewed},
        },
    )


def test_a_dead_holders_lease_expires(place: Any) -> None:
    dead_holder(place, "2020-01-01T00:00:00.000000Z")
    with held(place.cluster, terms(place, "run-2")):
        assert spec_of(place)["holderIdentity"] == "run-2"


def test_a_holder_with_a_fast_clock_is_found_dead_by_looking_on(place: Any) -> None:
    dead_holder(place, "2099-01-01T00:00:00.000000Z", seconds=1)
    with pytest.raises(ClusterError), held(place.cluster, terms(place, "run-2")):
        pass
    with held(place.cluster, terms(place, "run-2", wait_seconds=30)):
        assert spec_of(place)["holderIdentity"] == "run-2"


def test_the_same_holder_gets_it_again_at_once(place: Any) -> None:
    with held(place.cluster, terms(place, "run-1")), held(place.cluster, terms(place, "run-1")):
        assert spec_of(place)["holderIdentity"] == "run-1"


def test_it_is_renewed_while_it_is_held(place: Any) -> None:
    with held(place.cluster, terms(place, "run-1", seconds=1)) as lease:
        first = spec_of(place)["renewTime"]
        while spec_of(place)["renewTime"] == first:
            time.sleep(0.05)
        lease.check()


def test_a_lease_that_another_took_is_lost_aloud(place: Any) -> None:
    with held(place.cluster, terms(place, "run-1", seconds=1)) as lease:
        lost = False
        while not lost:
            taken = {"holderIdentity": "run-2", "leaseDurationSeconds": 60, "renewTime": "2099-01-01T00:00:00.000000Z"}
            manifest = {
                "apiVersion": API_VERSION,
                "kind": "Lease",
                "metadata": {"name": "chat", "namespace": place.namespace},
                "spec": taken,
            }
            apply(place.cluster, manifest, force=True)
            time.sleep(0.1)
            lost = _code(lease) == "lease.lost"
    assert spec_of(place)["holderIdentity"] == "run-2"


def _code(lease: HeldLease) -> str:
    try:
        lease.check()
    except ClusterError as error:
        return error.code
    return ""
