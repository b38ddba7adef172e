"""From a request to its answer: prompt, limits, text, stop words, counts."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sandbox.engine.faults import Faults
from sandbox.engine.metrics import Metrics
from sandbox.engine.openai import Answer, ApiError, Envelope, TextRequest, error_body
from sandbox.engine.text import TextModel

_NO_TEMPLATE = (
    "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat template if the"
    " tokenizer does not define one."
)


@dataclass(frozen=True)
class Generator:
    """A served model.

    Attributes:
        names: Names that it answers to; the first one stands in answers.
        max_model_len: Longest prompt plus answer, tokens.
        chat_template: Given on the command line; None for the tokenizer's own.
    """

    text: TextModel
    names: tuple[str, ...]
    max_model_len: int
    chat_template: str | None
    metrics: Metrics
    faults: Faults

    def answer(self, request: TextRequest) -> dict[str, Any]:
        """The whole answer."""
        answers = self._begin(request)
        if "error-body" in self.faults:
            return error_body(
                "EngineCore encountered an issue. See stack trace (above) for the root cause.",
                "InternalServerError",
                500,
            )
        for answer, prompt, limit in answers:
            for _ in self._pieces(request, answer, prompt, limit):
                pass
        return Envelope(request, self.names[0]).whole([answer for answer, _, _ in answers])

    def stream(self, request: TextRequest) -> Iterator[dict[str, Any]]:
        """The answer as chunks. Whatever is wrong with the request is found before the first."""
        return self._stream(request, self._begin(request))

    def _stream(self, request: TextRequest, answers: list[tuple[Answer, list[int], int]]) -> Iterator[dict[str, Any]]:
        envelope = Envelope(request, self.names[0])
        for answer, prompt, limit in answers:
            yield from envelope.chunks(answer, self._pieces(request, answer, prompt, limit))
        if request.include_usage:
            yield envelope.usage_chunk([answer for answer, _, _ in answers])

    def _begin(self, request: TextRequest) -> list[tuple[Answer, list[int], int]]:
        if request.model and request.model not in self.names:
            raise ApiError(404, f"The model `{request.model}` does not exist.", "NotFoundError", "model")
        answers: list[tuple[Answer, list[int], int]] = []
        for prompt in self._prompts(request):
            room = self.max_model_len - len(prompt)
            wanted = request.max_tokens if request.max_tokens is not None else max(room, 1)
            if wanted > room:
                where = "messages" if request.chat else "prompt"
                raise ApiError(
                    400,
                    f"This model's maximum context length is {self.max_model_len} tokens. However, you requested"
                    f" {len(prompt) + wanted} tokens ({len(prompt)} in the {where}, {wanted} in the completion). Please"
                    f" reduce the length of the {where} or completion.",
                )
            for _ in range(request.n):
                answers.append((Answer(len(answers), len(prompt)), prompt, wanted))
        return answers

    def _prompts(self, request: TextRequest) -> list[list[int]]:
        if not request.chat:
            return [self.text.encode(prompt) if isinstance(prompt, str) else prompt for prompt in request.prompts]
        template = self.chat_template or self.text.chat_template
        if template is None:
            raise ApiError(400, _NO_TEMPLATE)
        from jinja2 import TemplateError

        try:
            return [self.text.encode(self.text.render_chat(template, request.messages))]
        except TemplateError as error:
            raise ApiError(400, str(error)) from None

    def _pieces(self, request: TextRequest, answer: Answer, prompt: list[int], limit: int) -> Iterator[str]:
        """The answer's text piece by piece; `answer` is brought up to date before each."""
        began = time.monotonic()
        self.metrics.begin()
        tokens: list[int] = []
        try:
            for token, reason in self.text.generate(prompt, limit):
                tokens.append(token)
                so_far = "" if "empty-text" in self.faults else self.text.decode(tokens)
                stopped = [place for stop in request.stop if (place := so_far.find(stop)) >= 0]
                so_far = so_far[: min(stopped)] if stopped else so_far
                piece, answer.text, answer.tokens = so_far[len(answer.text) :], so_far, len(tokens)
                answer.reason = "stop" if stopped else reason
                yield piece
                if stopped:
                    break
        finally:
            self.metrics.end(
                prompt=len(prompt),
                generated=len(tokens),
                reason=answer.reason or "abort",
                seconds=time.monotonic() - began,
            )
