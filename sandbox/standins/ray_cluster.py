"""The little of Ray that pods need which form a cluster before vLLM starts: who has joined.

`ray start --head` leaves a process behind that counts; `ray start --address=… --block` joins and stays; `ray.nodes()`
asks. A node is gone when its connection is.
"""

import contextlib
import json
import os
import socket
import socketserver
import subprocess
import sys
import threading

from sandbox.engine.running import ended

PORT = 6379
_JOIN, _ASK = b"join\n", b"nodes\n"


class _Counter(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    joined = 0
    lock = threading.Lock()


class _Node(socketserver.StreamRequestHandler):
    server: _Counter

    def handle(self) -> None:
        word = self.rfile.readline()
        if word == _ASK:
            self.wfile.write(json.dumps([{"Alive": True}] * (1 + self.server.joined)).encode())
        elif word == _JOIN:
            with self.server.lock:
                self.server.joined += 1
            self.wfile.write(b"ok\n")
            with contextlib.suppress(OSError):
                self.rfile.read()
            with self.server.lock:
                self.server.joined -= 1


def nodes(address: tuple[str, int] = ("127.0.0.1", PORT)) -> list[dict[str, bool]]:
    """The nodes of the cluster, the head among them."""
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(_ASK)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            found: list[dict[str, bool]] = json.loads(stream.read())
    return found


def main(argv: list[str]) -> int:
    """`ray start` and `ray stop`, as far as the scripts of a LeaderWorkerSet use them."""
    if "--counter" in argv:
        with _Counter(("0.0.0.0", PORT), _Node) as server:
            print("ready", flush=True)
            server.serve_forever()
    if argv[:1] == ["stop"]:
        return 0
    if "--head" in argv:
        return _head()
    address = next((one.partition("=")[2] for one in argv if one.startswith("--address=")), "")
    host, _, port = address.rpartition(":")
    if not host:
        print("ray start needs --head or --address=HOST:PORT", file=sys.stderr)
        return 2
    return _join(host, int(port))


def _head() -> int:
    command = [sys.executable, "-P", "-m", "sandbox.standins.ray_cluster", "--counter"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=os.environ)
    assert process.stdout is not None  # asked for above
    if process.stdout.readline() != b"ready\n":
        print(f"Ray cannot listen on port {PORT}", file=sys.stderr)
        return 1
    print("Ray runtime started.", flush=True)
    return 0


def _join(host: str, port: int) -> int:
    """Join, and stay until the head goes or the end is asked for."""
    stop = ended()
    with socket.create_connection((host, port), timeout=10) as connection:
        connection.sendall(_JOIN)
        print("Ray runtime started.", flush=True)
        connection.settimeout(0.5)
        while not stop.is_set():
            try:
                if not connection.recv(16):
                    print("The head is gone.", file=sys.stderr)
                    return 1
            except TimeoutError:
                continue
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
