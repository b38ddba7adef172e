"""The pool of memory: bounded, fair to whose bytes are next, and nobody who may go on is left asleep."""

import random
import threading
from functools import partial

import pytest

from staging import pieces
from staging.pieces import RESERVE, PiecePool
from staging.retry import Cancelled

PIECE = 4096
PIECES = 8


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> PiecePool:
    """A pool where who waits goes on because it is woken, not because it looks by itself now and then."""
    monkeypatch.setattr(pieces, "POLL_SECONDS", 3600.0)
    return PiecePool(PIECES * PIECE, PIECE, threading.Event())


def in_thread(take: partial[memoryview]) -> tuple[threading.Thread, list[memoryview | type[Cancelled]]]:
    got: list[memoryview | type[Cancelled]] = []

    def run() -> None:
        try:
            got.append(take())
        except Cancelled:
            got.append(Cancelled)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, got


def test_the_last_pieces_are_for_bytes_that_are_next(pool: PiecePool) -> None:
    held = [pool.take() for _ in range(PIECES - RESERVE)]
    early, got = in_thread(partial(pool.take, lambda: False))
    early.join(0.3)
    assert early.is_alive()
    kept = [pool.take(lambda: True) for _ in range(RESERVE)]
    assert pool.idle == 0
    for piece in kept:
        pool.give(piece)
    early.join(0.3)
    assert early.is_alive()
    pool.give(held.pop())
    early.join(10)
    assert len(got) == 1


def test_who_has_become_next_is_woken(pool: PiecePool) -> None:
    """Without a piece given back: a file came further."""
    held = [pool.take() for _ in range(PIECES - RESERVE)]
    turn = threading.Event()
    waiting, got = in_thread(partial(pool.take, turn.is_set))
    waiting.join(0.1)
    turn.set()
    pool.look_again()
    waiting.join(10)
    assert len(got) == 1
    assert len(held) + len(got) <= PIECES


def test_the_end_of_the_run_ends_all_waits() -> None:
    stop = threading.Event()
    pool = PiecePool(PIECES * PIECE, PIECE, stop)
    for _ in range(PIECES - RESERVE):
        pool.take()
    waiting = [in_thread(partial(pool.take)) for _ in range(5)]
    stop.set()
    for thread, got in waiting:
        thread.join(10)
        assert got == [Cancelled]


@pytest.mark.parametrize("seed", range(4))
def test_files_that_arrive_in_any_order_never_hold_each_other_up(pool: PiecePool, seed: int) -> None:
    """Readers of two files: each piece waits in memory for those before it; many more readers than pieces."""
    dice, each = random.Random(seed), 60
    lock, frontier = threading.Lock(), [0, 0]
    early: list[dict[int, memoryview]] = [{}, {}]
    todo = [(file, number) for number in range(each) for file in (0, 1)]
    most = [0]

    def deliver(file: int, number: int, piece: memoryview) -> None:
        with lock:
            early[file][number] = piece
            through = []
            while frontier[file] in early[file]:
                through.append(early[file].pop(frontier[file]))
                frontier[file] += 1
        for one in through:
            pool.look_again()
            pool.give(one)

    def read() -> None:
        while True:
            with lock:
                if not todo:
                    return
                file, number = todo.pop(0)
            piece = pool.take(lambda file=file, number=number: frontier[file] >= number)  # type: ignore[misc]
            with lock:
                most[0] = max(most[0], PIECES - pool.idle)
            threading.Event().wait(dice.random() * 0.002)
            deliver(file, number, piece)

    threads = [threading.Thread(target=read, daemon=True) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert frontier == [each, each]
    assert pool.idle == PIECES
    assert most[0] <= PIECES
