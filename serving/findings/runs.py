"""Containers that start and end, or are ended: memory, probes, crashes, init containers."""

import re
from collections.abc import Iterator
from dataclasses import replace

from serving.diagnosis import Category, Diagnosis, Evidence
from serving.findings import jobs, signatures, starting
from serving.findings.probes import ended_by_probe
from serving.findings.wording import container_name, logs_command, one_line, tail
from serving.snapshot import GROUP_LABEL, Container, Object, Snapshot, containers, is_leaving, name_of, parse_time

_SIGNALS = {
    132: "SIGILL: the image is built for another processor",
    134: "SIGABRT: the program gave up, see its log",
    135: "SIGBUS: shared memory is too small (shared_memory) or a mapped file was cut off",
    137: "SIGKILL: the node ran out of memory, or something killed it",
    139: "SIGSEGV: the program crashed, often a driver or library that does not suit",
    143: "SIGTERM: something asked it to end",
}
_GROUP_AGAIN = "RecreateGroupOnPodRestart"
_SIGNALLED = (0, 137, 143)
_SIGNAL_MAX = 64
_LOST_TRACK = ("ContainerStatusUnknown", "Unknown")
"""What a kubelet writes of containers that ended while it or its node did not run."""


CRASHES_UNTIL_FINAL = 3
"""Bad ends of a container after which an unknown crash counts as final; a known lasting cause needs one."""


def find(snapshot: Snapshot) -> Iterator[Diagnosis]:
    """Yields why containers do not keep running; those of Jobs are judged with their Job."""
    for pod in snapshot.pods:
        if is_leaving(pod) or jobs.owned(pod):
            continue
        for container in containers(pod):
            if container.failures and container.ended and not _recovered(container):
                found = _judged(snapshot, container)
                before = _groups_before(snapshot, pod)
                if before and container.failures + before >= CRASHES_UNTIL_FINAL:
                    found = replace(found, final=True)
                yield replace(found, final=False) if found.final and _outlived(snapshot, container) else found


def _groups_before(snapshot: Snapshot, pod: Object) -> int:
    """How often the pod's LeaderWorkerSet has begun a group anew: each time its containers' counts begin anew, too."""
    group = str(((pod.get("metadata") or {}).get("labels") or {}).get(GROUP_LABEL) or "")
    again = [e for e in snapshot.events_of("LeaderWorkerSet", group) if e.get("reason") == _GROUP_AGAIN]
    return sum(int((event.get("series") or {}).get("count") or event.get("count") or 1) for event in again)


def _recovered(container: Container) -> bool:
    """Whether the container failed before and is well now."""
    return bool(container.running and container.status.get("ready"))


def _outlived(snapshot: Snapshot, container: Container) -> bool:
    """Whether its present run has gone on for clearly longer than the one that failed: it got past that point."""
    begun, over = (parse_time(str(container.ended.get(end) or "")) for end in ("startedAt", "finishedAt"))
    now = parse_time(str(((container.status.get("state") or {}).get("running") or {}).get("startedAt") or ""))
    if not begun or not over or not now or snapshot.taken is None:
        return False
    lasted = (over - begun).total_seconds()
    return (snapshot.taken - now).total_seconds() > 1.5 * lasted + 30


def _judged(snapshot: Snapshot, container: Container) -> Diagnosis:
    ended = container.ended
    code, reason = ended.get("exitCode"), ended.get("reason")
    where = f"{container_name(container)} ended {container.failures} times"
    facts = Evidence(where, one_line(f"exit code {code}, {reason} {ended.get('message') or ''}"))
    if reason == "OOMKilled":
        return _out_of_memory(container, facts)
    if reason in _LOST_TRACK:
        return _lost_track(container, facts)
    if reason in ("StartError", "ContainerCannotRun"):
        return starting.judge(container, str(reason), str(ended.get("message") or ""), facts=facts)
    if code in _SIGNALLED and (killed := ended_by_probe(snapshot, container, facts)):
        return killed
    log = snapshot.log(name_of(container.pod), container.name)
    reading = signatures.read(log, container)
    if reading is None and (killed := ended_by_probe(snapshot, container, facts)):
        return killed
    if container.init:
        return _init(container, facts, log, reading)
    if reading is not None:
        return Diagnosis(
            reading.signature.category,
            reading.signature.reason,
            reading.cause,
            (Evidence(f"{container_name(container)} log", one_line(reading.line)), facts),
            reading.fixes,
            final=reading.signature.lasting or container.failures >= CRASHES_UNTIL_FINAL,
        )
    if code in (126, 127):
        last = Evidence(f"{container_name(container)} log", tail(log) or "(empty)")
        return starting.no_such_command(container, code, facts, last)
    return Diagnosis(
        Category.CRASH,
        f"signal-{code - 128}" if isinstance(code, int) and 128 < code <= 128 + _SIGNAL_MAX else "exit",
        _crash(container, code, log),
        (facts, Evidence(f"{container_name(container)} log", tail(log) or "(empty)")),
        (f"Read its last lines: {logs_command(container)}",),
        final=container.failures >= CRASHES_UNTIL_FINAL,
        wants=() if log else ("logs",),
    )


