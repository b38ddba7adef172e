"""Requests are as long as the memory for what comes too early allows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from staging.parts import MIB
from staging.ranges import BEGINNING, LONG_RANGE, SHORT_RANGE, range_size


@given(
    asked=st.integers(0, 1 << 40),
    alone=st.booleans(),
    readers=st.integers(1, 64),
    files=st.integers(1, 64),
    piece=st.sampled_from([4096, MIB, 3 * MIB, 32 * MIB]),
    pieces=st.integers(4, 4096),
)
def test_a_range_is_whole_pieces_and_never_too_long(
    asked: int, alone: bool, readers: int, files: int, piece: int, pieces: int
) -> None:
    size = range_size(asked=asked, alone=alone, readers=readers, files=files, piece=piece, pieces=pieces)
    assert size % piece == 0
    assert piece <= size <= max(piece, LONG_RANGE)


@pytest.mark.parametrize(
    ("asked", "alone", "readers", "size"),
    [
        (0, True, 4, SHORT_RANGE),
        (BEGINNING, True, 4, LONG_RANGE),
        (BEGINNING, False, 4, LONG_RANGE // 2),
        (BEGINNING, True, 5, LONG_RANGE // 2),
        (BEGINNING, False, 8, 6 * MIB),
        (BEGINNING, False, 16, SHORT_RANGE),
        (BEGINNING, False, 30, SHORT_RANGE),
    ],
)
def test_more_readers_of_a_file_ask_for_less_each(asked: int, alone: bool, readers: int, size: int) -> None:
    """Of four files, with the memory of a run that sets nothing: 32 pieces of 1 MiB."""
    assert range_size(asked=asked, alone=alone, readers=readers, files=4, piece=MIB, pieces=32) == size
