"""Claims that get no volume: no storage class, no provisioner, no volume that fits."""

import re
from collections.abc import Iterator

from serving.diagnosis import Category, Diagnosis, Evidence
from serving.findings.wording import one_line
from serving.snapshot import Object, Snapshot, name_of, namespace_of

_WAITS = ("WaitForFirstConsumer", "WaitForPodScheduled")
_PASSES = re.compile(
    r"timed? ?out|deadline exceeded|Throttling|RequestLimitExceeded|try again|unavailable", re.IGNORECASE
)


def find(snapshot: Snapshot) -> Iterator[Diagnosis]:
    """Yields claims that are not bound, and that nothing but a volume could help."""
    for claim in snapshot.kind("persistentvolumeclaims"):
        phase = (claim.get("status") or {}).get("phase")
        if phase == "Lost":
            yield _lost(claim)
        elif phase == "Pending":
            yield from _pending(snapshot, claim)


def _lost(claim: Object) -> Diagnosis:
    namespace, name = namespace_of(claim) or "default", name_of(claim)
    volume = (claim.get("spec") or {}).get("volumeName")
    return Diagnosis(
        Category.VOLUME,
        "claim-lost",
        f"Claim {name} has lost its volume {volume}, which no longer exists.",
        (Evidence(f"PersistentVolumeClaim {namespace}/{name}", "phase Lost"),),
        (f"Delete the claim and make it anew: kubectl delete persistentvolumeclaim -n {namespace} {name}",),
    )


def _pending(snapshot: Snapshot, claim: Object) -> Iterator[Diagnosis]:
    namespace, name = namespace_of(claim) or "default", name_of(claim)
    spec = claim.get("spec") or {}
    events = [e for e in snapshot.events_of("PersistentVolumeClaim", name) if e.get("reason") not in _WAITS]
    told = [e for e in events if e.get("reason") not in ("ExternalProvisioning", "Provisioning")] or events
    message = str(told[-1].get("message") or "") if told else ""
    evidence = (Evidence(f"PersistentVolumeClaim {namespace}/{name}", one_line(message) or "phase Pending"),)
    storage_class = spec.get("storageClassName")
    see = f"See kubectl describe persistentvolumeclaim -n {namespace} {name}."
    if "no storage class is set" in message and storage_class is None:
        yield Diagnosis(
            Category.VOLUME,
            "no-storage-class",
            f"Claim {name} names no storage class and the cluster has no default one.",
            evidence,
            (
                f"Name a storage class in claim {namespace}/{name}, or mark one as default "
                "(storageclass.kubernetes.io/is-default-class=true).",
            ),
        )
    elif match := re.search(r"storageclass\.storage\.k8s\.io \"([^\"]+)\" not found", message):
        yield Diagnosis(
            Category.VOLUME,
            "storage-class-missing",
            f"Claim {name} asks for storage class {match[1]}, which does not exist.",
            evidence,
            (
                f"Create storage class {match[1]}, or name one that exists in claim {namespace}/{name} "
                "(kubectl get storageclass).",
            ),
        )
    elif "no persistent volumes available" in message or "Cannot bind to requested volume" in message:
        volume = spec.get("volumeName")
        wanted = f"volume {volume}" if volume else f"a volume of class {storage_class or '(none)'}"
        size = ((spec.get("resources") or {}).get("requests") or {}).get("storage", "")
        modes = ", ".join(spec.get("accessModes") or ())
        yield Diagnosis(
            Category.VOLUME,
            "no-volume",
            f"Claim {name} wants {wanted}, {size} {modes}, and none fits: {one_line(message, 200)}.",
            evidence,
            (f"Create a PersistentVolume that fits claim {namespace}/{name} (class, size, access modes).", see),
        )
    elif "already bound to a different claim" in message:
        yield Diagnosis(
            Category.VOLUME,
            "volume-taken",
            f"Claim {name} wants a volume that another claim has: {one_line(message, 200)}.",
            evidence,
            (f"Give claim {namespace}/{name} a volume of its own (volumeName).", see),
        )
    elif told and told[-1].get("reason") == "ExternalProvisioning":
        provisioner = match[1] if (match := re.search(r"provisioner '([^']+)'", message)) else "the provisioner"
        yield Diagnosis(
            Category.VOLUME,
            "claim-pending",
            f"Claim {name} (storage class {storage_class}) waits for {provisioner} to make its volume.",
            evidence,
            (f"If it takes long, see whether {provisioner} runs: kubectl get pods -n kube-system", see),
            final=False,
        )
    elif message:
        yield Diagnosis(
            Category.VOLUME,
            "provisioning-failed" if told[-1].get("reason") == "ProvisioningFailed" else "claim-pending",
            f"Claim {name} (storage class {storage_class or 'none'}) is not bound: {one_line(message, 250)}.",
            evidence,
            (f"Correct what the message about claim {namespace}/{name} names.", see),
            final=False,
        )
