"""Requests and answers of the OpenAI API, in the shapes that vLLM gives them."""

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_UNSUPPORTED = (
    "tools",
    "tool_choice",
    "functions",
    "response_format",
    "logprobs",
    "prompt_logprobs",
    "suffix",
    "echo",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "use_beam_search",
)


class ApiError(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP status.
        message: For a person.
        kind: vLLM's name of it.
        param: The field that is wrong.
    """

    def __init__(self, status: int, message: str, kind: str = "BadRequestError", param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = error_body(message, kind, status, param)


def error_body(message: str, kind: str, status: int, param: str | None = None) -> dict[str, Any]:
    """An error's body."""
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


@dataclass(frozen=True)
class TextRequest:
    """A request for text, chat or not.

    Attributes:
        max_tokens: None if the request leaves it open.
    """

    model: str
    chat: bool
    messages: list[dict[str, Any]]
    prompts: list[str | list[int]]
    max_tokens: int | None
    stop: tuple[str, ...]
    stream: bool
    include_usage: bool
    n: int


def read_request(data: Any, *, chat: bool) -> TextRequest:
    """Read and check a request's body.

    Raises:
        ApiError: 400 for what is wrong, or right but not known to the stand-in.
    """
    if not isinstance(data, dict):
        raise ApiError(400, "The request body must be a JSON object.")
    for name in _UNSUPPORTED:
        if data.get(name) not in (None, False, [], "none"):
            raise ApiError(400, f"The sandbox's stand-in engine does not support '{name}'.", param=name)
    limit = data.get("max_completion_tokens") if chat and data.get("max_completion_tokens") else data.get("max_tokens")
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ApiError(400, f"max_tokens must be at least 1, got {limit}.", param="max_tokens")
    temperature = data.get("temperature")
    if temperature is not None and (not isinstance(temperature, int | float) or temperature < 0):
        raise ApiError(400, f"temperature must be non-negative, got {temperature}.", param="temperature")
    stop = data.get("stop") or []
    messages = _messages(data) if chat else []
    return TextRequest(
        model=str(data.get("model") or ""),
        chat=chat,
        messages=messages,
        prompts=[] if chat else _prompts(data),
        max_tokens=limit if limit is not None or chat else 16,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        stream=bool(data.get("stream")),
        include_usage=bool((data.get("stream_options") or {}).get("include_usage")),
        n=int(data.get("n") or 1),
    )


def _messages(data: dict[str, Any]) -> list[dict[str, Any]]:
    messages = data.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ApiError(400, "[{'type': 'missing', 'loc': ('body', 'messages'), 'msg': 'Field required'}]")
    read = []
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise ApiError(400, "Each message must be an object with a role.", param="messages")
        content = message.get("content") or ""
        if isinstance(content, list):
            kinds = [part.get("type") for part in content if isinstance(part, dict)]
            if kinds != ["text"] * len(content):
                raise ApiError(400, "The sandbox's stand-in engine reads text only.", param="messages")
            content = "\n".join(str(part["text"]) for part in content)
        read.append({**message, "content": content})
    return read


def _prompts(data: dict[str, Any]) -> list[str | list[int]]:
    prompt = data.get("prompt")
    if isinstance(prompt, str):
        return [prompt]
    if isinstance(prompt, list) and prompt:
        if all(isinstance(token, int) for token in prompt):
            return [prompt]
        if all(isinstance(one, str) for one in prompt) or all(isinstance(one, list) for one in prompt):
            return list(prompt)
    raise ApiError(400, "Either prompt or prompt_embeds must be provided and non-empty.", param="prompt")


@dataclass
class Answer:
    """One choice of an answer, as far as it is."""

    index: int
    prompt_tokens: int
    text: str = ""
    tokens: int = 0
    reason: str | None = None


class Envelope:
    """What every part of one answer repeats: its identifier, time and model."""

    def __init__(self, request: TextRequest, model: str) -> None:
        self._chat = request.chat
        self._model = model
        self._id = ("chatcmpl-" if request.chat else "cmpl-") + secrets.token_hex(16)
        self._created = int(time.time())

    def whole(self, answers: list[Answer]) -> dict[str, Any]:
        """The answer in one piece."""
        kind = "chat.completion" if self._chat else "text_completion"
        return self._body(kind, [self._choice(answer) for answer in answers]) | {"usage": usage(answers)}

    def chunks(self, answer: Answer, pieces: Iterator[str]) -> Iterator[dict[str, Any]]:
        """The answer piece by piece; the last one says why it ends."""
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        if self._chat:
            delta = {"role": "assistant", "content": ""}
            yield self._body(kind, [{"index": answer.index, "delta": delta, "logprobs": None, "finish_reason": None}])
        for piece in pieces:
            part = {"delta": {"content": piece}} if self._chat else {"text": piece}
            yield self._body(kind, [{"index": answer.index, **part, "logprobs": None, "finish_reason": answer.reason}])

    def usage_chunk(self, answers: list[Answer]) -> dict[str, Any]:
        """The chunk that a client gets who asked for the usage of a stream."""
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        return self._body(kind, []) | {"usage": usage(answers)}

    def _body(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model, "choices": choices}

    def _choice(self, answer: Answer) -> dict[str, Any]:
        content: dict[str, Any] = {"text": answer.text}
        if self._chat:
            content = {"message": {"role": "assistant", "content": answer.text, "refusal": None, "tool_calls": []}}
        ending = {"logprobs": None, "finish_reason": answer.reason, "stop_reason": None}
        return {"index": answer.index, **content, **ending}


def usage(answers: list[Answer]) -> dict[str, Any]:
    """Counts of tokens."""
    prompt = sum(answer.prompt_tokens for answer in answers)
    completion = sum(answer.tokens for answer in answers)
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "completion_tokens": completion,
        "prompt_tokens_details": None,
    }
