"""Child processes that never outlive the sandbox."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from sandbox import keeper


@contextmanager
def child(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    log: Path,
    cwd: Path | None = None,
    grace_seconds: float = 8.0,
) -> Iterator[int]:
    """Runs a command while the block lasts, its output in `log`; at the end it is stopped with all below it.

    A keeper runs it, in a session of its own, and does the same when the sandbox dies, however it dies.

    Yields:
        The keeper's process id; it ends with the command.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", keeper.__file__, str(grace_seconds), *command],
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    assert process.stdin is not None
    try:
        yield process.pid
    finally:
        process.stdin.close()
        process.wait()


def wait_for(
    check: Callable[[], bool], what: str, *, seconds: float, pid: int | None = None, log: Path | None = None
) -> None:
    """Waits until `check()` is true.

    Raises:
        RuntimeError: It did not become true in time, or the process ended; with the end of its log.
    """
    deadline = time.monotonic() + seconds
    while not check():
        gone = pid is not None and not alive(pid)
        if gone or time.monotonic() > deadline:
            how = "ended" if gone else f"did not start within {seconds:.0f} s"
            raise RuntimeError(f"{what} {how}.\n{log_tail(log) if log else ''}".rstrip())
        time.sleep(0.1)


def log_tail(log: Path, lines: int = 20) -> str:
    """Returns the end of a log; empty if there is none yet."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
