"""Servers that tests share: real protocols on loopback, started once."""

import os
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from prefect.settings.legacy import Setting

    from sandbox.prefect_server import PrefectServer

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


@contextmanager
def prefect_of_its_own(home: Path) -> "Iterator[PrefectServer]":
    """A real Prefect server to which this process's runs are reported."""
    from sandbox.prefect_server import serve_prefect, wait_until_healthy

    with serve_prefect(home) as server:
        wait_until_healthy(server)
        with reporting_to(server):
            yield server


@contextmanager
def reporting_to(server: "PrefectServer", settings: "Mapping[Setting, Any] | None" = None) -> Iterator[None]:
    """This process's runs are reported to the server, with these settings besides, while the block lasts."""
    from prefect.settings import PREFECT_API_SSL_CERT_FILE, PREFECT_API_URL, PREFECT_HOME, temporary_settings

    let_go_of_server()
    known = {
        PREFECT_API_URL: server.api_url,
        PREFECT_API_SSL_CERT_FILE: server.env["PREFECT_API_SSL_CERT_FILE"],
        PREFECT_HOME: server.home,
    }
    with temporary_settings(known | dict(settings or {})):
        try:
            yield
        finally:
            let_go_of_server()


def let_go_of_server() -> None:
    """Tells the server what is still to be told, and ends this process's connections to it.

    Prefect keeps one connection of a kind per process, whatever server the settings name by then: runs that are
    reported to another one would wait a minute for every event, and get no concurrency slot.
    """
    from prefect.concurrency.services import (
        ConcurrencySlotAcquisitionService,
        ConcurrencySlotAcquisitionWithLeaseService,
    )
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for service in (
        EventsWorker,
        APILogWorker,
        ConcurrencySlotAcquisitionService,
        ConcurrencySlotAcquisitionWithLeaseService,
    ):
        service.drain_all(timeout=60)


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the API of a real Prefect server; runs of this process are reported to it."""
    with prefect_of_its_own(tmp_path_factory.mktemp("prefect")) as server:
        yield server.api_url


@pytest.hookimpl(wrapper=True)  # xdist, which is registered later, would look before any other kind of hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None]:
    """Keeps each file's tests in one process, and all that need the Prefect server in the same one."""
    for item in items:
        server = "prefect_server" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("server" if server else item.path.name))
    return (yield)
