"""What the built-in generator asks each kind of endpoint, and what it reads from the answer."""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.benchmark.scenario import Scenario
from serving.smoke import COMPLETIONS
from serving.smoke.images import GENERATIONS, INFER
from serving.smoke.model import Api, SmokeExpectation
from serving.smoke.triton import MODEL as TRITON_MODEL

GENERATE_STREAM = f"/v2/models/{TRITON_MODEL}/generate_stream"
TEXT_APIS: frozenset[Api] = frozenset({"openai", "ray"})
"""APIs that speak OpenAI's completions, which inference-perf asks, too."""

_TEXT = """
time year people way day man thing woman life child world school state family student group country problem hand
part place case week company system program question work number night point home water room mother area money
story fact month lot right study book eye job word business issue side kind head house service friend father power
hour game line end member law car city name team minute idea body back parent face level office door health person
"""
_WORDS = tuple(_TEXT.split())
_PICTURE_WORDS = 12


@dataclass(frozen=True)
class Question:
    """One request.

    Attributes:
        stream: Whether the answer comes piece by piece, as server-sent events.
    """

    path: str
    body: Mapping[str, Any]
    stream: bool


@dataclass(frozen=True)
class Piece:
    """What one line of a stream says.

    Attributes:
        text: Whether it carries text.
        input_tokens: Tokens of the prompt, where the line counts them; None elsewhere.
        output_tokens: Tokens of the answer, likewise.
        error: What went wrong in the middle of the stream; empty if nothing did.
    """

    text: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: str = ""


_NOTHING = Piece()


def question_for(expectation: SmokeExpectation, scenario: Scenario, number: int) -> Question:
    """Returns the scenario's request of this number: the same for the same number, and no two alike.

    Prompts are random words, about one token each, so that no prefix is in any cache; how many tokens they were is
    read from the answers.

    Args:
        expectation: How the endpoint is spoken to.
        scenario: The load.
        number: Of the request, counted over all stages.
    """
    source = random.Random(f"{scenario.seed}-{number}")  # noqa: S311  a load, not a secret
    picture = expectation.api in ("images", "nim-images")
    prompt = " ".join(source.choices(_WORDS, k=_PICTURE_WORDS if picture else scenario.input.sample(source)))
    tokens = scenario.output.sample(source)
    match expectation.api:
        case "triton":
            parameters = {"stream": True, "max_tokens": tokens, "ignore_eos": True}
            body = {"text_input": prompt, "parameters": parameters, "exclude_input_in_output": True}
            return Question(GENERATE_STREAM, body, stream=True)
        case "images":
            size = {"width": expectation.width, "height": expectation.height}
            return Question(GENERATIONS, {"prompt": prompt, "seed": number, **size}, stream=False)
        case "nim-images":
            return Question(INFER, {"prompt": prompt, "mode": "base", "seed": number}, stream=False)
        case _:
            body = {
                "model": expectation.model,
                "prompt": prompt,
                "max_tokens": tokens,
                # Not OpenAI's, but what engines understand: the answer is as long as was asked for.
                "ignore_eos": True,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
            return Question(COMPLETIONS, body, stream=True)


def read_line(line: str) -> Piece:
    """Returns what a line of a stream of server-sent events says."""
    data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
    if not data or data == "[DONE]":
        return _NOTHING
    try:
        event = json.loads(data)
    except ValueError:
        return Piece(error="the stream holds a line that is not JSON")
    if not isinstance(event, dict):
        return _NOTHING
    if event.get("error") or event.get("object") == "error":
        return Piece(error="an error in the stream")
    usage = event.get("usage")
    counts: Mapping[str, Any] = usage if isinstance(usage, dict) else {}
    choices = event.get("choices") or ()
    said = any(choice.get("text") or (choice.get("delta") or {}).get("content") for choice in choices)
    return Piece(
        text=bool(said or event.get("text_output")),
        input_tokens=_count(counts.get("prompt_tokens")),
        output_tokens=_count(counts.get("completion_tokens")),
    )


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) else None
