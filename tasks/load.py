"""The built-in load generator: for a quick look, without a pod. Threads over HTTP; no Prefect here.

It reaches the endpoint by its Service from inside the cluster, through the API server's proxy from anywhere else.
"""

import queue
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import pairwise

import urllib3
from urllib3.exceptions import HTTPError

from kube.connect import POOL_SIZE, Cluster
from kube.proxy import StreamedResponse
from kube.proxy import stream as proxied
from serving.benchmark.questions import Question, question_for, read_line
from serving.benchmark.result import Sample, StageResult, percentile, summarize
from serving.benchmark.scenario import Scenario, Sweep, arrivals, stages_up_to
from serving.errors import BenchmarkError, ClusterError
from serving.smoke import SmokeExpectation
from tasks.smoke import Address

MOST_CONNECTIONS = POOL_SIZE
"""As many as a cluster's connection pool keeps open: more would be opened anew for each request, and be measured."""

ANSWER_SECONDS = 300.0
"""Longest silence in an answer."""

PROBE_REQUESTS = 200
"""Size of a sweep's burst at most: the answers of so few connections say enough."""

Send = Callable[[Question], AbstractContextManager[StreamedResponse]]


@dataclass(frozen=True)
class Terms:
    """Bounds of a load.

    Attributes:
        connections: Requests under way at the same time at most.
        deadline: When it must be over, on the monotonic clock.
    """

    connections: int
    deadline: float


@dataclass(frozen=True)
class LoadProgress:
    """How far a load is.

    Attributes:
        rate: Of the stage, requests per second; 0 while a sweep looks for the limit.
        elapsed: Seconds since the first stage began.
        seconds: Seconds that all stages take at least.
    """

    stage: int
    stages: int
    rate: float
    elapsed: float
    seconds: float


def through_proxy(address: Address, cluster: Cluster, headers: Mapping[str, str]) -> Send:
    """Sends through the API server."""

    def send(question: Question) -> AbstractContextManager[StreamedResponse]:
        place = (address.namespace, address.service, address.port)
        return proxied(
            cluster, "POST", *place, question.path, json=dict(question.body), headers=headers, timeout=ANSWER_SECONDS
        )

    return send


def to_service(base_url: str, headers: Mapping[str, str], connections: int) -> Send:
    """Sends straight to a server."""
    pool = urllib3.PoolManager(num_pools=1, maxsize=connections, retries=False)
    timeout = urllib3.Timeout(connect=10.0, read=ANSWER_SECONDS)

    @contextmanager
    def send(question: Question) -> Iterator[StreamedResponse]:
        opened = pool.request(
            "POST",
            f"{base_url}{question.path}",
            json=dict(question.body),
            headers={"Content-Type": "application/json", **headers},
            preload_content=False,
            timeout=timeout,
        )
        try:
            lines = (line.decode(errors="replace").rstrip("\r\n") for line in opened)
            yield StreamedResponse(opened.status, dict(opened.headers), lines)
            opened.drain_conn()  # so that the connection is used again
        finally:
            opened.close()

    return send


def run_load(
    scenario: Scenario,
    expectation: SmokeExpectation,
    send: Send,
    terms: Terms,
    *,
    note: Callable[[LoadProgress], None],
    stop: threading.Event,
) -> tuple[StageResult, ...]:
    """Puts an endpoint under a scenario's load, one stage after the other.

    Requests are sent when they are due, whatever became of those before, as long as a connection is free.

    Args:
        scenario: The load.
        expectation: How the endpoint is spoken to.
        send: The way to it.
        terms: How many connections, and until when.
        note: Called with every new stage.
        stop: Ends the load early.

    Raises:
        BenchmarkError: ``benchmark.stopped`` if it was ended early, ``benchmark.timeout`` if the time is over,
            ``benchmark.unreachable`` if a sweep's burst got no answer.
    """
    run = _Run(expectation, send, terms, stop)
    began = time.monotonic()
    rates = scenario.rates
    if not rates and scenario.sweep is not None:
        note(LoadProgress(-1, scenario.sweep.stages, 0.0, 0.0, scenario.seconds))
        rates = stages_up_to(run.limit(scenario, scenario.sweep), scenario.sweep)
    results = []
    for number, rate in enumerate(rates):
        note(LoadProgress(number, len(rates), rate, time.monotonic() - began, scenario.seconds))
        due = list(arrivals(scenario, rate, number))
        results.append(summarize(rate, run.send_all(scenario, due), scenario.stage_seconds))
    return tuple(results)


