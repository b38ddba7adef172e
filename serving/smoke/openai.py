"""Smoke test of the OpenAI API: models list, chat or completions, the same as a stream, metrics; on Ray its routes."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

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

MODELS = SmokeRequest("GET", "/v1/models")
ROUTES = SmokeRequest("GET", "/-/routes")
SHOWN_END = 150
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"


def next_request(expectation: SmokeExpectation, responses: Sequence[SmokeResponse]) -> SmokeRequest | None:
    """Returns what to ask next; None when the conversation is over.

    The models list first, then a chat; a model without chat template refuses that with 400 (or has no such route) and
    is asked to complete the prompt instead. Then, if wanted, the same as a stream, and the metrics.
    """
    asked = [response.request.path for response in responses]
    if expectation.api == "ray" and ROUTES.path not in asked:
        return ROUTES
    if MODELS.path not in asked:
        return MODELS
    if CHAT not in asked:
        return _question(expectation, CHAT)
    if COMPLETIONS not in asked and _cannot_chat(_last(responses, CHAT)):
        return _question(expectation, COMPLETIONS)
    if expectation.streaming and not any(response.request.stream for response in responses):
        plain = _answered(responses)
        if plain is not None and plain.status == 200:
            body = dict(plain.request.body or {}) | {"stream": True, "stream_options": {"include_usage": True}}
            return replace(plain.request, body=body, stream=True)
    if expectation.metrics and expectation.metrics not in asked:
        return SmokeRequest("GET", expectation.metrics)
    return None


def judge(expectation: SmokeExpectation, responses: Sequence[SmokeResponse]) -> SmokeReport:
    """Judges the answers to `next_request`'s requests."""
    problems: list[str] = []
    for response in responses:
        path = response.request.path
        if path == ROUTES.path:
            problems += _routes_problems(response)
        elif path == MODELS.path:
            problems += _models_problems(expectation, response)
        elif path == expectation.metrics and (wrong := fault(response)):
            problems.append(wrong)
    answered = _answered(responses)
    if answered is None:
        return unanswered(expectation, problems)
    document, faults = _document(answered)
    answer, model = "", ""
    usage: dict[str, int] = {}
    if not faults:
        answer, usage, model = _answer(answered.request.path, document)
        faults = _answer_problems(expectation, answered, answer, usage, model)
    problems += faults
    report = SmokeReport(
        passed=not problems,
        api=answered.request.path,
        model=model,
        prompt=expectation.prompt,
        answer=answer,
        seconds=answered.seconds,
        usage=usage,
        problems=tuple(problems),
    )
    streamed = next((response for response in responses if response.request.stream), None)
    return report if streamed is None else _with_stream(expectation, report, streamed)


def _question(expectation: SmokeExpectation, path: str) -> SmokeRequest:
    body: dict[str, Any] = {"model": expectation.model, "max_tokens": expectation.max_tokens, "temperature": 0}
    if path == CHAT:
        body["messages"] = [{"role": "user", "content": expectation.prompt}]
    else:
        body["prompt"] = expectation.prompt
    return SmokeRequest("POST", path, body)


def _last(responses: Sequence[SmokeResponse], path: str) -> SmokeResponse:
    return next(response for response in reversed(responses) if response.request.path == path)


def _answered(responses: Sequence[SmokeResponse]) -> SmokeResponse | None:
    """The plain answer to the prompt: of the completions route if it was asked, else of the chat."""
    found = [r for r in responses if r.request.path in (CHAT, COMPLETIONS) and not r.request.stream]
    return found[-1] if found else None


def _cannot_chat(response: SmokeResponse) -> bool:
    if response.status == 400:
        return "template" in response.body.lower() or "chat" in response.body.lower()
    return response.status in (404, 405) and "does not exist" not in response.body


def _routes_problems(response: SmokeResponse) -> list[str]:
    document, faults = _document(response)
    if faults:
        return faults
    return [] if document else [f"GET {ROUTES.path}: Ray Serve has no application: {short(response.body)}"]


