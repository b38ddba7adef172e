"""GGUF files (llama.cpp's format, version 3), as far as the sandbox's models use it.

Layout, by ggml-org/ggml ``docs/gguf.md``: magic, version, number of tensors, number of key-value pairs; the pairs; the
tensors' names, dimensions, types and offsets; then their data, each at a multiple of 32 bytes, all numbers in
little-endian order.
"""

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MAGIC, VERSION, ALIGNMENT = b"GGUF", 3, 32
TOKENIZER, TEMPLATE, CONTEXT = "tokenizer.huggingface.json", "tokenizer.chat_template", "context_length"
EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"
_UINT32, _STRING = 4, 8
_F16 = 1

Tensor = npt.NDArray[np.float16]


class NotGguf(ValueError):
    """A file is none, or holds what the sandbox does not read."""


def write(metadata: Mapping[str, str | int], tensors: Mapping[str, Tensor]) -> bytes:
    """A GGUF file."""
    head = MAGIC + struct.pack("<IQQ", VERSION, len(tensors), len(metadata))
    for key, value in metadata.items():
        head += _text(key)
        if isinstance(value, str):
            head += struct.pack("<I", _STRING) + _text(value)
        else:
            head += struct.pack("<II", _UINT32, value)
    offset = 0
    for name, tensor in tensors.items():
        dims = tensor.shape[::-1]  # the fastest one first
        head += _text(name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims) + struct.pack("<IQ", _F16, offset)
        offset += _padded(tensor.nbytes)
    data = b"".join(tensor.tobytes().ljust(_padded(tensor.nbytes), b"\0") for tensor in tensors.values())
    return head.ljust(_padded(len(head)), b"\0") + data


def read(path: Path) -> tuple[dict[str, str | int], dict[str, Tensor]]:
    """Metadata and tensors of a file.

    Raises:
        NotGguf: It is none, or is cut off, or has other types.
    """
    content = path.read_bytes()
    if content[:4] != MAGIC:
        raise NotGguf(f"invalid magic characters: '{content[:4]!r}', expected 'GGUF'")
    try:
        return _read(content)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise NotGguf(f"the header is corrupted or incomplete: {error}") from None


def _read(content: bytes) -> tuple[dict[str, str | int], dict[str, Tensor]]:
    version, count, pairs = struct.unpack_from("<IQQ", content, 4)
    if version != VERSION:
        raise NotGguf(f"this GGUF file is version {version}, the sandbox reads {VERSION}")
    cursor = _Cursor(content, 24)
    metadata: dict[str, str | int] = {}
    for _ in range(pairs):
        key, kind = cursor.text(), cursor.number("<I")
        if kind not in (_UINT32, _STRING):
            raise NotGguf(f"{key} has type {kind}, which the sandbox does not read")
        metadata[key] = cursor.text() if kind == _STRING else cursor.number("<I")
    places = list(_places(cursor, count))
    start = _padded(cursor.at)
    tensors: dict[str, Tensor] = {}
    for name, dims, offset in places:
        size = int(np.prod(dims))
        if start + offset + 2 * size > len(content):
            raise NotGguf(f"tensor '{name}' data is not within the file bounds, model is corrupted or incomplete")
        tensors[name] = np.frombuffer(content, np.float16, size, start + offset).reshape(dims[::-1])
    return metadata, tensors


def _places(cursor: "_Cursor", count: int) -> Iterator[tuple[str, tuple[int, ...], int]]:
    for _ in range(count):
        name = cursor.text()
        dims = tuple(cursor.number("<Q") for _ in range(cursor.number("<I")))
        kind, offset = cursor.number("<I"), cursor.number("<Q")
        if kind != _F16:
            raise NotGguf(f"tensor '{name}' has type {kind}, which the sandbox does not read")
        yield name, dims, offset


class _Cursor:
    def __init__(self, content: bytes, at: int) -> None:
        self.content, self.at = content, at

    def number(self, form: str) -> int:
        value: Any
        (value,) = struct.unpack_from(form, self.content, self.at)
        self.at += struct.calcsize(form)
        return int(value)

    def text(self) -> str:
        length = self.number("<Q")
        found = self.content[self.at : self.at + length]
        if len(found) < length:
            raise IndexError("a text is cut off")
        self.at += length
        return found.decode()


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
