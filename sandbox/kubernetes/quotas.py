"""ResourceQuotas: what a namespace uses, and refusing what would be too much."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from sandbox.kubernetes import errors
from sandbox.kubernetes.quantities import canonical, parse
from sandbox.kubernetes.resources import (
    CONFIGMAPS,
    PODS,
    PVCS,
    RESOURCEQUOTAS,
    SECRETS,
    SERVICES,
    Resource,
)
from sandbox.kubernetes.store import Store

Manifest = dict[str, Any]
Amounts = dict[str, Fraction]

COUNTED = (PODS, PVCS, SERVICES, SECRETS, CONFIGMAPS)
"""The resources that quotas can limit here."""
_COMPUTE = ("cpu", "memory", "ephemeral-storage")


def _sum(containers: Iterable[Mapping[str, Any]], kind: str) -> Amounts:
    total: Amounts = {}
    for container in containers:
        for name, quantity in container.get("resources", {}).get(kind, {}).items():
            total[name] = total.get(name, Fraction(0)) + parse(quantity)
    return total


def _pod_amounts(spec: Mapping[str, Any]) -> Amounts:
    """What a pod takes: the sum of its containers, or its largest init container."""
    amounts: Amounts = {"pods": Fraction(1), "count/pods": Fraction(1)}
    for kind in ("requests", "limits"):
        total = _sum(spec.get("containers") or (), kind)
        for init in spec.get("initContainers", ()):
            for name, quantity in _sum([init], kind).items():
                total[name] = max(total.get(name, Fraction(0)), quantity)
        for name, quantity in total.items():
            amounts[f"{kind}.{name}"] = quantity
            if kind == "requests" and name in _COMPUTE:
                amounts[name] = quantity
    return amounts


def amounts(resource: Resource, obj: Manifest) -> Amounts:
    """What one object takes of a quota, by the quota's names."""
    if resource is PODS:
        ended = obj.get("status", {}).get("phase") in ("Succeeded", "Failed")
        return {} if ended else _pod_amounts(obj["spec"])
    one = Fraction(1)
    taken = {resource.plural: one, f"count/{resource.qualified}": one}
    if resource is PVCS:
        taken["requests.storage"] = parse(obj["spec"]["resources"].get("requests", {}).get("storage", "0"))
    return taken


def used(store: Store, namespace: str, hard: Iterable[str]) -> Amounts:
    """What a namespace uses now of what a quota names."""
    total: Amounts = dict.fromkeys(hard, Fraction(0))
    for resource in COUNTED:
        for obj in store.select(resource.key, namespace):
            for name, quantity in amounts(resource, obj).items():
                if name in total:
                    total[name] += quantity
    return total


def text(quantity: Fraction) -> str:
    """An amount as a quantity."""
    scaled = quantity * 1000
    return canonical(f"{scaled.numerator // scaled.denominator}m")


def enforce(store: Store, resource: Resource, obj: Manifest) -> None:
    """Refuse an object that a quota of its namespace has no room for.

    Raises:
        ApiError: 403 with the quota, what was asked for, what is used and what is allowed.
    """
    namespace, name = obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
    if resource not in COUNTED:
        return
    asked = amounts(resource, obj)
    for quota in store.select(RESOURCEQUOTAS.key, namespace):
        hard = {key: parse(value) for key, value in quota["spec"].get("hard", {}).items()}
        title = quota["metadata"]["name"]
        if resource is PODS:
            _require_amounts(obj, name, title, hard)
        present = used(store, namespace, hard)
        over = sorted(key for key in hard if key in asked and present[key] + asked[key] > hard[key])
        if over:
            listed = (",".join(f"{key}={text(values[key])}" for key in over) for values in (asked, present, hard))
            requested, in_use, limited = listed
            why = f"exceeded quota: {title}, requested: {requested}, used: {in_use}, limited: {limited}"
            raise errors.forbidden(resource, name, why)


def _require_amounts(pod: Manifest, name: str, title: str, hard: Iterable[str]) -> None:
    """A quota on cpu or memory makes requests (or limits) for it mandatory."""
    missing: dict[str, list[str]] = {}
    for key in hard:
        kind, _, amount = key.rpartition(".") if "." in key else ("requests", "", key)
        if amount not in _COMPUTE or kind not in ("requests", "limits"):
            continue
        for container in pod["spec"].get("containers") or ():
            if amount not in container.get("resources", {}).get(kind, {}):
                missing.setdefault(key, []).append(container["name"])
    if missing:
        texts = [f"{key} for: {','.join(containers)}" for key, containers in sorted(missing.items())]
        raise errors.forbidden(PODS, name, f"failed quota: {title}: must specify {'; '.join(texts)}")
