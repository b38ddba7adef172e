"""What node autoscalers say of a pod that waits: Karpenter (EKS Auto Mode too) and the cluster autoscaler."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from serving.diagnosis import Category, Diagnosis, Evidence
from serving.findings.wording import one_line, pod_name
from serving.snapshot import Object, Snapshot, event_time, involved, name_of, parse_time, source_of

_SCALED_UP = "TriggeredScaleUp"
_HELP_COMES = (_SCALED_UP, "Nominated", "NominatedPod")
_REFUSED = "NotTriggerScaleUp"
_NODE_CLAIM = "NodeClaim"
_EC2_LIMIT = re.compile(r"VcpuLimitExceeded|MaxSpotInstanceCountExceeded|InstanceLimitExceeded|vCPU (?:limit|capacity)")
_NO_OFFERING = re.compile(
    r"no instance type (?:which met the scheduling requirements and had enough resources,? )?ha[sd] (?:a|the) required "
    r"offering"
)
"""Karpenter's words for instance types that would do and are to be had in no zone now: a shortage is one of these."""

PROVISION_SECONDS = 900
"""How long the cluster autoscaler waits for a node that it asked for (its max-node-provision-time)."""

_TRIES_AGAIN = re.compile(r"in backoff after failed scale-up|nodepool.*not ready|no nodepools found|NodePool.*NotReady")


@dataclass(frozen=True)
class _Launch:
    """Why a node could not be launched, though the autoscaler wanted one."""

    reason: str
    pattern: re.Pattern[str]
    cause: str
    fix: str


_LAUNCHES = (
    _Launch(
        "no-ec2-capacity",
        re.compile(
            r"InsufficientInstanceCapacity|UnfulfillableCapacity|requested instance types were unavailable|"
            r"do not have sufficient \S+ capacity|InsufficientHostCapacity",
            re.IGNORECASE,
        ),
        "EC2 has no such capacity at the moment.",
        "Allow more instance types or zones in the NodePool, or reserve capacity.",
    ),
    _Launch(
        "no-addresses",
        re.compile(r"InsufficientFreeAddressesInSubnet|not enough free addresses"),
        "The subnets for nodes have no free addresses.",
        "Free addresses, or give the EC2NodeClass more subnets.",
    ),
    _Launch(
        "launch-denied",
        re.compile(r"UnauthorizedOperation|AccessDenied|not authorized"),
        "The autoscaler may not launch it.",
        "Give the autoscaler's role the right that the message names (ec2:CreateFleet, iam:PassRole, …).",
    ),
    _Launch(
        "no-ec2-capacity",
        re.compile(r"insufficient capacity", re.IGNORECASE),
        "No instance can be had for it at the moment.",
        "Allow more instance types or zones in the NodePool, or reserve capacity.",
    ),
    _Launch(
        "launch-failed",
        re.compile(r"", re.DOTALL),
        "The node for it could not be launched.",
        "See kubectl describe nodeclaims, and the autoscaler's log.",
    ),
)


def heard(snapshot: Snapshot, pod: Object, found: Diagnosis) -> Diagnosis:
    """Adds to a finding what the autoscaler says: help that comes is waited for, a refusal is final."""
    if not found.final and snapshot.adds_nodes:
        found = replace(found, help_comes=True)
    last = _last_word(snapshot, pod)
    if last is None:
        return found
    if involved(last).get("kind") == _NODE_CLAIM:
        return _not_launched(last, found)
    message = str(last.get("message") or "")
    evidence = Evidence(f"{pod_name(pod)} {last.get('reason')}", one_line(message))
    if last.get("reason") in _HELP_COMES:
        cause = f"{found.cause} A node is being provisioned for it."
        return replace(found, cause=cause, evidence=(evidence, *found.evidence), final=False, help_comes=True)
    if _EC2_LIMIT.search(message):
        return _ec2_limit(last, found)
    if _TRIES_AGAIN.search(message):
        fix = "See what EC2 answered: kubectl describe configmap -n kube-system cluster-autoscaler-status"
        cause = (
            f"{found.cause} The node autoscaler failed to add a node and tries again later: {one_line(message, 250)}"
        )
        evidences = (evidence, *found.evidence)
        return replace(
            found, reason="scale-up-failed", cause=cause, evidence=evidences, fixes=(fix, *found.fixes), final=False
        )
    if _NO_OFFERING.search(message):
        return replace(
            found,
            reason="no-ec2-capacity",
            cause=f"{found.cause} EC2 has no such capacity now where it may start: {one_line(message, 250)}",
            evidence=(evidence, *found.evidence),
            fixes=(
                "Wait: Karpenter asks again. Allow more instance types, zones or capacity types (spot, on-demand).",
                *found.fixes,
            ),
            final=False,
        )
    if comes := _on_its_way(snapshot, pod, last):
        cause = f"{found.cause} A node was asked for, and may still come: {one_line(comes, 250)}"
        return replace(found, cause=cause, evidence=(evidence, *found.evidence), final=False, help_comes=True)
    return replace(
        found,
        reason="autoscaler-refused",
        cause=f"{found.cause} The node autoscaler will not add a node for it: {one_line(message, 300)}",
        evidence=(evidence, *found.evidence),
        fixes=(_allow(message), *found.fixes),
        final=True,
        help_comes=False,
    )


