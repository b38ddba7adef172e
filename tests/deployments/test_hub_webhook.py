"""The Hub's own calls, as its documentation shows them, become events; what is forged or of no concern does not."""

import json
from copy import deepcopy
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prefect.events import Event

from deployments.automations import REPO_UPDATED
from deployments.hub_webhook import PATH, main, receiver

SECRET = "marked-webhook-secret"
COMMIT, BEFORE = "1" * 40, "0" * 40
PUSHED: dict[str, Any] = {
    "event": {"action": "update", "scope": "repo.content"},
    "repo": {
        "type": "model",
        "name": "openai-community/gpt2",
        "id": "621ffdc036468d709f17434d",
        "private": False,
        "url": {
            "web": "https://huggingface.co/openai-community/gpt2",
            "api": "https://huggingface.co/api/models/openai-community/gpt2",
        },
        "headSha": COMMIT,
        "owner": {"id": "628b753283ef59b5be89e937"},
    },
    "updatedRefs": [{"ref": "refs/heads/main", "oldSha": BEFORE, "newSha": COMMIT}],
    "webhook": {"id": "6390e855e30d9209411de93b", "version": 3},
}
DISCUSSED = {
    **PUSHED,
    "event": {"action": "create", "scope": "discussion"},
    "updatedRefs": None,
    "discussion": {
        "id": "6399f58518721fdd27fc9ca9",
        "title": "Update co2 emissions",
        "url": {
            "web": "https://huggingface.co/openai-community/gpt2/discussions/19",
            "api": "https://huggingface.co/api/models/openai-community/gpt2/discussions/19",
        },
        "status": "open",
        "author": {"id": "61d2f90c3c2083e1c08af22d"},
        "num": 19,
        "isPullRequest": True,
        "changes": {"base": "refs/heads/main"},
    },
}


def changed(**fields: Any) -> dict[str, Any]:
    payload = deepcopy(PUSHED)
    for path, value in fields.items():
        *above, last = path.split("__")
        place = payload
        for name in above:
            place = place[name]
        place[last] = value
    return payload


class Hub:
    """What calls, and what became of it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.broken = False

        async def send(event: Event) -> None:
            if self.broken:
                raise ConnectionError(f"no server; {SECRET}")
            self.events.append(event)

        self.client = TestClient(receiver(SECRET, send))

    def call(self, payload: Any, secret: str = SECRET) -> tuple[int, str]:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        answer = self.client.post(PATH, content=body, headers={"X-Webhook-Secret": secret} if secret else {})
        return answer.status_code, answer.text


@pytest.fixture
def hub() -> Hub:
    return Hub()


def test_a_push_to_a_branch_becomes_the_event_that_starts_a_refresh(hub: Hub) -> None:
    assert hub.call(PUSHED) == (202, '"Told: openai-community/gpt2"')
    [event] = hub.events
    assert event.event == REPO_UPDATED
    assert event.resource.id == "huggingface.repo.openai-community/gpt2"
    refs = [{"ref": "refs/heads/main", "old": BEFORE, "new": COMMIT}]
    assert event.payload == {"repo_id": "openai-community/gpt2", "refs": refs}


@pytest.mark.parametrize(
    "payload",
    [
        DISCUSSED,
        changed(repo__type="dataset"),
        changed(event={"action": "update", "scope": "repo.config"}, updatedRefs=None),
        changed(updatedRefs=[{"ref": "refs/pr/19", "oldSha": None, "newSha": COMMIT}]),
    ],
    ids=["discussion", "dataset", "settings", "pull request"],
)
def test_what_moves_no_branch_of_a_model_starts_nothing(hub: Hub, payload: dict[str, Any]) -> None:
    status, said = hub.call(payload)
    assert status == 202
    assert "Nothing to do" in said
    assert hub.events == []


@pytest.mark.parametrize("secret", ["", "another-secret", SECRET + "x"])
def test_a_call_without_the_secret_is_refused(hub: Hub, secret: str) -> None:
    status, said = hub.call(PUSHED, secret)
    assert (status, hub.events) == (401, [])
    assert SECRET not in said


@pytest.mark.parametrize(
    ("payload", "status", "named"),
    [(b"{", 400, "payload"), (changed(webhook__version=2), 400, "webhook.version"), (b" " * 1_000_001, 413, "bytes")],
)
def test_what_is_no_payload_is_named(hub: Hub, payload: Any, status: int, named: str) -> None:
    answered, said = hub.call(payload)
    assert (answered, hub.events) == (status, [])
    assert named in said


def test_a_server_that_is_away_is_told_to_the_hub(hub: Hub) -> None:
    hub.broken = True
    status, said = hub.call(PUSHED)
    assert status == 502
    assert "ConnectionError" in said
    assert SECRET not in said


def test_it_does_not_start_without_a_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HUB_WEBHOOK_SECRET", raising=False)
    assert main([]) == 1
    assert "HUB_WEBHOOK_SECRET" in capsys.readouterr().err
