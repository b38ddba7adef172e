"""The UI in a real browser: forms are filled in, runs watched, reports read. `--pictures FOLDER` keeps pictures."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect
from prefect.utilities.importtools import import_object

from deployments.register import read
from sandbox.tiny_models import add_revision
from tests.browser.conftest import DEPLOYMENTS, Site
from tests.browser.ui import Ui

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]

REPO = "NousResearch/Llama-3.2-1B"
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


def test_a_person_approves_a_new_commit(ui: Ui, place: Site, tmp_path: Path) -> None:
    if place.hub is None:
        pytest.skip("the Hub's branch can be moved only where this test started the Hub")
    fast = {"pod": {"drain_seconds": 0}, "rollout": {"retire_after": 0}}
    overrides = {"name": "ask", "refresh": {"approval": True}, **fast}
    ui.open_run(ui.start("deploy-model/any-preset", preset="llama-32-1b-vllm", overrides=overrides))
    ui.wait_for_state("Completed")
    old = place.hub.content[REPO].branches["main"]
    new = add_revision(place.hub.content, REPO, cache=tmp_path, seed=5, size=300_000)
    ui.open_run(ui.start("refresh-models/refresh-models", repo_id=REPO))
    ui.wait_for_state("Completed")

    [waits] = ui.api("flow_runs/filter", {"flow_runs": {"tags": {"all_": [f"commit:{new}"]}}})
    ui.open_run(waits["id"])
    ui.wait_for_state("Suspended")
    dialog = ui.open_answer()
    expect(dialog).to_contain_text("May inference/ask move?")
    for shown in (old[:12], new[:12], "model.safetensors", "To move from the Hub:"):
        expect(dialog).to_contain_text(shown)
    card = dialog.get_by_role("link", name="What changed in the model card")
    expect(card).to_have_attribute("href", re.compile("^" + re.escape(f"{place.address}/artifacts/artifact/")))
    ui.answer_field("Approve").get_by_role("switch").click()
    ui.answer_field("Your name").locator("textarea, input").fill("Ada")
    ui.picture("approval", dialog=True)
    ui.answer()
    ui.wait_for_state("Completed")
    ui.open_run(waits["id"])
    expect(ui.open_artifact("endpoint-ask")).to_contain_text(new[:12])


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
