"""Logs, and the many ways in which there are none."""

import json
from pathlib import Path

import pytest
from scripted_api import Answer, Streamed, scripted_api, status

from kube.logs import follow_logs, logs
from serving.errors import ClusterError

RECORDED = {
    entry["name"]: Answer(entry["status"], entry["body"])
    for entry in json.loads((Path(__file__).parents[1] / "data" / "kube" / "refusals.json").read_text())
    if entry["topic"] in {"logs", "auth"}
}
NODE_DOWN = status(
    500,
    'Get "https://10.99.1.1:10250/containerLogs/inference/chat/vllm?tailLines=60": dial tcp 10.99.1.1:10250: connect: '
    "connection refused",
)


def test_the_text_and_what_was_asked_for() -> None:
    with scripted_api(lambda _: Answer(200, "zwölf\n".encode() + b"\xff", {"Content-Type": "text/plain"})) as api:
        text = logs(
            api.cluster, "inference", "chat", "vllm", previous=True, tail_lines=2, since_seconds=9, timestamps=True
        )
        asked = api.asked[0]
    assert text == "zwölf\n\N{REPLACEMENT CHARACTER}"
    assert asked.path == "/api/v1/namespaces/inference/pods/chat/log"
    assert {key: value for key, value in asked.query.items() if key != "limitBytes"} == {
        "container": "vllm",
        "previous": "true",
        "tailLines": "2",
        "sinceSeconds": "9",
        "timestamps": "true",
    }


@pytest.mark.parametrize(
    "answer",
    [
        Answer(204, b""),
        RECORDED["waiting: image pull"],
        RECORDED["main container while the init container runs"],
        RECORDED["previous of a container that never restarted"],
    ],
    ids=["not scheduled", "image pull", "init container runs", "no previous run"],
)
def test_a_container_that_has_not_started_has_an_empty_log(answer: Answer) -> None:
    with scripted_api(lambda _: answer) as api:
        assert logs(api.cluster, "inference", "chat") == ""


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        (RECORDED["two containers, none named"], "logs.container", "Name one of vllm, sidecar."),
        (RECORDED["missing pod"], "cluster.not_found", 'pods "zzz" not found'),
        (RECORDED["container unknown"], "cluster.invalid", "container nope is not valid"),
        (RECORDED["with a role: pods/log still 403"], "cluster.forbidden", "get pods/log"),
        (NODE_DOWN, "logs.node", "its node does not answer"),
    ],
)
def test_a_refusal(answer: Answer, code: str, says: str) -> None:
    with scripted_api(lambda _: answer) as api:
        with pytest.raises(ClusterError) as caught:
            logs(api.cluster, "inference", "chat")
        assert len(api.asked) == 1
        assert caught.value.code == code
        assert says in str(caught.value)
        with pytest.raises(ClusterError, match="log of pod inference/chat"):
            list(follow_logs(api.cluster, "inference", "chat"))


def test_following_gives_lines_until_the_end() -> None:
    with scripted_api(lambda _: Streamed([b"one\ntw", b"o\n", b"three"])) as api:
        assert list(follow_logs(api.cluster, "inference", "chat", "vllm")) == ["one", "two", "three"]
        assert api.asked[0].query == {"follow": "true", "container": "vllm"}


def test_following_what_has_not_started_ends_at_once() -> None:
    with scripted_api(lambda _: RECORDED["waiting: image pull"]) as api:
        assert list(follow_logs(api.cluster, "inference", "chat")) == []
