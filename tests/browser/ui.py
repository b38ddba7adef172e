"""Prefect's UI as a person uses it."""

import json
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Locator, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

RUN_SECONDS = 400
BUSY = 503
"""What the server answers while SQLite is locked, and the UI asks to try again."""


@dataclass(frozen=True)
class Ui:
    """One window of the UI.

    Attributes:
        page: What is open.
        address: Where the UI is.
        pictures: Folder for the documentation's pictures; None to take none.
    """

    page: Page
    address: str
    pictures: Path | None = None

    def api(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """What the server's API answers; asked again while its database is busy, as Prefect's client does."""
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": "application/json"}
        with httpx.Client(base_url=f"{self.address}/api/", headers=headers, timeout=60) as client:
            for pause in (1, 2, 4, 8, 16, 0):
                answer = client.request("POST" if data else "GET", path, content=data)
                if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    break
                time.sleep(pause)
        return answer.raise_for_status().json()

    def start(self, deployment: str, **parameters: Any) -> str:
        """Starts a run as `prefect deployment run` does; returns its id."""
        found = self.api(f"deployments/name/{deployment}")
        run = self.api(f"deployments/{found['id']}/create_flow_run", {"parameters": parameters})
        return str(run["id"])

    def run_of(self, run: str) -> dict[str, Any]:
        """A run as the API has it."""
        found: dict[str, Any] = self.api(f"flow_runs/{run}")
        return found

    # Deployments and their forms

    def find_deployment(self, name: str) -> None:
        """Opens a deployment's page from the list of all, which is searched."""
        self.page.goto(f"{self.address}/deployments")
        self.page.get_by_role("searchbox").fill(name)
        self.page.get_by_role("link", name=name, exact=True).click()
        expect(self._run_button).to_be_visible()

    def open_form(self) -> None:
        """Opens the run form from the deployment's page."""
        self._run_button.click()
        self.page.get_by_text("Custom run").click()
        expect(self.submit_button).to_be_visible()

    def open_form_of(self, deployment: str) -> None:
        """Opens the run form of ``flow/deployment`` by its address."""
        found = self.api(f"deployments/name/{deployment}")
        self.page.goto(f"{self.address}/deployments/deployment/{found['id']}/run")
        expect(self.submit_button).to_be_visible()

    @property
    def _run_button(self) -> Locator:
        return self.page.get_by_role("button", name="Run", exact=True)

    @property
    def submit_button(self) -> Locator:
        """The form's button."""
        return self.page.get_by_role("button", name="Submit")

    def headings(self) -> list[str]:
        """Headings of the form's own fields, in their order, and not of those inside groups."""
        expect(self.page.locator(f"form {FIELD}").first).to_be_visible()
        found = self.page.locator(f"form {FIELD}").evaluate_all(
            "fields => fields.filter(field => !field.parentElement.closest('.schema-form-property'))"
            ".map(field => field.querySelector('.schema-form-property__label').textContent)"
        )
        return [str(text).removesuffix(" (Optional)") for text in found]

    def field(self, *headings: str, inside: str = "//form") -> Locator:
        """A field of the form, by the headings that lead to it; inside a dialog the form is no form."""
        # XPath: the browser's own engine, which does not mind a hundred fields.
        path = inside
        for heading in headings:
            text = f"normalize-space()='{heading}' or normalize-space()='{heading} (Optional)'"
            label = f"{_of('span', 'schema-form-property__label')}[{text}]"
            path += f"//{_of('div', 'schema-form-property')}[./{_of('div', 'p-label__header')}//{label}]"
        return self.page.locator(f"xpath={path}")

    def fill(self, value: str, *headings: str) -> None:
        """Types into a field."""
        self.field(*headings).locator("textarea, input").fill(value)

    def choose(self, value: str, *headings: str) -> None:
        """Chooses from a select by typing what is wanted."""
        self.field(*headings).locator("button.p-select-button__control").press("ArrowDown")
        self.page.locator("input.p-combobox__text-input, .p-combobox__text-input input").last.fill(value)
        option = self.page.locator(".p-select-option").get_by_text(value, exact=True)
        option.click()
        expect(self.chosen(*headings)).to_have_text(value)

    def chosen(self, *headings: str) -> Locator:
        """What a select shows."""
        return self.field(*headings).locator(".p-select-button__value")

    def add_item(self, value: str, *headings: str) -> None:
        """Adds a row to a list."""
        field = self.field(*headings)
        field.get_by_role("button", name="Add item").click()
        field.locator("textarea").last.fill(value)

    def submit(self) -> str:
        """Starts the run, and opens its page.

        Returns:
            The run's id.
        """
        while True:
            with self.page.expect_response(lambda answer: "create_flow_run" in answer.url) as answer:
                self.submit_button.click()
            if answer.value.status != BUSY:
                break
            self.page.wait_for_timeout(1000)
        body = answer.value.json()
        assert answer.value.ok, body
        self.open_run(body["id"])
        return str(body["id"])

    # Runs

    def open_run(self, run: str) -> None:
        """Opens a run's page."""
        self.page.goto(f"{self.address}/runs/flow-run/{run}")
        expect(self.state).to_be_visible()

    @property
    def state(self) -> Locator:
        """The badge beside the open run's name."""
        return self.page.locator(".state-badge").first

    def wait_for_state(self, name: str) -> None:
        """Watches the open run's page until it shows a state that does not change by itself."""
        final = re.compile("Completed|Failed|Crashed|Cancelled|Suspended|Paused")
        expect(self.state).to_have_text(final, timeout=1000 * RUN_SECONDS)
        expect(self.state).to_have_text(name)

    # Runs that wait for an answer

    def open_answer(self) -> Locator:
        """Opens the form of the open run, which waits for it.

        Returns:
            The dialog.
        """
        self.page.get_by_role("button", name="Resume", exact=True).click()
        dialog = self.page.get_by_role("dialog")
        expect(dialog.locator(FIELD).first).to_be_visible()
        return dialog

    def answer_field(self, heading: str) -> Locator:
        """A field of the open dialog."""
        return self.field(heading, inside="//div[@role='dialog']")

    def answer(self) -> None:
        """Sends the open dialog's answer, and waits until the run no longer waits for it."""
        while True:
            with self.page.expect_response(lambda answer: answer.url.endswith("/resume")) as answer:
                self.page.get_by_role("dialog").get_by_role("button", name="Submit").click()
            if answer.value.status != BUSY:
                break
            self.page.wait_for_timeout(1000)
        assert answer.value.ok, answer.value.text()
        expect(self.page.get_by_role("dialog")).to_have_count(0)
        expect(self.state).not_to_have_text("Suspended")

    def open_tab(self, name: str) -> None:
        """Opens one of the tabs below the run."""
        self.page.locator(".p-tab:visible", has_text=name).click()

    def open_subflow(self, name: str) -> None:
        """Opens a run that the open one started."""
        self.open_tab("Subflow Runs")
        self.page.locator(".flow-run-bread-crumbs__flow-run-link:visible", has_text=name).first.click()
        expect(self.page.get_by_text("Parent Run")).to_be_visible()

    def open_artifact(self, key: str) -> Locator:
        """Opens the newest artifact of this key from the open run's tab.

        Returns:
            Its text.
        """
        self.open_tab("Artifacts")
        card = self.page.locator(".artifact-card", has=self.page.get_by_text(key, exact=True)).first
        deadline = time.monotonic() + RUN_SECONDS
        text = self.page.locator(".artifact-data-markdown")
        while not text.is_visible() and time.monotonic() < deadline:
            # Those of the run's tasks are loaded when their place comes into view, and the list is drawn anew.
            self.page.mouse.move(700, 700)
            self.page.mouse.wheel(0, 2000)
            self.page.wait_for_timeout(500)
            with suppress(PlaywrightTimeoutError):
                if card.is_visible():
                    card.click(timeout=3000)
                    text.wait_for(timeout=10_000)
        return text

    def picture(self, name: str, *, dialog: bool = False) -> None:
        """Takes a picture for the documentation, if these are wanted; an open dialog stays as it is."""
        if self.pictures is not None:
            if not dialog:
                self.page.evaluate("document.activeElement?.blur(); document.querySelector('form')?.scrollIntoView()")
                self.page.mouse.wheel(0, -100_000)
            self.page.wait_for_timeout(2000)  # what is drawn in steps: graphs, lists
            self.page.screenshot(path=self.pictures / f"{name}.png")


FIELD = ".schema-form-property"


def _of(tag: str, name: str) -> str:
    """XPath of an element with this class."""
    return f"{tag}[contains(concat(' ', @class, ' '), ' {name} ')]"
