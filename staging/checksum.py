"""The checksum that S3 keeps for a whole object: CRC-64/NVME, or CRC-32 where awscrt is not installed.

Both are linear, so that the checksum of a file follows from those of its parts, and S3 rejects a completed upload
whose checksum differs from ours ("FULL_OBJECT").
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal


@dataclass(frozen=True)
class Checksum:
    """A reflected CRC.

    Attributes:
        name: As S3's API writes it.
        bits: Its width.
        polynomial: Reversed.
        update: Continues a checksum (0 at the start) over more bytes; releases the GIL or takes no time.
    """

    name: Literal["CRC64NVME", "CRC32"]
    bits: int
    polynomial: int
    update: Callable[[memoryview, int], int]

    @property
    def header(self) -> str:
        """Name of the header that carries it, in lower case."""
        return f"x-amz-checksum-{self.name.lower()}"

    @property
    def parameter(self) -> str:
        """Name of boto3's parameter for it."""
        return f"Checksum{self.name}"

    def encode(self, value: int) -> str:
        """As S3's headers write it."""
        return base64.b64encode(value.to_bytes(self.bits // 8, "big")).decode()

    def combine(self, left: int, right: int, right_bytes: int) -> int:
        """The checksum of two pieces of data together.

        Args:
            left: Checksum of the first.
            right: Checksum of the second.
            right_bytes: Length of the second.
        """
        return _apply(_zeros(self.bits, self.polynomial, right_bytes), left) ^ right


@cache
def best_checksum() -> Checksum:
    """CRC-64/NVME if awscrt is installed; else CRC-32."""
    try:
        from awscrt.checksums import crc64nvme  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return _crc32()
    return Checksum("CRC64NVME", 64, 0x9A6C9329AC4BC9B5, crc64nvme)


def checksum_named(name: str) -> Checksum | None:
    """The checksum of this name; None if this process cannot compute it."""
    if name == "CRC32":
        return _crc32()
    best = best_checksum()
    return best if best.name == name else None


@cache
def _crc32() -> Checksum:
    """By ISA-L, at four times zlib's speed, where there is a build of it."""
    try:
        from isal.isal_zlib import crc32
    except ImportError:
        from zlib import crc32
    return Checksum("CRC32", 32, 0xEDB88320, crc32)


def _apply(columns: tuple[int, ...], vector: int) -> int:
    """Multiply a bit matrix, given by its columns, with a vector over GF(2)."""
    result = index = 0
    while vector:
        if vector & 1:
            result ^= columns[index]
        vector >>= 1
        index += 1
    return result


@lru_cache(maxsize=64)
def _zeros(bits: int, polynomial: int, count: int) -> tuple[int, ...]:
    """What `count` zero bytes do to a checksum's register, as a bit matrix."""
    one_bit = (polynomial, *(1 << bit for bit in range(bits - 1)))
    power = one_bit
    for _ in range(3):
        power = tuple(_apply(power, column) for column in power)
    result = tuple(1 << bit for bit in range(bits))
    while count:
        if count & 1:
            result = tuple(_apply(power, column) for column in result)
        power = tuple(_apply(power, column) for column in power)
        count >>= 1
    return result
