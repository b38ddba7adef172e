"""How far a Job is, and whether it is over: pure functions over the Job and its pods."""

from collections.abc import Iterable
from dataclasses import dataclass

from sandbox.kubernetes.controllers.meta import Obj, condition, is_terminating, seconds_since, timestamp
from sandbox.kubernetes.controllers.pods import is_active, is_finished, is_ready, is_stopping, phase

TRACKING = "batch.kubernetes.io/job-tracking"
"""Finalizer of a Job's pods: none goes away before it was counted."""
INDEX = "batch.kubernetes.io/job-completion-index"


@dataclass(frozen=True)
class Verdict:
    """How a Job ended.

    Attributes:
        succeeded: Whether it did what it should.
        reason: The condition's reason.
        message: The condition's message.
    """

    succeeded: bool
    reason: str
    message: str


@dataclass(frozen=True)
class Tally:
    """A Job's pods, counted.

    Attributes:
        succeeded: Pods that succeeded, those that are gone by now included.
        failed: Pods that failed, likewise.
        indexes: Indexes of the work that is done, for Indexed Jobs.
    """

    succeeded: int
    failed: int
    indexes: frozenset[int]


def count(job: Obj, pods: Iterable[Obj]) -> Tally:
    """Add the pods that have ended since the last count to what the status says already."""
    status = job.get("status", {})
    new = [pod for pod in pods if is_over(pod) and TRACKING in (pod["metadata"].get("finalizers") or [])]
    good = [pod for pod in new if phase(pod) == "Succeeded"]
    indexes = {number for pod in good if (number := index_of(pod)) is not None}
    return Tally(
        succeeded=status.get("succeeded", 0) + len(good),
        failed=status.get("failed", 0) + len(new) - len(good),
        indexes=frozenset(indexes | parse_indexes(status.get("completedIndexes", ""))),
    )


def is_over(pod: Obj) -> bool:
    """Whether a pod does no more for its Job: it has ended, or somebody deleted it, which counts as a failure."""
    return is_finished(pod) or is_terminating(pod)


def judge(job: Obj, pods: list[Obj], tally: Tally, start_time: str) -> Verdict | None:
    """Whether the Job is over, and how."""
    spec = job["spec"]
    target = condition(job, "FailureTarget")
    if target:
        return Verdict(False, target["reason"], target["message"])
    if tally.failed > spec.get("backoffLimit", 6) or _restarted_too_often(spec, pods):
        return Verdict(False, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and seconds_since(start_time) >= deadline:
        return Verdict(False, "DeadlineExceeded", "Job was active longer than specified deadline")
    completions = spec.get("completions")
    if completions is None:
        done = tally.succeeded > 0 and not any(is_active(pod) for pod in pods)
    else:
        done = tally.succeeded >= completions
    return Verdict(True, "CompletionsReached", "Reached expected number of succeeded pods") if done else None


def _restarted_too_often(spec: Obj, pods: list[Obj]) -> bool:
    if spec["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    statuses = [one for pod in pods if is_active(pod) for one in pod.get("status", {}).get("containerStatuses") or []]
    restarts: int = sum(one.get("restartCount", 0) for one in statuses)
    limit: int = spec.get("backoffLimit", 6)
    return restarts > 0 if limit == 0 else restarts >= limit


def missing(job: Obj, active: int, tally: Tally) -> int:
    """How many pods to start; negative for how many to stop."""
    spec = job["spec"]
    parallelism: int = spec.get("parallelism", 1)
    completions: int | None = spec.get("completions")
    if completions is None:  # without a number of completions, one success ends the work
        return 0 if tally.succeeded else parallelism - active
    return min(parallelism, max(completions - tally.succeeded, 0)) - active


def new_status(job: Obj, pods: list[Obj], tally: Tally, verdict: Verdict | None, start_time: str) -> Obj:
    """The Job's status; `pods` are its pods as they are now."""
    active = [pod for pod in pods if is_active(pod)]
    stopping = sum(is_stopping(pod) for pod in pods)
    conditions = list(job.get("status", {}).get("conditions") or [])
    over = verdict is not None and (verdict.succeeded or not (active or stopping))
    if verdict:
        first, last = ("SuccessCriteriaMet", "Complete") if verdict.succeeded else ("FailureTarget", "Failed")
        present = {one["type"] for one in conditions}
        kinds = [kind for kind in ([first, last] if over else [first]) if kind not in present]
        conditions += [new_condition(kind, "True", verdict.reason, verdict.message) for kind in kinds]
    counts = {"active": len(active), "succeeded": tally.succeeded, "failed": tally.failed}
    status: Obj = {"conditions": conditions} if conditions else {}
    status["startTime"] = start_time
    if over and verdict and verdict.succeeded:
        status["completionTime"] = timestamp()
    status |= {name: number for name, number in counts.items() if number}
    if tally.indexes:
        status["completedIndexes"] = format_indexes(tally.indexes)
    return {
        **status,
        "terminating": stopping,
        "uncountedTerminatedPods": {},
        "ready": sum(is_ready(pod) for pod in active),
    }


def new_condition(kind: str, status: str, reason: str, message: str) -> Obj:
    """A condition of a Job."""
    moment = timestamp()
    return {
        "type": kind,
        "status": status,
        "lastProbeTime": moment,
        "lastTransitionTime": moment,
        "reason": reason,
        "message": message,
    }


def ended(job: Obj) -> Obj | None:
    """The condition that says how the Job ended, once it has."""
    for kind in ("Complete", "Failed"):
        found = condition(job, kind)
        if found and found["status"] == "True":
            return found
    return None


def index_of(pod: Obj) -> int | None:
    """Which piece of an Indexed Job's work the pod does."""
    text = (pod["metadata"].get("annotations") or {}).get(INDEX)
    return None if text is None else int(text)


def parse_indexes(text: str) -> set[int]:
    """Indexes written as `0-2,5`."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def format_indexes(indexes: Iterable[int]) -> str:
    """Indexes as `0-2,5`."""
    runs: list[list[int]] = []
    for number in sorted(indexes):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
