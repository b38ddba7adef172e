"""A Prefect server with a worker, for as long as the sandbox lives."""

import fcntl
import os
import socket
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox.kubernetes.certificates import make_certificates
from sandbox.processes import alive, child, log_tail, wait_for

PROJECT = Path(__file__).parents[1]
WORK_POOL = "inference"
DEFAULT_PORT = 4200
START_SECONDS = 300.0
"""On a busy machine it takes minutes: its modules, and all migrations of a new database."""


@dataclass(frozen=True)
class PrefectServer:
    """Addresses of a running server.

    Attributes:
        url: Where the UI is.
        env: Environment for `prefect` commands and workers that shall use it.
        home: Its PREFECT_HOME, with the logs of server and workers.
        pid: Process id of the server.
    """

    url: str
    env: Mapping[str, str]
    home: Path
    pid: int

    @property
    def api_url(self) -> str:
        """Address of the REST API."""
        return f"{self.url}/api"


@contextmanager
def reserved_port(preferred: int = 0) -> Iterator[int]:
    """Yields the preferred loopback port if it can be had, else one of those that are free.

    A Prefect server needs seconds until it listens: a second sandbox would find the port free, and then take the first
    one's server for its own. So who prefers a port holds a lock that names it, until the end however it comes.
    """
    with ExitStack() as stack:
        yield preferred if preferred and _locked(preferred, stack) and _free(preferred) else _free(0)


def _locked(port: int, stack: ExitStack) -> bool:
    try:
        file = stack.enter_context((Path(tempfile.gettempdir()) / f"inference-sandbox-{port}.lock").open("a"))
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another sandbox's, maybe another user's
        return False
    return True


def _free(port: int) -> int:
    """Returns the port, or for 0 any, if nothing listens there; else 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
        return int(probe.getsockname()[1])


@contextmanager
def serve_prefect(home: Path, *, port: int = 0) -> Iterator[PrefectServer]:
    """Starts `prefect server start` with a database of its own and yields at once: see `wait_until_healthy`."""
    home.mkdir(parents=True, exist_ok=True)
    with reserved_port(port) as chosen:
        url = f"http://127.0.0.1:{chosen}"
        env = _environment(home, url)
        # No request is over TLS here, yet Prefect's client reads all authorities that it trusts, 45 ms, each time it is
        # made, several times a run: this is a file with one.
        env["PREFECT_API_SSL_CERT_FILE"] = str(make_certificates(home).ca)
        # Not imported: this process may not have said yet which server it means.
        command = [sys.executable, "-m", "sandbox.prefect_main", "server", "start", "--host", "127.0.0.1"]
        command += ["--port", str(chosen)]
        with child(command, env=env, log=home / "server.log", cwd=PROJECT) as pid:
            yield PrefectServer(url=url, env=env, home=home, pid=pid)


def _environment(home: Path, url: str) -> dict[str, str]:
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")},
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        # Seconds; the defaults are 10 and 5, after which SQLite on a busy machine answers "database is locked". Now and
        # then two of the server's connections wait for each other until then, so much longer is not better.
        "PREFECT_SERVER_DATABASE_TIMEOUT": "20",
        "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "20",
        "PREFECT_CLI_PROMPT": "false",
        "DO_NOT_TRACK": "1",
    }


def wait_until_healthy(server: PrefectServer) -> None:
    """Waits for the server's health route.

    Raises:
        RuntimeError: It ended or did not answer in time; with the end of its log.
    """

    def healthy() -> bool:
        try:
            with urllib.request.urlopen(f"{server.api_url}/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    wait_for(healthy, "The Prefect server", seconds=START_SECONDS, pid=server.pid, log=server.home / "server.log")


@dataclass(frozen=True)
class Worker:
    """A running worker.

    Attributes:
        pid: Its process id.
        log: What it writes.
    """

    pid: int
    log: Path

    def check(self) -> None:
        """Looks whether it still runs.

        Raises:
            RuntimeError: It ended; with the end of its log.
        """
        if not alive(self.pid):
            raise RuntimeError(f"The Prefect worker ended.\n{log_tail(self.log)}")


@contextmanager
def run_worker(server: PrefectServer, *, extra_env: Mapping[str, str] | None = None) -> Iterator[Worker]:
    """Runs a process worker of the work pool, which the worker creates where it is missing."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", WORK_POOL, "--type", "process"]
    env = {**server.env, "PREFECT_WORKER_QUERY_SECONDS": "1", **(extra_env or {})}
    log = server.home / "worker.log"
    with child(command, env=env, log=log, cwd=PROJECT) as pid:
        yield Worker(pid, log)
