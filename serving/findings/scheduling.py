"""Pods that find no node. Decided from nodes and pod; the scheduler's sentence only where nodes may not be listed."""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal

from serving import nodes as node_rules
from serving.diagnosis import Category, Diagnosis, Evidence
from serving.findings.wording import one_line, pod_name
from serving.nodes import number
from serving.snapshot import Object, Snapshot, being_deleted, condition, is_true, name_of

_PLAIN = ("cpu", "memory", "ephemeral-storage", "pods")
_ADD_NODE = "add such a node, or let the node autoscaler provide one"


def find(snapshot: Snapshot) -> Iterator[Diagnosis]:
    """Yields why a pod waits for a node; what an autoscaler may still solve is not final."""
    for pod in snapshot.pods:
        scheduled = condition(pod, "PodScheduled")
        if being_deleted(pod) or scheduled.get("status") != "False":
            continue
        message = str(scheduled.get("message") or "")
        if "persistentvolumeclaim" in message.lower() or "PersistentVolumeClaims" in message:
            continue
        evidence = Evidence(f"{pod_name(pod)} PodScheduled={scheduled.get('reason')}", one_line(message))
        if snapshot.nodes is None:
            yield _from_message(pod, message, evidence)
        else:
            yield _from_nodes(snapshot, pod, snapshot.nodes, message, evidence)


def _unschedulable(
    reason: str, cause: str, evidence: Sequence[Evidence], fixes: Sequence[str], *, final: bool
) -> Diagnosis:
    return Diagnosis(Category.UNSCHEDULABLE, reason, cause, tuple(evidence), tuple(fixes), final=final)


def _from_nodes(
    snapshot: Snapshot, pod: Object, nodes: Sequence[Object], message: str, evidence: Evidence
) -> Diagnosis:
    final = not snapshot.node_autoscaler
    spec = pod.get("spec") or {}
    if not nodes:
        return _unschedulable(
            "no-nodes", "The cluster has no nodes.", [evidence], [f"Please {_ADD_NODE}."], final=final
        )
    selected = [n for n in nodes if not node_rules.unmet_selector(n, spec) and node_rules.meets_affinity(n, spec)]
    if not selected:
        return _selector(pod, nodes, evidence, final=final)
    asked = node_rules.requests(spec)
    for resource in sorted(asked, key=lambda name: name in _PLAIN):
        if found := _too_much(pod, resource, asked[resource], selected, evidence, final=final):
            return found
    roomy = [n for n in selected if all(node_rules.allocatable(n, r) >= q for r, q in asked.items())]
    if not roomy:
        return _unschedulable(
            "no-room",
            f"No single node offers everything that {pod_name(pod)} asks for.",
            [evidence],
            [f"Lower cpu or memory of the endpoint's resources, or {_ADD_NODE}."],
            final=final,
        )
    if found := _kept_out(pod, roomy, evidence, final=final):
        return found
    if "affinity" in message:
        return _pod_affinity(pod, nodes, evidence, final=final)
    return _occupied(snapshot, pod, asked, evidence)


def _selector(pod: Object, nodes: Sequence[Object], evidence: Evidence, *, final: bool) -> Diagnosis:
    wanted = (pod.get("spec") or {}).get("nodeSelector") or {}
    alone = {k: v for k, v in wanted.items() if not any(node_rules.labels(n).get(k) == v for n in nodes)} or wanted
    text = ", ".join(f"{key}={value}" for key, value in alone.items())
    if not text:
        return _unschedulable(
            "node-affinity",
            f"No node meets the required node affinity of {pod_name(pod)}.",
            [evidence],
            [f"Correct the affinity, or {_ADD_NODE}."],
            final=final,
        )
    there = sorted({f"{key}={node_rules.labels(n).get(key, '(none)')}" for key in alone for n in nodes})
    kind = "instance-type" if "node.kubernetes.io/instance-type" in alone else "node-selector"
    field = "instance_type" if kind == "instance-type" else "the node selector"
    return _unschedulable(
        kind,
        f"No node carries {text}; the {len(nodes)} nodes have {', '.join(there[:5])}.",
        [evidence],
        [f"Let there be a node with {text}: {_ADD_NODE}.", f"Or set {field} to what the cluster has, or leave it out."],
        final=final,
    )


