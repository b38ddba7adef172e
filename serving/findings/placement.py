"""Why a pod fits none of the nodes: selector, resources, taints, affinity. Decided from nodes and pod."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

from serving import nodes as node_rules
from serving.diagnosis import Category, Diagnosis, Evidence
from serving.findings.wording import one_line, pod_name
from serving.instances import instance_types
from serving.nodes import number
from serving.snapshot import Object, Snapshot, name_of

PLAIN = ("cpu", "memory", "ephemeral-storage", "pods")
ADD_NODE = "add such a node, or let the node autoscaler provide one"
_INSTANCE_TYPE = "node.kubernetes.io/instance-type"
_PASSING_TAINT = re.compile(
    r"node\.kubernetes\.io/|node\.cloudprovider\.kubernetes\.io/|karpenter\.sh/|\S*agent-not-ready|\S*/not-ready|"
    r"aws-node-termination-handler/|ToBeDeletedByClusterAutoscaler|DeletionCandidateOfClusterAutoscaler|"
    r"efs\.csi|ebs\.csi|ignore-taint\.cluster-autoscaler|startup-taint\.cluster-autoscaler"
)
"""Taints that controllers set on a node that starts, is ill or goes, and take off again."""

_PLUGINS = {
    "nvidia.com/gpu": "the NVIDIA device plugin (nvidia-device-plugin) on the GPU nodes",
    "aws.amazon.com/neuron": "the Neuron device plugin on the inf2/trn nodes",
}


def unschedulable(
    reason: str, cause: str, evidence: Sequence[Evidence], fixes: Sequence[str], *, final: bool
) -> Diagnosis:
    """Returns a finding about a pod that has no node."""
    return Diagnosis(Category.UNSCHEDULABLE, reason, cause, tuple(evidence), tuple(fixes), final=final)


def judge(snapshot: Snapshot, pod: Object, nodes: Sequence[Object], message: str, evidence: Evidence) -> Diagnosis:
    """Returns why none of the nodes takes the pod."""
    from serving.findings import occupied

    final = not snapshot.adds_nodes
    spec = pod.get("spec") or {}
    if not nodes:
        return unschedulable("no-nodes", "The cluster has no nodes.", [evidence], [f"Please {ADD_NODE}."], final=final)
    selected = [n for n in nodes if not node_rules.unmet_selector(n, spec) and node_rules.meets_affinity(n, spec)]
    if not selected:
        return _selector(pod, nodes, evidence, final=final)
    asked = node_rules.requests(spec)
    for resource in sorted(asked, key=lambda name: name in PLAIN):
        if _undeclared(resource, selected, message):
            continue
        if found := _too_much(pod, resource, asked, selected, evidence, final=final):
            return found
    hard = {r: q for r, q in asked.items() if not _undeclared(r, selected, message)}
    roomy = [n for n in selected if all(node_rules.allocatable(n, r) >= q for r, q in hard.items())]
    if not roomy:
        cause = f"No single node offers everything that {pod_name(pod)} asks for."
        fixes = [f"Lower cpu or memory of the endpoint's resources, or {ADD_NODE}."]
        return unschedulable("no-room", cause, [evidence], fixes, final=final)
    if found := _kept_out(pod, roomy, evidence, final=final):
        return found
    if "topology spread" in message:
        return _spread(pod, evidence, final=final)
    if re.search(r"(?:pod|pods) (?:anti-)?affinity", message):
        return _pod_affinity(pod, nodes, evidence, final=final)
    if match := re.search(r"resourceclaim(?:template)? \"([^\"]+)\" not found", message):
        cause = f"{pod_name(pod)} refers to resource claim {match[1]}, which does not exist."
        return unschedulable("resource-claim", cause, [evidence], [f"Create resource claim {match[1]}."], final=True)
    if "cannot allocate all claims" in message:
        cause = f"No node has devices free that meet the resource claims of {pod_name(pod)}."
        fixes = ["See what they ask for and who holds it: kubectl get resourceclaims,resourceslices -A"]
        return unschedulable("resource-claim", cause, [evidence], [*fixes, f"Or {ADD_NODE}."], final=False)
    if not re.search(r"Insufficient|Too many pods", message):
        cause = f"{pod_name(pod)} finds no node: {one_line(message, 250)}"
        fixes = ["Do what the scheduler's sentence asks for (ports, claims, node name), or add a node."]
        return unschedulable("other", cause, [evidence], fixes, final=False)
    return occupied.judge(snapshot, pod, roomy, asked, evidence)


def _undeclared(resource: str, nodes: Sequence[Object], message: str) -> bool:
    """Whether nodes do not speak of a plain resource at all, and the scheduler does not complain of it."""
    return (
        resource in PLAIN
        and not any(node_rules.allocatable(node, resource) for node in nodes)
        and f"Insufficient {resource}" not in message
    )


def scarce(message: str, asked: Mapping[str, Decimal]) -> str:
    """Returns the resource that the scheduler's sentence complains of, accelerators before others."""
    named = [resource.rstrip(".") for resource in re.findall(r"Insufficient ([\w./-]+)", message)]
    if "Too many pods" in message and not named:
        return "pods"
    extended = [resource for resource in named if resource in asked and resource not in PLAIN]
    own = [resource for resource in asked if resource not in PLAIN]
    return next(iter([*extended, *named, *own]), "capacity")


