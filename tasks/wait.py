"""Wait until a workload is ready, with what it does now in the UI."""

import threading
from collections.abc import Callable, Sequence

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from kube.connect import Cluster
from serving.frameworks.labels import selector
from serving.frameworks.workload import Manifest
from serving.readiness import Phase, Readiness
from serving.release import Release
from tasks.kinds import WORKLOADS
from tasks.progress import ProgressBar, run_in_thread
from tasks.rollout import wait_for_rollout

_STAGES = (Phase.STARTING, Phase.PENDING_NODE, Phase.PULLING, Phase.FETCHING, Phase.LOADING, Phase.WARMING)
_TOLD_BY_LOGS = (Phase.FETCHING, Phase.LOADING, Phase.WARMING)

LOGGED_SHARE = 0.1
"""Progress within a phase after which the log has it again; the UI has it at once."""


@task(name="wait-until-ready", task_run_name="wait-until-ready", cache_policy=NO_CACHE)
async def wait_until_ready(
    release: Release, manifests: Sequence[Manifest], cluster: Cluster, timeout_seconds: float
) -> Readiness:
    """Watches the workload until it serves what was applied, or can no longer do so by itself."""
    workload = workload_of(manifests)
    bar, log = ProgressBar("rollout"), get_run_logger()

    async def show(readiness: Readiness) -> None:
        await bar.show(percent(readiness), readiness.message, final=readiness.ready)

    def work(note: Callable[[Readiness], None], stop: threading.Event) -> Readiness:
        logged: Readiness | None = None

        def told(readiness: Readiness) -> None:
            nonlocal logged
            if is_news(logged, readiness):
                log.info(readiness.message)
                logged = readiness
            note(readiness)

        return wait_for_rollout(
            cluster, workload, selector(release), timeout_seconds=timeout_seconds, note=told, stop=stop
        )

    return await run_in_thread(work, show)


def is_news(logged: Readiness | None, now: Readiness) -> bool:
    """Whether a judgement belongs into the log: within a phase that the pods' logs tell of only every tenth of it."""
    if logged is None or now.phase is not logged.phase or now.ready_replicas != logged.ready_replicas:
        return True
    if now.phase in _TOLD_BY_LOGS:
        return not 0.0 <= round(now.share - logged.share, 6) < LOGGED_SHARE
    return now.message != logged.message


def workload_of(manifests: Sequence[Manifest]) -> Manifest:
    """The manifest of the object that runs the release's pods."""
    return next(one for one in manifests if (one["apiVersion"], one["kind"]) in WORKLOADS)


def percent(readiness: Readiness) -> float:
    """How far a rollout is, for a progress bar: replicas count most, within one its phases."""
    if readiness.ready:
        return 100.0
    if readiness.wanted <= 0:
        return 0.0
    stage = _STAGES.index(readiness.phase) / len(_STAGES) if readiness.phase in _STAGES else 0.5
    done = stage + readiness.share / len(_STAGES) if readiness.phase in _STAGES else stage
    return 100.0 * min(0.99, (readiness.ready_replicas + done) / readiness.wanted)
