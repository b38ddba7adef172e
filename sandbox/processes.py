"""Child processes that never outlive the sandbox."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

# The kernel ends the child when the sandbox dies, however it dies (Linux). A wrapper that asks for it and then
# becomes the command is safe beside threads, which a preexec_fn is not.
_WRAPPER = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 15)  # PR_SET_PDEATHSIG, SIGTERM
os.execvp(sys.argv[1], sys.argv[1:])
"""


@contextmanager
def child(command: Sequence[str], *, env: Mapping[str, str], log: Path, cwd: Path | None = None) -> Iterator[int]:
    """Runs a command in a session of its own while the block lasts, its output in `log`.

    Yields:
        The process id, which is its process group too.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WRAPPER, *command],
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process.pid
    finally:
        stop_group(process)


def stop_group(process: "subprocess.Popen[bytes]", *, grace_seconds: float = 8.0) -> None:
    """Ends a process and all of its group: asked first, then killed."""
    members = descendants(process.pid)
    _signal_group(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=grace_seconds)
    _signal_group(process.pid, signal.SIGKILL)
    for pid in members:
        _signal(pid, signal.SIGKILL)
    process.wait()


def descendants(pid: int) -> list[int]:
    """Returns the ids of all processes below `pid`, from /proc; empty where there is none."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, queue = [], [pid]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


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
