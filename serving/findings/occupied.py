"""Nodes that would do and are taken: by the old pod of the same workload, by pods of the same group, by others."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from serving import nodes as node_rules
from serving.diagnosis import Category, Diagnosis, Evidence
from serving.findings.placement import scarce, shown, unschedulable
from serving.findings.wording import pod_name
from serving.snapshot import GROUP_LABEL, Object, Snapshot, being_deleted, is_true, name_of

_SIZE = "leaderworkerset.sigs.k8s.io/size"
_GROUP_INDEX = "leaderworkerset.sigs.k8s.io/group-index"


def judge(
    snapshot: Snapshot, pod: Object, nodes: Sequence[Object], asked: Mapping[str, Decimal], evidence: Evidence
) -> Diagnosis:
    """Returns who holds what the pod needs, of nodes that could take it if they were empty."""
    resource = scarce(evidence.what, asked)
    who, count = pod_name(pod), shown(resource, asked)
    if found := _group_too_large(snapshot, pod, nodes, resource, asked, evidence):
        return found
    older = [
        other
        for other in snapshot.pods
        if _older_release(pod, other) and resource in node_rules.requests(other.get("spec") or {})
    ]
    if older and is_true(older[0], "Ready"):
        return Diagnosis(
            Category.ROLLOUT,
            "deadlock",
            f"{who} needs {count} {resource}, which the old pod {name_of(older[0])} of the same workload holds until "
            "the new one is ready: neither can move.",
            (evidence, Evidence(pod_name(older[0]), f"Ready, holds {resource}")),
            (
                "Set the Deployment's strategy to maxSurge 0 with maxUnavailable 1, or Recreate.",
                f"Or add a node with {count} {resource}.",
                f"To go on at once: kubectl delete pod -n {snapshot.namespace(pod)} {name_of(older[0])} "
                "(the endpoint is down until the new pod is ready).",
            ),
            final=not snapshot.adds_nodes,
        )
    return unschedulable(
        "no-free-capacity",
        f"{who} needs {count} {resource}, and other pods hold what the nodes have.",
        [evidence],
        [
            f"Add a node with {count} {resource}, or free some (kubectl get pods -A -o wide).",
            "Or ask for less per pod.",
        ],
        final=False,
    )


def _group_too_large(
    snapshot: Snapshot,
    pod: Object,
    nodes: Sequence[Object],
    resource: str,
    asked: Mapping[str, Decimal],
    evidence: Evidence,
) -> Diagnosis | None:
    """Pods of one LeaderWorkerSet group run at the same time: nodes that cannot hold them all never will."""
    labels = (pod.get("metadata") or {}).get("labels") or {}
    group = labels.get(GROUP_LABEL)
    need = asked.get(resource)
    if not group or not need:
        return None
    mates = [
        other
        for other in snapshot.pods
        if not being_deleted(other)
        and ((other.get("metadata") or {}).get("labels") or {}).get(GROUP_LABEL) == group
        and ((other.get("metadata") or {}).get("labels") or {}).get(_GROUP_INDEX) == labels.get(_GROUP_INDEX)
    ]
    size = max(len(mates), int(labels.get(_SIZE) or 0))
    places = sum(int(node_rules.allocatable(node, resource) // need) for node in nodes)
    if places >= size:
        return None
    amount = shown(resource, asked)
    holders = [name_of(mate) for mate in mates if (mate.get("spec") or {}).get("nodeName")]
    return unschedulable(
        "group-too-large",
        f"The {size} pods of group {group} ask for {amount} {resource} each, and the nodes have room for {places}: "
        f"{pod_name(pod)} never finds one" + (f" beside {', '.join(holders)}." if holders else "."),
        [evidence, *(Evidence(f"Node {name_of(n)}", f"{resource} for {places} pods in all") for n in nodes[:3])],
        [
            f"Add a node with {amount} {resource}: each of the {size} pods of the group needs one.",
            "Or lower the accelerators per pod (resources.accelerators, engine.tensor_parallel_size) or lws.size.",
        ],
        final=not snapshot.adds_nodes,
    )


def _older_release(pod: Object, other: Object) -> bool:
    mine, theirs = _owner(pod), _owner(other)
    if not mine or not theirs or mine == theirs or being_deleted(other):
        return False
    return _workload(pod, mine) == _workload(other, theirs) and bool((other.get("spec") or {}).get("nodeName"))


def _owner(pod: Object) -> str:
    for reference in (pod.get("metadata") or {}).get("ownerReferences") or ():
        if reference.get("kind") == "ReplicaSet":
            return str(reference.get("name") or "")
    return ""


def _workload(pod: Object, replicaset: str) -> str:
    """The workload behind a ReplicaSet: ours by the endpoint's label, others by the name without its hash."""
    labels = (pod.get("metadata") or {}).get("labels") or {}
    return str(labels.get("inference-flows/endpoint") or replicaset.rpartition("-")[0])
