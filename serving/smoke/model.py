"""What a smoke test asks, gets and says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Api = Literal["openai", "ray", "triton", "images", "nim-images"]
"""How an endpoint is spoken to."""

DEFAULT_PROMPT = "What is the capital of France? Answer in one sentence."
DEFAULT_PICTURE = "A red fox in the snow, photograph"
SHOWN = 200


@dataclass(frozen=True)
class SmokeExpectation:
    """What is asked, and what the answer must be like.

    Attributes:
        model: Name under which the endpoint must serve.
        api: How the endpoint is spoken to.
        expect: Regular expression that the answer must contain; empty: any text will do.
        max_seconds: Longest time for one answer; None: no bound.
        min_tokens_per_second: Slowest stream; None: no bound.
        streaming: Whether the prompt is also answered as a stream, and timed.
        metrics: Path of metrics that must be reachable; empty: not asked.
        headers: Sent with every request, for example for a gateway.
        width: Of the picture that is asked for, pixels.
        height: Likewise.
    """

    model: str
    api: Api = "openai"
    prompt: str = DEFAULT_PROMPT
    max_tokens: int = 64
    expect: str = ""
    max_seconds: float | None = None
    min_tokens_per_second: float | None = None
    streaming: bool = False
    metrics: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    width: int = 512
    height: int = 512


@dataclass(frozen=True)
class SmokeRequest:
    """One HTTP request to the endpoint.

    Attributes:
        stream: The answer is a stream of server-sent events: note when its first piece arrives.
    """

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    stream: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SmokeResponse:
    """What came back.

    Attributes:
        status: HTTP status; 0 if no answer came, with the reason in `body`.
        body: Body as text; of a stream all of it.
        seconds: From the request to the end of the answer.
        content: Body as bytes, for pictures.
        first_seconds: Seconds until a stream's first piece with text; None if that was not noted.
    """

    request: SmokeRequest
    status: int
    body: str
    seconds: float
    content: bytes = field(default=b"", repr=False)
    first_seconds: float | None = None


@dataclass(frozen=True)
class SmokeReport:
    """The judgement.

    Attributes:
        passed: Whether there are no problems.
        api: Route that answered the prompt.
        model: Name that the answer carries.
        answer: Text, or a description of the picture.
        usage: Token counts of the answer.
        seconds: Time of the answer to the prompt.
        first_token_seconds: Time to the first token of the stream; None if not measured.
        tokens_per_second: Speed of the stream after its first token; None if not measured.
        picture: The PNG, where the endpoint makes pictures.
        problems: One sentence each: what was expected and what came.
        way: How the endpoint was reached.
    """

    passed: bool
    api: str
    model: str
    prompt: str
    answer: str
    seconds: float
    usage: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    first_token_seconds: float | None = None
    tokens_per_second: float | None = None
    picture: bytes = field(default=b"", repr=False)
    way: str = ""


def short(text: str) -> str:
    """Returns a body on one line, cut where it grows long."""
    flat = " ".join(text.split())
    return flat if len(flat) <= SHOWN else flat[: SHOWN - 1] + "…"


def fault(response: SmokeResponse, *statuses: int) -> str:
    """Returns what is wrong with the answer's status; empty if it is one of these (200 if none is given)."""
    where = f"{response.request.method} {response.request.path}"
    if response.status == 0:
        return f"{where}: no answer: {short(response.body)}"
    if response.status not in (statuses or (200,)):
        return f"{where}: HTTP {response.status}: {short(response.body)}"
    return ""


def unanswered(expectation: SmokeExpectation, problems: Sequence[str]) -> SmokeReport:
    """Returns the report of an endpoint that never answered the prompt."""
    return SmokeReport(
        passed=False,
        api="",
        model="",
        prompt=expectation.prompt,
        answer="",
        seconds=0.0,
        problems=(*problems, "the prompt was never answered"),
    )


def too_slow(expectation: SmokeExpectation, response: SmokeResponse) -> list[str]:
    """Returns the complaint about an answer that took longer than is allowed."""
    if expectation.max_seconds is None or response.seconds <= expectation.max_seconds:
        return []
    where = f"{response.request.method} {response.request.path}"
    return [f"{where}: took {response.seconds:.1f} s, allowed are {expectation.max_seconds:.1f} s"]
