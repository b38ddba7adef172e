"""Pictures that depend on a prompt, a seed and the weights, as PNG files."""

import hashlib
import struct
import zlib

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


def paint(text: str, *, width: int, height: int, seed: int = 0, weights: str = "") -> Pixels:
    """A picture of soft colours; the same arguments give the same one.

    Returns:
        Rows, columns and three colours.
    """
    source = hashlib.sha256(f"{seed}\n{weights}\n{text}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(source[:8], "little"))
    rows, columns = np.linspace(0, 6.3, height)[:, None], np.linspace(0, 6.3, width)[None, :]
    layers = []
    for _ in range(3):
        a, b, phase = generator.uniform(0.4, 2.5, 3)
        layers.append(np.sin(a * rows + phase) + np.cos(b * columns - phase))
    picture = np.stack(layers, axis=-1)
    return ((picture + 2) * 63.75).clip(0, 255).astype(np.uint8)


def png(pixels: Pixels) -> bytes:
    """A PNG file."""
    height, width, _ = pixels.shape
    lines = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*one) for one in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
