"""Reading the logs that containers leave: `TIME STREAM TAG TEXT`, a line each."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from sandbox.kubernetes.runtime import LogOptions

BLOCK = 64 * 1024
POLL_SECONDS = 0.1
FALLBACK_LINES, FALLBACK_BYTES = 80, 2048


def last_lines(path: Path) -> str:
    """The end of a log, as far as a termination message may be long."""
    lines = b"".join(_plain(line, timestamps=False) for line in _tail(path, FALLBACK_LINES))
    return lines[-FALLBACK_BYTES:].decode(errors="replace")


async def read_log(path: Path, options: LogOptions, ended: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Yield a container's log.

    Args:
        path: The log; one that does not exist is empty.
        options: Which part of it.
        ended: Whether the container has ended, asked while following.
    """
    position = path.stat().st_size if path.exists() else 0
    lines = _tail(path, options.tail_lines, position) if options.tail_lines is not None else _whole(path, position)
    since = options.since.astimezone(UTC) if options.since else None
    for line in lines:
        if since is None or _time(line) >= since:
            yield _plain(line, timestamps=options.timestamps)
    rest = b""
    while options.follow:
        over = ended()
        data = _read_from(path, position)
        position += len(data)
        *complete, rest = (rest + data).split(b"\n")
        for line in complete:
            yield _plain(line, timestamps=options.timestamps)
        if over and not data:
            return
        if not data:
            await asyncio.sleep(POLL_SECONDS)


def _plain(line: bytes, *, timestamps: bool) -> bytes:
    """A stored line as the container wrote it; a part of a long line has no end."""
    moment, _, tag, text = line.split(b" ", 3)
    written = (moment + b" " if timestamps else b"") + text
    return written if tag == b"P" else written + b"\n"


def _time(line: bytes) -> datetime:
    text = line.split(b" ", 1)[0].decode()
    return datetime.fromisoformat(text[:26] + "+00:00")


def _read_from(path: Path, position: int) -> bytes:
    if not path.exists():
        return b""
    with path.open("rb") as file:
        file.seek(position)
        return file.read(BLOCK * 16)


def _whole(path: Path, end: int) -> Iterator[bytes]:
    if end == 0:
        return
    with path.open("rb") as file:
        for line in file:
            if file.tell() > end:
                return
            yield line.rstrip(b"\n")


def _tail(path: Path, count: int, end: int | None = None) -> Iterator[bytes]:
    """The last `count` lines before `end`, read from the back."""
    if count == 0 or not path.exists():
        return iter(())
    with path.open("rb") as file:
        position = file.seek(0, 2) if end is None else end
        data = b""
        while position > 0 and data.count(b"\n") <= count:
            step = min(BLOCK, position)
            position -= step
            file.seek(position)
            data = file.read(step) + data
    if not data:
        return iter(())
    return iter(data.removesuffix(b"\n").split(b"\n")[-count:])
