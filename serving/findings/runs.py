"""Containers that start and end, or are ended: memory, probes, crashes, init containers."""

from collections.abc import Iterator

from serving.diagnosis import Category, Diagnosis, Evidence
from serving.findings import jobs, signatures
from serving.findings.wording import container_name, one_line, tail
from serving.snapshot import Container, Snapshot, being_deleted, containers, name_of, namespace_of, parse_time

_SIGNALS = {
    132: "SIGILL: the image is built for another processor",
    134: "SIGABRT: the program gave up, see its log",
    135: "SIGBUS: shared memory is too small (shared_memory) or a mapped file was cut off",
    137: "SIGKILL: the node ran out of memory, or something killed it",
    139: "SIGSEGV: the program crashed, often a driver or library that does not suit",
    143: "SIGTERM: something asked it to end",
}
_SIGNALLED = (0, 137, 143)
_KILLED = (137, 143)

CRASHES_UNTIL_FINAL = 3
"""Bad ends of a container after which an unknown crash counts as final; a known lasting cause needs one."""


def find(snapshot: Snapshot) -> Iterator[Diagnosis]:
    """Yields why containers do not keep running; those of Jobs are judged with their Job."""
    for pod in snapshot.pods:
        if being_deleted(pod) or jobs.owned(pod):
            continue
        for container in containers(pod):
            if container.failures and container.ended and not _recovered(container):
                yield _judged(snapshot, container)


def _recovered(container: Container) -> bool:
    """Whether the container failed before and is well now."""
    return bool(container.running and container.status.get("ready"))


def _judged(snapshot: Snapshot, container: Container) -> Diagnosis:
    ended = container.ended
    code, reason = ended.get("exitCode"), ended.get("reason")
    where = f"{container_name(container)} ended {container.failures} times"
    facts = Evidence(where, one_line(f"exit code {code}, {reason} {ended.get('message') or ''}"))
    if reason == "OOMKilled":
        return _out_of_memory(container, facts)
    if reason in ("StartError", "ContainerCannotRun"):
        return _cannot_start(container, facts)
    if code in _SIGNALLED and (killed := _killed_by_probe(snapshot, container, facts)):
        return killed
    log = snapshot.log(name_of(container.pod), container.name)
    reading = signatures.read(log)
    if reading is None and (killed := _killed_by_probe(snapshot, container, facts)):
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
    return Diagnosis(
        Category.CRASH,
        f"signal-{code - 128}" if isinstance(code, int) and code > 128 else "exit",
        _crash(container, code),
        (facts, Evidence(f"{container_name(container)} log", tail(log) or "(empty)")),
        (f"Read its last lines: {_logs_command(container)}",),
        final=container.failures >= CRASHES_UNTIL_FINAL,
        wants=() if log else ("logs",),
    )


def _crash(container: Container, code: object) -> str:
    if code == 0:
        return f"Container {container.name} ends by itself with exit code 0, and a server should not."
    if isinstance(code, int) and code in _SIGNALS:
        return f"Container {container.name} was ended by {_SIGNALS[code]} (exit code {code})."
    return f"Container {container.name} keeps ending with exit code {code}."


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


def _cannot_start(container: Container, facts: Evidence) -> Diagnosis:
    command = (container.spec.get("command") or container.spec.get("args") or ["(the image's own)"])[0]
    return Diagnosis(
        Category.START,
        "command",
        f"Container {container.name} cannot be started: {one_line(str(container.ended.get('message') or ''), 200)}.",
        (facts,),
        (
            f"Image {container.spec.get('image')} cannot run {command}: "
            "use an image that has it, or correct the command.",
        ),
    )


def _killed_by_probe(snapshot: Snapshot, container: Container, facts: Evidence) -> Diagnosis | None:
    killings = [
        event
        for event in snapshot.events_of("Pod", name_of(container.pod))
        if event.get("reason") == "Killing" and f"ontainer {container.name} failed" in str(event.get("message"))
    ]
    if not killings:
        return _ran_out_of_startup(container, facts)
    message = str(killings[-1].get("message"))
    kind = "liveness" if "liveness" in message else "startup"
    probe = container.spec.get(f"{kind}Probe") or {}
    seconds = int(probe.get("failureThreshold", 3)) * int(probe.get("periodSeconds", 10))
    seconds += int(probe.get("initialDelaySeconds", 0))
    refused = any(
        "connection refused" in str(event.get("message")) and kind in str(event.get("message")).lower()
        for event in snapshot.events_of("Pod", name_of(container.pod))
        if event.get("reason") == "Unhealthy"
    )
    loading = kind == "startup" or refused
    fix = (
        f"Raise startup_seconds: startupProbe failureThreshold x periodSeconds of container {container.name} must "
        "exceed the load time"
    )
    if kind == "liveness":
        fix += "; without a startupProbe the liveness probe counts from the start, and ends every longer load"
    return Diagnosis(
        Category.PROBE,
        f"{kind}-kill",
        f"The {kind} probe of container {container.name} gives up after {seconds} s and ends a server that "
        f"{'still loads' if loading else 'no longer answers'}.",
        (Evidence(f"{container_name(container)} Killing", one_line(message)), facts),
        (f"{fix}.", f"See how far the load got: {_logs_command(container)}"),
        final=container.failures >= 2,
    )


_SLACK_SECONDS = 15
"""A probe's own time-out and the kubelet's pace, on top of a start-up budget."""


def _ran_out_of_startup(container: Container, facts: Evidence) -> Diagnosis | None:
    """A start that lasted just as long as its probe allows, for when the event about it has gone (after an hour)."""
    probe = container.spec.get("startupProbe")
    began, ended = (parse_time(str(container.ended.get(at) or "")) for at in ("startedAt", "finishedAt"))
    if not probe or began is None or ended is None or container.ended.get("exitCode") not in _KILLED:
        return None
    period = int(probe.get("periodSeconds", 10))
    budget = int(probe.get("initialDelaySeconds", 0)) + int(probe.get("failureThreshold", 3)) * period
    grace = int((container.pod.get("spec") or {}).get("terminationGracePeriodSeconds", 30))
    ran = (ended - began).total_seconds()
    if not budget - period <= ran <= budget + period + grace + _SLACK_SECONDS:
        return None
    return Diagnosis(
        Category.PROBE,
        "startup-kill",
        f"Container {container.name} was ended after {ran:.0f} s, when its startup probe gives up ({budget} s): "
        "it still loads.",
        (facts,),
        (
            f"Raise startup_seconds: startupProbe failureThreshold x periodSeconds of container {container.name} must "
            "exceed the load time.",
            f"See how far the load got: {_logs_command(container)}",
        ),
        final=container.failures >= 2,
    )


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
        (f"Read its last lines: {_logs_command(container)}",),
        final=container.failures >= CRASHES_UNTIL_FINAL,
    )


def _logs_command(container: Container) -> str:
    namespace = namespace_of(container.pod) or "default"
    return f"kubectl logs -n {namespace} {name_of(container.pod)} -c {container.name} --previous"
