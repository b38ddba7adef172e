"""How a file is cut into parts of a multipart upload: pure arithmetic."""

from __future__ import annotations

MIB = 1 << 20
MIN_PART = 8 * MIB
"""Parts this large keep requests few and buffers small. S3 allows 5 MiB to 5 GiB."""
MAX_PARTS = 10_000
"""S3's limit for one upload."""
MAX_FILE = 5 << 40
"""S3's limit for one object, 5 TiB."""


def part_size(size: int) -> int:
    """Bytes of each part but the last, so that the file fits into 10,000 parts: a whole number of MiB.

    Args:
        size: Bytes of the file.
    """
    if size > MAX_FILE:
        raise ValueError(f"an S3 object holds at most {MAX_FILE} bytes, not {size}")
    least = -(-size // MAX_PARTS)
    return max(MIN_PART, -(-least // MIB) * MIB)


def part_count(size: int, part: int) -> int:
    """How many parts of `part` bytes a file of `size` bytes has."""
    return -(-size // part)


def part_range(index: int, size: int, part: int) -> tuple[int, int]:
    """First byte and the byte after the last of part `index`, counted from 0."""
    start = index * part
    return start, min(start + part, size)
