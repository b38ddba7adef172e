"""Containers that the kubelet ended because a probe failed: told by its event, or by how long they were left to run."""

import re

from serving.diagnosis import Category, Diagnosis, Evidence
from serving.findings.wording import container_name, logs_command, one_line
from serving.snapshot import Container, Object, Snapshot, name_of, parse_time

_SIGNALLED = (137, 143)
_GRACE = 30


def ended_by_probe(snapshot: Snapshot, container: Container, facts: Evidence) -> Diagnosis | None:
    """Returns which probe ended the container; None if none did."""
    said = [
        event
        for event in snapshot.events_of("Pod", name_of(container.pod))
        if event.get("reason") == "Killing" and f"ontainer {container.name} failed" in str(event.get("message"))
    ]
    if said:
        message = str(said[-1].get("message"))
        kind = "liveness" if "liveness" in message else "startup"
        evidence = Evidence(f"{container_name(container)} Killing", one_line(message))
        return _judged(snapshot, container, kind, evidence, facts)
    # Events go after an hour, the exit code stays.
    for kind in ("startup", "liveness"):
        if container.ended.get("exitCode") in _SIGNALLED and _used_its_budget_up(snapshot, container, kind):
            where = f"{container_name(container)} {kind}Probe"
            evidence = Evidence(where, f"gives up after {budget_seconds(container, kind)} s, as long as it ran")
            return _judged(snapshot, container, kind, evidence, facts)
    return None


def budget_seconds(container: Container, kind: str) -> int:
    """Returns after how many seconds of failure the probe gives up, from the container's start on."""
    probe = container.spec.get(f"{kind}Probe") or {}
    tries = int(probe.get("failureThreshold", 3)) * int(probe.get("periodSeconds", 10))
    return tries + int(probe.get("initialDelaySeconds", 0))


def failures_of(snapshot: Snapshot, pod: Object, kind: str) -> list[str]:
    """Returns what the pod's probe of a kind failed with, oldest first."""
    return [
        str(event.get("message"))
        for event in snapshot.events_of("Pod", name_of(pod))
        if event.get("reason") == "Unhealthy" and str(event.get("message")).lower().startswith(kind)
    ]


def _used_its_budget_up(snapshot: Snapshot, container: Container, kind: str) -> bool:
    """Whether the last run ended when the probe's patience did, and no other probe's would have ended it before."""
    if container.spec.get(f"{kind}Probe") is None or (kind == "liveness" and container.spec.get("startupProbe")):
        return False
    begun = parse_time(str(container.ended.get("startedAt") or ""))
    over = parse_time(str(container.ended.get("finishedAt") or ""))
    failed = failures_of(snapshot, container.pod, kind)
    if not begun or not over or (snapshot.events_of("Pod", name_of(container.pod)) and not failed):
        return False
    budget = budget_seconds(container, kind)
    period = int((container.spec.get(f"{kind}Probe") or {}).get("periodSeconds", 10))
    grace = (container.pod.get("spec") or {}).get("terminationGracePeriodSeconds")
    most = budget + 2 * period + (_GRACE if grace is None else int(grace)) + 5
    return budget - period <= (over - begun).total_seconds() <= most


def _judged(snapshot: Snapshot, container: Container, kind: str, evidence: Evidence, facts: Evidence) -> Diagnosis:
    failed = failures_of(snapshot, container.pod, kind)
    loading = kind == "startup" or any("connection refused" in message for message in failed)
    answer = match[1] if failed and (match := re.search(r"statuscode: (\d+)", failed[-1])) else ""
    probe = container.spec.get(f"{kind}Probe") or {}
    seconds, path = budget_seconds(container, kind), (probe.get("httpGet") or {}).get("path", "")
    fix = (
        f"Raise startup_seconds: startupProbe failureThreshold x periodSeconds of container {container.name} must "
        "exceed the load time"
    )
    if kind == "liveness":
        fix += "; without a startupProbe the liveness probe counts from the start, and ends every longer load"
    fixes = [f"{fix}.", f"See how far the load got: {logs_command(container)}"]
    state = "still loads" if loading else "no longer answers"
    if answer.startswith("4"):
        state = f"answers {path or 'the probe'} with {answer}"
        fixes.insert(
            0, f"Correct the path of the {kind} probe of container {container.name}: {path or 'see the probe'}."
        )
    shown = [Evidence(f"{container_name(container)} Unhealthy", one_line(failed[-1]))] if failed else []
    return Diagnosis(
        Category.PROBE,
        f"{kind}-kill",
        f"The {kind} probe of container {container.name} gives up after {seconds} s and ends a server that {state}.",
        (evidence, facts, *shown),
        tuple(fixes),
        final=container.failures >= 2,
    )
