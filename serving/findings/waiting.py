"""Containers that run and get nowhere: an init container without end, a server that never becomes ready."""

import re
from collections.abc import Iterator

from serving.diagnosis import Category, Diagnosis, Evidence
from serving.findings import signatures
from serving.findings.wording import container_name, one_line, pod_name, tail
from serving.snapshot import Container, Object, Snapshot, being_deleted, condition, containers, name_of, parse_time

PATIENCE = 600
"""Seconds after which a server that is up and not ready is reported, though its rollout has time left."""


def find(snapshot: Snapshot) -> Iterator[Diagnosis]:
    """Yields what a pod waits for although nothing has failed."""
    overdue = any(
        condition(deployment, "Progressing").get("reason") == "ProgressDeadlineExceeded"
        for deployment in snapshot.kind("deployments")
    )
    for pod in snapshot.pods:
        if being_deleted(pod):
            continue
        yield from _sandbox(snapshot, pod)
        for container in containers(pod):
            if container.init and container.running and (overdue or _seconds(snapshot, container) > 6 * PATIENCE):
                yield _hangs(snapshot, container, final=overdue)
            elif not container.init and container.running and not container.status.get("ready"):
                yield from _unready(snapshot, container, overdue=overdue)


def _sandbox(snapshot: Snapshot, pod: Object) -> Iterator[Diagnosis]:
    failed = [e for e in snapshot.events_of("Pod", name_of(pod)) if e.get("reason") == "FailedCreatePodSandBox"]
    waiting = any(c.waiting.get("reason") in ("ContainerCreating", "PodInitializing") for c in containers(pod))
    if not failed or not waiting or any(c.running for c in containers(pod)):
        return
    message = str(failed[-1].get("message"))
    evidence = (Evidence(f"{pod_name(pod)} FailedCreatePodSandBox", one_line(message)),)
    if match := re.search(r"no runtime for \"([^\"]+)\"|RuntimeHandler \"([^\"]+)\" not", message):
        name = match[1] or match[2]
        text = f"{pod_name(pod)} cannot start: its node does not know container runtime {name}."
        fix = (
            f"Use nodes that have {name} (EKS' accelerated images, or the GPU operator), or leave runtimeClassName out."
        )
        yield Diagnosis(Category.START, "runtime", text, evidence, (fix,), final=False)
        return
    if match := re.search(r"failed to get sandbox image \"([^\"]+)\"", message):
        text = f"{pod_name(pod)} cannot start: its node cannot pull {match[1]}, which every pod needs."
        fix = f"Give the node's role and route access to the registry of {match[1]}, or a node image that brings it."
        yield Diagnosis(Category.IMAGE_PULL, "sandbox", text, evidence, (fix,), final=False)
        return
    if re.search(r"assign an IP|no (available )?IP|insufficient.*(ip|address)", message, re.IGNORECASE):
        cause, fix = "the subnet of its node has no free IP address", "Free addresses, or add subnets for pods."
        reason = "no-address"
    elif not re.search(r"network|cni", message, re.IGNORECASE):
        said = one_line(message.removeprefix("Failed to create pod sandbox: "), 250)
        text = f"{pod_name(pod)} cannot start: its node cannot make a place for it: {said}."
        node = (pod.get("spec") or {}).get("nodeName")
        fix = f"The kubelet tries again by itself. If it lasts, look at its container runtime, or replace node {node}."
        yield Diagnosis(Category.START, "node-runtime", text, evidence, (fix,), final=False)
        return
    else:
        cause, fix, reason = (
            "its network cannot be set up",
            "See whether the network plugin runs on its node: "
            "kubectl get pods -n kube-system -l k8s-app=aws-node -o wide",
            "cni",
        )
    text = f"{pod_name(pod)} cannot start: {cause}."
    yield Diagnosis(Category.NETWORK, reason, text, evidence, (fix,), final=False)


def _hangs(snapshot: Snapshot, container: Container, *, final: bool) -> Diagnosis:
    log = snapshot.log(name_of(container.pod), container.name)
    last = tail(log, lines=1)
    reading = signatures.read(log)
    cause = f"Init container {container.name} runs for {_seconds(snapshot, container):.0f} s and does not end"
    cause += f"; it last said: {last}" if last else "; it says nothing"
    host = re.search(r"(?:https?://|s3://|connecting to |host )([\w.-]+)", log)
    where = f" to {host[1]}" if host else ""
    fixes = [
        f"Check the network path{where} from the pod: DNS, routes, network policies, VPC endpoint.",
        f"Read all it says: kubectl logs -n {snapshot.namespace(container.pod)} {name_of(container.pod)} "
        f"-c {container.name}",
    ]
    if reading is not None:
        fixes = [*reading.fixes, *fixes]
    return Diagnosis(
        Category.INIT,
        "hangs",
        f"{cause}.",
        (Evidence(f"{container_name(container)} log", last or "(empty)"),),
        tuple(fixes),
        final=final,
    )


def _unready(snapshot: Snapshot, container: Container, *, overdue: bool) -> Iterator[Diagnosis]:
    """A server that listens and answers its readiness probe with no; one that does not listen yet still loads."""
    if not container.status.get("started"):
        return
    failed = [
        event
        for event in snapshot.events_of("Pod", name_of(container.pod))
        if event.get("reason") == "Unhealthy" and str(event.get("message")).startswith("Readiness probe failed")
    ]
    if not failed or (not overdue and _seconds(snapshot, container) < PATIENCE):
        return
    message = str(failed[-1].get("message"))
    if "connection refused" in message and container.spec.get("startupProbe") is None and not overdue:
        return
    probe = ((container.spec.get("readinessProbe") or {}).get("httpGet") or {}).get("path", "its readiness probe")
    answer = match[1] if (match := re.search(r"statuscode: (\d+)", message)) else ""
    log = snapshot.log(name_of(container.pod), container.name)
    reading = signatures.read(log)
    says = f"answers {probe} with {answer}" if answer else f"does not pass {probe}"
    logs = f"kubectl logs -n {snapshot.namespace(container.pod)} {name_of(container.pod)} -c {container.name}"
    fixes = [f"Look into the engine's log, Kubernetes does not restart it: {logs}"]
    if answer == "404":
        fixes = [f"Correct the path of the readiness probe of container {container.name}: {probe} does not exist."]
    elif "connection refused" in message:
        fixes.insert(0, f"Check that container {container.name} listens on the port that its readiness probe asks.")
    if reading is not None:
        fixes = [*reading.fixes, *fixes]
    yield Diagnosis(
        Category.READINESS,
        "not-ready",
        f"Container {container.name} runs for {_seconds(snapshot, container):.0f} s and {says}: it never became ready"
        + (f". {reading.cause}" if reading else "."),
        (
            Evidence(f"{container_name(container)} Unhealthy", one_line(message)),
            Evidence(f"{container_name(container)} log", tail(log, lines=3) or "(empty)"),
        ),
        tuple(fixes),
        final=overdue,
    )


def _seconds(snapshot: Snapshot, container: Container) -> float:
    started = parse_time(str(((container.status.get("state") or {}).get("running") or {}).get("startedAt") or ""))
    taken = snapshot.taken
    return max(0.0, (taken - started).total_seconds()) if started and taken else 0.0
