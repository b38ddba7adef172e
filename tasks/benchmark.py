"""Load tests of an endpoint: what is looked at before, the load itself, and what is kept and shown of it."""

import asyncio
import base64
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from prefect import get_run_logger, task
from prefect.artifacts import acreate_image_artifact, acreate_markdown_artifact, acreate_table_artifact
from prefect.cache_policies import NO_CACHE

from kube.connect import Cluster
from kube.proxy import request
from kube.service import way_to
from serving.benchmark.comparison import Limits, violations
from serving.benchmark.pictures import charts
from serving.benchmark.questions import TEXT_APIS, question_for
from serving.benchmark.report import failure_markdown, result_markdown, rows, stage_line
from serving.benchmark.result import BenchmarkResult, StageResult
from serving.benchmark.scenario import Scenario, require_fits
from serving.errors import BenchmarkError, InferenceError, InputError
from serving.events import Benchmarked, EndpointBenchmarked, serving
from serving.record import EndpointRecord
from serving.smoke import MODELS, SmokeExpectation, expectation_for
from staging.store import StoreAccess
from tasks.benchmark_results import previous, save
from tasks.events import emit
from tasks.load import (
    LoadProgress,
    Send,
    Terms,
    progress_text,
    run_load,
    through_proxy,
    to_service,
    try_once,
)
from tasks.progress import ProgressBar, run_in_thread
from tasks.release import current_release
from tasks.smoke import Address


@dataclass(frozen=True)
class Kept:
    """What was kept of a load test.

    Attributes:
        uri: Where the result stands.
        before: The result of the same load before; None if there is none.
        problems: Limits that it does not keep to.
    """

    uri: str
    before: BenchmarkResult | None
    problems: tuple[str, ...]


@task(name="look-at-endpoint", task_run_name="look-at-endpoint", cache_policy=NO_CACHE)
async def look_at_endpoint(record: EndpointRecord, scenario: Scenario, cluster: Cluster) -> None:
    """Looks whether the endpoint serves what its record says, and takes requests as long as the scenario's.

    Raises:
        InputError: It was switched by hand, or the requests are too long for it.
        ClusterError: It does not answer.
    """
    spec = record.spec
    served = await asyncio.to_thread(current_release, spec, cluster)
    if served != record.serving.id:
        raise InputError(
            f"Endpoint {spec.namespace}/{spec.name} points at release {served or 'none'}, its record says "
            f"{record.serving.id}.",
            cause="A run is changing it, or it was changed by hand.",
            fix="Wait for that run, or deploy the endpoint again.",
            code="benchmark.release-unknown",
        )
    expectation = expectation_for(spec)
    if expectation.api in TEXT_APIS:
        longest = await asyncio.to_thread(_longest, Address(spec.namespace, spec.name), expectation.model, cluster)
        require_fits(scenario, longest, f"{spec.namespace}/{spec.name}")


def _longest(address: Address, model: str, cluster: Cluster) -> int | None:
    """Longest prompt plus answer as the endpoint says it, tokens; None if it does not."""
    answer = request(cluster, "GET", address.namespace, address.service, address.port, MODELS.path)
    try:
        found = next(one for one in answer.json()["data"] if one["id"] == model)
        return int(found["max_model_len"])
    except (ValueError, LookupError, TypeError, StopIteration):
        return None


@task(name="built-in-load", task_run_name="built-in-load", cache_policy=NO_CACHE)
async def make_load(
    record: EndpointRecord, scenario: Scenario, cluster: Cluster, connections: int, timeout_seconds: float
) -> tuple[tuple[StageResult, ...], str]:
    """Puts the endpoint under load from here; returns the stages, and how it was reached.

    Raises:
        BenchmarkError: The endpoint refuses the requests, or the time is over.
    """
    spec = record.spec
    expectation = expectation_for(spec)
    address = Address(spec.namespace, spec.name)
    way = await asyncio.to_thread(way_to, cluster, address.namespace, address.service, address.port)
    if way.direct:
        send = to_service(way.direct, expectation.headers, connections)
    else:
        send = through_proxy(address, cluster, expectation.headers)
    await asyncio.to_thread(_require_answer, expectation, scenario, send, f"{spec.namespace}/{spec.name}")
    bar, log = ProgressBar("load"), get_run_logger()

    async def show(progress: LoadProgress) -> None:
        log.info("%s", progress_text(progress))
        await bar.show(100.0 * progress.elapsed / max(1.0, progress.seconds), progress_text(progress))

    def work(note: Callable[[LoadProgress], None], stop: threading.Event) -> tuple[StageResult, ...]:
        terms = Terms(connections, time.monotonic() + timeout_seconds)
        return run_load(scenario, expectation, send, terms, note=note, stop=stop)

    stages = await run_in_thread(work, show)
    await bar.show(100.0, f"{len(stages)} rates", final=True)
    return stages, "service" if way.direct else "proxy"


