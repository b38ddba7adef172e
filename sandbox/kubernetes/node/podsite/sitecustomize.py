"""Gives a pod's Python processes the pod's own address; first on their `PYTHONPATH`, so Python loads it by itself.

There are no network namespaces here: every pod has a loopback address of its own instead. A TCP server that binds
a fixed port on all interfaces gets it on the pod's address alone, so that many pods can each listen on port 8000;
a connection to localhost goes to the pod's address when the pod listens on that port there. Everything else is
left as it is. Programs that are not Python, and event loops that bring their own sockets, are not reached.
"""

import contextlib
import importlib.machinery
import importlib.util
import os
import socket
import sys
from typing import Any

_ADDRESS = os.environ.get("SANDBOX_POD_IP", "")
_PORTS = os.environ.get("SANDBOX_POD_PORTS", "")
_EVERYWHERE = ("", "0.0.0.0", "::", "::0")
_LOCALHOST = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "::")


def _here(sock: socket.socket, address: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same address with the pod's own in place of its host."""
    if sock.family == socket.AF_INET6:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        return ("::ffff:" + _ADDRESS, *address[1:])
    return (_ADDRESS, *address[1:])


def _is_tcp(sock: socket.socket, address: object) -> bool:
    internet = sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM
    return internet and isinstance(address, tuple) and len(address) >= 2


def _patch() -> None:
    real_bind, real_connect, real_connect_ex = socket.socket.bind, socket.socket.connect, socket.socket.connect_ex

    def bind(self: socket.socket, address: Any) -> None:
        if _is_tcp(self, address) and address[1] and address[0] in _EVERYWHERE:
            real_bind(self, _here(self, address))
            with contextlib.suppress(OSError), open(os.path.join(_PORTS, str(address[1])), "w"):
                return
        real_bind(self, address)

    def target(sock: socket.socket, address: Any) -> Any:
        mine = _is_tcp(sock, address) and address[0] in _LOCALHOST
        if mine and os.path.exists(os.path.join(_PORTS, str(address[1]))):
            return _here(sock, address)
        return address

    def connect(self: socket.socket, address: Any) -> None:
        real_connect(self, target(self, address))

    def connect_ex(self: socket.socket, address: Any) -> int:
        return real_connect_ex(self, target(self, address))

    socket.socket.bind = bind  # type: ignore[method-assign, assignment]
    socket.socket.connect = connect  # type: ignore[method-assign, assignment]
    socket.socket.connect_ex = connect_ex  # type: ignore[method-assign, assignment]


def _load_hidden() -> None:
    """Load the `sitecustomize` that this one hides, if the interpreter has one."""
    own = os.path.dirname(os.path.abspath(__file__))
    paths = [path for path in sys.path if os.path.abspath(path or ".") != own]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", paths)
    if spec and spec.loader:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


if _ADDRESS:
    _patch()
_load_hidden()
