"""The Job of a load test: applied, watched with its stages in the UI, read, and taken away."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from kube.access import Permission, denied, missing_rights
from kube.apply import apply
from kube.connect import Cluster
from kube.delete import delete_by_label
from kube.logs import logs
from kube.read import get, list_
from serving.benchmark.inference_perf import stage_under_way
from serving.benchmark.job import BENCHMARK_LABEL, CONTAINER, BenchmarkJob, owned_config
from serving.benchmark.scenario import Scenario
from serving.diagnosis import Diagnosis
from serving.errors import BenchmarkError, ClusterError, PreflightError, RolloutError
from serving.readiness import Readiness
from serving.record import ENDPOINT_LABEL
from tasks.kinds import JOB_KINDS
from tasks.progress import ProgressBar, run_in_thread
from tasks.rollout import wait_for_rollout

LOG_LINES = 20_000
"""Last lines of the Job's log that are read: a report takes some two hundred."""

GLANCE_SECONDS = 5.0
"""How often the log is looked at for the stage under way."""


def require_rights(namespace: str, cluster: Cluster) -> None:
    """Raises what is missing to run a Job.

    Raises:
        PreflightError: Every right that is missing, with the rule to add.
    """
    wanted = [
        Permission(verb, group, resource, namespace)
        for group, resource in (("batch", "jobs"), ("", "configmaps"))
        for verb in ("get", "list", "watch", "create", "patch", "delete")
    ]
    wanted += [Permission(verb, "", "pods", namespace) for verb in ("list", "watch")]
    wanted += [Permission(verb, "", "events", namespace) for verb in ("list", "watch")]
    wanted.append(Permission("get", "", "pods", namespace, "log"))
    if missing := denied(cluster, wanted):
        raise PreflightError(missing_rights(missing))


@task(name="load-job", task_run_name="load-job", cache_policy=NO_CACHE)
async def run_job(rendered: BenchmarkJob, scenario: Scenario, cluster: Cluster, timeout_seconds: float) -> str:
    """Runs the Job to its end and returns its log; nothing of it is left, however it ends.

    Raises:
        RolloutError: It could not run, or not in time; with the diagnosis.
        ClusterError: The API refuses or cannot be reached.
    """
    namespace = _namespace(rendered)
    await asyncio.to_thread(_clear, cluster, rendered, keep=rendered.name)
    try:
        await asyncio.to_thread(_apply, cluster, rendered)
        await _wait(rendered, scenario, cluster, timeout_seconds)
        return await asyncio.to_thread(_log, cluster, namespace, rendered)
    finally:
        await asyncio.to_thread(_clear, cluster, rendered)


def _apply(cluster: Cluster, rendered: BenchmarkJob) -> None:
    metadata = rendered.job["metadata"]
    apply(cluster, rendered.config)
    apply(cluster, rendered.job)
    made = get(cluster, "batch/v1", "Job", metadata["name"], metadata["namespace"])
    if made is not None:
        apply(cluster, owned_config(rendered, made["metadata"]["uid"]))


def _clear(cluster: Cluster, rendered: BenchmarkJob, *, keep: str = "") -> None:
    """Deletes the endpoint's load tests: all of them, for no other run has one; but the one that is to be kept."""
    namespace, endpoint = _namespace(rendered), rendered.labels[ENDPOINT_LABEL]
    chosen = f"{ENDPOINT_LABEL}={endpoint},{BENCHMARK_LABEL}"
    delete_by_label(cluster, namespace, f"{chosen},{BENCHMARK_LABEL}!={keep}" if keep else chosen, JOB_KINDS)


async def _wait(rendered: BenchmarkJob, scenario: Scenario, cluster: Cluster, timeout_seconds: float) -> None:
    bar, log, began = ProgressBar("load"), get_run_logger(), asyncio.get_running_loop().time()
    said = ["starting"]

    async def show(readiness: Readiness) -> None:
        said[0] = readiness.message

    async def glance() -> None:
        while True:
            await asyncio.sleep(GLANCE_SECONDS)
            stage = await asyncio.to_thread(_stage, cluster, rendered)
            text = said[0] if stage is None else _stage_text(stage, scenario)
            elapsed = asyncio.get_running_loop().time() - began
            await bar.show(min(99.0, 100.0 * elapsed / max(1.0, scenario.seconds)), text)

    def work(note: Callable[[Readiness], None], stop: threading.Event) -> Readiness:
        def told(readiness: Readiness) -> None:
            log.info(readiness.message)
            note(readiness)

        return wait_for_rollout(
            cluster, rendered.job, rendered.labels, timeout_seconds=timeout_seconds, note=told, stop=stop
        )

    looking = asyncio.create_task(glance())
    try:
        await run_in_thread(work, show)
    except RolloutError as error:
        where = f"{_namespace(rendered)}/{rendered.name}"
        found = _without_its_job(error.diagnosis, rendered)
        raise RolloutError(f"The load test's Job {where} did not complete.", found, fix=error.fix) from error
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
    await bar.show(100.0, "complete", final=True)


def _without_its_job(found: Diagnosis | None, rendered: BenchmarkJob) -> Diagnosis | None:
    """The diagnosis without the advice to create the Job anew: it is gone, and a run makes its own."""
    if found is None:
        return None
    again = "Run the load test again."
    fixes = tuple(fix for fix in found.fixes if f"kubectl delete job -n {_namespace(rendered)}" not in fix)
    return replace(found, fixes=(*fixes, again))


def _namespace(rendered: BenchmarkJob) -> str:
    return str(rendered.job["metadata"]["namespace"])


def _stage_text(stage: int, scenario: Scenario) -> str:
    if stage < 0:
        return "looking for the limit with a burst of requests"
    if stage < len(scenario.rates):
        return f"stage {stage + 1} of {len(scenario.rates)}: {scenario.rates[stage]:g} requests per second"
    return f"stage {stage + 1}"


def _stage(cluster: Cluster, rendered: BenchmarkJob) -> int | None:
    try:
        return stage_under_way(_log(cluster, _namespace(rendered), rendered))
    except (ClusterError, BenchmarkError):
        return None  # a glance: the next one may see more


def _log(cluster: Cluster, namespace: str, rendered: BenchmarkJob) -> str:
    found = list_(cluster, "v1", "Pod", namespace, labels=f"{BENCHMARK_LABEL}={rendered.name}")
    if not found:
        raise BenchmarkError(
            f"The pod of Job {namespace}/{rendered.name} is gone, and its log with it.",
            cause="Somebody deleted it, or its node went.",
            fix="Run the load test again.",
            code="benchmark.pod-gone",
        )
    newest = max(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
    return logs(cluster, namespace, newest["metadata"]["name"], CONTAINER, tail_lines=LOG_LINES)
