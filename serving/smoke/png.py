"""Just enough of PNG to tell whether a picture is one: its size, that it decodes, and that it is not one colour."""

import struct
import zlib
from dataclasses import dataclass

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_MOST_BYTES = 1 << 28


class NotAPicture(ValueError):
    """The bytes are no PNG that can be decoded."""


@dataclass(frozen=True)
class Picture:
    """A decoded picture's facts.

    Attributes:
        plain: Whether all its pixels have the same colour.
    """

    width: int
    height: int
    plain: bool


def read_png(content: bytes) -> Picture:
    """Reads a PNG.

    Raises:
        NotAPicture: It is none, is damaged, or is of a form that image servers do not send (interlaced, deeper than
            eight bits per channel counts as bytes).
    """
    if not content.startswith(_SIGNATURE):
        raise NotAPicture(f"it begins with {content[:8]!r}, not with PNG's signature")
    header, data = _chunks(content)
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", header)
    if colour not in _CHANNELS or depth not in (1, 2, 4, 8, 16) or interlace:
        raise NotAPicture(f"colour type {colour}, depth {depth}, interlace {interlace} are not supported")
    pixel = max(1, _CHANNELS[colour] * depth // 8)
    stride = (width * _CHANNELS[colour] * depth + 7) // 8
    if not width or not height or (stride + 1) * height > _MOST_BYTES:
        raise NotAPicture(f"its size is {width}x{height}")
    try:
        raw = zlib.decompress(data)
    except zlib.error as error:
        raise NotAPicture(f"its data cannot be unpacked: {error}") from error
    if len(raw) != (stride + 1) * height:
        raise NotAPicture(f"it holds {len(raw)} bytes, {(stride + 1) * height} are due")
    return Picture(width, height, _is_plain(raw, stride, pixel, height))


def _chunks(content: bytes) -> tuple[bytes, bytes]:
    header, data, at = b"", [], len(_SIGNATURE)
    while at + 8 <= len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        body = content[at + 8 : at + 8 + length]
        check = content[at + 8 + length : at + 12 + length]
        if len(body) != length or len(check) != 4 or struct.unpack(">I", check)[0] != zlib.crc32(kind + body):
            raise NotAPicture(f"its part {kind.decode('latin-1')} is damaged or cut off")
        if kind == b"IHDR":
            header = body
        elif kind == b"IDAT":
            data.append(body)
        elif kind == b"IEND":
            break
        at += 12 + length
    if len(header) != 13 or not data:
        raise NotAPicture("it has no header or no data")
    return header, b"".join(data)


def _is_plain(raw: bytes, stride: int, pixel: int, height: int) -> bool:
    """Whether all pixels equal the first, rows unfiltered one by one until one differs."""
    previous = bytes(stride)
    first = b""
    for row in range(height):
        begin = row * (stride + 1)
        line = _unfilter(raw[begin], raw[begin + 1 : begin + 1 + stride], previous, pixel)
        first = first or line[:pixel]
        if line != first * (stride // pixel) + first[: stride % pixel]:
            return False
        previous = line
    return True


def _unfilter(kind: int, line: bytes, above: bytes, pixel: int) -> bytes:
    if kind == 0:
        return line
    out = bytearray(line)
    for at, value in enumerate(line):
        left = out[at - pixel] if at >= pixel else 0
        corner = above[at - pixel] if at >= pixel else 0
        out[at] = (value + _predicted(kind, left, above[at], corner)) & 0xFF
    return bytes(out)


def _predicted(kind: int, left: int, up: int, corner: int) -> int:
    match kind:
        case 1:
            return left
        case 2:
            return up
        case 3:
            return (left + up) // 2
        case 4:
            guess = left + up - corner
            by_left, by_up, by_corner = abs(guess - left), abs(guess - up), abs(guess - corner)
            if by_left <= by_up and by_left <= by_corner:
                return left
            return up if by_up <= by_corner else corner
        case _:
            raise NotAPicture(f"filter {kind} does not exist")
