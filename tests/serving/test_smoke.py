import json
from typing import Any

import pytest

from serving.smoke import (
    CHAT,
    COMPLETIONS,
    SmokeExpectation,
    SmokeReport,
    SmokeRequest,
    SmokeResponse,
    judge,
    next_request,
)

MODEL = "org/name"
EXPECTATION = SmokeExpectation(model=MODEL)
MODELS_BODY = {"object": "list", "data": [{"id": MODEL, "object": "model"}]}
CHAT_BODY = {
    "model": MODEL,
    "choices": [{"message": {"role": "assistant", "content": "Paris."}}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15},
}
COMPLETION_BODY = {"model": MODEL, "choices": [{"text": " Paris"}], "usage": {"completion_tokens": 2}}


def converse(answers: dict[str, tuple[int, Any]], expectation: SmokeExpectation = EXPECTATION) -> SmokeReport:
    """Plays an endpoint that answers each path as given."""
    responses: list[SmokeResponse] = []
    while request := next_request(expectation, responses):
        status, body = answers.get(request.path, (404, {"detail": "Not Found"}))
        text = body if isinstance(body, str) else json.dumps(body)
        responses.append(SmokeResponse(request, status, text, seconds=0.5))
        assert len(responses) < 5
    return judge(expectation, responses)


def good(**changes: Any) -> dict[str, tuple[int, Any]]:
    return {"/v1/models": (200, MODELS_BODY), CHAT: (200, CHAT_BODY | changes)}


def test_a_good_chat_passes_with_its_answer_and_usage() -> None:
    report = converse(good())
    assert report.passed
    assert (report.api, report.model, report.answer, report.seconds) == (CHAT, MODEL, "Paris.", 0.5)
    assert report.usage["completion_tokens"] == 3


@pytest.mark.parametrize(
    "refusal",
    [
        (400, {"error": {"message": "As of transformers v4.44, default chat template is no longer allowed"}}),
        (404, {"detail": "Not Found"}),
    ],
)
def test_a_base_model_is_asked_to_complete_instead(refusal: tuple[int, Any]) -> None:
    report = converse({"/v1/models": (200, MODELS_BODY), CHAT: refusal, COMPLETIONS: (200, COMPLETION_BODY)})
    assert report.passed, report.problems
    assert (report.api, report.answer) == (COMPLETIONS, " Paris")


def test_thoughts_count_when_a_reasoning_model_has_no_tokens_left() -> None:
    choices = [{"message": {"content": None, "reasoning_content": "The user asks for"}}]
    assert converse(good(choices=choices)).passed


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (
            {**good(), "/v1/models": (200, {"data": [{"id": "chat"}]})},
            "org/name should be served, the endpoint lists chat",
        ),
        ({**good(), "/v1/models": (200, {"data": []})}, "the endpoint lists nothing"),
        (good(model="other/model"), "model org/name was asked, other/model answered"),
        (good(choices=[{"message": {"content": "   "}}]), "the answer is empty"),
        (good(choices=[]), "the answer is empty"),
        (good(choices=[{"message": {"content": EXPECTATION.prompt}}]), "the answer is the prompt itself"),
        (good(usage=None), "usage counts no completion tokens"),
        ({**good(), CHAT: (200, {"error": {"message": "engine dead"}})}, "HTTP 200 with an error inside"),
        ({**good(), CHAT: (200, {"object": "error", "message": "boom"})}, "boom"),
        ({**good(), CHAT: (200, "<html>")}, "not JSON: <html>"),
        ({**good(), CHAT: (500, "Internal Server Error")}, "HTTP 500: Internal Server Error"),
        ({**good(), CHAT: (0, "connection refused")}, "no answer: connection refused"),
        (
            {**good(), CHAT: (404, {"message": "The model `org/name` does not exist."})},
            'HTTP 404: {"message": "The model `org/name` does not exist."}',
        ),
    ],
)
def test_a_wrong_answer_fails_and_says_what_came(answers: dict[str, tuple[int, Any]], said: str) -> None:
    report = converse(answers)
    assert not report.passed
    assert any(said in problem for problem in report.problems), report.problems


def test_expected_text_and_time_are_held_to() -> None:
    assert converse(good(), SmokeExpectation(model=MODEL, expect="(?i)paris")).passed
    assert "should match 'London', it is 'Paris.'" in str(
        converse(good(), SmokeExpectation(model=MODEL, expect="London")).problems
    )
    assert "took 0.5 s, allowed are 0.1 s" in str(
        converse(good(), SmokeExpectation(model=MODEL, max_seconds=0.1)).problems
    )


def test_an_endpoint_that_was_never_asked_does_not_pass() -> None:
    assert not judge(EXPECTATION, []).passed
    models_only = [SmokeResponse(SmokeRequest("GET", "/v1/models"), 200, json.dumps(MODELS_BODY), 0.1)]
    assert "never answered" in str(judge(EXPECTATION, models_only).problems)
