"""Gives a pod's Python processes the pod's network; first on their `PYTHONPATH`, so Python loads it by itself.

There are no network namespaces here: every pod has a loopback address of its own instead. A TCP server that binds
a fixed port on all interfaces gets it on the pod's address alone, so that many pods can each listen on port 8000;
a connection to localhost goes to the pod's address when the pod listens on that port there. Names of Services and
pods resolve as cluster DNS would resolve them, and a connection to a Service's address goes to one of its ready
pods. Everything else is left as it is. Programs that are not Python are not reached, nor event loops with a resolver
of their own.
"""

import contextlib
import importlib.machinery
import importlib.util
import json
import os
import random
import socket
import sys
from typing import Any

_ADDRESS = os.environ.get("SANDBOX_POD_IP", "")
_NAMESPACE = os.environ.get("SANDBOX_POD_NAMESPACE", "")
_PORTS = os.environ.get("SANDBOX_POD_PORTS", "")
_DIRECTORY = os.environ.get("SANDBOX_NAMES", "")
_EVERYWHERE = ("", "0.0.0.0", "::", "::0")
_LOCALHOST = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "::")
_NOWHERE = ("127.0.0.1", 1)
"""Where nobody listens: a Service without ready pods refuses connections."""

_known: tuple[float, dict[str, Any]] = (-1.0, {"names": {}, "routes": {}})


def _directory() -> dict[str, Any]:
    """What the node has written about names, read again when it changed."""
    global _known  # noqa: PLW0603 - one cache for one process
    with contextlib.suppress(OSError, ValueError):
        changed = os.stat(_DIRECTORY).st_mtime
        if changed != _known[0]:
            with open(_DIRECTORY) as file:
                _known = (changed, json.load(file))
    return _known[1]


def _resolve(host: object) -> list[str] | None:
    """Addresses of a Service's or a pod's name; None for any other name."""
    if not isinstance(host, str) or not host or not _DIRECTORY:
        return None
    name = host.rstrip(".").removesuffix(".cluster.local").removesuffix(".svc").lower()
    names: dict[str, list[str]] = _directory()["names"]
    return names.get(name) or names.get(f"{name}.{_NAMESPACE}")


def _here(sock: socket.socket, host: str, address: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same address with an IPv4 host in place of its own."""
    if sock.family == socket.AF_INET6:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        return ("::ffff:" + host, *address[1:])
    return (host, *address[1:])


def _is_tcp(sock: socket.socket, address: object) -> bool:
    internet = sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM
    return internet and isinstance(address, tuple) and len(address) >= 2


def _target(sock: socket.socket, address: Any) -> Any:
    """Where a connection really goes."""
    if not _is_tcp(sock, address):
        return address
    host, port = address[0], address[1]
    if host in _LOCALHOST and os.path.exists(os.path.join(_PORTS, str(port))):
        return _here(sock, _ADDRESS, address)
    if isinstance(host, str) and _DIRECTORY:
        found = _resolve(host)
        if found:
            host = found[0]
        ports = _directory()["routes"].get(host.removeprefix("::ffff:"))
        if ports is not None:
            chosen, number = random.choice(ports.get(str(port)) or [_NOWHERE])
            return _here(sock, chosen, (chosen, number))
        if found:
            return _here(sock, host, address)
    return address


def _patch() -> None:
    real_bind, real_connect, real_connect_ex = socket.socket.bind, socket.socket.connect, socket.socket.connect_ex
    real_getaddrinfo, real_gethostbyname = socket.getaddrinfo, socket.gethostbyname

    def bind(self: socket.socket, address: Any) -> None:
        if _is_tcp(self, address) and address[1] and address[0] in _EVERYWHERE:
            real_bind(self, _here(self, _ADDRESS, address))
            with contextlib.suppress(OSError), open(os.path.join(_PORTS, str(address[1])), "w"):
                return
        real_bind(self, address)

    def connect(self: socket.socket, address: Any) -> None:
        real_connect(self, _target(self, address))

    def connect_ex(self: socket.socket, address: Any) -> int:
        return real_connect_ex(self, _target(self, address))

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        found = _resolve(host.decode() if isinstance(host, bytes) else host)
        if not found:
            return real_getaddrinfo(host, port, *args, **kwargs)
        return [info for one in found for info in real_getaddrinfo(one, port, *args, **kwargs)]

    def gethostbyname(hostname: str) -> str:
        found = _resolve(hostname)
        return found[0] if found else real_gethostbyname(hostname)

    socket.socket.bind = bind  # type: ignore[method-assign, assignment]
    socket.socket.connect = connect  # type: ignore[method-assign, assignment]
    socket.socket.connect_ex = connect_ex  # type: ignore[method-assign, assignment]
    socket.getaddrinfo = getaddrinfo
    socket.gethostbyname = gethostbyname


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
