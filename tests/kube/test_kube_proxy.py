"""The API server's proxy: its own errors and the backend's are told apart."""

import json
from pathlib import Path

import pytest
from scripted_api import TOKEN, Answer, Asked, Broken, Streamed, scripted_api

from kube.proxy import request, stream
from serving.errors import ClusterError

RECORDED = {
    entry["name"]: entry
    for entry in json.loads((Path(__file__).parents[1] / "data" / "kube" / "refusals.json").read_text())
    if entry["topic"] in {"service_proxy", "auth"}
}


def recorded(name: str) -> Answer:
    return Answer(RECORDED[name]["status"], RECORDED[name]["body"])


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("no endpoints: nothing matches", "proxy.no_endpoints", "no pod of it is ready"),
        ("no ready endpoints: pod runs, not ready", "proxy.no_endpoints", "kubernetes.io/service-name=chat"),
        ("unknown port name", "proxy.no_endpoints", "or it has no such port"),
        ("ready endpoint, nobody listens on targetPort", "proxy.refused", "Service's targetPort"),
        ("https to an http backend", "proxy.unreachable", "scheme"),
        ("unknown service", "proxy.service_missing", "no such Service"),
        ("403 service proxy POST", "cluster.forbidden", "services/proxy"),
        ("401 bad token", "cluster.unauthorized", "credentials"),
    ],
)
def test_the_proxys_own_errors(name: str, code: str, says: str) -> None:
    with scripted_api(lambda _: recorded(name)) as api:
        with pytest.raises(ClusterError) as caught:
            request(api.cluster, "POST", "inference", "chat", "http", "/v1/chat/completions", json={})
        with pytest.raises(ClusterError) as streamed, stream(api.cluster, "GET", "inference", "chat", 80, "/health"):
            pass
        assert len(api.asked) == 2
    assert caught.value.code == streamed.value.code == code
    assert says in str(caught.value)


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_the_backends_own_errors_are_answers(status: int) -> None:
    body = {"error": {"message": "The model `x` does not exist.", "code": status}}
    with scripted_api(lambda _: Answer(status, body)) as api:
        response = request(api.cluster, "GET", "inference", "chat", 8000, "/v1/models")
        assert (response.status, response.json()) == (status, body)
        with stream(api.cluster, "GET", "inference", "chat", 8000, "/v1/models") as streamed:
            assert streamed.status == status
            assert json.loads("".join(streamed.lines)) == body
        assert len(api.asked) == 2


def test_what_the_backend_gets() -> None:
    with scripted_api(lambda _: Answer(200, b"pong", {"X-Own": "1"})) as api:
        response = request(
            api.cluster,
            "POST",
            "inference",
            "chat",
            "http",
            "/v1/a b?/c",
            json={"model": "m"},
            query={"stream": True},
            headers={"X-Asked": "2"},
        )
        asked = api.asked[0]
    assert (response.text, response.headers["x-own"]) == ("pong", "1")
    assert asked.path == "/api/v1/namespaces/inference/services/http:chat:http/proxy/v1/a%20b%3F/c"
    assert asked.query == {"stream": "true"}
    assert json.loads(asked.body) == {"model": "m"}
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["x-asked"] == "2"


def test_raw_bytes_and_https_backends() -> None:
    with scripted_api(lambda _: Answer()) as api:
        request(api.cluster, "POST", "inference", "chat", 443, "/", body=b"\x00\x01", scheme="https")
        asked = api.asked[0]
    assert asked.path == "/api/v1/namespaces/inference/services/https:chat:443/proxy/"
    assert asked.body == b"\x00\x01"
    assert asked.headers["content-type"] == "application/octet-stream"


def test_a_redirect_is_an_answer_and_the_token_does_not_follow_it() -> None:
    with scripted_api(lambda _: Answer(307, b"", {"Location": "/elsewhere"})) as api:
        assert request(api.cluster, "GET", "inference", "chat", 80, "/").status == 307
        assert len(api.asked) == 1


def test_an_authorization_header_of_ones_own_is_refused() -> None:
    with (
        scripted_api(lambda _: Answer()) as api,
        pytest.raises(ValueError, match="does not pass an Authorization header on"),
    ):
        request(api.cluster, "GET", "inference", "chat", 80, "/", headers={"authorization": "Bearer other"})


def test_tokens_come_as_they_are_made() -> None:
    def parts(_: Asked) -> Streamed:
        return Streamed([b"data: one\r\n", b"\r\ndata: t", b"wo\n\n", b"data: [DONE]"])

    with (
        scripted_api(parts) as api,
        stream(api.cluster, "POST", "inference", "chat", "http", "/v1/completions", json={"stream": True}) as got,
    ):
        assert got.status == 200
        assert next(got.lines) == "data: one"
        assert list(got.lines) == ["", "data: two", "", "data: [DONE]"]


def test_a_post_is_not_repeated_and_a_get_is_only_if_it_was_not_sent() -> None:
    with scripted_api(lambda _: Broken()) as api:
        for method in ("POST", "GET"):
            with pytest.raises(ClusterError) as caught:
                request(api.cluster, method, "inference", "chat", 80, "/")
            assert caught.value.code == "cluster.unreachable"
        assert len(api.asked) == 2
        assert TOKEN not in str(caught.value)


def test_a_stream_that_breaks_says_so() -> None:
    came = []

    def read() -> None:
        with stream(api.cluster, "GET", "inference", "chat", 80, "/") as got:
            for line in got.lines:
                came.append(line)

    with scripted_api(lambda _: Streamed([b"data: one\n"], cut=True)) as api:
        with pytest.raises(ClusterError) as caught:
            read()
        assert came == ["data: one"]
        assert caught.value.code == "cluster.unreachable"
