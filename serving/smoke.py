"""Smoke tests: the requests that prove an endpoint, and the judgement of its answers. Pure: sends nothing itself.

A test is a conversation: `next_request` says what to ask, given the answers so far, until it returns None; then
`judge` reads all answers.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DEFAULT_PROMPT = "What is the capital of France? Answer in one sentence."
SHOWN = 200


@dataclass(frozen=True)
class SmokeExpectation:
    """What is asked, and what the answer must be like.

    Attributes:
        model: Name under which the endpoint must serve.
        expect: Regular expression that the answer must contain; empty: any text will do.
        max_seconds: Longest time for one answer; None: no bound.
    """

    model: str
    prompt: str = DEFAULT_PROMPT
    max_tokens: int = 64
    expect: str = ""
    max_seconds: float | None = None


@dataclass(frozen=True)
class SmokeRequest:
    """One HTTP request to the endpoint."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class SmokeResponse:
    """What came back.

    Attributes:
        status: HTTP status; 0 if no answer came, with the reason in `body`.
        body: Body as text.
    """

    request: SmokeRequest
    status: int
    body: str
    seconds: float


@dataclass(frozen=True)
class SmokeReport:
    """The judgement.

    Attributes:
        passed: Whether there are no problems.
        api: Route that answered the prompt.
        model: Name that the answer carries.
        usage: Token counts of the answer.
        seconds: Time of the answer to the prompt.
        problems: One sentence each: what was expected and what came.
    """

    passed: bool
    api: str
    model: str
    prompt: str
    answer: str
    seconds: float
    usage: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


MODELS = SmokeRequest("GET", "/v1/models")
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"


def next_request(expectation: SmokeExpectation, responses: Sequence[SmokeResponse]) -> SmokeRequest | None:
    """Returns what to ask next, given the answers so far; None when the conversation is over.

    The models list first, then a chat; a model without chat template refuses that with 400 (or has no such route) and
    is asked to complete the prompt instead.
    """
    if not responses:
        return MODELS
    last = responses[-1]
    if last.request.path == MODELS.path:
        messages = [{"role": "user", "content": expectation.prompt}]
        return SmokeRequest("POST", CHAT, _common(expectation) | {"messages": messages})
    if last.request.path == CHAT and _cannot_chat(last):
        return SmokeRequest("POST", COMPLETIONS, _common(expectation) | {"prompt": expectation.prompt})
    return None


def judge(expectation: SmokeExpectation, responses: Sequence[SmokeResponse]) -> SmokeReport:
    """Judges the answers to `next_request`'s requests."""
    problems: list[str] = []
    answered: SmokeResponse | None = None
    for response in responses:
        if response.request.path == MODELS.path:
            problems += _models_problems(expectation, response)
        else:
            answered = response
    if answered is None:
        return SmokeReport(
            passed=False,
            api="",
            model="",
            prompt=expectation.prompt,
            answer="",
            seconds=0.0,
            problems=(*problems, "the prompt was never answered"),
        )
    document, faults = _document(answered)
    answer, model = "", ""
    usage: dict[str, int] = {}
    if not faults:
        answer, usage, model = _answer(answered.request.path, document)
        faults = _answer_problems(expectation, answered, answer, usage, model)
    problems += faults
    return SmokeReport(
        passed=not problems,
        api=answered.request.path,
        model=model,
        prompt=expectation.prompt,
        answer=answer,
        seconds=answered.seconds,
        usage=usage,
        problems=tuple(problems),
    )


def _common(expectation: SmokeExpectation) -> dict[str, Any]:
    return {"model": expectation.model, "max_tokens": expectation.max_tokens, "temperature": 0}


def _cannot_chat(response: SmokeResponse) -> bool:
    if response.status == 400:
        return "template" in response.body.lower() or "chat" in response.body.lower()
    return response.status in (404, 405) and "does not exist" not in response.body


def _models_problems(expectation: SmokeExpectation, response: SmokeResponse) -> list[str]:
    document, faults = _document(response)
    if faults:
        return faults
    entries = document.get("data")
    names = [str(entry.get("id")) for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    if expectation.model not in names:
        listed = ", ".join(names) or f"nothing ({_short(response.body)})"
        return [f"GET {MODELS.path}: {expectation.model} should be served, the endpoint lists {listed}"]
    return []


def _document(response: SmokeResponse) -> tuple[dict[str, Any], list[str]]:
    """Returns the JSON object of a good answer, or why it is none: an error in a 200 body counts as an error."""
    where = f"{response.request.method} {response.request.path}"
    if response.status == 0:
        return {}, [f"{where}: no answer: {_short(response.body)}"]
    if response.status != 200:
        return {}, [f"{where}: HTTP {response.status}: {_short(response.body)}"]
    try:
        document = json.loads(response.body)
    except ValueError:
        return {}, [f"{where}: the answer is not JSON: {_short(response.body)}"]
    if not isinstance(document, dict):
        return {}, [f"{where}: the answer is not a JSON object: {_short(response.body)}"]
    if document.get("error") or document.get("object") == "error":
        return {}, [f"{where}: HTTP 200 with an error inside: {_short(response.body)}"]
    return document, []


def _answer(path: str, document: Mapping[str, Any]) -> tuple[str, dict[str, int], str]:
    choices = document.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    if path == CHAT:
        said = first.get("message")
        message: Mapping[str, Any] = said if isinstance(said, dict) else {}
        # A reasoning model may spend all its tokens before it says a word: its thoughts prove that it works.
        text = message.get("content") or message.get("reasoning_content") or message.get("reasoning") or ""
    else:
        text = first.get("text") or ""
    counts = document.get("usage")
    usage = {str(k): v for k, v in counts.items() if isinstance(v, int)} if isinstance(counts, dict) else {}
    return str(text), usage, str(document.get("model") or "")


def _answer_problems(
    expectation: SmokeExpectation, response: SmokeResponse, answer: str, usage: Mapping[str, int], model: str
) -> list[str]:
    where = f"{response.request.method} {response.request.path}"
    found = []
    if model != expectation.model:
        found.append(f"{where}: model {expectation.model} was asked, {model or 'no model'} answered")
    if not answer.strip():
        found.append(f"{where}: the answer is empty: {_short(response.body)}")
    elif answer.strip() == expectation.prompt.strip():
        found.append(f"{where}: the answer is the prompt itself")
    elif expectation.expect and not re.search(expectation.expect, answer):
        found.append(f"{where}: the answer should match {expectation.expect!r}, it is {_short(answer)!r}")
    if answer.strip() and usage.get("completion_tokens", 0) < 1:
        found.append(f"{where}: usage counts no completion tokens: {dict(usage)}")
    if expectation.max_seconds is not None and response.seconds > expectation.max_seconds:
        found.append(f"{where}: took {response.seconds:.1f} s, allowed are {expectation.max_seconds:.1f} s")
    return found


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= SHOWN else flat[: SHOWN - 1] + "…"
