"""Amounts of resources: what containers and pods ask for, in numbers."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from sandbox.kubernetes.quantities import parse

Amounts = dict[str, Fraction]


def total(parts: Iterable[Amounts]) -> Amounts:
    """The sum of several amounts."""
    result: Amounts = {}
    for part in parts:
        for name, amount in part.items():
            result[name] = result.get(name, Fraction(0)) + amount
    return result


def largest(one: Amounts, other: Amounts) -> Amounts:
    """The larger of two amounts, resource by resource."""
    return {name: max(one.get(name, Fraction(0)), other.get(name, Fraction(0))) for name in one | other}


def parsed(quantities: Mapping[str, Any] | None) -> Amounts:
    """A resource list with its quantities as numbers."""
    return {name: parse(quantity) for name, quantity in (quantities or {}).items()}


def container_requests(container: Mapping[str, Any]) -> dict[str, str]:
    """What a container asks for; a limit without a request is one."""
    resources = container.get("resources") or {}
    return {**(resources.get("limits") or {}), **(resources.get("requests") or {})}


def pod_requests(spec: Mapping[str, Any]) -> Amounts:
    """What a pod takes of a node: its containers together, or its largest init container, plus overhead.

    Init containers that restart always (side-cars) count from their turn to the end.
    """
    sidecars: Amounts = {}
    peak: Amounts = {}
    for one in spec.get("initContainers") or []:
        needs = total([sidecars, parsed(container_requests(one))])
        if one.get("restartPolicy") == "Always":
            sidecars = needs
        peak = largest(peak, needs)
    running = total([sidecars, *(parsed(container_requests(one)) for one in spec.get("containers") or [])])
    return total([largest(running, peak), parsed(spec.get("overhead"))])
