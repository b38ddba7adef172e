"""Jobs on pods whose end the test decides."""

import asyncio
from typing import Any

import pytest
from cluster_harness import (
    NAMESPACE,
    Harness,
    InstantKubelet,
    conditions,
    controlled_cluster,
    eventually,
    job,
)
from hypothesis import given
from hypothesis import strategies as st

from sandbox.kubernetes.controllers import JobTimings
from sandbox.kubernetes.controllers.jobs.progress import TRACKING, format_indexes, parse_indexes
from sandbox.kubernetes.resources import JOBS, PODS


def ended(harness: Harness, name: str = "stage") -> dict[str, tuple[str, str | None]]:
    return conditions(harness.one(JOBS, name))


async def next_pods(harness: Harness, count: int = 1) -> list[str]:
    """Names of the running pods, once there are `count`."""

    def running() -> list[str] | None:
        names = [one["metadata"]["name"] for one in harness.pods() if one["status"].get("phase") == "Running"]
        return names if len(names) == count else None

    found: list[str] = await eventually(running)
    return found


async def finish(harness: Harness, kubelet: InstantKubelet, phase: str, count: int = 1) -> None:
    for name in await next_pods(harness, count):
        kubelet.report(name, phase)


def test_a_job_is_complete_after_its_completions() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, kubelet):
            harness.apply(job("stage", "true", completions=3, parallelism=2))
            await finish(harness, kubelet, "Succeeded", 2)
            await finish(harness, kubelet, "Succeeded", 1)
            await eventually(lambda: ended(harness).get("Complete") == ("True", "CompletionsReached"))
            status = harness.one(JOBS, "stage")["status"]
            assert status["succeeded"] == 3
            assert status["startTime"] <= status["completionTime"]
            assert [one["type"] for one in status["conditions"]] == ["SuccessCriteriaMet", "Complete"]
            assert harness.said("Completed") == ["Job completed"]
            assert not any(TRACKING in one["metadata"].get("finalizers", []) for one in harness.pods())

    asyncio.run(main())


def test_a_job_fails_when_its_backoff_limit_is_used_up() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, kubelet):
            harness.apply(job("stage", "false", backoffLimit=2))
            for _ in range(3):
                await finish(harness, kubelet, "Failed")
            await eventually(lambda: ended(harness).get("Failed") == ("True", "BackoffLimitExceeded"))
            assert harness.one(JOBS, "stage")["status"]["failed"] == 3
            await asyncio.sleep(0.3)
            assert len(harness.pods()) == 3

    asyncio.run(main())


def test_failures_count_though_their_pods_are_deleted() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, kubelet):
            harness.apply(job("stage", "false", backoffLimit=1))
            for _ in range(2):
                (name,) = await next_pods(harness)
                kubelet.report(name, "Failed")
                await eventually(
                    lambda name=name: TRACKING not in harness.one(PODS, name)["metadata"].get("finalizers", [])
                )
                harness.cluster.delete(PODS, NAMESPACE, name)
            await eventually(lambda: "Failed" in ended(harness))
            assert harness.one(JOBS, "stage")["status"]["failed"] == 2

    asyncio.run(main())


def test_the_pause_between_failed_pods_grows() -> None:
    async def main() -> None:
        async with controlled_cluster(jobs=JobTimings(0.2, 10)) as (harness, kubelet):
            harness.apply(job("stage", "false", backoffLimit=5))
            loop, pauses = asyncio.get_running_loop(), []
            for _ in range(3):
                await finish(harness, kubelet, "Failed")
                began = loop.time()
                await next_pods(harness)
                pauses.append(loop.time() - began)
            assert all(pause > least - 0.02 for pause, least in zip(pauses, (0.2, 0.4, 0.8), strict=True))

    asyncio.run(main())


def test_a_job_that_takes_too_long_is_ended() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, _):
            harness.apply(job("stage", "sleep", "100", activeDeadlineSeconds=1))
            await next_pods(harness)
            await eventually(lambda: ended(harness).get("Failed") == ("True", "DeadlineExceeded"))
            await eventually(lambda: not harness.pods())
            assert harness.said("DeadlineExceeded") == ["Job was active longer than specified deadline"]

    asyncio.run(main())


def test_a_finished_job_goes_after_its_time() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, kubelet):
            harness.apply(job("stage", "true", ttlSecondsAfterFinished=1))
            await finish(harness, kubelet, "Succeeded")
            await eventually(lambda: harness.cluster.get(JOBS, NAMESPACE, "stage") is None)
            await eventually(lambda: not harness.pods())

    asyncio.run(main())


def test_an_indexed_job_numbers_its_pods_and_repeats_the_one_that_failed() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, kubelet):
            harness.apply(job("stage", "true", completionMode="Indexed", completions=3, parallelism=3))
            names = await next_pods(harness, 3)
            pods = {one["metadata"]["name"]: one for one in harness.pods()}
            key = "batch.kubernetes.io/job-completion-index"
            numbers = {name: pods[name]["metadata"]["annotations"][key] for name in names}
            assert sorted(numbers.values()) == ["0", "1", "2"]
            for name, number in numbers.items():
                assert {"name": "JOB_COMPLETION_INDEX", "value": number} in pods[name]["spec"]["containers"][0]["env"]
                kubelet.report(name, "Failed" if number == "1" else "Succeeded")
            (again,) = await next_pods(harness, 1)
            assert harness.one(PODS, again)["metadata"]["annotations"][key] == "1"
            assert harness.one(JOBS, "stage")["status"]["completedIndexes"] == "0,2"
            kubelet.report(again, "Succeeded")
            await eventually(lambda: "Complete" in ended(harness))
            assert harness.one(JOBS, "stage")["status"]["completedIndexes"] == "0-2"

    asyncio.run(main())


def test_a_suspended_job_has_no_pods_until_it_is_resumed() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, kubelet):
            harness.apply(job("stage", "true", suspend=True))
            await eventually(lambda: ended(harness).get("Suspended") == ("True", "JobSuspended"))
            assert not harness.pods()
            harness.change(JOBS, "stage", lambda obj: obj["spec"].update(suspend=False))
            await finish(harness, kubelet, "Succeeded")
            await eventually(lambda: "Complete" in ended(harness))
            assert ended(harness)["Suspended"] == ("False", "JobResumed")

    asyncio.run(main())


def test_deleting_a_job_frees_its_pods() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, _):
            harness.apply(job("stage", "sleep", "100"))
            await next_pods(harness)
            harness.cluster.delete(JOBS, NAMESPACE, "stage")
            await eventually(lambda: not harness.pods())

    asyncio.run(main())


@given(st.sets(st.integers(0, 40)))
def test_indexes_survive_being_written(indexes: set[int]) -> None:
    assert parse_indexes(format_indexes(indexes)) == indexes


@pytest.mark.parametrize(("indexes", "text"), [({0, 1, 2, 5}, "0-2,5"), (set(), ""), ({3}, "3"), ({1, 2}, "1-2")])
def test_indexes_as_text(indexes: set[int], text: str) -> Any:
    assert format_indexes(indexes) == text
