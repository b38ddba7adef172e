"""Large files moved by workers of any kind: in other processes, which hold no credentials."""

import multiprocessing
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor

import pytest

from sandbox.faults import FlipBit
from serving.errors import StagingError
from serving.models import MANIFEST_NAME
from staging.engine import stage
from staging.plan import plan
from staging.worker import ItemOutcome, WorkItem, execute
from tests.staging.conftest import MIB, QUICK, Place, noise

LARGE = {
    "a.safetensors": noise(17 * MIB + 3, 31),
    "b.safetensors": noise(9 * MIB, 32),
    "config.json": b"{}",
    "small.safetensors": noise(100_000, 33),
}


@pytest.fixture
def large(place: Place) -> Place:
    place.hub_server.content.commit("org/large", LARGE)
    return place


@pytest.fixture(scope="module")
def workers() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def check(place: Place, prefix: str) -> None:
    for path, content in LARGE.items():
        assert place.read(prefix + path) == content
    assert place.s3_server.unfinished("models") == []


def test_workers_in_other_processes_move_the_large_files(large: Place, workers: ProcessPoolExecutor) -> None:
    items: list[WorkItem] = []

    def submit(item: WorkItem) -> Future[ItemOutcome]:
        items.append(item)
        return workers.submit(execute, item)

    result = stage(plan(large.pin("org/large"), large.hub, large.store), submit=submit, workers=2)
    check(large, result.staged.prefix)
    assert {item.file.path for item in items} == {"a.safetensors", "b.safetensors"}
    assert result.moved_bytes == result.staged.total_bytes
    for item in items:
        text = pickle.dumps(item)
        assert large.s3_server.secret_key.encode() not in text
        assert large.hub_server.token.encode() not in text
        assert "X-Amz-Signature" not in repr(item)


def test_the_digest_passes_from_item_to_item(large: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("staging.spread.PARTS_PER_ITEM", 1)
    items: list[WorkItem] = []

    def submit(item: WorkItem) -> Future[ItemOutcome]:
        items.append(item)
        return _now(pickle.loads(pickle.dumps(item)))

    check(large, stage(plan(large.pin("org/large"), large.hub, large.store), submit=submit).staged.prefix)
    assert len(items) == 3 + 2


def test_a_lost_worker_and_expired_addresses_cost_one_item(large: Place) -> None:
    lost: list[str] = []

    def submit(item: WorkItem) -> Future[ItemOutcome]:
        if len(lost) < 2:
            lost.append(item.file.path)
            if len(lost) == 1:
                future: Future[ItemOutcome] = Future()
                future.set_exception(ConnectionError("the worker is gone"))
                return future
            large.hub_server.expire_urls()
        return _now(item)

    check(large, stage(plan(large.pin("org/large"), large.hub, large.store), submit=submit).staged.prefix)


def test_workers_that_all_die_end_the_run_and_the_next_continues(large: Place) -> None:
    def submit(item: WorkItem) -> Future[ItemOutcome]:
        if item.file.path == "a.safetensors":
            return _now(item)
        future: Future[ItemOutcome] = Future()
        future.set_exception(ConnectionError("the worker is gone"))
        return future

    model = large.pin("org/large")
    with pytest.raises(StagingError) as raised:
        stage(plan(model, large.hub, large.store), submit=submit, workers=1)
    assert raised.value.code == "staging.workers_failed"
    assert not any(key.endswith(MANIFEST_NAME) for key in large.objects())
    result = stage(plan(model, large.hub, large.store))
    assert result.reused_bytes >= len(LARGE["a.safetensors"])
    check(large, result.staged.prefix)


def test_a_run_is_cancelled_while_only_workers_have_work(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("staging.spread.PARTS_PER_ITEM", 1)
    place.hub_server.content.commit("org/one", {"a.safetensors": LARGE["a.safetensors"]})
    cancel = threading.Event()
    items: list[WorkItem] = []

    def submit(item: WorkItem) -> Future[ItemOutcome]:
        items.append(item)
        cancel.set()
        return _now(item)

    with pytest.raises(StagingError) as raised:
        stage(plan(place.pin("org/one"), place.hub, place.store), submit=submit, cancel=cancel)
    assert raised.value.code == "staging.cancelled"
    assert len(items) == 1
    assert not any(key.endswith(("a.safetensors", MANIFEST_NAME)) for key in place.objects())


def test_bits_flipped_once_on_the_way_to_a_worker_are_repaired(large: Place) -> None:
    large.hub_server.file_faults.add(FlipBit(at=5), path="*/a.safetensors")
    check(large, stage(plan(large.pin("org/large"), large.hub, large.store), submit=_now).staged.prefix)


def test_a_worker_that_reads_wrong_bytes_publishes_nothing(large: Place) -> None:
    large.hub_server.file_faults.add(FlipBit(at=5), path="*/a.safetensors", times=None)
    with pytest.raises(StagingError) as raised:
        stage(plan(large.pin("org/large"), large.hub, large.store), submit=_now, patience=QUICK)
    assert raised.value.code == "staging.corrupt"
    assert not any(key.endswith(("a.safetensors", MANIFEST_NAME)) for key in large.objects())
    assert large.s3_server.unfinished("models") == []


def _now(item: WorkItem) -> Future[ItemOutcome]:
    future: Future[ItemOutcome] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(execute(item, patience=QUICK))
        except BaseException as error:
            future.set_exception(pickle.loads(pickle.dumps(error)))

    threading.Thread(target=run).start()
    return future
