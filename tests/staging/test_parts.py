"""Parts cover a file exactly and stay within S3's limits."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from staging.parts import MAX_FILE, MAX_PARTS, MIB, MIN_PART, part_count, part_range, part_size


@given(st.integers(1, MAX_FILE))
def test_part_sizes_stay_within_the_limits(size: int) -> None:
    part = part_size(size)
    assert MIN_PART <= part <= 5 << 30
    assert part % MIB == 0
    assert part_count(size, part) <= MAX_PARTS


@given(st.integers(1, 400 * MIN_PART), st.data())
def test_ranges_cover_the_file_without_gap_or_overlap(size: int, data: st.DataObject) -> None:
    part = part_size(size)
    ranges = [part_range(index, size, part) for index in range(part_count(size, part))]
    assert ranges[0][0] == 0
    assert ranges[-1][1] == size
    assert all(left[1] == right[0] for left, right in itertools.pairwise(ranges))
    assert all(start < end for start, end in ranges)


def test_a_file_beyond_s3_is_refused() -> None:
    with pytest.raises(ValueError, match="at most"):
        part_size(MAX_FILE + 1)
