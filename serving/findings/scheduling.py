"""Pods that find no node: who decides about them, and what is said of them.

Decided from nodes and pod (`serving.findings.placement`, `serving.findings.occupied`); from the scheduler's sentence
only where nodes may not be listed. What a node autoscaler may still solve is not final; what it refused is.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from serving import nodes as node_rules
from serving.diagnosis import Category, Diagnosis, Evidence
from serving.findings import autoscalers, placement
from serving.findings import claims as unbound
from serving.findings.wording import one_line, pod_name
from serving.snapshot import Object, Snapshot, being_deleted, condition, name_of

SCHEDULER_SECONDS = 60
"""A scheduler that runs says something about a pod within seconds."""

NOTICED_SECONDS = 15
"""Seconds of silence after which it is worth saying."""


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
    return autoscalers.heard(snapshot, pod, found)


def _nobody_looks(snapshot: Snapshot, pod: Object) -> Iterator[Diagnosis]:
    """A pod that no scheduler has said anything about."""
    age = snapshot.age(pod)
    scheduler = str((pod.get("spec") or {}).get("schedulerName") or "default-scheduler")
    if age < NOTICED_SECONDS or any(e.get("reason") == "Scheduled" for e in snapshot.events_of("Pod", name_of(pod))):
        return
    cause = f"{pod_name(pod)} asks for scheduler {scheduler}, and none of that name has looked at it for {age:.0f} s."
    evidence = Evidence(f"{pod_name(pod)} spec.schedulerName", scheduler)
    fixes = [f"Start scheduler {scheduler}, or leave schedulerName out: the default scheduler then places the pod."]
    final = age >= SCHEDULER_SECONDS and scheduler != "default-scheduler"
    yield placement.unschedulable("scheduler-missing", cause, [evidence], fixes, final=final)


def _volume(snapshot: Snapshot, pod: Object, message: str, evidence: Evidence) -> Diagnosis | None:
    namespace = snapshot.namespace(pod)
    claims = [
        str(volume["persistentVolumeClaim"].get("claimName"))
        for volume in (pod.get("spec") or {}).get("volumes") or ()
        if volume.get("persistentVolumeClaim")
    ]
    see = f"See why: kubectl describe persistentvolumeclaim -n {namespace} {' '.join(claims)}"
    if match := re.search(r"persistentvolumeclaim \"([^\"]+)\" (not found|is being deleted)", message):
        what = "does not exist" if match[2] == "not found" else "is being deleted"
        fix = f"Create claim {match[1]} in namespace {namespace}."
        cause = f"{pod_name(pod)} mounts claim {match[1]}, which {what}."
        return Diagnosis(Category.VOLUME, "claim-missing", cause, (evidence,), (fix,))
    if "volume node affinity conflict" in message:
        cause = f"A volume of {pod_name(pod)} ({', '.join(claims)}) stands in a zone where no node suits the pod."
        fixes = ("Add a node in the volume's zone, or make a new volume where nodes are.",)
        return Diagnosis(Category.VOLUME, "volume-zone", cause, (evidence,), fixes, final=not snapshot.adds_nodes)
    if "non-existent pv" in message:
        cause = f"Claim {', '.join(claims)} of {pod_name(pod)} is bound to a volume that no longer exists."
        return Diagnosis(Category.VOLUME, "claim-lost", cause, (evidence,), (f"Make the claim anew. {see}",))
    if "find available persistent volumes to bind" in message:
        cause = f"No persistent volume suits claim {', '.join(claims)} of {pod_name(pod)} on any node."
        make = f"Create a PersistentVolume that fits claim {', '.join(claims)}, or use another storage class."
        return Diagnosis(Category.VOLUME, "no-volume", cause, (evidence,), (make, see), final=not snapshot.adds_nodes)
    if "not have enough free storage" in message:
        cause = f"No node has room for the disk that claim {', '.join(claims)} of {pod_name(pod)} asks for."
        less = f"Ask for less in claim {', '.join(claims)}, or add nodes whose storage has room."
        return Diagnosis(Category.VOLUME, "no-volume", cause, (evidence,), (less, see), final=not snapshot.adds_nodes)
    if "exceed max volume count" in message:
        cause = f"The nodes that {pod_name(pod)} could use hold as many volumes as they can."
        return Diagnosis(Category.VOLUME, "too-many-volumes", cause, (evidence,), ("Add a node.",), final=False)
    if "unbound immediate PersistentVolumeClaims" in message:
        if (found := next(unbound.find(snapshot), None)) is not None:
            return replace(found, evidence=(*found.evidence, evidence))
        cause = f"{pod_name(pod)} waits for its claim {', '.join(claims)}, which is not bound."
        return Diagnosis(Category.VOLUME, "claim-pending", cause, (evidence,), (see,), final=False)
    return None


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
