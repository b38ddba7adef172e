"""Smoke tests: the requests that prove an endpoint, and the judgement of its answers. Pure: sends nothing itself.

A test is a conversation: `next_request` says what to ask, given the answers so far, until it returns None; then
`judge` reads all answers.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from serving.options import DiffusersOptions
from serving.smoke import images, openai, triton
from serving.smoke.model import (
    DEFAULT_PROMPT,
    Api,
    SmokeExpectation,
    SmokeReport,
    SmokeRequest,
    SmokeResponse,
)
from serving.smoke.openai import CHAT, COMPLETIONS, MODELS
from serving.spec import EndpointSpec, Framework

__all__ = [
    "CHAT",
    "COMPLETIONS",
    "MODELS",
    "SmokeExpectation",
    "SmokeReport",
    "SmokeRequest",
    "SmokeResponse",
    "expectation_for",
    "judge",
    "next_request",
]

Asking = Callable[[SmokeExpectation, Sequence[SmokeResponse]], SmokeRequest | None]
Judging = Callable[[SmokeExpectation, Sequence[SmokeResponse]], SmokeReport]

_CONVERSATIONS: dict[Api, tuple[Asking, Judging]] = {
    "openai": (openai.next_request, openai.judge),
    "ray": (openai.next_request, openai.judge),
    "triton": (triton.next_request, triton.judge),
    "images": (images.next_request, images.judge),
    "nim-images": (images.next_request, images.judge),
}


def expectation_for(spec: EndpointSpec) -> SmokeExpectation:
    """Returns an endpoint's smoke test: how its framework is spoken to, what it is asked, and what it must be like.

    A base model at hand answers anything: by default any text will do.
    """
    asked = spec.smoke
    plain = SmokeExpectation(
        model=spec.served_model_name,
        prompt=asked.prompt or DEFAULT_PROMPT,
        max_tokens=asked.max_tokens,
        expect=asked.expect,
        max_seconds=asked.max_seconds,
        min_tokens_per_second=asked.min_tokens_per_second,
    )
    match spec.framework:
        case Framework.TRITON_VLLM:
            return replace(plain, api="triton", model=triton.MODEL)
        case Framework.DIFFUSERS:
            options = spec.diffusers or DiffusersOptions()
            return replace(plain, api="images", metrics="/metrics", width=options.width, height=options.height)
        case Framework.NIM if spec.nim is not None and spec.nim.kind == "image":
            return replace(plain, api="nim-images")
        case Framework.NIM:
            return replace(plain, streaming=True)
        case Framework.RAY_VLLM:
            return replace(plain, api="ray", streaming=True)
        case _:
            return replace(plain, streaming=True, metrics="/metrics")


def next_request(expectation: SmokeExpectation, responses: Sequence[SmokeResponse]) -> SmokeRequest | None:
    """Returns what to ask next, given the answers so far; None when the conversation is over."""
    wanted = _CONVERSATIONS[expectation.api][0](expectation, responses)
    if wanted is None or not expectation.headers:
        return wanted
    return replace(wanted, headers={**expectation.headers, **wanted.headers})


def judge(expectation: SmokeExpectation, responses: Sequence[SmokeResponse]) -> SmokeReport:
    """Judges the answers to `next_request`'s requests."""
    return _CONVERSATIONS[expectation.api][1](expectation, responses)
