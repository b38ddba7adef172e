"""Reading a body: whatever its length and however it dribbles in, plain and TLS, and the connection serves again."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox.kubernetes.certificates import make_certificates
from staging import connections
from staging.wire import CHUNK, WAKE_BYTES, Wire, WireFault

STALL_SECONDS = 5.0
CONTENT = bytes(range(256)) * (4 * WAKE_BYTES // 256 + 1)


@pytest.fixture(params=["http", "https"])
def tls(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ssl.SSLContext | None]:
    """What the server needs to speak TLS, trusted by the wires; None for plain HTTP."""
    if request.param == "http":
        yield None
        return
    made = make_certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(made.ca))
    connections._tls.cache_clear()
    yield context
    connections._tls.cache_clear()


@contextmanager
def serve(tls: ssl.SSLContext | None, packet: int) -> Iterator[str]:
    """A server that sends CONTENT's first bytes, as many as the path says, in packets with pauses; yields its address.

    It serves one connection, so a second request that gets an answer came over the first one's.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(30)

    def run() -> None:
        with listener.accept()[0] as plain:
            sock = tls.wrap_socket(plain, server_side=True) if tls else plain
            with sock, sock.makefile("rb") as lines:
                while request := lines.readline():
                    while lines.readline().strip():
                        pass
                    answer(sock, int(request.split()[1].strip(b"/")))

    def answer(sock: socket.socket, size: int) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for start in range(0, size, packet):
            sock.sendall(CONTENT[start : min(start + packet, size)])
            time.sleep(0.001)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://localhost:{listener.getsockname()[1]}"
    finally:
        listener.close()
        thread.join(30)


def read(wire: Wire, url: str, size: int, view: int) -> bytes:
    body, into, got = wire.get(url, {}, 0, size, size), bytearray(view), b""
    while len(got) < size:
        length = min(view, size - len(got))
        body.read_into(memoryview(into)[:length])
        got += into[:length]
    body.close()
    return got


@pytest.mark.parametrize("packet", [7 * 1024, CHUNK])
@pytest.mark.parametrize("view", [64 * 1024, CHUNK])
def test_bodies_of_every_length(tls: ssl.SSLContext | None, packet: int, view: int) -> None:
    sizes = [1, 5, WAKE_BYTES - 1, WAKE_BYTES, 2 * WAKE_BYTES + 1, 3 * WAKE_BYTES + 17, 4 * WAKE_BYTES, 9]
    wire = Wire(STALL_SECONDS)
    with serve(tls, packet) as url:
        for size in sizes:
            assert read(wire, f"{url}/{size}", size, view) == CONTENT[:size]
        wire.close()


def test_a_body_that_ends_early_is_told(tls: ssl.SSLContext | None) -> None:
    """The mark does not hide the end: fewer bytes than wake a reader, and then no more."""
    wire, listener = Wire(STALL_SECONDS), socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with listener.accept()[0] as plain:
            sock = tls.wrap_socket(plain, server_side=True) if tls else plain
            with sock, sock.makefile("rb") as lines:
                while lines.readline().strip():
                    pass
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CONTENT) + CONTENT[:1000])

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    url = f"{'https' if tls else 'http'}://localhost:{listener.getsockname()[1]}/"
    with listener, pytest.raises(WireFault, match=r"cut short|broke"):
        read(wire, url, len(CONTENT), 64 * 1024)
    thread.join(30)
    wire.close()


def test_a_reader_sleeps_until_enough_has_come_and_not_at_the_end(tls: ssl.SSLContext | None) -> None:
    wire, view, size = Wire(STALL_SECONDS), memoryview(bytearray(64 * 1024)), len(CONTENT)
    with serve(tls, CHUNK) as url:
        body = wire.get(f"{url}/{size}", {}, 0, size, size)
        assert body._sock is not None
        marks = []
        for start in range(0, size, len(view)):
            body.read_into(view[: min(len(view), size - start)])
            marks.append(body._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT))
        wire.close()
    assert marks[0] == WAKE_BYTES
    assert marks[-1] == 1
