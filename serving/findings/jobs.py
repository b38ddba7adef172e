"""Jobs that failed, and why their pods did."""

from collections.abc import Iterator

from serving.diagnosis import Category, Diagnosis, Evidence
from serving.findings import signatures
from serving.findings.wording import container_name, one_line, tail
from serving.snapshot import Container, Object, Snapshot, condition, containers, is_true, name_of


def find(snapshot: Snapshot) -> Iterator[Diagnosis]:
    """Yields failed Jobs, and those whose pods fail while tries are left."""
    for job in snapshot.kind("jobs"):
        failed = [c for pod in snapshot.pods if owned(pod, job) for c in containers(pod) if c.failures and c.ended]
        if is_true(job, "Failed") or is_true(job, "FailureTarget"):
            yield _failed(snapshot, job, failed)
        elif failed and not is_true(job, "Complete"):
            yield _trying(snapshot, job, failed)
        elif is_true(job, "Suspended"):
            yield _suspended(snapshot, job)


def owned(pod: Object, job: Object | None = None) -> bool:
    """Whether a pod belongs to a Job: to this one, or to any."""
    references = (pod.get("metadata") or {}).get("ownerReferences") or ()
    owners = [entry for entry in references if entry.get("kind") == "Job"]
    if job is None:
        return bool(owners)
    return any(entry.get("name") == name_of(job) for entry in owners)


def _failed(snapshot: Snapshot, job: Object, failed: list[Container]) -> Diagnosis:
    verdict = condition(job, "Failed") or condition(job, "FailureTarget")
    reason = str(verdict.get("reason") or "Failed")
    namespace, name = snapshot.namespace(job), name_of(job)
    evidence = [Evidence(f"Job {namespace}/{name} {reason}", one_line(str(verdict.get("message") or reason)))]
    why, fixes, detail = _why(snapshot, failed)
    evidence += detail
    again = f"Then run it again: kubectl delete job -n {namespace} {name}, and create it anew."
    if reason == "DeadlineExceeded":
        cause = f"Job {name} did not finish within its activeDeadlineSeconds."
        return Diagnosis(
            Category.JOB, "deadline", cause, tuple(evidence), (f"Raise activeDeadlineSeconds of Job {name}.", *fixes)
        )
    tries = (job.get("status") or {}).get("failed", len(failed))
    cause = f"Job {name} failed {tries} times and is not tried again ({reason}): {why}"
    return Diagnosis(Category.JOB, _reason(snapshot, failed), cause, tuple(evidence), (*fixes, again))


def _suspended(snapshot: Snapshot, job: Object) -> Diagnosis:
    namespace, name = snapshot.namespace(job), name_of(job)
    command = f'kubectl patch job -n {namespace} {name} -p \'{{"spec":{{"suspend":false}}}}\''
    fix = f"Let it run: {command}; a queue (Kueue) may hold it."
    evidence = (Evidence(f"Job {namespace}/{name} Suspended", str(condition(job, "Suspended").get("message") or "")),)
    return Diagnosis(Category.JOB, "suspended", f"Job {name} is suspended.", evidence, (fix,), final=False)


def _trying(snapshot: Snapshot, job: Object, failed: list[Container]) -> Diagnosis:
    why, fixes, detail = _why(snapshot, failed)
    cause = f"A pod of Job {name_of(job)} failed: {why}"
    return Diagnosis(Category.JOB, _reason(snapshot, failed), cause, tuple(detail), tuple(fixes), final=False)


def _reading(snapshot: Snapshot, failed: list[Container]) -> tuple[Container, signatures.Reading] | None:
    for container in failed:
        reading = signatures.read(snapshot.log(name_of(container.pod), container.name), container)
        if reading is not None:
            return container, reading
    return None


def _reason(snapshot: Snapshot, failed: list[Container]) -> str:
    found = _reading(snapshot, failed)
    if found is not None:
        return found[1].signature.reason
    return "oom-killed" if any(c.ended.get("reason") == "OOMKilled" for c in failed) else "exit"


def _why(snapshot: Snapshot, failed: list[Container]) -> tuple[str, list[str], list[Evidence]]:
    found = _reading(snapshot, failed)
    if found is not None:
        container, reading = found
        line = Evidence(f"{container_name(container)} log", one_line(reading.line))
        return reading.cause, list(reading.fixes), [line]
    if not failed:
        return "its pods are gone.", ["Raise its ttl, and read the logs of its pods while they are there."], []
    container = failed[0]
    if container.ended.get("reason") == "OOMKilled":
        where = Evidence(container_name(container), "OOMKilled")
        return "its container needs more memory than its limit.", ["Raise the memory limit of the Job."], [where]
    log = snapshot.log(name_of(container.pod), container.name)
    code = container.ended.get("exitCode")
    where = Evidence(f"{container_name(container)} log", tail(log) or "(empty)")
    return f"its container ends with exit code {code}.", ["Read the last lines of its log."], [where]
