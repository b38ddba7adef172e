"""Can this cluster take this endpoint? Judged from its nodes before anything is touched. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from serving import nodes as node_rules
from serving.errors import InferenceError, PreflightError
from serving.frameworks.defaults import default_image
from serving.frameworks.resources import INSTANCE_TYPE_LABEL, node_selector, tolerations
from serving.nodes import number
from serving.quantities import human, parse
from serving.snapshot import Object, name_of
from serving.spec import Accelerator, EndpointSpec

_PLUGINS = {
    Accelerator.GPU: "the NVIDIA device plugin",
    Accelerator.NEURON: "the Neuron device plugin",
}


@dataclass(frozen=True)
class Permission:
    """One right that a deployment needs, as a SelfSubjectAccessReview asks for it.

    Attributes:
        group: API group; empty for the core group.
        resource: Plural name, with its subresource: ``pods/log``.
        namespace: Empty for resources without namespace.
        reason: What it is needed for.
    """

    verb: str
    group: str
    resource: str
    namespace: str
    reason: str


@dataclass(frozen=True)
class Finding:
    """Something that preflight noticed.

    Attributes:
        fatal: Whether the endpoint cannot start; else a note.
        message: What it is and what to do.
    """

    fatal: bool
    code: str
    message: str
    fix: str = ""


def capacity_findings(spec: EndpointSpec, nodes: Sequence[Object], *, node_autoscaler: bool = False) -> list[Finding]:
    """Returns what keeps the endpoint's pods from finding a node.

    Where something adds nodes, it is a note: the node may come.

    Args:
        spec: The endpoint.
        nodes: All nodes.
        node_autoscaler: Whether something adds nodes for pods that wait.
    """
    found = next(_capacity(spec, nodes), None)
    if found is None:
        return []
    if not node_autoscaler:
        return [found]
    note = f"{found.message} A node autoscaler is there and may add one."
    return [Finding(False, found.code, note, found.fix)]


def room_findings(
    spec: EndpointSpec, manifests: Sequence[Mapping[str, Any]], nodes: Sequence[Object], *, may_come: bool
) -> list[Finding]:
    """Returns what no node has room for of what the model's size makes the pods ask for: disk, and memory on cpu.

    Args:
        spec: The endpoint.
        manifests: What is to be applied, rendered for the model as it is.
        nodes: All nodes.
        may_come: Whether something adds nodes: then it is a note.
    """
    found: dict[str, Finding] = {}
    for pod in pod_specs(manifests):
        asked = node_rules.requests(pod)
        for resource in ("ephemeral-storage", *(() if spec.resources.memory else ("memory",))):
            wanted = asked.get(resource, Decimal(0))
            suited = [node for node in nodes if not node_rules.unmet_selector(node, pod)]
            offered = {name_of(node): node_rules.allocatable(node, resource) for node in suited}
            if not offered or not any(offered.values()) or max(offered.values()) >= wanted:
                continue
            best = max(offered, key=lambda name: offered[name])
            what = "disk (ephemeral-storage)" if resource == "ephemeral-storage" else resource
            message = (
                f"Endpoint {spec.name}'s pods need {human(int(wanted))} of {what} for {spec.model.repo_id}, the "
                f"largest node that they may run on ({best}) offers {human(int(offered[best]))}."
            )
            if may_come:
                message += " A node autoscaler is there and may add one."
            found.setdefault(resource, Finding(not may_come, f"nodes.too-little-{resource}", message, _ROOM[resource]))
    return list(found.values())


_ROOM = {
    "ephemeral-storage": "Use weights=stream or weights=mount, which need no disk, or nodes whose local NVMe is for "
    "pods (Karpenter: instanceStorePolicy RAID0) or with a larger root volume.",
    "memory": "Use nodes with more memory, or a smaller model.",
}


def pod_specs(manifests: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yields the specs of all pods that the manifests make, whatever kind makes them."""
    for manifest in manifests:
        yield from _pod_specs(manifest.get("spec"))


