"""Nodes that stopped reporting, and pods that were taken off theirs: lost, evicted, reclaimed."""

import re
from collections.abc import Iterator

from serving import nodes as node_rules
from serving.diagnosis import Category, Diagnosis, Evidence
from serving.findings.wording import one_line, pod_name
from serving.snapshot import Object, Snapshot, being_deleted, condition, is_true, name_of

_TURNED_AWAY = (
    "UnexpectedAdmissionError",
    "NodeAffinity",
    "AdmissionError",
    "TopologyAffinityError",
    "PodOSNotSupported",
)
_DISRUPTED = ("PreemptionByScheduler", "TerminationByKubelet", "EvictionByEvictionAPI")
_LOST = ("DeletionByTaintManager", "DeletionByPodGC")
_TAKEN = ("Evicted", "Preempting", "NodeShutdown", "Terminated", "NodeLost")
_RECLAIMED = re.compile(r"spot|interrupt|itn|rebalance|karpenter\.sh/disrupt", re.IGNORECASE)


def find(snapshot: Snapshot) -> Iterator[Diagnosis]:
    """Yields nodes that are lost under a pod, and pods that something took away."""
    by_name = {name_of(node): node for node in snapshot.nodes or ()}
    for pod in snapshot.pods:
        node_name = str((pod.get("spec") or {}).get("nodeName") or "")
        if not node_name:
            continue
        node = by_name.get(node_name)
        if (found := _evicted(snapshot, pod, node_name)) or (
            not is_true(pod, "Ready") and (found := _lost(snapshot, pod, node_name, node))
        ):
            yield found


def _lost(snapshot: Snapshot, pod: Object, node_name: str, node: Object | None) -> Diagnosis | None:
    said = [e for e in snapshot.events_of("Pod", name_of(pod)) if e.get("reason") == "NodeNotReady"]
    disrupted = condition(pod, "DisruptionTarget")
    gone = snapshot.nodes is not None and node is None
    not_ready = node is not None and not node_rules.is_ready(node)
    # A pod that its node still reports on knows why it is not ready; one that lost its node only says False.
    silent = is_true(pod, "ContainersReady") and not condition(pod, "Ready").get("reason")
    if not ((gone and silent) or not_ready or (said and silent) or disrupted.get("reason") in _LOST):
        return None
    evidence = []
    if node is not None:
        ready = condition(node, "Ready")
        taints = ", ".join(str(taint.get("key")) for taint in (node.get("spec") or {}).get("taints") or ())
        evidence.append(
            Evidence(
                f"Node {node_name} Ready={ready.get('status')}",
                one_line(
                    f"{ready.get('reason') or ''} {ready.get('message') or ''} {'taints: ' + taints if taints else ''}"
                ),
            )
        )
    if said:
        evidence.append(Evidence(f"{pod_name(pod)} NodeNotReady", one_line(str(said[-1].get("message")))))
    if disrupted:
        what = one_line(f"{disrupted.get('reason')} {disrupted.get('message') or ''}")
        evidence.append(Evidence(f"{pod_name(pod)} DisruptionTarget", what))
    reclaimed = node is not None and _RECLAIMED.search(str((node.get("spec") or {}).get("taints") or ""))
    if reclaimed:
        cause = f"Node {node_name} is being reclaimed (spot interruption or consolidation), with {pod_name(pod)} on it."
        fixes = (
            "Its replacement starts on another node: wait for it.",
            "Run on on-demand capacity: pod.node_selector karpenter.sh/capacity-type=on-demand.",
        )
        return Diagnosis(Category.NODE, "reclaimed", cause, tuple(evidence), fixes, final=False)
    what = "no longer exists" if gone else "stopped reporting"
    return Diagnosis(
        Category.NODE,
        "lost",
        f"Node {node_name} {what}; {pod_name(pod)} was on it.",
        tuple(evidence) or (Evidence(f"Node {node_name}", "not in the list of nodes"),),
        (
            f"Bring node {node_name} back or replace its instance: kubectl describe node {node_name}",
            f"To have the pod start elsewhere at once: kubectl delete node {node_name}",
        ),
        final=False,
    )


def _evicted(snapshot: Snapshot, pod: Object, node_name: str) -> Diagnosis | None:
    status = pod.get("status") or {}
    disrupted = condition(pod, "DisruptionTarget")
    reason = str(status.get("reason") or "")
    failed = status.get("phase") == "Failed"
    if failed and (reason in _TAKEN or reason in _TURNED_AWAY or reason.startswith("OutOf")):
        message = str(status.get("message") or "")
    elif disrupted.get("status") == "True" and disrupted.get("reason") in _DISRUPTED:
        reason, message = str(disrupted["reason"]), str(disrupted.get("message") or status.get("message") or "")
    else:
        return None
    if any(is_true(other, "Ready") and not being_deleted(other) for other in snapshot.pods):
        return None
    evidence = (Evidence(f"{pod_name(pod)} {reason}", one_line(message) or reason),)
    what, cause, fix = _why(pod, node_name, reason, message)
    return Diagnosis(Category.NODE, what, cause, evidence, fix, final=False)


def _why(pod: Object, node_name: str, reason: str, message: str) -> tuple[str, str, tuple[str, ...]]:
    """Reason, cause and fixes."""
    who = pod_name(pod)
    if match := re.search(r"low on resource: ([\w.-]+)|had condition: \[(\w+)Pressure\]", message):
        resource = (match[1] or match[2].lower()).rstrip(".")
        fix = (
            "Give nodes larger disks, or let weights stream (weights=stream)."
            if "storage" in resource or resource == "disk"
            else "Set resources.memory to what the engine needs, so that it gets a node with room."
        )
        return "evicted", f"{who} was evicted: node {node_name} ran low on {resource}.", (fix,)
    if match := re.search(
        r"(EmptyDir volume \"[^\"]+\"|ephemeral local storage|local ephemeral storage).*?(\d\w*)\"?", message
    ):
        limit = f"{match[1]} exceeds its limit of {match[2]}"
        fixes = (
            f"Raise the limit ({match[1]}, now {match[2]}) above the model's size.",
            "Or let weights stream (weights=stream), which needs no disk.",
        )
        return "evicted", f"{who} was evicted from node {node_name}: {limit}.", fixes
    if "Preempt" in reason:
        fix = "Give the endpoint a priority class (pod.priority_class), or add nodes."
        return "preempted", f"{who} was preempted on node {node_name} by a pod of higher priority.", (fix,)
    if reason in _TURNED_AWAY or reason.startswith("OutOf"):
        said = one_line(message.removeprefix("Pod was rejected: "), 200) or reason
        fixes = (
            "Its replacement is tried again by itself.",
            f"If it repeats, look at the device plugin and the devices of the node: kubectl describe node {node_name}",
        )
        return "rejected", f"Node {node_name} turned {who} away: {said}.", fixes
    fixes = ("Its replacement starts on another node: wait for it.", "With replicas above 1 the endpoint stays up.")
    why = one_line(message, 200) or reason
    return "evicted", f"{who} was taken off node {node_name}: {why.rstrip('.')}.", fixes
