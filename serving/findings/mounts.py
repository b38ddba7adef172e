"""Containers that cannot be created: missing secrets, keys and ConfigMaps, volumes that cannot be mounted."""

import re
from collections.abc import Iterator

from serving.diagnosis import Category, Diagnosis, Evidence
from serving.findings import signatures
from serving.findings.wording import container_name, one_line, pod_name
from serving.snapshot import Container, Object, Snapshot, being_deleted, containers, is_true, name_of, namespace_of


def find(snapshot: Snapshot) -> Iterator[Diagnosis]:
    """Yields what the kubelet waits for before it can create a pod's containers."""
    for claim in snapshot.kind("persistentvolumeclaims"):
        yield from _claim(snapshot, claim)
    for pod in snapshot.pods:
        if being_deleted(pod):
            continue
        for container in containers(pod):
            reason = container.waiting.get("reason")
            if reason == "CreateContainerConfigError":
                yield _config(container)
            elif reason in ("CreateContainerError", "RunContainerError"):
                yield _start(container)
        if not is_true(pod, "PodReadyToStartContainers"):
            yield from _mount(snapshot, pod)


def _config(container: Container) -> Diagnosis:
    namespace = namespace_of(container.pod) or "default"
    message = str(container.waiting.get("message") or "")
    evidence = (Evidence(f"{container_name(container)} CreateContainerConfigError", one_line(message)),)
    if match := re.search(r"couldn't find key (\S+) in (Secret|ConfigMap) (\S+)", message):
        key, kind, name = match[1], match[2], match[3].split("/")[-1]
        return Diagnosis(
            Category.CONFIG,
            "key-missing",
            f"{kind} {namespace}/{name} has no key {key}.",
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
        return Diagnosis(
            Category.CONFIG,
            "non-root",
            f"The pod must not run as root and image {container.spec.get('image')} does.",
            evidence,
            ("Set runAsUser to a user of the image, or use an image that runs as another user.",),
        )
    return Diagnosis(
        Category.CONFIG,
        "config",
        f"The container's configuration cannot be made: {one_line(message, 200)}.",
        evidence,
        ("Correct what the message names.",),
    )


def _create(kind: str, name: str, namespace: str, container: Container) -> str:
    if kind == "ConfigMap":
        return f"Create ConfigMap {name} in namespace {namespace}."
    keys = sorted(
        {
            reference["key"]
            for entry in container.spec.get("env") or ()
            if (reference := (entry.get("valueFrom") or {}).get("secretKeyRef")) and reference.get("name") == name
        }
    ) or ["token"]
    literals = " ".join(f"--from-literal={key}=…" for key in keys)
    return f"Create Secret {name}: kubectl create secret generic -n {namespace} {name} {literals}"


def _start(container: Container) -> Diagnosis:
    message = str(container.waiting.get("message") or "")
    return Diagnosis(
        Category.START,
        "create",
        f"The container cannot be started: {one_line(message, 200)}.",
        (Evidence(f"{container_name(container)} {container.waiting.get('reason')}", one_line(message)),),
        (f"Correct the command or settings of container {container.name} that the message names.",),
    )


def _mount(snapshot: Snapshot, pod: Object) -> Iterator[Diagnosis]:
    namespace = namespace_of(pod) or "default"
    failed = [
        event
        for event in snapshot.events_of("Pod", name_of(pod))
        if event.get("reason") in ("FailedMount", "FailedAttachVolume", "FailedMapVolume")
    ]
    if not failed:
        return
    message = str(failed[-1].get("message") or "")
    evidence = (Evidence(f"{pod_name(pod)} {failed[-1].get('reason')}", one_line(message)),)
    volume = match[1] if (match := re.search(r"for volume \"([^\"]+)\"", message)) else ""
    if match := re.search(r"(configmap|secret) \"([^\"]+)\" not found", message, re.IGNORECASE):
        kind = "Secret" if match[1].lower() == "secret" else "ConfigMap"
        name = match[2].split("/")[-1]
        yield Diagnosis(
            Category.VOLUME,
            f"{kind.lower()}-missing",
            f"Volume {volume} needs {kind} {name}, which does not exist in namespace {namespace}.",
            evidence,
            (f"Create {kind} {name} in namespace {namespace}.",),
        )
    elif match := re.search(r"references non-existent (?:config|secret) key: (\S+)", message):
        yield Diagnosis(
            Category.VOLUME,
            "key-missing",
            f"Volume {volume} needs key {match[1]}, which its ConfigMap or Secret does not have.",
            evidence,
            (f"Add key {match[1]}, or refer to one that is there (kubectl describe pod -n {namespace}).",),
        )
    elif "Multi-Attach error" in message:
        yield Diagnosis(
            Category.VOLUME,
            "multi-attach",
            f"Volume {volume} is attached to another node, and can be attached to one only.",
            evidence,
            ("Let the old pod go first (recreate), or use a volume that many nodes can mount (ReadWriteMany).",),
            final=False,
        )
    elif (reading := signatures.read(message)) is not None:
        yield Diagnosis(
            Category.VOLUME,
            f"s3-{reading.signature.reason}",
            f"Volume {volume} cannot be mounted: {reading.cause}",
            evidence,
            reading.fixes,
            final=reading.signature.lasting,
        )
    elif match := re.search(r"driver name (\S+) not found", message):
        yield Diagnosis(
            Category.VOLUME,
            "driver-missing",
            f"CSI driver {match[1]} does not run on the pod's node.",
            evidence,
            (
                f"Install the driver {match[1]} (for S3: the EKS add-on aws-mountpoint-s3-csi-driver), or use "
                "weights=sync.",
            ),
        )
    else:
        yield Diagnosis(
            Category.VOLUME,
            "mount",
            f"Volume {volume or 'of the pod'} cannot be mounted: {one_line(message, 200)}.",
            evidence,
            ("Correct what the message names; the kubelet tries again by itself.",),
            final=False,
        )


def _claim(snapshot: Snapshot, claim: Object) -> Iterator[Diagnosis]:
    if (claim.get("status") or {}).get("phase") != "Pending":
        return
    namespace, name = namespace_of(claim) or "default", name_of(claim)
    events = [e for e in snapshot.events_of("PersistentVolumeClaim", name) if e.get("reason") != "WaitForFirstConsumer"]
    message = str(events[-1].get("message") or "") if events else ""
    where = f"PersistentVolumeClaim {namespace}/{name}"
    evidence = (Evidence(where, one_line(message) or "phase Pending"),)
    storage_class = (claim.get("spec") or {}).get("storageClassName")
    if "no storage class is set" in message:
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
            (f"Create storage class {match[1]}, or name one that exists (kubectl get storageclass).",),
        )
    elif message:
        provisioning = "waiting for" in message.lower() or "Provisioning" in str(events[-1].get("reason"))
        yield Diagnosis(
            Category.VOLUME,
            "claim-pending",
            f"Claim {name} (storage class {storage_class or 'none'}) is not bound: {one_line(message, 200)}.",
            evidence,
            (f"See kubectl describe persistentvolumeclaim -n {namespace} {name}.",),
            final=not provisioning and "ProvisioningFailed" not in str(events[-1].get("reason")),
        )
