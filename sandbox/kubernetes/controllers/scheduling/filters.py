"""The questions a node must pass to take a pod, in the order in which a real scheduler asks them.

Texts are those of Kubernetes 1.36, as recorded. Each filter answers with the reasons against a node; the first
filter that has any ends the questions for that node.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox.kubernetes.controllers.amounts import Amounts, parsed, pod_requests, total
from sandbox.kubernetes.controllers.meta import Obj, meets, selects
from sandbox.kubernetes.controllers.pods import is_finished

UNSCHEDULABLE_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
PODS_RESOURCE = "pods"


@dataclass(frozen=True)
class Refusal:
    """Why a node does not take a pod.

    Attributes:
        reasons: What the event says, one or more.
        preemptible: Whether removing other pods from the node could help.
    """

    reasons: tuple[str, ...]
    preemptible: bool = False


@dataclass(frozen=True)
class Situation:
    """What the scheduler knows when it places one pod.

    Attributes:
        pod: The pod.
        nodes: Every node by name.
        placed: The pods on nodes that have not finished.
        namespaces: Labels of each namespace, for affinity terms that select namespaces.
    """

    pod: Obj
    nodes: Mapping[str, Obj]
    placed: Sequence[Obj]
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def on(self, node: Obj) -> list[Obj]:
        """The pods on a node."""
        name = node["metadata"]["name"]
        return [pod for pod in self.placed if pod["spec"]["nodeName"] == name]


Filter = Callable[[Situation, Obj], Refusal | None]


def situation(pod: Obj, nodes: Iterable[Obj], pods: Iterable[Obj], namespaces: Iterable[Obj]) -> Situation:
    """Sort the cluster's objects into what filters ask for."""
    return Situation(
        pod,
        {node["metadata"]["name"]: node for node in nodes},
        [one for one in pods if one["spec"].get("nodeName") and not is_finished(one)],
        {one["metadata"]["name"]: one["metadata"].get("labels") or {} for one in namespaces},
    )


def refusal(state: Situation, node: Obj) -> Refusal | None:
    """Why `node` does not take the pod, or None when it does."""
    return next((found for one in FILTERS if (found := one(state, node))), None)


def tolerates(tolerations: Iterable[Mapping[str, Any]] | None, taint: Mapping[str, Any]) -> bool:
    """Tell whether one of the tolerations covers the taint."""
    for one in tolerations or []:
        if one.get("effect") and one["effect"] != taint["effect"]:
            continue
        if one.get("key") and one["key"] != taint["key"]:
            continue
        if one.get("operator", "Equal") == "Exists" or (
            one.get("key") and one.get("value", "") == taint.get("value", "")
        ):
            return True
    return False


def _unschedulable(state: Situation, node: Obj) -> Refusal | None:
    cordoned = node["spec"].get("unschedulable")
    if cordoned and not tolerates(state.pod["spec"].get("tolerations"), UNSCHEDULABLE_TAINT):
        return Refusal(("node(s) were unschedulable",))
    return None


def _taints(state: Situation, node: Obj) -> Refusal | None:
    for taint in node["spec"].get("taints") or []:
        if taint["effect"] not in ("NoSchedule", "NoExecute"):
            continue
        if taint == UNSCHEDULABLE_TAINT and node["spec"].get("unschedulable"):
            continue
        if not tolerates(state.pod["spec"].get("tolerations"), taint):
            return Refusal(("node(s) had untolerated taint(s)",))
    return None


def _node_affinity(state: Situation, node: Obj) -> Refusal | None:
    spec, labels = state.pod["spec"], node["metadata"].get("labels") or {}
    fits = (spec.get("nodeSelector") or {}).items() <= labels.items()
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if fits and required:
        fits = any(matches_term(node, term) for term in required["nodeSelectorTerms"])
    return None if fits else Refusal(("node(s) didn't match Pod's node affinity/selector",))


def matches_term(node: Obj, term: Mapping[str, Any]) -> bool:
    """Tell whether a node meets one node selector term; an empty term is met by none."""
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not fields:
        return False
    own = {"metadata.name": node["metadata"]["name"]}
    labels = node["metadata"].get("labels") or {}
    return all(meets(labels, one) for one in expressions) and all(meets(own, one) for one in fields)


def _host_ports(state: Situation, node: Obj) -> Refusal | None:
    wanted = _ports(state.pod)
    taken = {port for pod in state.on(node) for port in _ports(pod)}
    if wanted & taken:
        return Refusal(("node(s) didn't have free ports for the requested pod ports",), preemptible=True)
    return None


def _ports(pod: Obj) -> set[tuple[str, int]]:
    ports = [port for one in pod["spec"]["containers"] for port in one.get("ports") or []]
    return {(port.get("protocol", "TCP"), port["hostPort"]) for port in ports if port.get("hostPort")}