def _require_answer(expectation: SmokeExpectation, scenario: Scenario, send: Send, endpoint: str) -> None:
    """One request that counts for nothing: it opens the way, and tells before the load what every request would."""
    sample = try_once(question_for(expectation, scenario, -1), send)
    if sample.error:
        raise BenchmarkError(
            f"Endpoint {endpoint} does not answer a request of the scenario: {sample.error}.",
            cause="It is down, or it refuses what the scenario asks for.",
            fix="Deploy it again, which proves it by its smoke test, or change load.input_tokens and "
            "load.output_tokens.",
            code="benchmark.refused",
        )


async def require_same_release(record: EndpointRecord, cluster: Cluster) -> None:
    """Looks whether the release that was put under load serves still.

    Raises:
        BenchmarkError: ``benchmark.release-changed``.
    """
    spec = record.spec
    served = await asyncio.to_thread(current_release, spec, cluster)
    if served != record.serving.id:
        raise BenchmarkError(
            f"Endpoint {spec.namespace}/{spec.name} was switched from release {record.serving.id} to "
            f"{served or 'none'} while it was under load: the figures belong to neither.",
            cause="A deploy or refresh ran at the same time.",
            fix="Run the load test again.",
            code="benchmark.release-changed",
        )


@task(name="keep-result", task_run_name="keep-result", cache_policy=NO_CACHE)
async def keep_result(
    result: BenchmarkResult, files: Mapping[str, str], limits: Limits, record: EndpointRecord, store: StoreAccess
) -> Kept:
    """Writes the result into the store, and shows it in the UI beside the one before.

    Raises:
        StoreError: The store cannot be written or read.
    """
    before = await asyncio.to_thread(previous, store, result)
    picture = charts(result, before) if result.succeeded else ""
    drawn = {"charts.svg": picture} if picture else {}
    uri = await asyncio.to_thread(save, store, result, {**files, **drawn})
    problems = tuple(violations(result, before, limits))
    for stage in result.stages:
        get_run_logger().info("%s", stage_line(stage))
    await _show(result, before, problems, uri, picture)
    emit(_event(result, record, uri, problems))
    return Kept(uri, before, problems)


@task(name="report-failure", task_run_name="report-failure", cache_policy=NO_CACHE)
async def report_failed_load(namespace: str, endpoint: str, error: InferenceError) -> None:
    """Shows why a load test came to nothing, where the endpoint's load tests are."""
    key = artifact_key(endpoint)
    markdown = failure_markdown(namespace, endpoint, error)
    await acreate_markdown_artifact(markdown=markdown, key=key, description=error.what[:200])


def artifact_key(endpoint: str) -> str:
    """Key of an endpoint's load tests: their versions are its history."""
    return f"benchmark-{endpoint}"


async def _show(
    result: BenchmarkResult, before: BenchmarkResult | None, problems: Sequence[str], uri: str, picture: str
) -> None:
    key = artifact_key(result.endpoint)
    title = f"{result.scenario.name} on {result.namespace}/{result.endpoint}"
    if picture:
        url = f"data:image/svg+xml;base64,{base64.b64encode(picture.encode()).decode()}"
        await acreate_image_artifact(image_url=url, key=f"{key}-charts", description=f"{title}: by rate")
    await acreate_table_artifact(table=rows(result), key=f"{key}-rates", description=f"{title}: by rate")
    markdown = result_markdown(result, before, problems, uri=uri)
    await acreate_markdown_artifact(markdown=markdown, key=key, description=title)


def _event(result: BenchmarkResult, record: EndpointRecord, uri: str, problems: Sequence[str]) -> EndpointBenchmarked:
    return EndpointBenchmarked(
        **serving(record),
        scenario=result.scenario.name.value,
        engine=result.engine,
        uri=uri,
        within_limits=not problems,
        stages=[
            Benchmarked(
                rate=stage.rate,
                requests_per_second=stage.requests_per_second,
                output_tokens_per_second=stage.output_tokens_per_second,
                failed=stage.failed,
                first_token_p50=stage.first_token.p50 if stage.first_token else None,
                first_token_p99=stage.first_token.p99 if stage.first_token else None,
                inter_token_p50=stage.inter_token.p50 if stage.inter_token else None,
                inter_token_p99=stage.inter_token.p99 if stage.inter_token else None,
            )
            for stage in result.stages
        ],
    )
