"""Containers that the node cannot create or start: their command, their mounts, their device, their memory."""

import re
from dataclasses import replace

from serving.diagnosis import Category, Diagnosis, Evidence
from serving.findings import signatures
from serving.findings.wording import container_name, one_line
from serving.snapshot import Container, Snapshot, first_time, name_of, parse_time

_PASSES = re.compile(
    r"deadline exceeded|time(?:d )?out|is reserved for|failed to sync|connection (?:refused|reset)|transport|"
    r"unavailable|context canceled|not registered|not yet|no relationship found|cannot find volume|"
    r"no running task|already exists|too many open files|try again|retry",
    re.IGNORECASE,
)
"""What the node or its way to the API server is not ready for, and races in the container runtime."""

_COMMAND = re.compile(r"exec: \"([^\"]+)\"|(?<!fork/)exec (\S+): ")
_DEVICE_RUNTIME = re.compile(r"nvidia-(?:container|ctk)|neuron-ctk|oci-neuron-hook")
"""What the node runs to give a container its devices: not the container's own command."""

_UNKNOWN = ("config", "create")
"""Reasons of complaints that tell no known cause."""

REPEATED_SECONDS = 30
"""How long the kubelet, which tries again every ten seconds or so, repeats a complaint that does not pass."""

_RUNTIME = re.compile(r"^.*(?:unable to start container process|OCI runtime create failed|failed to generate spec): ")


def passes(message: str) -> bool:
    """Whether the kubelet's complaint is one that ends by itself when it tries again."""
    return bool(_PASSES.search(message))


def settled(snapshot: Snapshot, container: Container, found: Diagnosis) -> Diagnosis:
    """Takes back that a complaint nobody knows is final, until the kubelet has repeated it for a while."""
    if not found.final or found.reason not in _UNKNOWN:
        return found
    said = str(container.waiting.get("message") or "")
    since = [
        moment
        for event in snapshot.events_of("Pod", name_of(container.pod))
        if said[:80] in str(event.get("message")) and (moment := parse_time(first_time(event)))
    ]
    lasted = (snapshot.taken - min(since)).total_seconds() if since and snapshot.taken else snapshot.age(container.pod)
    return found if lasted >= REPEATED_SECONDS or snapshot.taken is None else replace(found, final=False)


def judge(container: Container, reason: str, message: str, *, facts: Evidence | None = None) -> Diagnosis:
    """Returns why a container does not start.

    Args:
        container: The container.
        reason: What Kubernetes calls it: ``StartError``, ``CreateContainerError``, …
        message: What the container runtime said.
        facts: Where it shows; by default the container's state.
    """
    evidence = (facts or Evidence(f"{container_name(container)} {reason}", one_line(message) or reason),)
    said = _RUNTIME.sub("", " ".join(message.split())).removesuffix(": unknown")
    if re.search(r"OOM-killed|memory limit too low", message):
        limit = ((container.spec.get("resources") or {}).get("limits") or {}).get("memory")
        cause = f"Container {container.name} cannot even start within its memory limit of {limit}."
        fixes = (f"Raise resources.memory_limit (container {container.name}, now {limit}).",)
        return Diagnosis(Category.HOST_MEMORY, "oom-killed", cause, evidence, fixes)
    command = _COMMAND.search(message) if not _DEVICE_RUNTIME.search(message) else None
    if command or re.search(r"no command specified|exec format error", message):
        return _command(container, said, command, evidence)
    reading = signatures.read(message, container)
    if reading is not None:
        found = reading.signature
        return Diagnosis(found.category, found.reason, reading.cause, evidence, reading.fixes, final=found.lasting)
    if re.search(r"error mounting|not a directory|is mounted on|subPath", message):
        cause = f"A volume cannot be mounted into container {container.name}: {one_line(said, 250)}."
        fixes = (f"Correct the volume mounts (mountPath, subPath) of container {container.name}.",)
        return Diagnosis(Category.START, "mount", cause, evidence, fixes, final=not passes(message))
    return Diagnosis(
        Category.START,
        "create",
        f"Container {container.name} cannot be started: {one_line(said, 250) or reason}.",
        evidence,
        (f"Correct the settings of container {container.name} that the message names.",),
        final=not passes(message),
    )


def _command(
    container: Container, said: str, command: re.Match[str] | None, evidence: tuple[Evidence, ...]
) -> Diagnosis:
    own = (container.spec.get("command") or container.spec.get("args") or ["its own command"])[0]
    program = next((group for group in command.groups() if group), own) if command else own
    if "exec format error" in said:
        cause = f"Image {container.spec.get('image')} is built for another processor than the node's."
        fixes = ("Use an image for this architecture, or nodes of the other one (pod.architecture).",)
        return Diagnosis(Category.START, "processor", cause, evidence, fixes)
    return Diagnosis(
        Category.START,
        "command",
        f"Container {container.name} cannot be started: {one_line(said, 200)}.",
        evidence,
        (
            f"Image {container.spec.get('image')} cannot run {program}: use an image that has it, or correct the "
            f"command of container {container.name}.",
        ),
    )


def no_such_command(container: Container, code: object, facts: Evidence, log: Evidence) -> Diagnosis:
    """Returns what exit codes 126 and 127 of a shell mean."""
    what = "is not there" if code == 127 else "may not be executed"
    image = container.spec.get("image")
    return Diagnosis(
        Category.START,
        "command",
        f"Container {container.name} ends with exit code {code}: a command that it runs {what} in its image.",
        (facts, log),
        (f"Use an image that has the command, or correct command and args of container {container.name} ({image}).",),
    )