def free(state: Situation, node: Obj) -> Amounts:
    """What is left of a node's allocatable resources."""
    left = allocatable(node)
    for name, amount in total(pod_requests(pod["spec"]) for pod in state.on(node)).items():
        left[name] = left.get(name, amount * 0) - amount
    return left


def allocatable(node: Obj) -> Amounts:
    """What a node offers to pods."""
    status = node.get("status", {})
    return parsed(status.get("allocatable") or status.get("capacity"))


def _resources(state: Situation, node: Obj) -> Refusal | None:
    whole, left = allocatable(node), free(state, node)
    reasons, hopeless = [], False
    if len(state.on(node)) + 1 > whole.get(PODS_RESOURCE, float("inf")):
        reasons.append("Too many pods")
    for name, amount in pod_requests(state.pod["spec"]).items():
        if amount > 0 and amount > left.get(name, 0):
            reasons.append(f"Insufficient {name}")
            hopeless = hopeless or amount > whole.get(name, 0)
    return Refusal(tuple(reasons), preemptible=not hopeless) if reasons else None


def _spread(state: Situation, node: Obj) -> Refusal | None:
    meta = state.pod["metadata"]
    for constraint in state.pod["spec"].get("topologySpreadConstraints") or []:
        if constraint.get("whenUnsatisfiable", "DoNotSchedule") != "DoNotSchedule":
            continue
        key = constraint["topologyKey"]
        domain = (node["metadata"].get("labels") or {}).get(key)
        if domain is None:
            return Refusal(("node(s) didn't match pod topology spread constraints (missing required label)",))
        counts: dict[str, int] = {}
        for one in state.nodes.values():
            if _node_affinity(state, one) is None and key in (one["metadata"].get("labels") or {}):
                counts.setdefault(one["metadata"]["labels"][key], 0)
        for pod in state.placed:
            if pod["metadata"]["namespace"] != meta["namespace"]:
                continue
            where = _label(state.nodes.get(pod["spec"]["nodeName"]), key)
            if where in counts and selects(constraint.get("labelSelector"), pod["metadata"].get("labels")):
                counts[where] += 1
        itself = selects(constraint.get("labelSelector"), meta.get("labels"))
        lowest = min(counts.values(), default=0)
        if counts.get(domain, 0) + itself - lowest > constraint["maxSkew"]:
            return Refusal(("node(s) didn't match pod topology spread constraints",), preemptible=True)
    return None


def _pod_affinity(state: Situation, node: Obj) -> Refusal | None:
    affinity = state.pod["spec"].get("affinity") or {}
    for term in _terms(affinity, "podAffinity"):
        domain = _label(node, term["topologyKey"])
        matching = [pod for pod in state.placed if _takes(state, term, state.pod, pod)]
        near = [pod for pod in matching if domain is not None and _in_domain(state, pod, term, domain)]
        first_of_its_kind = domain is not None and not matching and _takes(state, term, state.pod, state.pod)
        if not near and not first_of_its_kind:
            return Refusal(("node(s) didn't match pod affinity rules",))
    for term in _terms(affinity, "podAntiAffinity"):
        domain = _label(node, term["topologyKey"])
        if domain is not None and any(
            _in_domain(state, pod, term, domain) and _takes(state, term, state.pod, pod) for pod in state.placed
        ):
            return Refusal(("node(s) didn't match pod anti-affinity rules",), preemptible=True)
    return _existing_anti_affinity(state, node)


def _existing_anti_affinity(state: Situation, node: Obj) -> Refusal | None:
    for pod in state.placed:
        for term in _terms(pod["spec"].get("affinity") or {}, "podAntiAffinity"):
            domain = _label(node, term["topologyKey"])
            if domain is not None and _in_domain(state, pod, term, domain) and _takes(state, term, pod, state.pod):
                return Refusal(("node(s) didn't satisfy existing pods anti-affinity rules",), preemptible=True)
    return None


def _terms(affinity: Mapping[str, Any], kind: str) -> list[Obj]:
    found: list[Obj] = (affinity.get(kind) or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or []
    return found


def _takes(state: Situation, term: Obj, owner: Obj, other: Obj) -> bool:
    """Tell whether an affinity term of `owner` is about `other`."""
    namespace = other["metadata"]["namespace"]
    selector, names = term.get("namespaceSelector"), term.get("namespaces") or []
    if selector is None and not names:
        names = [owner["metadata"]["namespace"]]
    if namespace not in names and not selects(selector, state.namespaces.get(namespace)):
        return False
    return selects(term.get("labelSelector"), other["metadata"].get("labels"))


def _in_domain(state: Situation, pod: Obj, term: Obj, domain: str) -> bool:
    return _label(state.nodes.get(pod["spec"]["nodeName"]), term["topologyKey"]) == domain


def _label(node: Obj | None, key: str) -> str | None:
    return (node["metadata"].get("labels") or {}).get(key) if node else None


FILTERS: tuple[Filter, ...] = (
    _unschedulable,
    _taints,
    _node_affinity,
    _host_ports,
    _resources,
    _spread,
    _pod_affinity,
)
