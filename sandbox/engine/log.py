"""Log lines in the form that vLLM writes them."""

import os
import sys
import time

_CORE_OFFSET = 67
"""vLLM runs its core in a process of its own; its number in the lines is made up from ours."""


def api_server(message: str, *, level: str = "INFO", place: str = "api_server.py:1896") -> None:
    """A line of the API server's process."""
    _write(f"(APIServer pid={os.getpid()}) {level} {_now()} [{place}] {message}")


def core(message: str, *, level: str = "INFO", place: str = "core.py:77") -> None:
    """A line of the engine core's process; a text of several lines becomes several."""
    for line in message.splitlines():
        _write(f"(EngineCore_DP0 pid={os.getpid() + _CORE_OFFSET}) {level} {_now()} [{place}] {line}")


def progress(message: str) -> None:
    """A line of the core's progress bar."""
    _write(f"(EngineCore_DP0 pid={os.getpid() + _CORE_OFFSET}) {message}")


def access(peer: tuple[str, int], request: str, status: int) -> None:
    """A line of uvicorn's access log."""
    _write(f'(APIServer pid={os.getpid()}) INFO:     {peer[0]}:{peer[1]} - "{request}" {status}')


def uvicorn(message: str) -> None:
    """A line of uvicorn's own."""
    _write(f"(APIServer pid={os.getpid()}) INFO:     {message}")


def raw(message: str) -> None:
    """Text as it is: a traceback, a usage."""
    _write(message)


def _now() -> str:
    return time.strftime("%m-%d %H:%M:%S")


def _write(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
