"""One container's process, kept by a process of its own; run as a script, with the standard library alone.

The node starts this script once per container. On its standard input it gets one line of JSON (what to run), then
commands: `signal N` for the main process, `kill` for all of them. On its standard output it reports, one line of
JSON each, that the process started, or could not, and how it ended. When its input closes, the node is gone,
however it died, and everything here dies with it: the script is the reaper of all its descendants, so that not
even a daemon that left its session escapes. Nor do files stay that hold secrets.
"""

import contextlib
import ctypes
import json
import os
import selectors
import shutil
import signal
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
CHUNK = 65536
LONGEST_LINE = 16 * 1024
"""Bytes; longer lines are stored in parts, as containerd does."""
CAPTURED = 16 * 1024
"""Bytes of output that a command's report carries."""
DRAIN_SECONDS = 5.0


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process (Linux)."""
    ctypes.CDLL(None, use_errno=True).prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def descendants() -> list[int]:
    """Process ids of everything below this process."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            stat = Path("/proc", entry, "stat").read_text(errors="replace")
            state, parent = stat.rpartition(")")[2].split()[:2]
            if state != "Z":
                children.setdefault(int(parent), []).append(int(entry))
    found, left = [], [os.getpid()]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


class Log:
    """Writes lines as a container runtime does: time, stream, whole or part, text."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if path else -1
        self._rest: dict[str, bytes] = {}
        self.captured = b""

    def write(self, stream: str, data: bytes) -> None:
        """Add output of one stream; b"" says that it ended."""
        if self._file < 0:
            self.captured = (self.captured + data)[:CAPTURED]
            return
        *lines, rest = (self._rest.pop(stream, b"") + data).split(b"\n")
        out = bytearray()
        if not data and rest:  # output that ends without a newline is part of a line, and stays so
            out += self._line(stream, b"P", rest)
            rest = b""
        for line in lines:
            start = 0
            while len(line) - start > LONGEST_LINE:
                out += self._line(stream, b"P", line[start : start + LONGEST_LINE])
                start += LONGEST_LINE
            out += self._line(stream, b"F", line[start:])
        while len(rest) > LONGEST_LINE:
            out += self._line(stream, b"P", rest[:LONGEST_LINE])
            rest = rest[LONGEST_LINE:]
        self._rest[stream] = rest
        if out:
            os.write(self._file, bytes(out))

    @staticmethod
    def _line(stream: str, tag: bytes, text: bytes) -> bytes:
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        return b"%s.%09dZ %s %s %s\n" % (moment.encode(), nanoseconds, stream.encode(), tag, text)


class Shim:
    """Runs one command and everything that it starts."""

    def __init__(self) -> None:
        self._input = b""
        self._main = 0
        self._status: int | None = None
        self._dying = self._orphaned = False
        self._deadline = 0.0
        self._open: set[int] = set()
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Run what the first line says, until nothing of it is left."""
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        spec = json.loads(self._first_line())
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._die())
        self._log = Log(spec.get("log") or "")
        if not self._start(spec):
            return
        self._selector.register(0, selectors.EVENT_READ, self._command)
        self._selector.register(wake_read, selectors.EVENT_READ, lambda: os.read(wake_read, CHUNK))
        while not self._done():
            for key, _ in self._selector.select(0.05 if self._dying or self._status is not None else None):
                key.data()
            self._reap()
        self._finish()
        if self._orphaned:
            for folder in spec.get("belongings") or []:
                shutil.rmtree(folder, ignore_errors=True)

    def _first_line(self) -> bytes:
        while b"\n" not in self._input:
            data = os.read(0, CHUNK)
            if not data:
                os._exit(0)
            self._input += data
        line, _, self._input = self._input.partition(b"\n")
        return line

    def _start(self, spec: dict[str, object]) -> bool:
        pipes = {stream: os.pipe() for stream in ("stdout", "stderr")}
        failed_read, failed_write = os.pipe()
        parent = os.getpid()
        self._main = os.fork()
        if self._main == 0:
            _become(spec, parent, pipes["stdout"][1], pipes["stderr"][1], failed_write)
        os.close(failed_write)
        for stream, (read, write) in pipes.items():
            os.close(write)
            self._open.add(read)
            self._selector.register(read, selectors.EVENT_READ, lambda r=read, s=stream: self._output(r, s))
        failure = b""
        while data := os.read(failed_read, CHUNK):
            failure += data
        if failure:
            os.waitpid(self._main, 0)
            _report(json.loads(failure))
            return False
        _report({"started": self._main})
        return True

    def _command(self) -> None:
        data = os.read(0, CHUNK)
        if not data:
            self._selector.unregister(0)
            self._orphaned = True
            self._die()
        *lines, self._input = (self._input + data).split(b"\n")
        for line in lines:
            if line == b"kill":
                self._die()
            elif self._status is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._main, int(line.split()[1]))

    def _output(self, read: int, stream: str) -> None:
        data = os.read(read, CHUNK)
        self._log.write(stream, data)
        if not data:
            self._selector.unregister(read)
            self._open.discard(read)
            os.close(read)

    def _die(self) -> None:
        self._dying = True
        self._kill()

    def _kill(self) -> None:
        for pid in descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        """Collect whoever ended; once the main process has, or must, nobody else stays."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid == self._main:
                    self._status = status
                    self._deadline = time.monotonic() + DRAIN_SECONDS
        if self._dying or self._status is not None:
            self._kill()

    def _done(self) -> bool:
        if self._status is None:
            return False
        return (not self._open and not descendants()) or time.monotonic() > self._deadline

    def _finish(self) -> None:
        assert self._status is not None
        killed = os.WTERMSIG(self._status) if os.WIFSIGNALED(self._status) else 0
        code = 128 + killed if killed else os.WEXITSTATUS(self._status)
        _report({"exit": code, "signal": killed, "output": self._log.captured.decode(errors="replace")})


def _become(spec: dict[str, object], parent: int, out: int, err: int, failed: int) -> None:
    """In the child: become the container's process, or say why not."""
    try:
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        argv, env = spec["argv"], spec["env"]
        assert isinstance(argv, list)
        assert isinstance(env, dict)
        os.chdir(str(spec["cwd"]))
        os.execvpe(argv[0], argv, env)  # noqa: S606 - the pod says what to run
    except OSError as error:
        os.write(failed, json.dumps({"errno": error.errno, "error": os.strerror(error.errno or 0).lower()}).encode())
    finally:
        os._exit(127)


def _report(what: dict[str, object]) -> None:
    with contextlib.suppress(BrokenPipeError):  # the node is gone, and soon so is this
        os.write(1, json.dumps(what).encode() + b"\n")


if __name__ == "__main__":
    Shim().run()
    sys.exit(0)