def _too_much(
    pod: Object, resource: str, asked: Decimal, nodes: Sequence[Object], evidence: Evidence, *, final: bool
) -> Diagnosis | None:
    most = max(node_rules.allocatable(node, resource) for node in nodes)
    if most >= asked:
        return None
    who = pod_name(pod)
    if most == 0 and resource not in _PLAIN:
        plugin = {
            "nvidia.com/gpu": "the NVIDIA device plugin (nvidia-device-plugin) on the GPU nodes",
            "aws.amazon.com/neuron": "the Neuron device plugin on the inf2/trn nodes",
        }.get(resource, f"the device plugin for {resource}")
        return _unschedulable(
            "accelerator-absent",
            f"{who} asks for {number(asked)} {resource} and no node offers that resource.",
            [evidence, *(Evidence(f"Node {name_of(n)} allocatable", f"no {resource}") for n in nodes[:3])],
            [
                f"Install {plugin}: until it runs there, nodes do not offer {resource}.",
                f"Or add nodes with {resource}.",
            ],
            final=final,
        )
    shown, limit = _shown(resource, asked), _shown(resource, most)
    where = [
        Evidence(
            f"Node {name_of(n)} allocatable", f"{resource} {_shown(resource, node_rules.allocatable(n, resource))}"
        )
        for n in nodes[:3]
    ]
    field = "resources.accelerators" if resource not in _PLAIN else f"resources.{resource}"
    lower = (
        f"Ask for at most {limit} {resource} per pod: lower resources.accelerators and tensor_parallel_size."
        if resource not in _PLAIN
        else f"Lower {field} to at most {limit}."
    )
    return _unschedulable(
        "too-many-accelerators" if resource not in _PLAIN else f"too-much-{resource}",
        f"{who} asks for {shown} {resource}, the largest node offers {limit}.",
        [evidence, *where],
        [lower, f"Or add a node with {shown} {resource} (instance_type)."],
        final=final,
    )


def _shown(resource: str, quantity: Decimal) -> str:
    if resource in ("memory", "ephemeral-storage"):
        return f"{quantity / 2**30:.1f}Gi"
    return number(quantity)


def _kept_out(pod: Object, nodes: Sequence[Object], evidence: Evidence, *, final: bool) -> Diagnosis | None:
    spec = pod.get("spec") or {}
    reasons: list[Evidence] = []
    own: set[str] = set()
    for node in nodes:
        taints = node_rules.untolerated_taints(node, spec)
        if not taints and not (node.get("spec") or {}).get("unschedulable"):
            return None
        reasons.append(Evidence(f"Node {name_of(node)} taints", ", ".join(taints) or "unschedulable"))
        own |= {taint for taint in taints if not taint.startswith("node.kubernetes.io/")}
    if own:
        keys = ", ".join(sorted({taint.partition(":")[0].partition("=")[0] for taint in own}))
        return _unschedulable(
            "taint",
            f"The nodes that {pod_name(pod)} could use carry taint {', '.join(sorted(own))}, "
            "which it does not tolerate.",
            [evidence, *reasons[:3]],
            [f"Add a toleration for {keys} to the pod.", f"Or take the taint {keys} off the nodes."],
            final=final,
        )
    names = ", ".join(name_of(node) for node in nodes[:3])
    return Diagnosis(
        Category.NODE,
        "nodes-not-ready",
        f"The nodes that {pod_name(pod)} could use are not ready or cordoned: {names}.",
        (evidence, *reasons[:3]),
        (f"Bring them back (kubectl uncordon {name_of(nodes[0])}, or replace the instance), or add a node.",),
        final=False,
    )