def _crash(container: Container, code: object, log: str) -> str:
    if code == 0:
        return f"Container {container.name} ends by itself with exit code 0, and a server should not."
    if isinstance(code, int) and code in _SIGNALS:
        return f"Container {container.name} was ended by {_SIGNALS[code]} (exit code {code})."
    said = _own_error(log)
    last = f"; its error: {said}" if said else ""
    return f"Container {container.name} keeps ending with exit code {code}{last}."


_ERROR_LINE = re.compile(r"\b((?:[\w.]*\.)?\w*(?:Error|Exception): \S.*)")
_COMPLAINT = re.compile(r"\b(?:fatal|error)\b(?: error)?: *(\S.*)", re.IGNORECASE)
_SYMPTOM = re.compile(
    r"Engine core initialization failed|EngineDeadError|See root cause above|cancelled|WorkerProc init"
)


def _own_error(log: str) -> str:
    """The last exception in a log that is not the echo of another one; empty if there is none."""
    lines = [line for line in log.splitlines() if not _SYMPTOM.search(line)]
    found = [match[1] for line in lines if (match := _ERROR_LINE.search(line))]
    found = found or [match[1] for line in lines if (match := _COMPLAINT.search(line))]
    return one_line(found[-1], 200).rstrip(".") if found else ""


def _out_of_memory(container: Container, facts: Evidence) -> Diagnosis:
    limit = ((container.spec.get("resources") or {}).get("limits") or {}).get("memory")
    return Diagnosis(
        Category.HOST_MEMORY,
        "oom-killed",
        f"Container {container.name} needs more memory than its limit of {limit}."
        if limit
        else f"Container {container.name} was killed because its node ran out of memory.",
        (facts,),
        (
            f"Raise resources.memory_limit (container {container.name}, now {limit})."
            if limit
            else f"Set resources.memory to what container {container.name} needs, so that it gets a node with room.",
            "Shared memory (/dev/shm) counts too: shared_memory.",
        ),
        final=container.failures >= 2,
    )


def _lost_track(container: Container, facts: Evidence) -> Diagnosis:
    node = (container.pod.get("spec") or {}).get("nodeName")
    cause = f"Node {node} or its container runtime was started again, and container {container.name} ended with it."
    fixes = (
        "It starts again by itself: wait for it.",
        f"If it repeats, see why the node does not stay up: kubectl describe node {node}",
    )
    return Diagnosis(Category.NODE, "restarted", cause, (facts,), fixes, final=False)


def _init(container: Container, facts: Evidence, log: str, reading: signatures.Reading | None) -> Diagnosis:
    if reading is not None:
        return Diagnosis(
            Category.INIT,
            reading.signature.reason,
            f"Init container {container.name} fails: {reading.cause}",
            (Evidence(f"{container_name(container)} log", one_line(reading.line)), facts),
            reading.fixes,
            final=container.failures >= 2,
        )
    return Diagnosis(
        Category.INIT,
        "exit",
        f"Init container {container.name} ends with exit code {container.ended.get('exitCode')}.",
        (facts, Evidence(f"{container_name(container)} log", tail(log) or "(empty)")),
        (f"Read its last lines: {logs_command(container)}",),
        final=container.failures >= CRASHES_UNTIL_FINAL,
        wants=() if log else ("logs",),
    )
