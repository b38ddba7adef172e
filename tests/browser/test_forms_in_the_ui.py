"""The UI in a real browser: forms are filled in, runs watched, reports read. `--pictures FOLDER` keeps pictures."""

import pytest
from playwright.sync_api import expect
from prefect.utilities.importtools import import_object

from deployments.register import read
from tests.browser.conftest import DEPLOYMENTS
from tests.browser.ui import Ui

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

ENTRIES = {entry["name"]: entry for entry in read() if entry["name"] in DEPLOYMENTS}


def test_a_preset_is_deployed_from_its_form_and_its_report_is_read(ui: Ui) -> None:
    ui.find_deployment("qwen3-1.7b-vllm")
    ui.open_form()
    expect(ui.chosen("Preset")).to_have_text("qwen3-1.7b-vllm")
    for block in ("Cluster", "Hugging Face Hub", "Model store"):
        expect(ui.chosen(block)).to_have_text("default")
    ui.fill("chat", "Overrides", "Endpoint")
    ui.fill("2048", "Overrides", "vLLM", "Maximum model length")
    ui.fill("What is the capital of France?", "Smoke test", "Question")
    ui.picture("form")
    run = ui.submit()
    ui.wait_for_state("Completed")
    sent = ui.run_of(run)["parameters"]
    assert sent["overrides"]["name"] == "chat"
    assert sent["overrides"]["engine"] == {"max_model_len": 2048}
    ui.open_subflow("deploy chat")
    ui.picture("run")
    report = ui.open_artifact("endpoint-chat")
    expect(report).to_contain_text("Qwen/Qwen3-1.7B")
    expect(report).to_contain_text("What is the capital of France?")
    ui.picture("report")


def test_a_failing_run_says_why_and_what_to_do(ui: Ui) -> None:
    ui.open_form_of("deploy-model/any-preset")
    ui.choose("llama-32-1b-vllm", "Preset")
    ui.fill("broken", "Overrides", "Endpoint")
    ui.add_item("--no-such-argument", "Overrides", "vLLM", "Extra arguments")
    run = ui.submit()
    ui.wait_for_state("Failed")
    message = ui.run_of(run)["state"]["message"]
    assert "--no-such-argument" in message
    ui.open_tab("Logs")
    expect(ui.page.locator("body")).to_contain_text("--no-such-argument")
    ui.open_subflow("deploy broken")
    diagnosis = ui.open_artifact("endpoint-broken")
    expect(diagnosis).to_contain_text("--no-such-argument")
    expect(diagnosis).to_contain_text("What to do")
    ui.picture("diagnosis")


def test_what_cannot_be_is_told_and_starts_nothing(ui: Ui) -> None:
    ui.open_form_of("deploy-model/any-preset")
    before = ui.api("flow_runs/count", {})
    ui.submit_button.click()
    expect(ui.field("Preset")).to_contain_text("is a required property")
    ui.choose("llama-32-1b-vllm", "Preset")
    ui.fill("0", "Overrides", "Replicas")
    ui.submit_button.click()
    expect(ui.page.get_by_text("0 is less than the minimum of 1").first).to_be_visible()
    assert ui.api("flow_runs/count", {}) == before


@pytest.mark.parametrize("name", sorted(set(DEPLOYMENTS) - {"qwen3-1.7b-vllm"}))
def test_every_form_shows_its_fields_in_order_with_its_blocks_chosen(name: str, ui: Ui) -> None:
    flow = import_object(ENTRIES[name]["entrypoint"])
    ui.open_form_of(f"{flow.name}/{name}")
    schema = flow.parameters.model_dump(mode="json")
    fields = [
        schema["definitions"].get(field.get("$ref", "").rpartition("/")[2], {}) | field
        for field in schema["properties"].values()
    ]
    assert ui.headings() == [field["title"] for field in fields]
    for field in fields:
        if "block_type_slug" in field:
            expect(ui.chosen(field["title"])).to_have_text("default")
    expect(ui.page.get_by_text('Property is type "None"')).to_have_count(0)
