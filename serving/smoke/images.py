"""Smoke test of image endpoints: our own image server, and NVIDIA's image NIMs.

A picture must decode, have the asked size and be of more than one colour.
"""

import base64
import binascii
import json
from collections.abc import Sequence

from serving.smoke.model import (
    DEFAULT_PICTURE,
    DEFAULT_PROMPT,
    SmokeExpectation,
    SmokeReport,
    SmokeRequest,
    SmokeResponse,
    fault,
    short,
    too_slow,
    unanswered,
)
from serving.smoke.openai import MODELS
from serving.smoke.png import NotAPicture, read_png

GENERATIONS = "/v1/generations"
INFER = "/v1/infer"
_STEPS = 4


def next_request(expectation: SmokeExpectation, responses: Sequence[SmokeResponse]) -> SmokeRequest | None:
    """Returns what to ask next; None when the conversation is over."""
    asked = [response.request.path for response in responses]
    if expectation.api == "nim-images":
        body = {"prompt": _prompt(expectation), "mode": "base", "seed": 0, "steps": 10}
        return None if INFER in asked else SmokeRequest("POST", INFER, body)
    if MODELS.path not in asked:
        return MODELS
    if GENERATIONS in asked:
        return None
    size = {"width": expectation.width, "height": expectation.height}
    return SmokeRequest("POST", GENERATIONS, {"prompt": _prompt(expectation), "steps": _STEPS, "seed": 0, **size})


def judge(expectation: SmokeExpectation, responses: Sequence[SmokeResponse]) -> SmokeReport:
    """Judges the answers to `next_request`'s requests."""
    problems = [wrong for response in responses if (wrong := fault(response))]
    model = expectation.model
    for response in responses:
        if response.request.path == MODELS.path and response.status == 200:
            model = _served(response)
            if model != expectation.model:
                problems.append(f"GET {MODELS.path}: {expectation.model} should be served, the endpoint lists {model}")
    answered = next((r for r in responses if r.request.path in (GENERATIONS, INFER)), None)
    if answered is None:
        return unanswered(expectation, problems)
    picture, shown = b"", ""
    if answered.status == 200:
        picture, shown, found = _picture(expectation, answered)
        problems += found + too_slow(expectation, answered)
    return SmokeReport(
        passed=not problems,
        api=answered.request.path,
        model=model,
        prompt=_prompt(expectation),
        answer=shown,
        seconds=answered.seconds,
        problems=tuple(problems),
        picture=picture,
    )


def _prompt(expectation: SmokeExpectation) -> str:
    return DEFAULT_PICTURE if expectation.prompt == DEFAULT_PROMPT else expectation.prompt


def _served(response: SmokeResponse) -> str:
    try:
        entries = json.loads(response.body).get("data")
        return ", ".join(str(entry.get("id")) for entry in entries) or "nothing"
    except (ValueError, AttributeError, TypeError):
        return f"nothing ({short(response.body)})"


def _picture(expectation: SmokeExpectation, response: SmokeResponse) -> tuple[bytes, str, list[str]]:
    where = f"POST {response.request.path}"
    content = response.content
    if response.request.path == INFER:
        content = _artifact(response)
        if not content:
            return b"", "", [f"{where}: the answer holds no picture: {short(response.body)}"]
    try:
        picture = read_png(content)
    except NotAPicture as error:
        beginning = short(response.body) if content[:1] in (b"{", b"<") else ""
        said = f"; it says {beginning}" if beginning else ""
        return b"", "", [f"{where}: the answer is no PNG: {error}{said}"]
    problems = []
    if picture.plain:
        problems.append(f"{where}: the picture is of one colour only")
    if response.request.path == GENERATIONS and (picture.width, picture.height) != (
        expectation.width,
        expectation.height,
    ):
        wanted = f"{expectation.width}x{expectation.height}"
        problems.append(f"{where}: the picture is {picture.width}x{picture.height}, {wanted} was asked")
    return content, f"a PNG of {picture.width}x{picture.height} pixels, {len(content)} bytes", problems


def _artifact(response: SmokeResponse) -> bytes:
    try:
        entry = json.loads(response.body)["artifacts"][0]
        return base64.b64decode(entry["base64"], validate=True)
    except (ValueError, LookupError, TypeError, binascii.Error):
        return b""
