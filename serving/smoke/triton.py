"""Smoke test of Triton's vLLM backend: server ready, model ready, one generation."""

import json
import re
from collections.abc import Sequence

from serving.smoke.model import (
    SmokeExpectation,
    SmokeReport,
    SmokeRequest,
    SmokeResponse,
    fault,
    short,
    too_slow,
    unanswered,
)

MODEL = "vllm_model"
SERVER_READY = SmokeRequest("GET", "/v2/health/ready")
MODEL_READY = SmokeRequest("GET", f"/v2/models/{MODEL}/ready")
GENERATE = f"/v2/models/{MODEL}/generate"


def next_request(expectation: SmokeExpectation, responses: Sequence[SmokeResponse]) -> SmokeRequest | None:
    """Returns what to ask next; None when the conversation is over."""
    if len(responses) < 2:
        return (SERVER_READY, MODEL_READY)[len(responses)]
    if len(responses) > 2:
        return None
    parameters = {"stream": False, "temperature": 0, "max_tokens": expectation.max_tokens}
    body = {"text_input": expectation.prompt, "parameters": parameters, "exclude_input_in_output": True}
    return SmokeRequest("POST", GENERATE, body)


def judge(expectation: SmokeExpectation, responses: Sequence[SmokeResponse]) -> SmokeReport:
    """Judges the answers to `next_request`'s requests."""
    problems = [wrong for response in responses if (wrong := fault(response))]
    answered = next((response for response in responses if response.request.path == GENERATE), None)
    if answered is None:
        return unanswered(expectation, problems)
    answer, model = "", ""
    if answered.status == 200:
        answer, model, found = _answer(expectation, answered)
        problems += found + too_slow(expectation, answered)
    return SmokeReport(
        passed=not problems,
        api=GENERATE,
        model=model,
        prompt=expectation.prompt,
        answer=answer,
        seconds=answered.seconds,
        problems=tuple(problems),
    )


def _answer(expectation: SmokeExpectation, response: SmokeResponse) -> tuple[str, str, list[str]]:
    where = f"POST {GENERATE}"
    try:
        document = json.loads(response.body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return "", "", [f"{where}: the answer is not a JSON object: {short(response.body)}"]
    if document.get("error"):
        return "", "", [f"{where}: HTTP 200 with an error inside: {short(response.body)}"]
    text = str(document.get("text_output") or "")
    model = str(document.get("model_name") or "")
    # Versions without exclude_input_in_output give the prompt back before the answer.
    answer = text.removeprefix(expectation.prompt)
    problems = []
    if model != MODEL:
        problems.append(f"{where}: model {MODEL} was asked, {model or 'no model'} answered")
    if not answer.strip():
        problems.append(f"{where}: the answer is empty: {short(response.body)}")
    elif expectation.expect and not re.search(expectation.expect, answer):
        problems.append(f"{where}: the answer should match {expectation.expect!r}, it is {short(answer)!r}")
    return answer, model, problems
