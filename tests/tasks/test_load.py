"""The built-in load generator against a server: what it sends, what it measures, and how it ends."""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from serving.benchmark.questions import question_for
from serving.benchmark.result import StageResult
from serving.benchmark.scenario import SCENARIOS, Scenario, ScenarioName, Sweep, scenario_for
from serving.build import build_spec
from serving.errors import BenchmarkError
from serving.smoke import SmokeExpectation, expectation_for
from serving.spec import Accelerator, Framework
from tasks.load import LoadProgress, Terms, run_load, to_service, try_once

PIECES = 3


@dataclass
class Backend:
    """A server that answers each API, and what it was asked."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    usage: bool = True
    gap: float = 0.01
    most_at_once: int = 0
    under_way: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def handler_of(backend: Backend) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with backend.lock:
                backend.bodies.append(body | {"path": self.path})
                backend.under_way += 1
                backend.most_at_once = max(backend.most_at_once, backend.under_way)
            try:
                self.answer()
            finally:
                with backend.lock:
                    backend.under_way -= 1

        def answer(self) -> None:
            if backend.status != 200:
                return self.whole(backend.status, b'{"error": "busy"}')
            if self.path == "/v1/generations":
                return self.whole(200, b"\x89PNG\n\x00\n")
            piece = {"text_output": "a"} if "generate_stream" in self.path else {"choices": [{"text": "a"}]}
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for _ in range(PIECES):
                time.sleep(backend.gap)
                self.event(json.dumps(piece))
            if backend.usage and "completions" in self.path:
                counts = {"prompt_tokens": 7, "completion_tokens": 2 * PIECES}
                self.event(json.dumps({"choices": [], "usage": counts}))
            self.event("[DONE]")
            self.wfile.write(b"0\r\n\r\n")

        def event(self, data: str) -> None:
            line = f"data: {data}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()

        def whole(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    return Handler


@pytest.fixture
def backend() -> Iterator[Backend]:
    found = Backend()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler_of(found))
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def expectation(framework: Framework = Framework.VLLM) -> SmokeExpectation:
    given = {"name": "chat", "model": {"repo_id": "org/model"}}
    return expectation_for(build_spec(framework, Accelerator.GPU, given))


def load(
    backend: Backend, scenario: Scenario, *, connections: int = 8, seconds: float = 30, **given: Any
) -> tuple[StageResult, ...]:
    asked = given.pop("expectation", expectation())
    send = to_service(backend.url, {"model": "chat"}, connections)
    terms = Terms(connections, time.monotonic() + seconds)
    stop = given.pop("stop", threading.Event())
    return run_load(scenario, asked, send, terms, note=given.pop("note", lambda _: None), stop=stop)


SHORT = scenario_for(ScenarioName.QUICK, rates=(10, 20), stage_seconds=1)


def with_rate(rate: float) -> Scenario:
    return SHORT.model_copy(update={"rates": (rate,)})


def test_each_rate_is_kept_and_streams_are_timed(backend: Backend) -> None:
    seen: list[LoadProgress] = []
    first, second = load(backend, SHORT, note=seen.append)
    assert (first.succeeded, second.succeeded) == (10, 20)
    assert [(progress.stage, progress.rate) for progress in seen] == [(0, 10), (1, 20)]
    prompts = [body["prompt"] for body in backend.bodies]
    assert len(set(prompts)) == 30
    assert first.first_token is not None
    assert first.first_token.p50 >= backend.gap
    assert first.inter_token is not None
    assert first.latency is not None
    assert first.inter_token.p50 < first.latency.p50
    # Tokens are what the endpoint counted, not the pieces that they came in.
    assert first.output_tokens_per_second == pytest.approx(2 * PIECES * 10 / first.seconds)
    assert first.input_tokens_per_second == pytest.approx(7 * 10 / first.seconds)


def test_an_endpoint_that_counts_nothing_is_counted_by_pieces(backend: Backend) -> None:
    asked = expectation(Framework.TRITON_VLLM)
    (stage,) = load(backend, with_rate(5), expectation=asked)
    assert stage.output_tokens_per_second == pytest.approx(PIECES * 5 / stage.seconds)
    assert {body["path"] for body in backend.bodies} == {"/v2/models/vllm_model/generate_stream"}


def test_pictures_are_whole_answers(backend: Backend) -> None:
    (stage,) = load(backend, with_rate(5), expectation=expectation(Framework.DIFFUSERS))
    assert (stage.succeeded, stage.first_token) == (5, None)
    assert stage.latency is not None


def test_connections_bound_what_is_under_way_and_the_delay_shows(backend: Backend) -> None:
    backend.gap = 0.05
    (stage,) = load(backend, with_rate(20), connections=2)
    assert backend.most_at_once == 2
    assert stage.succeeded == 20
    assert stage.delay is not None
    assert stage.delay.p99 > backend.gap
    assert stage.sent_rate < 0.9 * stage.rate


def test_refusals_are_counted_by_what_was_said(backend: Backend) -> None:
    backend.status = 503
    (stage,) = load(backend, with_rate(5))
    assert (stage.succeeded, stage.failed) == (0, 5)
    assert stage.errors == {'HTTP 503: {"error": "busy"}': 5}
    sample = try_once(question_for(expectation(), SHORT, -1), to_service("http://127.0.0.1:1", {}, 1))
    assert sample.error == "NewConnectionError"


def test_a_sweep_finds_rates_up_to_what_the_endpoint_takes(backend: Backend) -> None:
    sweep = Sweep(requests=40, probe_seconds=10, stages=3)
    scenario = SCENARIOS[ScenarioName.SWEEP].model_copy(update={"sweep": sweep, "stage_seconds": 1})
    stages = load(backend, scenario, connections=2)
    assert len(backend.bodies) > sweep.requests
    rates = [stage.rate for stage in stages]
    assert rates == sorted(rates)
    # Two connections, an answer takes three gaps at least.
    assert 1 < rates[-1] <= 2 / (PIECES * backend.gap)


def test_a_load_can_be_ended_and_ends_at_its_deadline(backend: Backend) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(BenchmarkError) as ended:
        load(backend, SHORT, stop=stop)
    assert ended.value.code == "benchmark.stopped"
    with pytest.raises(BenchmarkError) as late:
        load(backend, with_rate(5), seconds=0.3)
    assert late.value.code == "benchmark.timeout"
