"""Put an endpoint under load, and keep what came of it."""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from pydantic import BaseModel, ConfigDict, Field

from blocks.cluster import InferenceCluster
from blocks.store import ModelStore
from flows.parameters import ClusterBlock, NamedEndpoint, Namespace, StoreBlock, TimeoutMinutes, group, titled
from kube.connect import Cluster
from serving.benchmark.comparison import Limits
from serving.benchmark.inference_perf import config_for, read_reports
from serving.benchmark.job import JobOptions, Place, read_log, render_job, tokenizer_of
from serving.benchmark.questions import TEXT_APIS
from serving.benchmark.result import BenchmarkResult, StageResult
from serving.benchmark.scenario import Scenario, ScenarioName, scenario_for
from serving.errors import BenchmarkError, InferenceError, InputError
from serving.forms import FormGroup
from serving.models import StagedModel
from serving.record import EndpointRecord
from serving.release import Release
from serving.smoke import expectation_for
from staging.store import StoreAccess
from tasks.benchmark import (
    Kept,
    keep_result,
    look_at_endpoint,
    make_load,
    report_failed_load,
    require_same_release,
)
from tasks.benchmark_job import require_rights, run_job
from tasks.explain import explained
from tasks.load import MOST_CONNECTIONS
from tasks.record import load_lease_name, load_record, one_writer
from tasks.runs import describe_run, short, tags_of
from tasks.smoke import PORT
from tasks.stage import check_model_store
from tasks.together import all_of

GRACE_SECONDS = 60.0
"""A Job ends by itself when the time is over; it is waited for so much longer, to be told why."""


class LoadEngine(StrEnum):
    """What makes the load: the flow itself, or a Job in the cluster with inference-perf."""

    BUILT_IN = "built-in"
    INFERENCE_PERF = "inference-perf"


class LoadOptions(FormGroup):
    """What differs from the scenario. Empty fields keep its values."""

    rates: tuple[Annotated[float, Field(gt=0, le=10_000)], ...] = Field(
        default=(), title="Rates", description="Requests per second, one stage each"
    )
    stage_seconds: int | None = Field(
        default=None, ge=1, le=86_400, title="Duration of a rate", description="Seconds that each rate is kept"
    )
    input_tokens: int | None = Field(
        default=None, ge=1, title="Prompt", description="Tokens of every prompt, instead of the scenario's mixture"
    )
    output_tokens: int | None = Field(
        default=None, ge=1, title="Answer", description="Tokens of every answer, instead of the scenario's mixture"
    )
    connections: int = Field(
        default=MOST_CONNECTIONS,
        ge=1,
        le=MOST_CONNECTIONS,
        title="Connections",
        description="Requests under way at the same time, at most; built-in only",
    )


class BenchmarkReport(BaseModel):
    """What came of a load test.

    Attributes:
        result: The figures.
        uri: Where they stand in the store.
        before: When the result was made that they were compared with; empty: none of the same load.
    """

    model_config = ConfigDict(frozen=True)

    result: BenchmarkResult
    uri: str
    before: str = ""


@flow(name="benchmark-endpoint", flow_run_name="benchmark {endpoint} ({scenario}, {engine})")
async def benchmark_endpoint(
    endpoint: NamedEndpoint,
    cluster: ClusterBlock,
    store: StoreBlock,
    scenario: Annotated[ScenarioName, titled("Scenario")] = ScenarioName.QUICK,
    engine: Annotated[LoadEngine, titled("Load from")] = LoadEngine.BUILT_IN,
    load: Annotated[LoadOptions, group("Load")] = LoadOptions(),
    limits: Annotated[Limits, group("Limits")] = Limits(),
    job: Annotated[JobOptions, group("Job")] = JobOptions(),
    namespace: Namespace = "",
    timeout_minutes: TimeoutMinutes = 60,
) -> BenchmarkReport | State[Any]:
    """Puts an endpoint under load and compares what came of it with the result before.

    Args:
        endpoint: Name of the endpoint.
        cluster: Cluster and namespace of the endpoint.
        store: Store that keeps the results, below its prefix in .benchmarks.
        scenario: quick, half a minute; baseline; saturation; sweep, which finds the limit; production.
        engine: built-in sends from this run, at most 32 requests at a time; inference-perf sends from a pod.
        load: Rates, durations and lengths of your own.
        limits: What the result must keep to, or the run fails.
        job: The pod of inference-perf.
        namespace: By default the cluster block's.
        timeout_minutes: How long it may take in all.
    """
    given = scenario_for(
        scenario,
        rates=load.rates,
        stage_seconds=load.stage_seconds,
        input_tokens=load.input_tokens,
        output_tokens=load.output_tokens,
    )
    plan = _Plan(given, engine, load.connections, limits, job, 60.0 * timeout_minutes)
    where = namespace or cluster.namespace
    return await explained(_benchmark(where, endpoint, cluster, store, plan))


@dataclass(frozen=True)
class _Plan:
    """What the user asked for."""

    scenario: Scenario
    engine: LoadEngine
    connections: int
    limits: Limits
    job: JobOptions
    timeout_seconds: float


