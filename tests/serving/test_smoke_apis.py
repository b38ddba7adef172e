"""Smoke tests of the other ways to speak to an endpoint: streams, Ray, Triton, pictures."""

import base64
import io
import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from serving.catalog import get_preset, resolve
from serving.smoke import (
    SmokeExpectation,
    SmokeReport,
    SmokeRequest,
    SmokeResponse,
    expectation_for,
    judge,
    next_request,
)
from serving.smoke.png import NotAPicture, read_png
from serving.spec import SmokeOptions

Answers = dict[str, tuple[int, Any]]


def converse(expectation: SmokeExpectation, answer: Callable[[SmokeRequest], tuple[int, Any]]) -> SmokeReport:
    """Plays an endpoint."""
    responses: list[SmokeResponse] = []
    while request := next_request(expectation, responses):
        status, body = answer(request)
        content = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        first = 0.25 if request.stream else None
        responses.append(
            SmokeResponse(request, status, content.decode(errors="replace"), 1.25, content, first_seconds=first)
        )
        assert len(responses) < 8
    return judge(expectation, responses)


def by_path(answers: Answers) -> Callable[[SmokeRequest], tuple[int, Any]]:
    return lambda request: answers.get(f"{request.path}#stream" if request.stream else request.path, (404, "none"))


MODEL = "org/name"


def events(*pieces: str, model: str = MODEL, end: bool = True, tokens: int | None = None) -> str:
    lines = [json.dumps({"model": model, "choices": [{"delta": {"content": piece}}]}) for piece in pieces]
    if tokens is not None:
        lines.append(json.dumps({"model": model, "choices": [], "usage": {"completion_tokens": tokens}}))
    return "".join(f"data: {line}\n\n" for line in [*lines, *(["[DONE]"] if end else [])])


def openai(**changes: Any) -> Answers:
    chat = {"model": MODEL, "choices": [{"message": {"content": "Paris."}}], "usage": {"completion_tokens": 3}}
    answers: Answers = {
        "/v1/models": (200, {"data": [{"id": MODEL}]}),
        "/v1/chat/completions": (200, chat),
        "/v1/chat/completions#stream": (200, events("Pa", "ris", ".", tokens=11)),
        "/metrics": (200, "# HELP"),
        "/-/routes": (200, {"/": "llm"}),
    }
    return answers | changes


STREAMING = SmokeExpectation(model=MODEL, streaming=True, metrics="/metrics")


def test_a_stream_is_read_to_its_end_and_timed() -> None:
    report = converse(STREAMING, by_path(openai()))
    assert report.passed, report.problems
    assert report.first_token_seconds == 0.25
    assert report.tokens_per_second == pytest.approx(10)


def test_a_base_models_stream_goes_the_way_of_its_answer() -> None:
    asked: list[tuple[str, bool]] = []

    def answer(request: SmokeRequest) -> tuple[int, Any]:
        asked.append((request.path, request.stream))
        if request.path == "/v1/completions":
            if request.stream:
                return 200, f"data: {json.dumps({'model': MODEL, 'choices': [{'text': ' Paris'}]})}\n\ndata: [DONE]\n\n"
            return 200, {"model": MODEL, "choices": [{"text": " Paris"}], "usage": {"completion_tokens": 2}}
        return by_path(openai(**{"/v1/chat/completions": (400, "no chat template")}))(request)

    assert converse(STREAMING, answer).passed
    assert asked[-2:] == [("/v1/completions", True), ("/metrics", False)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"/v1/chat/completions#stream": (200, events(end=True))}, "the stream holds no text"),
        ({"/v1/chat/completions#stream": (200, events("Pa", end=False))}, "broke off before [DONE]"),
        ({"/v1/chat/completions#stream": (200, events("Pa", model="x"))}, "model org/name was asked, x answered"),
        ({"/v1/chat/completions#stream": (200, 'data: {"error": {"message": "boom"}}\n\n')}, "an error in the stream"),
        ({"/v1/chat/completions#stream": (500, "boom")}, "(stream): HTTP 500: boom"),
        ({"/metrics": (404, "no")}, "GET /metrics: HTTP 404"),
    ],
)
def test_a_bad_stream_or_missing_metrics_fail_the_test(changes: Answers, said: str) -> None:
    report = converse(STREAMING, by_path(openai(**changes)))
    assert not report.passed
    assert any(said in problem for problem in report.problems), report.problems


