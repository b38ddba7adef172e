"""The checksums that S3 accepts, as base64 text.

CRC-32C and CRC-64/NVME have no implementation in the standard library, and the usual package (awscrt) is not needed
for anything else: numpy computes them over many lanes at once and joins the lanes, which is fast enough here
(about 100 MB/s).
"""

import base64
import functools
import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_LANES = 2048


@dataclass(frozen=True)
class Crc:
    """A reflected CRC with inverted register, by its width in bits and its reversed polynomial."""

    width: int
    polynomial: int

    @property
    def ones(self) -> int:
        """The register that it starts from."""
        return (1 << self.width) - 1


_CRC32C = Crc(32, 0x82F63B78)
_CRC64NVME = Crc(64, 0x9A6C9329AC4BC9B5)


@functools.cache
def _table(crc: Crc) -> npt.NDArray[np.uint64]:
    entries = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (crc.polynomial if value & 1 else 0)
        entries.append(value)
    return np.array(entries, dtype=np.uint64)


def _zero_bytes(crc: Crc, count: int) -> tuple[int, ...]:
    """What so many zero bytes do to the register: a linear map, as columns of bits."""
    power = _one_zero_byte(crc)
    columns = tuple(1 << bit for bit in range(crc.width))
    while count:
        if count & 1:
            columns = tuple(_apply(power, column) for column in columns)
        power = tuple(_apply(power, column) for column in power)
        count >>= 1
    return columns


@functools.cache
def _one_zero_byte(crc: Crc) -> tuple[int, ...]:
    table = _table(crc)
    return tuple(int(table[(1 << bit) & 0xFF]) ^ ((1 << bit) >> 8) for bit in range(crc.width))


def _apply(columns: tuple[int, ...], register: int) -> int:
    result, bit = 0, 0
    while register:
        if register & 1:
            result ^= columns[bit]
        register >>= 1
        bit += 1
    return result


def _update(crc: Crc, register: int, data: bytes) -> int:
    table = _table(crc)
    width = len(data) // _LANES
    if width:
        lanes = np.frombuffer(data, np.uint8, width * _LANES).reshape(_LANES, width)
        registers = np.zeros(_LANES, np.uint64)
        registers[0] = register
        for column in np.ascontiguousarray(lanes.T):
            registers = table[(registers ^ column) & np.uint64(0xFF)] ^ (registers >> np.uint64(8))
        moved = _zero_bytes(crc, width)
        register = 0
        for lane in registers.tolist():  # each lane began from zero: the ones before it are moved past it
            register = _apply(moved, register) ^ lane
        data = data[width * _LANES :]
    for byte in data:
        register = int(table[(register ^ byte) & 0xFF]) ^ (register >> 8)
    return register


def digest(crc: Crc, data: bytes) -> bytes:
    """The CRC of some bytes, big-endian."""
    return (_update(crc, crc.ones, data) ^ crc.ones).to_bytes(crc.width // 8, "big")


ALGORITHMS: dict[str, Callable[[bytes], bytes]] = {
    "crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "crc32c": functools.partial(digest, _CRC32C),
    "crc64nvme": functools.partial(digest, _CRC64NVME),
    "sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    "sha256": lambda data: hashlib.sha256(data).digest(),
}
"""Digest of some bytes, by the algorithm's name in ``x-amz-checksum-…``."""


def checksum(algorithm: str, data: bytes) -> str:
    """The value that ``x-amz-checksum-<algorithm>`` must have for these bytes."""
    return base64.b64encode(ALGORITHMS[algorithm](data)).decode()


def composite(algorithm: str, parts: list[str]) -> str:
    """The COMPOSITE checksum of an object from its parts' checksums, without its ``-<count>``."""
    return checksum(algorithm, b"".join(base64.b64decode(part) for part in parts))
