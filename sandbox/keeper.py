"""Runs a command until it ends or standard input closes; run as a script, with the standard library alone.

The sandbox holds the other end of standard input, which closes however the sandbox dies. Then the command is asked
to end, and what remains below it is killed: as the reaper of all its descendants, this process knows even those that
left their session.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

POLL_SECONDS = 0.1
_PR_SET_CHILD_SUBREAPER = 36


def main(command: list[str], *, grace_seconds: float) -> int:
    """Runs the command.

    Args:
        command: The program and its arguments.
        grace_seconds: How long it may take to end once it was asked.

    Returns:
        Its exit code; 128 and the signal's number if one ended it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and not select.select([sys.stdin.fileno()], [], [], POLL_SECONDS)[0]:
        pass
    _end(process, grace_seconds)
    code = process.wait()
    return code if code >= 0 else 128 - code


def _end(process: "subprocess.Popen[bytes]", grace_seconds: float) -> None:
    _signal_group(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=grace_seconds)
    _signal_group(process.pid, signal.SIGKILL)
    while below := descendants(os.getpid()):
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def descendants(pid: int) -> list[int]:
    """Returns the ids of all processes below `pid`, from /proc, without zombies."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state not in "ZX":
                children.setdefault(int(parent), []).append(int(stat.parent.name))
    found, queue = [], [pid]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[2:], grace_seconds=float(sys.argv[1])))