async def _benchmark(
    namespace: str, endpoint: str, block: InferenceCluster, store: ModelStore, plan: _Plan
) -> BenchmarkReport:
    record = await load_record(namespace, endpoint, block)
    _require_possible(record, plan)
    name = f"benchmark {endpoint} ({plan.scenario.name}, {plan.engine}): {short(record.serving.model)}"
    await describe_run(name=name, tags=[*tags_of(record.spec), f"scenario:{plan.scenario.name}"])
    cluster = await asyncio.to_thread(block.connect)
    try:
        checks = [check_model_store(store), look_at_endpoint(record, plan.scenario, cluster)]
        if plan.engine is LoadEngine.INFERENCE_PERF:
            checks.append(asyncio.to_thread(require_rights, namespace, cluster))
        await all_of(*checks)
        lease = load_lease_name(endpoint)
        async with one_writer(namespace, endpoint, cluster, wait_seconds=plan.timeout_seconds, lease=lease):
            measured = await _measured(record, cluster, store.access(), plan)
        return await _kept(record, measured, store.access(), plan)
    finally:
        await asyncio.to_thread(cluster.close)


def _require_possible(record: EndpointRecord, plan: _Plan) -> None:
    spec = record.spec
    if record.current is None:
        raise InputError(
            f"Endpoint {spec.namespace}/{spec.name} serves nothing yet: its first release is on its way.",
            fix="Wait for the run that deploys it.",
            code="benchmark.no-release",
        )
    if plan.engine is LoadEngine.INFERENCE_PERF and expectation_for(spec).api not in TEXT_APIS:
        raise InputError(
            f"inference-perf asks OpenAI's completions, and endpoint {spec.name} ({spec.framework}) has none.",
            fix="Use engine=built-in.",
            code="benchmark.engine",
        )
    if plan.scenario.seconds > plan.timeout_seconds:
        raise InputError(
            f"The load takes at least {plan.scenario.seconds / 60:.0f} minutes, timeout_minutes is "
            f"{plan.timeout_seconds / 60:.0f}.",
            fix="Raise timeout_minutes, or lower load.stage_seconds.",
            code="benchmark.timeout",
        )


@dataclass(frozen=True)
class _Measured:
    """A load's result, and the files that its engine left."""

    result: BenchmarkResult
    files: dict[str, str]


async def _measured(record: EndpointRecord, cluster: Cluster, store: StoreAccess, plan: _Plan) -> _Measured:
    try:
        return await _under_load(record, cluster, store, plan)
    except InferenceError as error:
        await report_failed_load(record.spec.namespace, record.spec.name, error)
        raise


async def _under_load(record: EndpointRecord, cluster: Cluster, store: StoreAccess, plan: _Plan) -> _Measured:
    began, started = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    files: dict[str, str] = {}
    if plan.engine is LoadEngine.BUILT_IN:
        stages, via = await make_load(record, plan.scenario, cluster, plan.connections, plan.timeout_seconds)
    else:
        stages, files = await _by_job(record, cluster, store, plan)
        via = "service"
    await require_same_release(record, cluster)
    spec, release = record.spec, record.serving
    result = BenchmarkResult(
        cluster=cluster.name or cluster.server,
        namespace=spec.namespace,
        endpoint=spec.name,
        release=release.id,
        model=release.model.repo_id,
        commit=release.model.commit,
        framework=spec.framework.value,
        accelerator=spec.accelerator.value,
        replicas=spec.replicas,
        image=release.image,
        scenario=plan.scenario,
        engine=plan.engine.value,
        via=via,
        started_at=began,
        seconds=time.monotonic() - started,
        flow_run=str(runtime.flow_run.id or ""),
        stages=stages,
    )
    return _Measured(result, files)


async def _kept(record: EndpointRecord, measured: _Measured, store: StoreAccess, plan: _Plan) -> BenchmarkReport:
    spec, result = record.spec, measured.result
    kept: Kept = await keep_result(result, measured.files, plan.limits, record, store)
    if kept.problems:
        raise BenchmarkError(
            f"Endpoint {spec.namespace}/{spec.name} is not within its limits under load: {' '.join(kept.problems)}",
            fix=f"The figures are in artifact benchmark-{spec.name} and {kept.uri}.",
            code="benchmark.limits",
        )
    return BenchmarkReport(result=result, uri=kept.uri, before=kept.before.started_at if kept.before else "")


async def _by_job(
    record: EndpointRecord, cluster: Cluster, store: StoreAccess, plan: _Plan
) -> tuple[tuple[StageResult, ...], dict[str, str]]:
    spec, release = record.spec, record.serving
    uri, region = release.staged_uri, store.expected_region
    staged = (
        StagedModel(model=release.model, uri=uri, files=(), region=region, endpoint_url=store.endpoint_url)
        if uri
        else None
    )
    place = Place(
        spec=spec,
        release=Release(endpoint=spec.name, id=release.id, model=release.model),
        staged=staged,
        run=str(runtime.flow_run.id or ""),
        seconds=plan.timeout_seconds,
    )
    config = config_for(
        plan.scenario,
        base_url=f"http://{spec.name}.{spec.namespace}.svc:{PORT}",
        model=spec.served_model_name,
        tokenizer=tokenizer_of(place, plan.job),
        chat=plan.job.chat,
        trust_remote_code=spec.engine.trust_remote_code,
    )
    rendered = render_job(config, place, plan.job)
    log = await run_job(rendered, plan.scenario, cluster, plan.timeout_seconds + GRACE_SECONDS)
    files = read_log(log)
    return read_reports(files, log), {**files, "config.yml": rendered.config["data"]["config.yml"]}