def _pod_affinity(pod: Object, nodes: Sequence[Object], evidence: Evidence, *, final: bool) -> Diagnosis:
    affinity = (pod.get("spec") or {}).get("affinity") or {}
    keys = {
        term.get("topologyKey")
        for kind in ("podAffinity", "podAntiAffinity")
        for term in (affinity.get(kind) or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or ()
    }
    missing = sorted(key for key in keys if key and not any(key in node_rules.labels(node) for node in nodes))
    if missing:
        cause = f"{pod_name(pod)} requires pod affinity within {missing[0]}, a label that no node carries."
        fixes = [
            f"Label the nodes with {missing[0]}.",
            "Or make the affinity preferred, or use kubernetes.io/hostname.",
        ]
        return _unschedulable("affinity-label", cause, [evidence], fixes, final=True)
    anti = "anti-affinity" in evidence.what
    kind = "anti-affinity" if anti else "affinity"
    return _unschedulable(
        f"pod-{kind}",
        f"The required pod {kind} of {pod_name(pod)} leaves no node.",
        [evidence],
        [f"Make the pod {kind} preferred, or add nodes that satisfy it."],
        final=final,
    )


def _occupied(snapshot: Snapshot, pod: Object, asked: dict[str, Decimal], evidence: Evidence) -> Diagnosis:
    resource = _scarce(evidence.what, asked)
    older = [
        other
        for other in snapshot.pods
        if _older_release(pod, other) and resource in node_rules.requests(other["spec"])
    ]
    who, count = pod_name(pod), _shown(resource, asked.get(resource, Decimal(0)))
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
                f"To go on at once: kubectl delete pod -n {pod['metadata'].get('namespace', 'default')} "
                f"{name_of(older[0])} (the endpoint is down until the new pod is ready).",
            ),
            final=not snapshot.node_autoscaler,
        )
    return _unschedulable(
        "no-free-capacity",
        f"{who} needs {count} {resource}, and other pods hold what the nodes have.",
        [evidence],
        [f"Add a node with {resource}, or free some (kubectl get pods -A -o wide).", "Or ask for less per pod."],
        final=False,
    )


def _scarce(message: str, asked: dict[str, Decimal]) -> str:
    named = re.findall(r"Insufficient ([\w./-]+)", message)
    for resource in named:
        cleaned = resource.rstrip(".")
        if cleaned in asked and cleaned not in _PLAIN:
            return str(cleaned)
    extended = [resource for resource in asked if resource not in _PLAIN]
    return str(named[0].rstrip(".")) if named else (extended[0] if extended else "capacity")


def _older_release(pod: Object, other: Object) -> bool:
    mine, theirs = _owner(pod), _owner(other)
    if not mine or not theirs or mine == theirs or being_deleted(other):
        return False
    return _base(mine) == _base(theirs) and bool((other.get("spec") or {}).get("nodeName"))


def _owner(pod: Object) -> str:
    for reference in (pod.get("metadata") or {}).get("ownerReferences") or ():
        if reference.get("kind") == "ReplicaSet":
            return str(reference["name"])
    return ""


def _base(replicaset: str) -> str:
    return replicaset.rpartition("-")[0]


def _from_message(pod: Object, message: str, evidence: Evidence) -> Diagnosis:
    asked = node_rules.requests(pod.get("spec") or {})
    if "Insufficient" in message:
        resource = _scarce(message, asked)
        count = _shown(resource, asked.get(resource, Decimal(0)))
        cause = f"{pod_name(pod)} asks for {count} {resource}, and no node has that much free."
        fix = (
            f"Add a node with {count} {resource}, or ask for less; nodes may not be listed, so it cannot be told which."
        )
        return _unschedulable("no-free-capacity", cause, [evidence], [fix], final=False)
    if "affinity/selector" in message:
        wanted = (pod.get("spec") or {}).get("nodeSelector") or {}
        text = ", ".join(f"{k}={v}" for k, v in wanted.items()) or "the required node affinity"
        return _unschedulable(
            "node-selector", f"No node matches {text}.", [evidence], [f"Correct it, or {_ADD_NODE}."], final=False
        )
    if "untolerated taint" in message:
        match = re.search(r"untolerated taint \{([^}]*)\}", message)
        taint = match[1] if match else "(not named)"
        return _unschedulable(
            "taint",
            f"The nodes carry a taint that {pod_name(pod)} does not tolerate: {taint}.",
            [evidence],
            [
                "Add a toleration, or take the taint off; see "
                "kubectl get nodes -o custom-columns=N:.metadata.name,T:.spec.taints"
            ],
            final=False,
        )
    return _unschedulable(
        "other",
        f"{pod_name(pod)} finds no node: {one_line(message, 200)}",
        [evidence],
        ["Read the scheduler's sentence."],
        final=False,
    )