def _pod_specs(part: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(part, Mapping):
        if isinstance(part.get("containers"), list):
            yield part
            return
        for inner in part.values():
            yield from _pod_specs(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _pod_specs(inner)


def require(findings: Sequence[Finding]) -> None:
    """Raises the fatal findings.

    Raises:
        PreflightError: There are some; carries all of them.
    """
    fatal = [InferenceError(f.message, fix=f.fix, code=f.code) for f in findings if f.fatal]
    if fatal:
        raise PreflightError(fatal)


def _capacity(spec: EndpointSpec, nodes: Sequence[Object]) -> Iterator[Finding]:
    if not nodes:
        yield Finding(True, "nodes.none", "The cluster has no nodes.", "Add a node, or a node autoscaler.")
        return
    pod_spec = {"nodeSelector": node_selector(spec), "tolerations": tolerations(spec)}
    selected = [node for node in nodes if not node_rules.unmet_selector(node, pod_spec)]
    if not selected:
        there = sorted({node_rules.labels(node).get(INSTANCE_TYPE_LABEL, "(no label)") for node in nodes})
        yield Finding(
            True,
            "nodes.instance-type",
            f"No node has instance type {spec.instance_type}: the cluster's {len(nodes)} nodes have "
            f"{', '.join(there)}.",
            f"Add a {spec.instance_type} node, or set instance_type to one of these (empty: any).",
        )
        return
    yield from _accelerators(spec, selected)
    yield from _plain(spec, selected)
    yield from _taints(pod_spec, selected)


def _accelerators(spec: EndpointSpec, nodes: Sequence[Object]) -> Iterator[Finding]:
    resource, wanted = spec.accelerator.resource, spec.resources.accelerators
    if not resource:
        return
    most = max(node_rules.allocatable(node, resource) for node in nodes)
    if most == 0:
        where = f"none of the {spec.instance_type} nodes" if spec.instance_type else "no node"
        yield Finding(
            True,
            "nodes.no-accelerator",
            f"Endpoint {spec.name} needs {wanted} {resource} and {where} offers that resource.",
            f"Add {spec.accelerator} nodes, or install {_PLUGINS[spec.accelerator]} on those that are there"
            f"{_try_out(spec)}.",
        )
    elif most < wanted:
        yield Finding(
            True,
            "nodes.too-few-accelerators",
            f"Endpoint {spec.name} needs {wanted} {resource} in one pod, the largest node offers {number(most)}.",
            f"Lower resources.accelerators and engine.tensor_parallel_size to at most {number(most)}, or add a larger "
            "node.",
        )


def _try_out(spec: EndpointSpec) -> str:
    image = default_image(spec.framework, Accelerator.CPU)
    return f"; to try it out without, use accelerator=cpu with an image such as {image}" if image else ""


def _plain(spec: EndpointSpec, nodes: Sequence[Object]) -> Iterator[Finding]:
    asked = {"cpu": spec.resources.cpu, "memory": spec.resources.memory}
    for resource, quantity in asked.items():
        if not quantity:
            continue
        if not any(node_rules.allocatable(node, resource) >= parse(quantity) for node in nodes):
            best = max(nodes, key=lambda node: node_rules.allocatable(node, resource))
            offered = ((best.get("status") or {}).get("allocatable") or {}).get(resource, "none")
            yield Finding(
                True,
                f"nodes.too-little-{resource}",
                f"Endpoint {spec.name} asks for {quantity} {resource}, the largest node ({name_of(best)}) offers "
                f"{offered}.",
                f"Lower resources.{resource}, or add a larger node.",
            )


def _taints(pod_spec: Mapping[str, Any], nodes: Sequence[Object]) -> Iterator[Finding]:
    kept_out = {name_of(node): node_rules.untolerated_taints(node, pod_spec) for node in nodes}
    if all(kept_out.values()):
        taints = sorted({taint for taints in kept_out.values() for taint in taints})
        yield Finding(
            True,
            "nodes.tainted",
            f"Every node that would do is tainted against the pod: {', '.join(taints)}.",
            "Take the taint off a node, or add a node without it.",
        )


_PLURALS = {"NetworkPolicy": "networkpolicies", "Ingress": "ingresses"}
_CLUSTER_WIDE = {"PersistentVolume", "Namespace", "StorageClass"}


def needed_permissions(manifests: Sequence[Mapping[str, Any]], namespace: str) -> list[Permission]:
    """Returns the rights that applying and watching these manifests takes.

    Server-side apply needs ``patch``, and ``create`` for an object that does not exist yet.

    Args:
        manifests: What is to be applied.
        namespace: The endpoint's namespace.
    """
    wanted: dict[tuple[str, str, str], Permission] = {}

    def add(verb: str, group: str, resource: str, where: str, reason: str) -> None:
        wanted.setdefault((verb, group, resource), Permission(verb, group, resource, where, reason))

    for manifest in manifests:
        kind = str(manifest["kind"])
        group, slash, _ = str(manifest["apiVersion"]).rpartition("/")
        where = "" if kind in _CLUSTER_WIDE else str(manifest["metadata"].get("namespace") or namespace)
        for verb in ("get", "create", "patch"):
            add(verb, group if slash else "", plural(kind), where, f"apply {kind} {manifest['metadata']['name']}")
    for resource in ("pods", "events"):
        for verb in ("list", "watch"):
            add(verb, "", resource, namespace, "wait for the pods")
    add("get", "", "pods/log", namespace, "read the logs of pods that fail")
    return list(wanted.values())


def plural(kind: str) -> str:
    """Returns a kind's plural name in the API."""
    if kind in _PLURALS:
        return _PLURALS[kind]
    lower = kind.lower()
    return f"{lower}es" if lower.endswith(("s", "x")) else f"{lower}s"