def words_about(snapshot: Snapshot, pod: Object) -> str:
    """Returns what the node autoscaler last said of a pod that waits; empty if it said nothing."""
    last = _last_word(snapshot, pod)
    return "" if last is None else str(last.get("message") or "")


def _last_word(snapshot: Snapshot, pod: Object) -> Object | None:
    """The latest event, of the pod or of a node that was to be launched for it: of two at once the node's."""
    said = [event for event in snapshot.events_of("Pod", name_of(pod)) if _speaks(event)]
    words = sorted((*said, *_launches(snapshot, said)), key=event_time)
    return words[-1] if words else None


def _on_its_way(snapshot: Snapshot, pod: Object, refusal: Object) -> str:
    """What was said of a node that was asked for lately: before its devices show, the autoscaler takes it for full."""
    refused = parse_time(event_time(refusal))
    for event in reversed(snapshot.events_of("Pod", name_of(pod))):
        asked = parse_time(event_time(event))
        if event.get("reason") == _SCALED_UP and asked and refused:
            return str(event.get("message")) if (refused - asked).total_seconds() < PROVISION_SECONDS else ""
    return ""


def _speaks(event: Object) -> bool:
    reason = event.get("reason")
    return reason in _HELP_COMES or reason == _REFUSED or (reason == "FailedScheduling" and _by_karpenter(event))


def _by_karpenter(event: Object) -> bool:
    return "karpenter" in source_of(event) or source_of(event).startswith("eks-auto-mode")


def _allow(message: str) -> str:
    """What would let the autoscaler help, by what it complains of."""
    pools = list(dict.fromkeys(re.findall(r"incompatible with nodepool \"([^\"]+)\"", message)))
    pools += [
        name for name in re.findall(r"exceed limits for nodepool\S* \"?([\w.-]+)\"?", message) if name not in pools
    ]
    which = f"NodePool {', '.join(pools)}" if pools else "a NodePool or node group"
    if "exceed limits" in message:
        return f"Raise the limits (spec.limits) of {which}, or free nodes."
    if match := re.search(r"did not tolerate (?:taint )?\(?(?:taint=)?([\w./-]+)", message):
        return f"Add a toleration for {match[1]} to the pod (pod.tolerations), or take that taint out of {which}."
    if "max node group size reached" in message:
        return "Raise the largest size of the node group (eksctl scale nodegroup, or its Auto Scaling group)."
    return f"Let {which} allow what the pod asks (instance types, zones, taints, limits)."


def _launches(snapshot: Snapshot, said: Sequence[Object]) -> list[Object]:
    """Warnings about the nodes that were to be launched, oldest first: those for this pod, where that is known."""
    warned = [e for e in snapshot.events if involved(e).get("kind") == _NODE_CLAIM and e.get("type") != "Normal"]
    named = {name for event in said for name in re.findall(r"nodeclaim/([\w.-]+)", str(event.get("message")))}
    mine = [event for event in warned if involved(event).get("name") in named]
    return sorted(mine if named else warned, key=event_time)


def _not_launched(event: Object, found: Diagnosis) -> Diagnosis:
    message = str(event.get("message") or "")
    if _EC2_LIMIT.search(message):
        return _ec2_limit(event, found)
    kind = next(entry for entry in _LAUNCHES if entry.pattern.search(message))
    return replace(
        found,
        reason=kind.reason,
        cause=f"{found.cause} {kind.cause}",
        evidence=(Evidence(f"NodeClaim {involved(event).get('name', '')}", one_line(message)), *found.evidence),
        fixes=(kind.fix, *found.fixes),
        final=False,
        help_comes=True,
    )


def _ec2_limit(event: Object, found: Diagnosis) -> Diagnosis:
    about = f"{involved(event).get('kind', '')} {involved(event).get('name', '')}"
    return Diagnosis(
        Category.QUOTA,
        "ec2-limit",
        f"{found.cause} EC2 refuses the node: the account's limit for such instances is reached.",
        (Evidence(f"event about {about}", one_line(str(event.get("message")))), *found.evidence),
        (
            "Ask AWS for a higher limit: Service Quotas, Amazon EC2, running instances of its family.",
            "Or use an instance type of another family (instance_type).",
        ),
    )