def test_a_stream_that_is_too_slow_fails_the_test() -> None:
    slow = SmokeExpectation(model=MODEL, streaming=True, min_tokens_per_second=50)
    assert "10.0 tokens per second, at least 50.0" in str(converse(slow, by_path(openai())).problems)


def test_ray_shows_its_routes_first() -> None:
    ray = SmokeExpectation(model=MODEL, api="ray")
    assert converse(ray, by_path(openai())).passed
    without = converse(ray, by_path(openai(**{"/-/routes": (200, {})})))
    assert "Ray Serve has no application" in str(without.problems)


def test_headers_go_with_every_request() -> None:
    gateway = SmokeExpectation(model=MODEL, headers={"routing-strategy": "random"})
    seen = []
    converse(gateway, lambda request: (seen.append(dict(request.headers)), by_path(openai())(request))[1])
    assert seen
    assert all(headers == {"routing-strategy": "random"} for headers in seen)


# --- Triton

TRITON = SmokeExpectation(model="vllm_model", api="triton")
GENERATE = "/v2/models/vllm_model/generate"


def triton(**changes: Any) -> Answers:
    good = {"model_name": "vllm_model", "text_output": " Paris."}
    paths = ("/v2/health/ready", "/v2/models/vllm_model/ready")
    return dict.fromkeys(paths, (200, "")) | {GENERATE: (200, good)} | changes


def test_triton_generates() -> None:
    report = converse(TRITON, by_path(triton()))
    assert report.passed, report.problems
    assert report.answer == " Paris."
    echoed = {"model_name": "vllm_model", "text_output": TRITON.prompt + " Paris."}
    assert converse(TRITON, by_path(triton(**{GENERATE: (200, echoed)}))).answer == " Paris."


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"/v2/health/ready": (400, "")}, "GET /v2/health/ready: HTTP 400"),
        ({"/v2/models/vllm_model/ready": (400, "")}, "GET /v2/models/vllm_model/ready: HTTP 400"),
        ({GENERATE: (200, {"error": "CUDA"})}, "HTTP 200 with an error inside"),
        ({GENERATE: (200, {"model_name": "x", "text_output": "y"})}, "model vllm_model was asked, x answered"),
        ({GENERATE: (200, {"model_name": "vllm_model", "text_output": TRITON.prompt})}, "the answer is empty"),
        ({GENERATE: (500, "oops")}, "HTTP 500: oops"),
        ({GENERATE: (200, "text")}, "not a JSON object"),
    ],
)
def test_a_triton_that_does_not_answer_rightly_fails(changes: Answers, said: str) -> None:
    report = converse(TRITON, by_path(triton(**changes)))
    assert not report.passed
    assert any(said in problem for problem in report.problems), report.problems


# --- pictures


def png(width: int = 64, height: int = 48, *, plain: bool = False) -> bytes:
    picture = Image.new("RGB", (width, height)) if plain else Image.effect_noise((width, height), 60).convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


PICTURES = SmokeExpectation(model="org/tiny", api="images", width=64, height=48)


def images(content: Any, status: int = 200) -> Answers:
    return {"/v1/models": (200, {"data": [{"id": "org/tiny"}]}), "/v1/generations": (status, content)}


def test_a_picture_passes_and_is_kept_for_the_report() -> None:
    content = png()
    report = converse(PICTURES, by_path(images(content)))
    assert report.passed, report.problems
    assert report.picture == content
    assert report.answer.startswith("a PNG of 64x48 pixels")


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (images(png(plain=True)), "the picture is of one colour only"),
        (images(png(32, 32)), "the picture is 32x32, 64x48 was asked"),
        (images(b'{"error": "boom"}'), 'it says {"error": "boom"}'),
        (images(png()[:-30]), "damaged or cut off"),
        (images("boom", 500), "HTTP 500: boom"),
        ({**images(png()), "/v1/models": (200, {"data": [{"id": "x"}]})}, "org/tiny should be served"),
        ({**images(png()), "/v1/models": (200, "[]")}, "the endpoint lists nothing"),
    ],
)
def test_a_bad_picture_fails_and_says_what_came(answers: Answers, said: str) -> None:
    report = converse(PICTURES, by_path(answers))
    assert not report.passed
    assert any(said in problem for problem in report.problems), report.problems


