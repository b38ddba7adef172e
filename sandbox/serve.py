"""`python -m sandbox serve hub s3 kubernetes`: just the named servers, for other programs and tests."""

import argparse
import json
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sandbox.s3 import S3Credential
from sandbox.servers import BUCKET, NAMES, Servers, serve


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `serve` to the program's commands."""
    parser = commands.add_parser(
        "serve",
        help="start just the named servers, print their addresses as one JSON line, and stay until Ctrl-C",
        description="Starts the named servers on this machine and prints one JSON line: addresses, the kubeconfig's"
        " path, keys and tokens of the sandbox. They stay until SIGINT or SIGTERM.",
    )
    parser.add_argument("names", nargs="+", choices=NAMES, metavar="{hub,s3,kubernetes}")
    parser.add_argument("--hub-port", type=int, default=0, help="0: any free one")
    parser.add_argument("--s3-port", type=int, default=0, help="0: any free one")
    parser.add_argument("--kubernetes-port", type=int, default=0, help="0: any free one")
    parser.add_argument("--state", type=Path, help="directory for what the servers write; by default one that goes")
    parser.add_argument("--vllm", type=Path, help="a real vllm executable for the pods")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal.

    Returns:
        0, or 1 if a server could not start.
    """
    try:
        with until_signal() as stop, ExitStack() as stack:
            home = arguments.state or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sandbox-")))
            servers = stack.enter_context(
                serve(
                    arguments.names,
                    home,
                    vllm=arguments.vllm,
                    hub_port=arguments.hub_port,
                    s3_port=arguments.s3_port,
                    kubernetes_port=arguments.kubernetes_port,
                )
            )
            print(json.dumps(addresses(servers)), flush=True)
            stop.wait()
    except Signalled:
        return 0
    except OSError as error:
        print(f"python -m sandbox serve: {error}", file=sys.stderr)
        return 1
    return 0


def addresses(servers: Servers) -> dict[str, Any]:
    """What a program needs to use the servers. The secrets in it are the sandbox's own, and end with it."""
    found: dict[str, Any] = {}
    if hub := servers.hub:
        found["hub"] = {
            "url": hub.url,
            "file_url": hub.file_url,
            "token": hub.token,
            "token_without_access": hub.token_without_access,
            "token_expired": hub.token_expired,
            "models": list(hub.content.repo_ids),
        }
    if s3 := servers.s3:
        found["s3"] = {
            "url": s3.url,
            "region": s3.region,
            "bucket": BUCKET,
            **_pair(s3.owner),
            "reader": _pair(s3.reader),
            "denied": _pair(s3.denied),
        }
    if kubernetes := servers.kubernetes:
        found["kubernetes"] = {
            "url": kubernetes.url,
            "kubeconfig": str(kubernetes.kubeconfig),
            "ca_file": str(kubernetes.ca_file) if kubernetes.ca_file else None,
        }
    return found


def _pair(credential: S3Credential) -> dict[str, str]:
    return {"access_key": credential.access_key, "secret_key": credential.secret_key}


class Signalled(BaseException):
    """SIGINT or SIGTERM: unwinds whatever is going on, so that everything is stopped and removed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


@contextmanager
def until_signal() -> Iterator[threading.Event]:
    """An event to wait for; the first signal raises `Signalled` in the main thread, later ones change nothing."""
    seen = threading.Event()

    def handle(number: int, _frame: object) -> None:
        if not seen.is_set():
            seen.set()
            raise Signalled(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield threading.Event()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