def shown(resource: str, quantities: Mapping[str, Decimal]) -> str:
    """Returns a quantity for people."""
    quantity = quantities.get(resource, Decimal(1))
    return f"{quantity / 2**30:.1f}Gi" if resource in ("memory", "ephemeral-storage") else number(quantity)


def _selector(pod: Object, nodes: Sequence[Object], evidence: Evidence, *, final: bool) -> Diagnosis:
    wanted = (pod.get("spec") or {}).get("nodeSelector") or {}
    alone = {k: v for k, v in wanted.items() if not any(node_rules.labels(n).get(k) == v for n in nodes)} or wanted
    text = ", ".join(f"{key}={value}" for key, value in alone.items())
    if not text:
        cause = f"No node meets the required node affinity of {pod_name(pod)}."
        fixes = [f"Correct the affinity, or {ADD_NODE}."]
        return unschedulable("node-affinity", cause, [evidence], fixes, final=final)
    there = sorted({f"{key}={node_rules.labels(n).get(key, '(none)')}" for key in alone for n in nodes})
    kind = "instance-type" if _INSTANCE_TYPE in alone else "node-selector"
    field = "instance_type" if kind == "instance-type" else "the node selector (pod.node_selector)"
    return unschedulable(
        kind,
        f"No node carries {text}; the nodes have {', '.join(there[:5])}.",
        [evidence],
        [f"Let there be a node with {text}: {ADD_NODE}.", f"Or set {field} to what the cluster has, or leave it out."],
        final=final,
    )


def _too_much(
    pod: Object,
    resource: str,
    asked: Mapping[str, Decimal],
    nodes: Sequence[Object],
    evidence: Evidence,
    *,
    final: bool,
) -> Diagnosis | None:
    most = max(node_rules.allocatable(node, resource) for node in nodes)
    if most >= asked[resource]:
        return None
    if most == 0 and resource not in PLAIN:
        return _absent(pod, resource, asked, nodes, evidence, final=final)
    amount, limit = shown(resource, asked), shown(resource, {resource: most})
    where = [
        Evidence(f"Node {name_of(n)} allocatable", f"{resource} {shown(resource, {resource: offered})}")
        for n in nodes[:3]
        for offered in [node_rules.allocatable(n, resource)]
    ]
    if resource in PLAIN:
        reason, lower = f"too-much-{resource}", f"Lower resources.{resource} to at most {limit}."
    else:
        reason = "too-many-accelerators"
        lower = f"Ask for at most {limit} {resource} per pod: lower resources.accelerators and tensor_parallel_size."
    return unschedulable(
        reason,
        f"{pod_name(pod)} asks for {amount} {resource}, the largest node offers {limit}.",
        [evidence, *where],
        [lower, f"Or add a node with {amount} {resource} (instance_type)."],
        final=final,
    )


