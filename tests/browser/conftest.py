"""A whole sandbox with its Prefect UI, and a browser that looks at it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from sandbox.hub import HubServer
from tests.browser.ui import Ui
from tests.conftest import reporting_to

UNDRAWN = tuple(f"Cannot read properties of null (reading '{what}')" for what in ("addChild", "position"))
"""What Prefect's graph of a run says when its page is left before it is drawn (Prefect 3.8.8)."""
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

SECONDS = 120
"""Longest time for what the page does by itself, on a busy machine."""

DEPLOYMENTS = (
    "any-preset",
    "qwen3-1.7b-vllm",
    *("stage-model", "refresh-models", "refresh-endpoint", "rollback-endpoint", "list-endpoints", "remove-endpoint"),
    *("deploy-vllm", "deploy-ray-vllm"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pictures", type=Path, help="folder that the documentation's pictures are written to")
    parser.addoption("--site", help="address of a Prefect UI that is up, of a sandbox; by default one is started")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium that the machine has: playwright's own download is not used."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        message = "no Chromium on this machine: .ci/browser installs Debian's"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


@dataclass(frozen=True)
class Site:
    """A Prefect server with a worker, whose deployments use a sandbox's Hub, S3 and cluster.

    Attributes:
        address: Of its UI.
        hub: The Hub; None if all this was up before.
    """

    address: str
    hub: HubServer | None = None


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest, chromium: str) -> Iterator[Site]:
    """All that the UI's runs need."""
    if up := request.config.getoption("--site", default=None):
        yield Site(up.rstrip("/"))
        return
    with serve_site(request.getfixturevalue("tmp_path_factory").mktemp("site")) as started:
        yield started


@pytest.fixture(scope="module")
def site(place: Site) -> str:
    """Address of the UI."""
    return place.address


@contextmanager
def serve_site(home: Path) -> Iterator[Site]:
    """Starts all that the UI's runs need."""
    from sandbox.options import RunOptions
    from sandbox.prefect_server import run_worker, serve_prefect, wait_until_healthy
    from sandbox.registration import register_deployments, save_blocks
    from sandbox.run import places_of, prepare_cluster
    from sandbox.servers import serve
    from serving.catalog import get_preset, resolve

    with ExitStack() as stack:
        prefect = stack.enter_context(serve_prefect(home / "prefect"))
        servers = stack.enter_context(serve(("hub", "s3", "kubernetes"), home))
        places = places_of(RunOptions("qwen3-1.7b-vllm"), servers)
        prepare_cluster(places, resolve(get_preset("qwen3-1.7b-vllm")))
        wait_until_healthy(prefect)
        stack.enter_context(reporting_to(prefect))
        stack.enter_context(run_worker(prefect))
        save_blocks(places)
        register_deployments(DEPLOYMENTS)
        yield Site(prefect.url, servers.hub)


@pytest.fixture(scope="module")
def browser(chromium: str, site: str) -> Iterator[Browser]:
    """A Chromium without a window.

    Playwright keeps an event loop running in this process, in which `asyncio.run` is refused: the servers are up before
    it starts, and it ends with the file.
    """
    with sync_playwright() as playwright:
        # Chromium's own sandbox needs rights that root in a container has not; only this machine's pages are opened.
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def ui(browser: Browser, site: str, request: pytest.FixtureRequest) -> Iterator[Ui]:
    """The UI in a fresh window. A problem that the page reports fails the test.

    But for Prefect's graph of a run, which goes on drawing when the page is left.
    """
    context = browser.new_context(viewport={"width": 1400, "height": 900}, color_scheme="dark")
    context.set_default_timeout(SECONDS * 1000)
    expect.set_options(timeout=SECONDS * 1000)
    # The UI calls a host for analytics, and others for news: nothing but this server is asked.
    context.route(lambda url: not url.startswith(site), lambda route: route.abort())
    page: Page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield Ui(page, site, request.config.getoption("--pictures", default=None))
    context.close()
    assert [problem for problem in problems if not problem.endswith(UNDRAWN)] == []
