"""Servers that tests share: real protocols on loopback, started once."""

import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# On two shared cores a slow example says nothing about the code.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")

# Tests start many processes, and every one would compile the same modules anew, the rewritten tests among them.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("HF_HUB_DISABLE_UPDATE_CHECK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
# Tests must find no credentials and no settings of the person who runs them.
for name in [name for name in os.environ if name.startswith(("AWS_", "HF_TOKEN", "PREFECT_API_", "KUBECONFIG"))]:
    del os.environ[name]


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the API of a real Prefect server; runs of this process are reported to it."""
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    from sandbox.prefect_server import serve_prefect, wait_until_healthy

    home: Path = tmp_path_factory.mktemp("prefect")
    with serve_prefect(home) as server:
        wait_until_healthy(server)
        with temporary_settings({PREFECT_API_URL: server.api_url, PREFECT_HOME: home}):
            yield server.api_url
            drain()


def drain() -> None:
    """What this process still has to tell the server is told while it is there: the exit would wait a minute for it."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    EventsWorker.drain_all(timeout=5)
    APILogWorker.drain_all(timeout=5)


@pytest.hookimpl(wrapper=True)  # xdist, which is registered later, would look before any other kind of hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None]:
    """Keeps each file's tests in one process, and all that need the Prefect server in the same one."""
    for item in items:
        server = "prefect_server" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("server" if server else item.path.name))
    return (yield)
