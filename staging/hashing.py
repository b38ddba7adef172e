"""Digests that are computed while a file travels: SHA-256 always, git's SHA-1 where the Hub has nothing else.

The state of a running SHA-256 is 32 bytes at any multiple of 64 bytes. OpenSSL's ``SHA256_CTX`` lays it open, so that
a run that continues another's upload need not read again what is there. hashlib hides it; where OpenSSL's shared
library cannot be loaded, hashlib hashes all the same and only resuming costs more.
"""

from __future__ import annotations

import ctypes
import hashlib
import struct
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from staging.hub import HubFile

BLOCK = 64
"""Bytes of SHA-256's block: the state can be saved at its multiples."""


@dataclass(frozen=True)
class Mismatch:
    """A file whose content is not what the Hub lists.

    Attributes:
        kind: Name of the digest.
        expected: What the Hub lists.
        actual: What the bytes that came have.
    """

    kind: str
    expected: str
    actual: str


class _Context(ctypes.Structure):
    """OpenSSL's SHA256state_st (openssl/sha.h)."""

    _fields_ = (
        ("h", ctypes.c_uint32 * 8),
        ("low", ctypes.c_uint32),
        ("high", ctypes.c_uint32),
        ("data", ctypes.c_uint32 * 16),
        ("num", ctypes.c_uint),
        ("length", ctypes.c_uint),
    )


@cache
def _openssl() -> ctypes.CDLL | None:
    """OpenSSL's library, if it is there and its SHA-256 can be saved and restored as described."""
    for name in ("libcrypto.so.3", "libcrypto.so.1.1", "libcrypto.3.dylib"):
        try:
            library = ctypes.CDLL(name)
            for function in (library.SHA256_Init, library.SHA256_Update, library.SHA256_Final):
                function.restype = ctypes.c_int
            library.SHA256_Update.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
            if _works(library):
                return library
        except (OSError, AttributeError):
            continue
    return None


def _works(library: ctypes.CDLL) -> bool:
    sample = bytearray(range(256)) * 3
    first = OpenSha256(library)
    first.update(memoryview(sample)[:128])
    second = OpenSha256(library, first.state(), 128)
    second.update(memoryview(sample)[128:])
    return second.hexdigest() == hashlib.sha256(sample).hexdigest()


class Sha256(Protocol):
    """A running SHA-256."""

    def update(self, data: memoryview, /) -> None:
        """Take the next bytes."""

    def hexdigest(self) -> str:
        """The digest of what was taken so far."""


class OpenSha256:
    """A SHA-256 whose state can be saved and restored.

    Args:
        library: OpenSSL's.
        state: 32 bytes from `state`; empty to begin.
        count: How many bytes that state has taken.
    """

    def __init__(self, library: ctypes.CDLL, state: bytes = b"", count: int = 0) -> None:
        self._library = library
        self._context = _Context()
        library.SHA256_Init(ctypes.byref(self._context))
        if state:
            self._context.h[:] = struct.unpack(">8I", state)
            bits = count * 8
            self._context.low, self._context.high = bits & 0xFFFFFFFF, bits >> 32

    def update(self, data: memoryview) -> None:
        """Take the next bytes; releases the GIL."""
        if len(data):
            start = ctypes.addressof(ctypes.c_char.from_buffer(data))
            self._library.SHA256_Update(ctypes.byref(self._context), start, len(data))

    def state(self) -> bytes:
        """The state after a multiple of 64 bytes; empty at any other place."""
        return b"" if self._context.num else struct.pack(">8I", *self._context.h)

    def hexdigest(self) -> str:
        """The digest of what was taken so far."""
        final = _Context.from_buffer_copy(self._context)
        digest = ctypes.create_string_buffer(32)
        self._library.SHA256_Final(digest, ctypes.byref(final))
        return digest.raw.hex()


class FileDigest:
    """The running digests of one file, fed in the file's order. Feeding releases the GIL.

    Args:
        file: The file as the Hub lists it.
        state: From `state`, to go on from there; empty to begin.
        count: How many bytes that state has taken.
    """

    def __init__(self, file: HubFile, state: str = "", count: int = 0) -> None:
        self._file = file
        library = _openssl()
        self._open = OpenSha256(library, bytes.fromhex(state), count) if library else None
        self._sha256: Sha256 = self._open or hashlib.sha256()
        self._git = None if file.sha256 else hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)

    def update(self, data: memoryview) -> None:
        """Take the next bytes of a writable buffer."""
        self._sha256.update(data)
        if self._git is not None:
            self._git.update(data)

    def state(self) -> str:
        """What `FileDigest` needs to go on from here, in hex; empty if that is not possible."""
        return self._open.state().hex() if self._open and self._git is None else ""

    def sha256(self) -> str:
        """Hex digest of what was fed."""
        return self._sha256.hexdigest()

    def mismatch(self) -> Mismatch | None:
        """What is wrong with the file, after its last byte was fed; None if it is what the Hub lists."""
        if self._git is not None:
            actual, expected, kind = self._git.hexdigest(), self._file.blob_id, "git blob SHA-1"
        else:
            actual, expected, kind = self._sha256.hexdigest(), self._file.sha256, "SHA-256"
        return None if actual == expected else Mismatch(kind, expected, actual)


def can_save() -> bool:
    """Whether digests of this process can be continued elsewhere."""
    return _openssl() is not None


def can_restore(state: str) -> bool:
    """Whether a digest can go on from this state in this process."""
    return bool(state) and _openssl() is not None
