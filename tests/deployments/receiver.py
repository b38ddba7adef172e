"""A web address that takes what is posted to it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, Queue
from typing import Any


@dataclass
class Receiver:
    """A receiver on loopback.

    Attributes:
        url: Where it listens.
        came: Bodies that came, as JSON.
    """

    url: str
    came: "Queue[Any]" = field(default_factory=Queue)

    def wait(self, seconds: float = 60.0) -> Any:
        """The next body."""
        try:
            return self.came.get(timeout=seconds)
        except Empty:
            raise AssertionError(f"nothing was posted to {self.url}") from None


@contextmanager
def serve_receiver() -> Iterator[Receiver]:
    """Listens until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.came.put(json.loads(body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}/hook")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
