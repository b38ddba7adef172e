"""What a node offers, and whether a pod may go there: the scheduler's rules, as far as a rollout needs them."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from serving.quantities import parse
from serving.snapshot import Object, condition

_KEEPS_OUT = ("NoSchedule", "NoExecute")


def allocatable(node: Object, resource: str) -> Decimal:
    """Returns how much of a resource the node offers to pods; 0 if it does not know it."""
    offered = ((node.get("status") or {}).get("allocatable") or {}).get(resource)
    return parse(offered) if offered is not None else Decimal(0)


def capacity(node: Object, resource: str) -> Decimal:
    """Returns how much of a resource the node has; 0 if it does not know it."""
    there = ((node.get("status") or {}).get("capacity") or {}).get(resource)
    return parse(there) if there is not None else Decimal(0)


def labels(node: Object) -> Mapping[str, str]:
    """Returns the node's labels."""
    return dict((node.get("metadata") or {}).get("labels") or {})


def is_ready(node: Object) -> bool:
    """Whether the node's kubelet reports that it is ready."""
    status = condition(node, "Ready").get("status")
    return status in ("True", None)


def untolerated_taints(node: Object, pod_spec: Mapping[str, Any]) -> list[str]:
    """Returns the taints that keep the pod away, as ``key=value:effect``."""
    tolerations = pod_spec.get("tolerations") or ()
    found = []
    for taint in (node.get("spec") or {}).get("taints") or ():
        if taint.get("effect") in _KEEPS_OUT and not any(_tolerates(entry, taint) for entry in tolerations):
            value = f"={taint['value']}" if taint.get("value") else ""
            found.append(f"{taint.get('key', '')}{value}:{taint['effect']}")
    return found


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    key = toleration.get("key")
    if toleration.get("operator") == "Exists":
        return not key or key == taint.get("key")
    return key == taint.get("key") and (toleration.get("value") or "") == (taint.get("value") or "")


def unmet_selector(node: Object, pod_spec: Mapping[str, Any]) -> dict[str, str]:
    """Returns the part of the pod's node selector that the node does not carry."""
    there = labels(node)
    wanted: Mapping[str, str] = pod_spec.get("nodeSelector") or {}
    return {key: value for key, value in wanted.items() if there.get(key) != value}


def meets_affinity(node: Object, pod_spec: Mapping[str, Any]) -> bool:
    """Whether the node meets the pod's required node affinity."""
    affinity = ((pod_spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if not affinity:
        return True
    terms: Sequence[Mapping[str, Any]] = affinity.get("nodeSelectorTerms") or ()
    return any(all(_meets(labels(node), rule) for rule in term.get("matchExpressions") or ()) for term in terms)


def _meets(there: Mapping[str, str], rule: Mapping[str, Any]) -> bool:
    value, values = there.get(str(rule.get("key"))), rule.get("values") or []
    match rule.get("operator"):
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt":
            return value is not None and value.isdigit() and bool(values) and int(value) > int(values[0])
        case "Lt":
            return value is not None and value.isdigit() and bool(values) and int(value) < int(values[0])
        case _:
            return False


def requests(pod_spec: Mapping[str, Any]) -> dict[str, Decimal]:
    """Returns what the pod asks for: the sum of its containers, or its largest init container if that is more."""
    total: dict[str, Decimal] = {}
    initial = pod_spec.get("initContainers") or ()
    sidecars = [container for container in initial if container.get("restartPolicy") == "Always"]
    for container in (*(pod_spec.get("containers") or ()), *sidecars):
        for resource, quantity in _asked(container).items():
            total[resource] = total.get(resource, Decimal(0)) + quantity
    for container in initial:
        for resource, quantity in _asked(container).items():
            total[resource] = max(total.get(resource, Decimal(0)), quantity)
    return total


def _asked(container: Mapping[str, Any]) -> dict[str, Decimal]:
    resources = container.get("resources") or {}
    merged = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: parse(quantity) for name, quantity in merged.items()}


def number(quantity: Decimal) -> str:
    """Returns a quantity for people: ``4``, ``0.5``."""
    return f"{quantity.normalize():f}"
