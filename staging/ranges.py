"""How much of a file one request to the Hub asks for: pure arithmetic."""

from __future__ import annotations

from staging.parts import MIB

LONG_RANGE = 16 * MIB
"""Where no other connection reads the same file."""
SHORT_RANGE = 4 * MIB
"""The least where several do, a few pieces: much of it waits in the connection's own buffer, and requests cost time."""
BEGINNING = 32 * MIB
"""So far a file is read in short ranges in any case: other connections may join, and would wait for a long one."""


def range_size(*, asked: int, alone: bool, readers: int, files: int, piece: int, pieces: int) -> int:
    """Bytes of the next request for a file, a whole number of pieces.

    What comes too early must wait in memory, so a request is for less where several connections read one file.

    Args:
        asked: Bytes of the file that were asked for before.
        alone: Whether nobody else reads the file now.
        readers: Connections in all.
        files: Files that are read now.
        piece: Bytes of a piece of memory.
        pieces: Number of pieces in all.
    """
    short, crowd = SHORT_RANGE // piece or 1, readers - files
    if crowd > 0:
        share = (pieces - readers) // crowd
        return min(max(short, share), LONG_RANGE // 2 // piece or 1) * piece
    if asked < BEGINNING:
        return short * piece
    return (LONG_RANGE if alone else LONG_RANGE // 2) // piece * piece or piece
