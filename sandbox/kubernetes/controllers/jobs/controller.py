"""Runs pods until enough have succeeded, or too many have failed."""

import time
from dataclasses import dataclass

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.controllers.jobs import progress
from sandbox.kubernetes.controllers.meta import (
    MANAGER,
    Obj,
    condition,
    is_controlled_by,
    is_terminating,
    owner_reference,
    seconds_since,
    timestamp,
)
from sandbox.kubernetes.controllers.pods import is_active, pod_from_template
from sandbox.kubernetes.controllers.recorder import Recorder
from sandbox.kubernetes.controllers.workqueue import Key, keys_of_owner, own_key, run_controller
from sandbox.kubernetes.errors import ApiError
from sandbox.kubernetes.resources import JOBS, PODS

keys_of_pod = keys_of_owner("Job")


@dataclass(frozen=True)
class JobTimings:
    """Pauses between a failed pod and the next, in seconds; a real cluster begins with ten.

    Attributes:
        backoff: After the first failure; it doubles with every further one.
        backoff_max: The longest.
    """

    backoff: float = 1.0
    backoff_max: float = 30.0


class Jobs:
    """The Job controller."""

    def __init__(self, cluster: Cluster, timings: JobTimings | None = None) -> None:
        self._cluster, self._timings = cluster, timings or JobTimings()
        self._recorder = Recorder(cluster, "job-controller")
        self._last_failures: dict[str, tuple[int, float]] = {}

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await run_controller(self._cluster, {JOBS: own_key, PODS: keys_of_pod}, self.reconcile)

    def reconcile(self, key: Key) -> float | None:
        """Bring one Job's pods and status to where they should be; return when to look again."""
        job = self._cluster.get(JOBS, *key)
        pods = self._cluster.list(PODS, key[0], where=lambda pod: key in keys_of_pod(pod))
        for pod in pods:
            if job is None or not is_controlled_by(pod, job) or is_terminating(job):
                self._release(pod)  # their Job is gone: nobody will count them
        if job is None or is_terminating(job):
            return None
        if progress.ended(job):
            self._last_failures.pop(job["metadata"]["uid"], None)
        pods = [pod for pod in pods if is_controlled_by(pod, job)]
        if progress.ended(job):
            for pod in pods:
                self._release(pod)
            return self._expire(job)
        if job["spec"].get("suspend"):
            self._suspend(job, pods)
            return None
        return self._proceed(self._resumed(job), pods)

    def _proceed(self, job: Obj, pods: list[Obj]) -> float | None:
        start_time = job.get("status", {}).get("startTime") or timestamp()
        tally = progress.count(job, pods)
        verdict = progress.judge(job, pods, tally, start_time)
        active = [pod for pod in pods if is_active(pod)]
        again = None
        if verdict:
            self._stop(active)
        else:
            again = self._adjust(job, active, tally)
        present = [pod for one in pods if (pod := self._latest(one))] if verdict else self._pods_of(job)
        status = progress.new_status(job, present, tally, verdict, start_time)
        self._write(job, status)
        for pod in pods:
            if progress.is_over(pod):
                self._release(pod)
        if verdict and progress.ended({"status": status}):
            self._announce(job, verdict)
        deadline: float | None = job["spec"].get("activeDeadlineSeconds")
        if deadline is None or verdict:
            return again
        left = max(deadline - seconds_since(start_time), 0.05)
        return left if again is None else min(again, left)

    def _announce(self, job: Obj, verdict: progress.Verdict) -> None:
        if verdict.succeeded:
            self._recorder.normal(job, "Completed", "Job completed")
        else:
            self._recorder.warning(job, verdict.reason, verdict.message)

    def _adjust(self, job: Obj, active: list[Obj], tally: progress.Tally) -> float | None:
        """Start the pods that are missing, stop those that are too many; seconds to wait before starting more."""
        number = progress.missing(job, len(active), tally)
        if number <= 0:
            self._stop(active[len(active) + number :])
            return None
        pause = self._pause(job, tally)
        if pause > 0:
            return pause
        taken = {progress.index_of(pod) for pod in active} | tally.indexes
        for _ in range(number):
            index = next(free for free in range(len(taken) + 1) if free not in taken)
            taken.add(index)
            self._create_pod(job, index)
        return None

    def _pause(self, job: Obj, tally: progress.Tally) -> float:
        """Seconds to wait before the next pod, counted from when the last failure was noticed."""
        uid = job["metadata"]["uid"]
        if not tally.failed:
            return 0.0
        known, moment = self._last_failures.get(uid, (0, 0.0))
        if known != tally.failed:
            moment = time.monotonic()
            self._last_failures[uid] = (tally.failed, moment)
        pause = min(self._timings.backoff * 2.0 ** (tally.failed - 1), self._timings.backoff_max)
        return moment + pause - time.monotonic()

    def _create_pod(self, job: Obj, index: int) -> None:
        pod = pod_from_template(job["spec"]["template"], job, owner_reference(job))
        pod["metadata"]["finalizers"] = [*pod["metadata"].get("finalizers", []), progress.TRACKING]
        if job["spec"].get("completionMode") == "Indexed":
            _number(pod, job, index)
        try:
            created = self._cluster.create(PODS, pod, manager=MANAGER)
        except ApiError as error:
            self._recorder.warning(job, "FailedCreate", f"Error creating: {error.message}")
            raise
        self._recorder.normal(job, "SuccessfulCreate", f"Created pod: {created['metadata']['name']}")

    def _suspend(self, job: Obj, pods: list[Obj]) -> None:
        self._stop([pod for pod in pods if is_active(pod)])
        status = progress.new_status(job, self._pods_of(job), progress.count(job, pods), None, "")
        del status["startTime"]
        known = condition(job, "Suspended")
        if known is None or known["status"] != "True":
            _set_condition(status, progress.new_condition("Suspended", "True", "JobSuspended", "Job suspended"))
            self._recorder.normal(job, "Suspended", "Job suspended")
        self._write(job, status)

    def _resumed(self, job: Obj) -> Obj:
        known = condition(job, "Suspended")
        if known and known["status"] == "True":
            _set_condition(job["status"], progress.new_condition("Suspended", "False", "JobResumed", "Job resumed"))
            self._recorder.normal(job, "Resumed", "Job resumed")
        return job

    def _expire(self, job: Obj) -> float | None:
        """Delete a Job that ended `ttlSecondsAfterFinished` ago."""
        keep, end = job["spec"].get("ttlSecondsAfterFinished"), progress.ended(job)
        if keep is None or end is None:
            return None
        left: float = keep - seconds_since(end["lastTransitionTime"])
        if left > 0:
            return left
        self._cluster.delete(JOBS, job["metadata"]["namespace"], job["metadata"]["name"], propagation="Foreground")
        return None

    def _pods_of(self, job: Obj) -> list[Obj]:
        pods = self._cluster.list(PODS, job["metadata"]["namespace"])
        return [pod for pod in pods if is_controlled_by(pod, job)]

    def _latest(self, pod: Obj) -> Obj | None:
        return self._cluster.get(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])

    def _stop(self, pods: list[Obj]) -> None:
        for pod in pods:
            self._cluster.delete(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])

    def _release(self, pod: Obj) -> None:
        if progress.TRACKING not in (pod["metadata"].get("finalizers") or []):
            return

        def change(one: Obj) -> None:
            kept = [name for name in one["metadata"].get("finalizers") or [] if name != progress.TRACKING]
            one["metadata"]["finalizers"] = kept
            if not kept:
                del one["metadata"]["finalizers"]

        self._cluster.update(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"], change, manager=MANAGER)

    def _write(self, job: Obj, status: Obj) -> None:
        meta = job["metadata"]
        self._cluster.update(
            JOBS,
            meta["namespace"],
            meta["name"],
            lambda one: one.update(status=status),
            manager=MANAGER,
            subresource="status",
        )


def _set_condition(status: Obj, new: Obj) -> None:
    status["conditions"] = [*(one for one in status.get("conditions") or [] if one["type"] != new["type"]), new]


def _number(pod: Obj, job: Obj, index: int) -> None:
    """Tell an Indexed Job's pod which piece of the work is its own."""
    meta, text = pod["metadata"], str(index)
    meta["annotations"] = {**meta.get("annotations", {}), progress.INDEX: text}
    meta["labels"] = {**meta.get("labels", {}), progress.INDEX: text}
    meta["generateName"] = f"{job['metadata']['name']}-{index}-"
    variable = {"name": "JOB_COMPLETION_INDEX", "value": text}
    for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
        container["env"] = [*container.get("env", []), variable]