class _Run:
    """One load on its way: numbers its requests, so that no two are alike."""

    def __init__(self, expectation: SmokeExpectation, send: Send, terms: Terms, stop: threading.Event) -> None:
        self._expectation = expectation
        self._send = send
        self._connections = min(terms.connections, MOST_CONNECTIONS)
        self._deadline = terms.deadline
        self._stop = stop
        self._sent = 0

    def limit(self, scenario: Scenario, sweep: Sweep) -> float:
        """Requests per second that the endpoint could take: a burst, and how fast its answers came."""
        count = min(sweep.requests, PROBE_REQUESTS)
        samples = self.send_all(scenario, [0.0] * count, give_up_after=sweep.probe_seconds)
        ended = sorted(sample.sent + sample.seconds for sample in samples if not sample.error)
        if len(ended) < 2:
            first = next((sample.error for sample in samples if sample.error), "no answer in time")
            raise BenchmarkError(
                f"Of {len(samples)} requests at once {len(ended)} were answered: {first}.",
                fix="Try scenario quick first, or give the sweep a longer time.",
                code="benchmark.unreachable",
            )
        # Completions per second over windows of a tenth of the burst: a percentile, for the first answers come late.
        width = max(1, len(ended) // 10)
        spans = [later - earlier for earlier, later in zip(ended, ended[width:], strict=False)]
        speeds = sorted(width / span for span in spans if span > 0)
        return percentile(speeds, sweep.percentile / 100) if speeds else len(ended) / max(ended[-1], 1e-3)

    def send_all(self, scenario: Scenario, due: list[float], *, give_up_after: float | None = None) -> list[Sample]:
        """Sends a request at each of these times, seconds from now; returns when all were answered."""
        numbers = range(self._sent, self._sent + len(due))
        self._sent += len(due)
        waiting: queue.SimpleQueue[tuple[float, Question] | None] = queue.SimpleQueue()
        samples: list[Sample] = []
        start = time.monotonic()
        over = self._deadline if give_up_after is None else min(self._deadline, start + give_up_after)
        workers = [
            threading.Thread(target=self._work, args=(waiting, samples, start, over), daemon=True)
            for _ in range(min(self._connections, len(due)))
        ]
        for worker in workers:
            worker.start()
        try:
            for number, moment in zip(numbers, due, strict=True):
                question = question_for(self._expectation, scenario, number)
                if self._stop.wait(max(0.0, start + moment - time.monotonic())) or time.monotonic() > self._deadline:
                    break
                waiting.put((moment, question))
        finally:
            for _ in workers:
                waiting.put(None)
            for worker in workers:
                worker.join()
        if self._stop.is_set():
            raise BenchmarkError("The load was ended early.", code="benchmark.stopped")
        if time.monotonic() > self._deadline:
            raise BenchmarkError(
                "The time for the load was over before its end.",
                cause="The endpoint answers slower than it is asked.",
                fix="Raise timeout_minutes, or lower load.rates.",
                code="benchmark.timeout",
            )
        return samples

    def _work(
        self,
        waiting: "queue.SimpleQueue[tuple[float, Question] | None]",
        samples: list[Sample],
        start: float,
        over: float,
    ) -> None:
        while (task := waiting.get()) is not None:
            if self._stop.is_set() or time.monotonic() > over:
                continue
            moment, question = task
            samples.append(_ask(question, self._send, moment, start))


def try_once(question: Question, send: Send) -> Sample:
    """Sends one request now."""
    return _ask(question, send, 0.0, time.monotonic())


def _ask(question: Question, send: Send, due: float, start: float) -> Sample:
    sent = time.monotonic()
    times, counted, error = array("d"), (0, 0), ""
    try:
        with send(question) as answer:
            if answer.status != 200:
                error = f"HTTP {answer.status}: {_beginning(answer.lines)}"
            else:
                counted, error = _read(question, answer.lines, times)
    except ClusterError as failure:
        error = failure.code
    except (HTTPError, OSError) as failure:
        error = type(failure).__name__
    seconds = time.monotonic() - sent
    if not error and question.stream and not times:
        error = "the stream held no text"
    return Sample(
        due=due,
        sent=sent - start,
        seconds=seconds,
        error=error,
        first=times[0] - sent if times else None,
        gaps=array("d", (later - earlier for earlier, later in pairwise(times))),
        input_tokens=counted[0],
        output_tokens=counted[1] or len(times),
    )


def _read(question: Question, lines: Iterator[str], times: "array[float]") -> tuple[tuple[int, int], str]:
    """Notes when each piece with text came; returns the tokens of prompt and answer as counted, and what went wrong."""
    asked, given, error = 0, 0, ""
    for line in lines:
        if not question.stream:
            continue
        piece = read_line(line)
        if piece.text:
            times.append(time.monotonic())
        asked = asked if piece.input_tokens is None else piece.input_tokens
        given = given if piece.output_tokens is None else piece.output_tokens
        error = error or piece.error
    return (asked, given), error


def _beginning(lines: Iterator[str]) -> str:
    return " ".join(next(lines, "").split())[:200]


def progress_text(progress: LoadProgress) -> str:
    """What a load is doing, as a person reads it."""
    if progress.stage < 0:
        return "looking for the limit with a burst of requests"
    return f"stage {progress.stage + 1} of {progress.stages}: {progress.rate:g} requests per second"