def test_an_image_nims_artifact_is_decoded() -> None:
    nim = SmokeExpectation(model="m", api="nim-images")
    good = {"artifacts": [{"base64": base64.b64encode(png()).decode(), "finishReason": "SUCCESS"}]}
    assert converse(nim, by_path({"/v1/infer": (200, good)})).passed
    bad = converse(nim, by_path({"/v1/infer": (200, {"artifacts": []})}))
    assert "holds no picture" in str(bad.problems)


@settings(max_examples=60, deadline=None)
@given(
    mode=st.sampled_from(["L", "LA", "RGB", "RGBA", "P", "1"]),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    seed=st.integers(0, 3),
)
def test_any_png_is_told_plain_exactly_when_it_is(mode: str, width: int, height: int, seed: int) -> None:
    if seed == 0:
        picture = Image.new("RGB", (width, height), (200, 10, 10)).convert(mode)
    else:
        picture = Image.effect_noise((width, height), 20 * seed).convert("RGB").convert(mode)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    found = read_png(buffer.getvalue())
    assert (found.width, found.height) == (width, height)
    if mode == "1":
        return
    colours = picture.getcolors(width * height)
    assert colours is not None
    assert found.plain == (len(colours) == 1)


@pytest.mark.parametrize("kind", range(5))
def test_every_filter_is_undone(kind: int) -> None:
    """Rows written with one filter, by hand: a row of one colour, then one whose last pixel differs."""
    width, colour, other = 5, b"\x10\x80\xf0", b"\x10\x80\xf1"
    for rows, plain in (([colour * width] * 3, True), ([colour * width, colour * (width - 1) + other], False)):
        raw, above = b"", bytes(width * 3)
        for row in rows:
            raw += bytes([kind]) + filtered(kind, row, above)
            above = row
        assert read_png(packed(width, len(rows), raw)).plain is plain


def filtered(kind: int, row: bytes, above: bytes) -> bytes:
    out = bytearray()
    for at, value in enumerate(row):
        left, corner = (row[at - 3], above[at - 3]) if at >= 3 else (0, 0)
        up = above[at]
        guess = left + up - corner
        nearest = min((left, up, corner), key=lambda near: abs(guess - near))
        out.append((value - (0, left, up, (left + up) // 2, nearest)[kind]) & 0xFF)
    return bytes(out)


def packed(width: int, height: int, raw: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


@given(st.binary(max_size=200), st.integers(0, 3))
def test_what_is_no_png_is_refused_and_nothing_else_happens(noise: bytes, kind: int) -> None:
    good = png()
    content = (noise, good[:8] + noise, good[: len(noise)], good[:40] + noise + good[40:])[kind]
    if content == good:
        return
    with pytest.raises(NotAPicture):
        read_png(content)


@pytest.mark.parametrize(
    ("preset", "api"),
    [
        ("qwen3-1.7b-vllm", "openai"),
        ("llama-32-1b-ray-vllm", "ray"),
        ("qwen3-1.7b-triton", "triton"),
        ("flux-1-diffusers", "images"),
        ("stable-diffusion-3.5-large-diffusers-nim", "nim-images"),
        ("llama-3-8b-instruct-nim", "openai"),
        ("llama-32-1b-aibrix", "openai"),
    ],
)
def test_each_framework_is_spoken_to_in_its_own_way(preset: str, api: str) -> None:
    spec = resolve(get_preset(preset))
    expectation = expectation_for(spec)
    assert expectation.api == api
    assert expectation.model == ("vllm_model" if api == "triton" else spec.served_model_name)
    asked = SmokeOptions(prompt="Seven?", expect="7", max_tokens=3, max_seconds=2.0, min_tokens_per_second=1.0)
    own = expectation_for(spec.model_copy(update={"smoke": asked}))
    assert own == replace(expectation, **asked.model_dump())