def _absent(
    pod: Object,
    resource: str,
    asked: Mapping[str, Decimal],
    nodes: Sequence[Object],
    evidence: Evidence,
    *,
    final: bool,
) -> Diagnosis:
    """An extended resource that no node offers: no such nodes, or nothing on them advertises it."""
    plugin = _PLUGINS.get(resource, f"the device plugin for {resource}")
    amount = shown(resource, asked)
    has_it = [node for node in nodes if _has_hardware(node, resource)]
    if has_it:
        names = ", ".join(name_of(node) for node in has_it[:3])
        kinds = ", ".join(sorted({node_rules.labels(node).get(_INSTANCE_TYPE, "") for node in has_it}))
        ill = any(node_rules.capacity(node, resource) for node in has_it)
        why = "all of their devices are unhealthy" if ill else "nothing on them advertises it"
        return unschedulable(
            "device-plugin",
            f"{pod_name(pod)} asks for {amount} {resource}; node {names} ({kinds}) has the hardware, but {why}.",
            [evidence, *(Evidence(f"Node {name_of(n)} allocatable", f"no {resource}") for n in has_it[:3])],
            [f"Install or restart {plugin}: kubectl get daemonsets -A", "Check the driver on the node."],
            final=False,
        )
    return unschedulable(
        "accelerator-absent",
        f"{pod_name(pod)} asks for {amount} {resource} and no node offers that resource.",
        [evidence, *(Evidence(f"Node {name_of(n)} allocatable", f"no {resource}") for n in nodes[:3])],
        [
            f"Install {plugin}: until it runs there, nodes do not offer {resource}.",
            f"Or add nodes with {resource}.",
        ],
        final=final,
    )


def _has_hardware(node: Object, resource: str) -> bool:
    known = instance_types().get(node_rules.labels(node).get(_INSTANCE_TYPE, ""))
    by_type = known is not None and known.accelerator.resource == resource
    labels = node_rules.labels(node)
    by_label = resource == "nvidia.com/gpu" and (
        labels.get("nvidia.com/gpu.present") == "true" or "karpenter.k8s.aws/instance-gpu-count" in labels
    )
    return by_type or by_label or node_rules.capacity(node, resource) > 0


def _kept_out(pod: Object, nodes: Sequence[Object], evidence: Evidence, *, final: bool) -> Diagnosis | None:
    spec = pod.get("spec") or {}
    reasons: list[Evidence] = []
    own: set[str] = set()
    passing: set[str] = set()
    for node in nodes:
        taints = node_rules.untolerated_taints(node, spec)
        if not taints and not (node.get("spec") or {}).get("unschedulable"):
            return None
        reasons.append(Evidence(f"Node {name_of(node)} taints", ", ".join(taints) or "unschedulable"))
        own |= {taint for taint in taints if not _PASSING_TAINT.match(taint)}
        passing |= {taint.partition(":")[0].partition("=")[0] for taint in taints if _PASSING_TAINT.match(taint)}
    if own:
        keys = ", ".join(sorted({taint.partition(":")[0].partition("=")[0] for taint in own}))
        return unschedulable(
            "taint",
            f"The nodes that {pod_name(pod)} could use carry taint {', '.join(sorted(own))}, "
            "which it does not tolerate.",
            [evidence, *reasons[:3]],
            [f"Add a toleration for {keys} to the pod (pod.tolerations).", f"Or take the taint {keys} off the nodes."],
            final=final,
        )
    names = ", ".join(name_of(node) for node in nodes[:3])
    return Diagnosis(
        Category.NODE,
        "not-ready",
        f"The nodes that {pod_name(pod)} could use are not ready or cordoned: {names}"
        f"{' (' + ', '.join(sorted(passing)) + ')' if passing else ''}.",
        (evidence, *reasons[:3]),
        (f"Bring them back (kubectl uncordon {name_of(nodes[0])}, or replace the instance), or add a node.",),
        final=False,
    )


def _spread(pod: Object, evidence: Evidence, *, final: bool) -> Diagnosis:
    rules = (pod.get("spec") or {}).get("topologySpreadConstraints") or ()
    keys = [str(rule.get("topologyKey")) for rule in rules if rule.get("whenUnsatisfiable") != "ScheduleAnyway"]
    over = f" over {', '.join(keys)}" if keys else ""
    cause = f"The required topology spread of {pod_name(pod)}{over} leaves no node."
    fixes = ["Make the spread a wish: whenUnsatisfiable ScheduleAnyway.", f"Or add nodes that spread{over}."]
    if "missing required label" in evidence.what:
        fixes.insert(0, f"Label the nodes with {', '.join(keys) or 'the topology key'}.")
    return unschedulable("topology-spread", cause, [evidence], fixes, final=final)


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
        return unschedulable("affinity-label", cause, [evidence], fixes, final=True)
    kind = "anti-affinity" if "anti-affinity" in evidence.what else "affinity"
    return unschedulable(
        f"pod-{kind}",
        f"The required pod {kind} of {pod_name(pod)} leaves no node.",
        [evidence],
        [f"Make the pod {kind} preferred, or add nodes that satisfy it."],
        final=final,
    )
