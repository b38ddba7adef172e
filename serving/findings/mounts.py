"""Containers that cannot be created: missing secrets, keys and ConfigMaps, volumes that cannot be mounted."""

import re
from collections.abc import Iterator

from serving.diagnosis import Category, Diagnosis, Evidence
from serving.findings import claims, starting, volumes
from serving.findings.wording import container_name, one_line
from serving.snapshot import Container, Object, Snapshot, being_deleted, condition, containers, name_of, namespace_of

_NOT_STARTED = (
    "CreateContainerError",
    "RunContainerError",
    "PreCreateHookError",
    "PreStartHookError",
    "PostStartHookError",
)
_AFTER_MOUNT = ("Pulling", "Pulled", "Created", "Started", "BackOff", "Failed", "Unhealthy", "Killing")


def find(snapshot: Snapshot) -> Iterator[Diagnosis]:
    """Yields what the kubelet waits for before it can create a pod's containers."""
    yield from claims.find(snapshot)
    for pod in snapshot.pods:
        if being_deleted(pod):
            continue
        for container in containers(pod):
            reason = container.waiting.get("reason")
            if reason == "CreateContainerConfigError":
                yield starting.settled(snapshot, container, _config(container))
            elif reason in _NOT_STARTED:
                found = starting.judge(container, str(reason), str(container.waiting.get("message") or ""))
                yield starting.settled(snapshot, container, found)
        if not _has_volumes(snapshot, pod):
            yield from _mount(snapshot, pod)


def _has_volumes(snapshot: Snapshot, pod: Object) -> bool:
    """Whether the pod's volumes are there by now, whatever was said before."""
    known = condition(pod, "PodReadyToStartContainers").get("status")
    if known is not None:
        return str(known) == "True"
    events = snapshot.events_of("Pod", name_of(pod))
    return (bool(events) and events[-1].get("reason") in _AFTER_MOUNT) or any(c.running for c in containers(pod))


def _config(container: Container) -> Diagnosis:
    namespace = namespace_of(container.pod) or "default"
    message = str(container.waiting.get("message") or "")
    evidence = (Evidence(f"{container_name(container)} CreateContainerConfigError", one_line(message)),)
    if match := re.search(r"couldn't find key (\S+) in (Secret|ConfigMap) (\S+)", message):
        key, kind, name = match[1], match[2], match[3].split("/")[-1]
        return Diagnosis(
            Category.CONFIG,
            "key-missing",
            f"{kind} {namespace}/{name} has no key {key}, which container {container.name} refers to.",
            evidence,
            (f"Add key {key} to {kind} {name} in namespace {namespace}, or refer to a key that it has.",),
        )
    if match := re.search(r"(secret|configmap) \"([^\"]+)\" not found", message, re.IGNORECASE):
        kind = "Secret" if match[1].lower() == "secret" else "ConfigMap"
        return Diagnosis(
            Category.CONFIG,
            "missing",
            f"{kind} {match[2]} does not exist in namespace {namespace}.",
            evidence,
            (_create(kind, match[2], namespace, container),),
        )
    if "non-root" in message or "runAsNonRoot" in message:
        named = re.search(r"non-numeric user \((\S+?)\)", message)
        does = f"runs as {named[1]}, which may be root for all that Kubernetes knows" if named else "does"
        return Diagnosis(
            Category.CONFIG,
            "non-root",
            f"The pod must not run as root and image {container.spec.get('image')} {does}.",
            evidence,
            ("Set runAsUser to the number of a user of the image, or use an image that runs as another user.",),
        )
    return Diagnosis(
        Category.CONFIG,
        "config",
        f"The configuration of container {container.name} cannot be made: {one_line(message, 200)}.",
        evidence,
        ("Correct what the message names.",),
        final=not starting.passes(message),
    )


def _create(kind: str, name: str, namespace: str, container: Container) -> str:
    if kind == "ConfigMap":
        return f"Create ConfigMap {name} in namespace {namespace}."
    keys = sorted(
        {
            str(reference.get("key") or "token")
            for entry in container.spec.get("env") or ()
            if (reference := (entry.get("valueFrom") or {}).get("secretKeyRef")) and reference.get("name") == name
        }
    ) or ["token"]
    literals = " ".join(f"--from-literal={key}=…" for key in keys)
    return f"Create Secret {name}: kubectl create secret generic -n {namespace} {name} {literals}"


def _mount(snapshot: Snapshot, pod: Object) -> Iterator[Diagnosis]:
    """What keeps volumes away, the most telling complaint first: that they are waited for says nothing by itself."""
    failed = [
        event
        for event in snapshot.events_of("Pod", name_of(pod))
        if event.get("reason") in ("FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedUnMount")
    ]
    judged = [volumes.judge(pod, event) for event in reversed(failed)]
    yield from sorted(judged, key=lambda found: (not found.final, found.reason == volumes.UNKNOWN))[:1]
