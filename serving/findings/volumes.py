"""Volumes that cannot be mounted or attached: what the kubelet, the attach controller and CSI drivers say."""

import re

from serving.diagnosis import Category, Diagnosis, Evidence
from serving.findings import signatures
from serving.findings.wording import one_line, pod_name
from serving.snapshot import Object, containers, namespace_of

MADE_BY_KUBERNETES = ("default", "kube-root-ca.crt")
"""Service account and ConfigMap that each namespace gets, a moment after it was made."""

UNKNOWN = "mount"
"""Reason of a complaint that names no cause."""


def judge(pod: Object, event: Object) -> Diagnosis:
    """Returns what an event about a pod's volumes means."""
    message = str(event.get("message") or "")
    evidence = (Evidence(f"{pod_name(pod)} {event.get('reason')}", one_line(message)),)
    volume = match[1] if (match := re.search(r"for volume \"([^\"]+)\"", message)) else ""
    found = _object_missing(pod, volume, message, evidence) or _cannot(pod, volume, message, evidence)
    if found is not None:
        return found
    waited = match[1] if (match := re.search(r"unmounted volumes=\[([^\]]+)\]", message)) else ""
    named = volume or waited or "of the pod"
    return Diagnosis(
        Category.VOLUME,
        UNKNOWN,
        f"Volume {named} cannot be mounted: {one_line(message, 250)}.",
        evidence,
        (f"Correct what the message names about volume {named}; the kubelet tries again by itself.",),
        final=False,
    )


def _object_missing(pod: Object, volume: str, message: str, evidence: tuple[Evidence, ...]) -> Diagnosis | None:
    namespace = namespace_of(pod) or "default"
    if match := re.search(r"(configmap|secret) \"([^\"]+)\" not found", message, re.IGNORECASE):
        kind = "Secret" if match[1].lower() == "secret" else "ConfigMap"
        name = match[2].split("/")[-1]
        return Diagnosis(
            Category.VOLUME,
            f"{kind.lower()}-missing",
            f"Volume {volume} needs {kind} {name}, which does not exist in namespace {namespace}.",
            evidence,
            (f"Create {kind} {name} in namespace {namespace}.",),
            final=name not in MADE_BY_KUBERNETES,
        )
    if match := re.search(r"references non-existent (?:config|secret) key: (\S+)", message):
        source = _source(pod, volume)
        return Diagnosis(
            Category.VOLUME,
            "key-missing",
            f"Volume {volume} needs key {match[1]}, which {source} does not have.",
            evidence,
            (f"Add key {match[1]} to {source} in namespace {namespace}, or refer to a key that it has.",),
        )
    if match := re.search(r"serviceaccounts? \"([^\"]+)\" not found", message):
        return Diagnosis(
            Category.SERVICE_ACCOUNT,
            "missing",
            f"Service account {match[1]} does not exist in namespace {namespace}.",
            evidence,
            (f"Create it: kubectl create serviceaccount -n {namespace} {match[1]}",),
            final=match[1] not in MADE_BY_KUBERNETES,
        )
    return None


def _cannot(pod: Object, volume: str, message: str, evidence: tuple[Evidence, ...]) -> Diagnosis | None:
    if "Multi-Attach error" in message:
        user = match[1] if (match := re.search(r"used by pod\(s\) ([^,\s]+)", message)) else "another pod"
        return Diagnosis(
            Category.VOLUME,
            "multi-attach",
            f"Volume {volume} is attached to another node for {user}, and can be attached to one only.",
            evidence,
            (f"Let {user} go first (strategy recreate), or use a volume that many nodes can mount (ReadWriteMany).",),
            final=False,
        )
    driver = re.search(r"driver name (\S+) not found|does not contain driver (\S+)", message)
    if driver:
        name = driver[1] or driver[2]
        addon = "for S3: the EKS add-on aws-mountpoint-s3-csi-driver" if name.startswith("s3.") else "an EKS add-on"
        return Diagnosis(
            Category.VOLUME,
            "driver-missing",
            f"CSI driver {name} does not run on the pod's node, and volume {volume or 'of the pod'} needs it.",
            evidence,
            (f"Install the driver {name} ({addon}), or use weights=sync.",),
        )
    if match := re.search(r"hostPath type check failed: (\S+)", message):
        fix = f"Make {match[1]} on the node, or use another volume for {volume}."
        cause = f"Volume {volume} wants the node's {match[1]}, which is not there."
        return Diagnosis(Category.VOLUME, "host-path", cause, evidence, (fix,))
    reading = signatures.read(message, next(containers(pod), None))
    if reading is not None:
        return Diagnosis(
            Category.VOLUME,
            f"s3-{reading.signature.reason}" if reading.signature.category is Category.STORE_ACCESS else UNKNOWN,
            f"Volume {volume} cannot be mounted: {reading.cause}",
            evidence,
            reading.fixes,
            final=reading.signature.lasting,
        )
    if re.search(r"ZoneMismatch|not in the same availability zone", message):
        cause = f"The disk behind volume {volume} stands in another zone than the pod's node."
        fix = f"Use nodes in that zone, or a claim of a storage class with WaitForFirstConsumer for {volume}."
        return Diagnosis(Category.VOLUME, "volume-zone", cause, evidence, (fix,))
    if re.search(r"UnauthorizedOperation|not authorized|AccessDenied|access denied", message, re.IGNORECASE):
        return Diagnosis(
            Category.VOLUME,
            "denied",
            f"Volume {volume} cannot be attached or mounted: access is denied: {one_line(message, 200)}.",
            evidence,
            (f"Give the CSI driver's role (or the pod's) the right that the message about {volume} names.",),
            final=False,
        )
    if re.search(r"NotFound.*[Vv]olume|InvalidVolume\.NotFound", message):
        cause = f"The disk behind volume {volume} no longer exists: {one_line(message, 200)}."
        fix = f"Delete the claim and the volume {volume}, and let a new one be made."
        return Diagnosis(Category.VOLUME, "gone", cause, evidence, (fix,))
    return None


def _source(pod: Object, volume: str) -> str:
    """The ConfigMap or Secret that a volume shows."""
    for entry in (pod.get("spec") or {}).get("volumes") or ():
        if entry.get("name") != volume:
            continue
        if name := (entry.get("configMap") or {}).get("name"):
            return f"ConfigMap {name}"
        if name := (entry.get("secret") or {}).get("secretName"):
            return f"Secret {name}"
    return "its ConfigMap or Secret"