def _models_problems(expectation: SmokeExpectation, response: SmokeResponse) -> list[str]:
    document, faults = _document(response)
    if faults:
        return faults
    entries = document.get("data")
    names = [str(entry.get("id")) for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    if expectation.model not in names:
        listed = ", ".join(names) or f"nothing ({short(response.body)})"
        return [f"GET {MODELS.path}: {expectation.model} should be served, the endpoint lists {listed}"]
    return []


def _document(response: SmokeResponse) -> tuple[dict[str, Any], list[str]]:
    """Returns the JSON object of a good answer, or why it is none: an error in a 200 body counts as an error."""
    where = f"{response.request.method} {response.request.path}"
    if wrong := fault(response):
        return {}, [wrong]
    try:
        document = json.loads(response.body)
    except ValueError:
        return {}, [f"{where}: the answer is not JSON: {short(response.body)}"]
    if not isinstance(document, dict):
        return {}, [f"{where}: the answer is not a JSON object: {short(response.body)}"]
    if document.get("error") or document.get("object") == "error":
        return {}, [f"{where}: HTTP 200 with an error inside: {short(response.body)}"]
    return document, []


def _answer(path: str, document: Mapping[str, Any]) -> tuple[str, dict[str, int], str]:
    choices = document.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    text = _said(first.get("message")) if path == CHAT else first.get("text") or ""
    counts = document.get("usage")
    usage = {str(k): v for k, v in counts.items() if isinstance(v, int)} if isinstance(counts, dict) else {}
    return str(text), usage, str(document.get("model") or "")


def _said(message: Any) -> str:
    """Returns what a message or a piece of one says.

    A reasoning model may spend all its tokens before it says a word: its thoughts prove that it works.
    """
    found: Mapping[str, Any] = message if isinstance(message, dict) else {}
    return str(found.get("content") or found.get("reasoning_content") or found.get("reasoning") or "")


def _answer_problems(
    expectation: SmokeExpectation, response: SmokeResponse, answer: str, usage: Mapping[str, int], model: str
) -> list[str]:
    where = f"{response.request.method} {response.request.path}"
    found = []
    if model != expectation.model:
        found.append(f"{where}: model {expectation.model} was asked, {model or 'no model'} answered")
    if not answer.strip():
        found.append(f"{where}: the answer is empty: {short(response.body)}")
    elif answer.strip() == expectation.prompt.strip():
        found.append(f"{where}: the answer is the prompt itself")
    elif expectation.expect and not re.search(expectation.expect, answer):
        found.append(f"{where}: the answer should match {expectation.expect!r}, it is {short(answer)!r}")
    if answer.strip() and usage.get("completion_tokens", 0) < 1:
        found.append(f"{where}: usage counts no completion tokens: {dict(usage)}")
    return found + too_slow(expectation, response)


@dataclass(frozen=True)
class _Stream:
    """A stream, read to its end."""

    text: str
    tokens: int
    model: str
    ended: bool
    error: str


def _with_stream(expectation: SmokeExpectation, report: SmokeReport, response: SmokeResponse) -> SmokeReport:
    where = f"{response.request.method} {response.request.path} (stream)"
    if wrong := fault(response):
        problem = wrong.replace(response.request.path, f"{response.request.path} (stream)", 1)
        return replace(report, passed=False, problems=(*report.problems, problem))
    read = _read_stream(response.body)
    problems: list[str] = []
    if read.error:
        problems.append(f"{where}: an error in the stream: {short(read.error)}")
    elif not read.text.strip():
        problems.append(f"{where}: the stream holds no text: {short(response.body)}")
    elif not read.ended:
        problems.append(f"{where}: the stream broke off before [DONE]: {short(response.body[-SHOWN_END:])}")
    elif read.model != expectation.model:
        problems.append(f"{where}: model {expectation.model} was asked, {read.model or 'no model'} answered")
    speed = None
    if response.first_seconds is not None and read.tokens > 1 and response.seconds > response.first_seconds:
        speed = (read.tokens - 1) / (response.seconds - response.first_seconds)
    slowest = expectation.min_tokens_per_second
    if slowest is not None and speed is not None and speed < slowest:
        problems.append(f"{where}: {speed:.1f} tokens per second, at least {slowest:.1f} are wanted")
    return replace(
        report,
        passed=report.passed and not problems,
        problems=(*report.problems, *problems),
        first_token_seconds=response.first_seconds,
        tokens_per_second=speed,
    )


def _read_stream(body: str) -> _Stream:
    texts: list[str] = []
    tokens, model, ended, error = 0, "", False, ""
    for line in body.splitlines():
        data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
        if data == "[DONE]":
            ended = True
        if not data or data == "[DONE]":
            continue
        try:
            event = json.loads(data)
        except ValueError:
            error = error or f"not JSON: {data}"
            continue
        if not isinstance(event, dict) or event.get("error") or event.get("object") == "error":
            error = error or data
            continue
        model = str(event.get("model") or model)
        for choice in event.get("choices") or ():
            piece = _said(choice.get("delta")) if "delta" in choice else str(choice.get("text") or "")
            texts.append(piece)
            tokens += bool(piece)
        if isinstance(event.get("usage"), dict):
            tokens = int(event["usage"].get("completion_tokens") or tokens)
    return _Stream("".join(texts), tokens, model, ended, error)
