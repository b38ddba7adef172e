"""A server's life: it answers until it is asked to end."""

import signal
import socket
import threading
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # at run time it would import numpy and tokenizers, also where there is no engine
    from sandbox.engine.api import EngineServer


def listen(port: int, host: str = "0.0.0.0") -> socket.socket:
    """A bound socket: nobody is answered on it before a server listens.

    Raises:
        OSError: The port is taken, or the host is none of this machine's.
    """
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((host, port))
    return bound


def ended() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def in_background(server: ThreadingHTTPServer) -> None:
    """Let a server answer."""
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()


def until_ended(server: "EngineServer") -> int:
    """Answer until the end is asked for, and finish what is under way.

    Returns:
        The exit code.
    """
    stop = ended()
    in_background(server)
    stop.wait()
    server.drain()
    return 0
