"""Images that cannot be pulled."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from serving.diagnosis import Category, Diagnosis, Evidence
from serving.findings.wording import container_name, one_line, pod_name
from serving.snapshot import Container, Snapshot, being_deleted, containers, name_of

_PULL = {
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
}


_OF_RIGHTS = ("auth", "not-found", "rate-limit")
"""What a pull without credentials ends with."""


@dataclass(frozen=True)
class _Kind:
    reason: str
    pattern: str
    cause: str
    fix: str
    final: bool = True


# In order: an answer about rights names the repository too, often with "not found" or "does not exist" beside it.
_KINDS = (
    _Kind(
        "rate-limit",
        r"toomanyrequests|too many requests|rate.?limit|\b429\b|pull QPS exceeded",
        "the registry, or the node's own limit on pulls, finds that there were too many requests",
        "Pull with credentials, through a pull-through cache or from a registry of your own; it may pass by itself.",
        final=False,
    ),
    _Kind(
        "auth",
        r"unauthorized|authentication required|no basic auth|authorization failed|access denied|"
        r"\bdenied\b|forbidden|\b40[123]\b|insufficient_scope|ExpiredToken|expired",
        "the registry refuses access: credentials are missing, wrong or expired, or the repository does not exist",
        "Give the node's role or the service account the right to pull it (imagePullSecrets, ECR policy), "
        "and check the repository's name.",
    ),
    _Kind(
        "platform",
        r"no match(ing)? (for platform|manifest)|exec format error|no image found in (image index|manifest list)|"
        r"no child with platform",
        "the image has no build for the node's processor architecture",
        "Use an image for this architecture, or nodes of the other one (kubernetes.io/arch).",
    ),
    _Kind(
        "format",
        r"media type .* (is )?(no longer|not) supported|unsupported (manifest|schema)|manifest schema",
        "the node's container runtime does not know the format that it is stored in",
        "Build or push it again as an OCI image, or use a newer image.",
    ),
    _Kind(
        "not-found",
        r"not ?found|manifest unknown|does not exist|name unknown|repository .* not known|did not resolve to an alias",
        "the registry has no such image or tag",
        "Set image to one that exists.",
    ),
    _Kind(
        "disk",
        r"no space left|disk quota",
        "the node's disk is full",
        "Give nodes a larger disk, or free it: the serving images need 10 GB and more.",
    ),
    _Kind(
        "server-error",
        r"\b50[0234]\b (?:Internal Server Error|Bad Gateway|Service Unavailable|Gateway Time-?out)",
        "the registry has trouble of its own",
        "Wait: the kubelet tries again by itself. If it lasts, pull from another registry.",
        final=False,
    ),
    _Kind(
        "network",
        r"no such host|i/o timeout|dial tcp|connection re(fused|set)|TLS|x509|timeout|deadline exceeded|EOF|"
        r"HTTP response to HTTPS client|network is unreachable",
        "the node cannot reach the registry",
        "Check the node's route, DNS and proxy to the registry.",
        final=False,
    ),
)


def find(snapshot: Snapshot) -> Iterator[Diagnosis]:
    """Yields why an image does not come."""
    for pod in snapshot.pods:
        if being_deleted(pod):
            continue
        for container in containers(pod):
            if container.waiting.get("reason") in _PULL:
                yield _judged(snapshot, container)


def _judged(snapshot: Snapshot, container: Container) -> Diagnosis:
    image = str(container.spec.get("image"))
    reason = str(container.waiting.get("reason"))
    said = str(container.waiting.get("message") or "")
    from_events = [
        str(event.get("message") or "")
        for event in snapshot.events_of("Pod", name_of(container.pod))
        if event.get("reason") in ("Failed", "ErrImageNeverPull", "InspectFailed")
        and image in str(event.get("message"))
    ]
    texts = [text for text in (said, *reversed(from_events)) if text]
    where = f"{container_name(container)} state.waiting"
    evidence = (Evidence(where, one_line(f"{reason}: {texts[0] if texts else ''}")),)
    if reason == "InvalidImageName":
        return _diagnosis("invalid-name", f"{image} is not an image name", "Correct the image's name.", image, evidence)
    if reason == "ErrImageNeverPull":
        return _diagnosis(
            "never-pull",
            "imagePullPolicy is Never and the image is not on the node",
            "Use imagePullPolicy IfNotPresent, or load the image onto the node.",
            image,
            evidence,
        )
    for kind in _KINDS:
        for text in texts:
            if re.search(kind.pattern, text.replace(image, ""), re.IGNORECASE):
                found = (Evidence(where, one_line(f"{reason}: {text}")),)
                judged = _diagnosis(kind.reason, kind.cause, kind.fix, image, found, final=kind.final)
                return _without_secrets(snapshot, container, judged) if kind.reason in _OF_RIGHTS else judged
    return _diagnosis(
        "failed", "the pull fails", "See the message, and pull the image by hand.", image, evidence, final=False
    )


def _without_secrets(snapshot: Snapshot, container: Container, found: Diagnosis) -> Diagnosis:
    """Names the pull secrets that the pod asks for and the kubelet did not find: without them it pulls as nobody."""
    for event in snapshot.events_of("Pod", name_of(container.pod)):
        message = str(event.get("message") or "")
        if event.get("reason") == "FailedToRetrieveImagePullSecret" and (match := re.search(r"\(([^)]+)\)", message)):
            namespace = snapshot.namespace(container.pod)
            fixes = [
                f"Create the missing pull secret: kubectl create secret docker-registry -n {namespace} {name} "
                "--docker-server=… --docker-username=… --docker-password=…"
                for name in match[1].split(", ")
            ]
            evidence = Evidence(f"{pod_name(container.pod)} {event['reason']}", one_line(message))
            return replace(found, evidence=(*found.evidence, evidence), fixes=(*fixes, *found.fixes))
    return found


def _diagnosis(
    reason: str, cause: str, fix: str, image: str, evidence: tuple[Evidence, ...], *, final: bool = True
) -> Diagnosis:
    return Diagnosis(
        Category.IMAGE_PULL,
        reason,
        f"Image {image} cannot be pulled: {cause}.",
        evidence,
        (f"{fix} (image: {image})",),
        final=final,
    )
