"""Starting, signalling and awaiting a container's process, through its shim."""

import asyncio
import contextlib
import errno
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHIM = Path(__file__).with_name("shim.py")
_LINE_LIMIT = 1 << 20


@dataclass(frozen=True)
class Command:
    """What to run, and where its output goes.

    Attributes:
        argv: Program and arguments; the program is looked up on the `PATH` of `env`.
        env: The whole environment.
        cwd: Working directory.
        log: File for the output, with times; None returns the first bytes of it with the exit instead.
        belongings: Folders that are removed should the node die before the process.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    log: Path | None = None
    belongings: Sequence[Path] = ()


@dataclass(frozen=True)
class Exit:
    """How a process ended.

    Attributes:
        code: Exit code; 128 and the signal's number when a signal ended it.
        output: What it wrote, when there is no log.
    """

    code: int
    output: str = ""


class StartError(Exception):
    """A program could not be started; the text is the container runtime's."""


class Process:
    """A started process and all that it starts."""

    def __init__(self, shim: asyncio.subprocess.Process, pid: int) -> None:
        self._shim, self.pid = shim, pid
        self._exit: asyncio.Task[Exit] = asyncio.create_task(self._await_exit())

    @classmethod
    async def start(cls, command: Command) -> "Process":
        """Start a command.

        Raises:
            StartError: there is no such program, or it cannot be run.
        """
        shim = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            str(SHIM),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={},
            start_new_session=True,
            limit=_LINE_LIMIT,
        )
        spec = {
            "argv": list(command.argv),
            "env": dict(command.env),
            "cwd": str(command.cwd),
            "log": str(command.log) if command.log else None,
            "belongings": [str(folder) for folder in command.belongings],
        }
        try:
            _send(shim, json.dumps(spec))
            report = await _read(shim)
        except BaseException:
            _close(shim)
            await shim.wait()
            raise
        if "started" not in report:
            await shim.wait()
            raise StartError(_start_error(command.argv[0], report))
        return cls(shim, report["started"])

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not self._exit.done()

    def signal(self, number: int) -> None:
        """Send a signal to the main process."""
        _send(self._shim, f"signal {number}")

    def kill(self) -> None:
        """End the main process and everything that it started, at once."""
        _send(self._shim, "kill")

    async def wait(self) -> Exit:
        """Wait for the end."""
        return await asyncio.shield(self._exit)

    async def end(self, grace_seconds: float) -> Exit:
        """Ask the process to end, and kill it when it has not after `grace_seconds`."""
        if grace_seconds > 0:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(self.wait(), grace_seconds)
        self.kill()
        return await self.wait()

    async def _await_exit(self) -> Exit:
        report = await _read(self._shim)
        _close(self._shim)
        await self._shim.wait()
        # Without a report somebody killed the shim, and with it the process.
        return Exit(report.get("exit", 128 + signal.SIGKILL), report.get("output", ""))


def _send(shim: asyncio.subprocess.Process, line: str) -> None:
    if shim.stdin and not shim.stdin.is_closing():
        with contextlib.suppress(ConnectionError):
            shim.stdin.write(line.encode() + b"\n")


def _close(shim: asyncio.subprocess.Process) -> None:
    if shim.stdin:
        shim.stdin.close()


async def _read(shim: asyncio.subprocess.Process) -> dict[str, Any]:
    assert shim.stdout is not None  # asked for above
    line = await shim.stdout.readline()
    report: dict[str, Any] = json.loads(line) if line else {}
    return report


def _start_error(program: str, report: Mapping[str, Any]) -> str:
    """The text that containerd and runc give for a program that does not start."""
    what = report.get("error", "no such file or directory")
    if report.get("errno") == errno.ENOENT and "/" not in program:
        what = "executable file not found in $PATH"
    elif report.get("errno") == errno.ENOENT:
        what = f"stat {program}: {what}"
    return (
        "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
        f'unable to start container process: exec: "{program}": {what}: unknown'
    )
