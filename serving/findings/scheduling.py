"""Pods that find no node: who decides about them, and what is said of them.

Decided from nodes and pod (`serving.findings.placement`, `serving.findings.occupied`); from the scheduler's sentence
only where nodes may not be listed. What a node autoscaler may still solve is not final; what it refused is.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from serving import nodes as node_rules
from serving.diagnosis import Category, Diagnosis, Evidence
from serving.findings import placement
from serving.findings.wording import one_line, pod_name
from serving.snapshot import Object, Snapshot, being_deleted, condition, event_time, name_of

SCHEDULER_SECONDS = 60
"""A scheduler that runs says something about a pod within seconds."""

_HELP_COMES = {"TriggeredScaleUp", "Nominated", "NominatedPod"}
_REFUSED = {"NotTriggerScaleUp"}
_EC2_LIMIT = re.compile(r"VcpuLimitExceeded|MaxSpotInstanceCountExceeded|InstanceLimitExceeded|vCPU (?:limit|capacity)")
_NO_STOCK = re.compile(r"InsufficientInstanceCapacity|insufficient capacity|UnfulfillableCapacity", re.IGNORECASE)


def find(snapshot: Snapshot) -> Iterator[Diagnosis]:
    """Yields why a pod waits for a node."""
    for pod in snapshot.pods:
        scheduled = condition(pod, "PodScheduled")
        if being_deleted(pod) or (pod.get("spec") or {}).get("nodeName"):
            continue
        if scheduled.get("status") == "False":
            yield _unscheduled(snapshot, pod, str(scheduled.get("reason")), str(scheduled.get("message") or ""))
        elif not scheduled:
            yield from _nobody_looks(snapshot, pod)


def _unscheduled(snapshot: Snapshot, pod: Object, reason: str, message: str) -> Diagnosis:
    evidence = Evidence(f"{pod_name(pod)} PodScheduled={reason}", one_line(message))
    if reason == "SchedulingGated":
        cause = f"{pod_name(pod)} is held back by a scheduling gate (a queue such as Kueue)."
        gates = ", ".join(gate.get("name", "") for gate in (pod.get("spec") or {}).get("schedulingGates") or ())
        fix = f"See what owns the gate {gates}."
        return placement.unschedulable("gated", cause, [evidence], [fix], final=False)
    if found := _volume(snapshot, pod, message, evidence):
        return found
    if snapshot.nodes is None:
        found = _from_message(pod, message, evidence)
    else:
        found = placement.judge(snapshot, pod, snapshot.nodes, message, evidence)
    return _with_autoscaler(snapshot, pod, found)


def _nobody_looks(snapshot: Snapshot, pod: Object) -> Iterator[Diagnosis]:
    """A pod that no scheduler has said anything about."""
    age = snapshot.age(pod)
    scheduler = str((pod.get("spec") or {}).get("schedulerName") or "default-scheduler")
    if age < SCHEDULER_SECONDS or any(e.get("reason") == "Scheduled" for e in snapshot.events_of("Pod", name_of(pod))):
        return
    cause = f"{pod_name(pod)} asks for scheduler {scheduler}, and none of that name has looked at it for {age:.0f} s."
    evidence = Evidence(f"{pod_name(pod)} spec.schedulerName", scheduler)
    fixes = [f"Start scheduler {scheduler}, or leave schedulerName out: the default scheduler then places the pod."]
    yield placement.unschedulable("scheduler-missing", cause, [evidence], fixes, final=scheduler != "default-scheduler")


def _volume(snapshot: Snapshot, pod: Object, message: str, evidence: Evidence) -> Diagnosis | None:
    if match := re.search(r"persistentvolumeclaim \"([^\"]+)\" not found", message):
        fix = f"Create claim {match[1]} in namespace {snapshot.namespace(pod)}."
        cause = f"{pod_name(pod)} mounts claim {match[1]}, which does not exist."
        return Diagnosis(Category.VOLUME, "claim-missing", cause, (evidence,), (fix,))
    if "volume node affinity conflict" in message:
        cause = f"A volume of {pod_name(pod)} stands in a zone where no node suits the pod."
        fixes = ("Add a node in the volume's zone, or make a new volume where nodes are.",)
        return Diagnosis(Category.VOLUME, "volume-zone", cause, (evidence,), fixes, final=not snapshot.node_autoscaler)
    if "unbound immediate PersistentVolumeClaims" in message:
        claims = [
            volume["persistentVolumeClaim"]["claimName"]
            for volume in (pod.get("spec") or {}).get("volumes") or ()
            if "persistentVolumeClaim" in volume
        ]
        cause = f"{pod_name(pod)} waits for its claim {', '.join(claims)}, which is not bound."
        see = f"See why: kubectl describe persistentvolumeclaim -n {snapshot.namespace(pod)} {' '.join(claims)}"
        return Diagnosis(Category.VOLUME, "claim-pending", cause, (evidence,), (see,), final=False)
    return None


def _with_autoscaler(snapshot: Snapshot, pod: Object, found: Diagnosis) -> Diagnosis:
    """Adds what a node autoscaler says: help that comes is waited for, a refusal is final."""
    events = snapshot.events_of("Pod", name_of(pod))
    said = [event for event in events if event.get("reason") in _HELP_COMES | _REFUSED or _by_karpenter(event)]
    claims = [e for e in snapshot.events if (e.get("involvedObject") or {}).get("kind") == "NodeClaim"]
    for event in sorted(claims, key=event_time, reverse=True):
        message = str(event.get("message") or "")
        if _EC2_LIMIT.search(message):
            return _ec2_limit(event, found)
        if _NO_STOCK.search(message):
            evidence = Evidence(f"NodeClaim {_about(event)}", one_line(message))
            cause = f"{found.cause} EC2 has no such capacity at the moment."
            fixes = ("Allow more instance types or zones in the NodePool, or reserve capacity.", *found.fixes)
            return replace(
                found,
                reason="no-ec2-capacity",
                cause=cause,
                evidence=(evidence, *found.evidence),
                fixes=fixes,
                final=False,
            )
    if not said:
        return found
    last = said[-1]
    message = str(last.get("message") or "")
    evidence = Evidence(f"{pod_name(pod)} {last.get('reason')}", one_line(message))
    if last.get("reason") in _HELP_COMES:
        cause = f"{found.cause} A node is being provisioned for it."
        return replace(found, cause=cause, evidence=(evidence, *found.evidence), final=False)
    if _EC2_LIMIT.search(message):
        return _ec2_limit(last, found)
    fixes = ("Let a NodePool or node group allow what the pod asks (instance types, taints, limits).", *found.fixes)
    return replace(
        found,
        reason="autoscaler-refused",
        cause=f"{found.cause} The node autoscaler will not add a node for it: {one_line(message, 250)}",
        evidence=(evidence, *found.evidence),
        fixes=fixes,
        final=True,
    )


def _by_karpenter(event: Object) -> bool:
    source = (event.get("source") or {}).get("component") or event.get("reportingComponent") or ""
    return event.get("reason") == "FailedScheduling" and "karpenter" in str(source)


def _ec2_limit(event: Object, found: Diagnosis) -> Diagnosis:
    message = one_line(str(event.get("message")))
    return Diagnosis(
        Category.QUOTA,
        "ec2-limit",
        f"{found.cause} EC2 refuses the node: the account's limit for such instances is reached.",
        (Evidence(f"event about {_about(event)}", message), *found.evidence),
        (
            "Ask AWS for a higher limit: Service Quotas, Amazon EC2, running instances of its family.",
            "Or use an instance type of another family (instance_type).",
        ),
    )


def _about(event: Object) -> str:
    return str((event.get("involvedObject") or {}).get("name", ""))


def _from_message(pod: Object, message: str, evidence: Evidence) -> Diagnosis:
    """Judges by the scheduler's sentence alone; never final, since it does not say what nodes there are."""
    asked = node_rules.requests(pod.get("spec") or {})
    who = pod_name(pod)
    if "Insufficient" in message:
        resource = placement.scarce(message, asked)
        count = placement.shown(resource, asked)
        reason, cause = "no-free-capacity", f"{who} asks for {count} {resource}, and no node has that much free."
        fix = f"Add a node with {count} {resource}, or ask for less."
    elif "affinity/selector" in message:
        wanted = (pod.get("spec") or {}).get("nodeSelector") or {}
        text = ", ".join(f"{key}={value}" for key, value in wanted.items()) or "the required node affinity"
        reason, cause, fix = "node-selector", f"No node matches {text}.", f"Correct it, or {placement.ADD_NODE}."
    elif "untolerated taint" in message:
        match = re.search(r"untolerated taint \{([^}]*)\}", message)
        taint = match[1] if match else "(not named)"
        reason, cause = "taint", f"The nodes carry a taint that {who} does not tolerate: {taint}."
        fix = "Add a toleration, or take the taint off; see kubectl get nodes -o custom-columns=T:.spec.taints"
    else:
        reason, cause = "other", f"{who} finds no node: {one_line(message, 200)}"
        fix = "Do what the scheduler's sentence asks."
    return replace(placement.unschedulable(reason, cause, [evidence], [fix], final=False), wants=("nodes",))
