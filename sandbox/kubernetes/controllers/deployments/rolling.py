"""The arithmetic of a rolling update: how many pods of which ReplicaSet, now. Pure functions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sandbox.kubernetes.controllers.meta import Obj

DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"


@dataclass(frozen=True)
class Limits:
    """How far a rolling update may go.

    Attributes:
        surge: Pods beyond the wanted number.
        unavailable: Pods that may be missing.
    """

    surge: int
    unavailable: int


def wanted(deployment: Obj) -> int:
    """The number of replicas asked for."""
    replicas: int = deployment["spec"]["replicas"]
    return replicas


def is_rolling(deployment: Obj) -> bool:
    """Tell whether the strategy is RollingUpdate."""
    kind: str = (deployment["spec"].get("strategy") or {}).get("type", "RollingUpdate")
    return kind == "RollingUpdate"


def scaled(value: int | str, whole: int, *, up: bool) -> int:
    """An absolute number, or a percentage of `whole` rounded up or down."""
    if isinstance(value, int):
        return value
    part = whole * int(value.rstrip("%")) / 100
    return math.ceil(part) if up else math.floor(part)


def limits(deployment: Obj) -> Limits:
    """The strategy's limits in pods; both zero would never move, so one pod may then be unavailable."""
    if not is_rolling(deployment):
        return Limits(0, 0)
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    count = wanted(deployment)
    surge = scaled(rolling.get("maxSurge", "25%"), count, up=True)
    unavailable = scaled(rolling.get("maxUnavailable", "25%"), count, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Limits(surge, min(unavailable, count))


def spec_replicas(replica_sets: Sequence[Obj | None]) -> int:
    """Replicas that the ReplicaSets ask for, together."""
    return sum(one["spec"]["replicas"] for one in replica_sets if one)


def status_count(replica_sets: Sequence[Obj | None], name: str) -> int:
    """A count of the ReplicaSets' statuses, together."""
    return sum(one.get("status", {}).get(name, 0) for one in replica_sets if one)


def active(replica_sets: Sequence[Obj | None]) -> list[Obj]:
    """Those that ask for pods."""
    return [one for one in replica_sets if one and one["spec"]["replicas"] > 0]


def by_age(replica_sets: Sequence[Obj]) -> list[Obj]:
    """The oldest first."""
    return sorted(replica_sets, key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"]))


def new_size(deployment: Obj, everything: Sequence[Obj | None], new: Obj) -> int:
    """How many replicas the new ReplicaSet may have now."""
    size: int = new["spec"]["replicas"]
    if not is_rolling(deployment):
        return wanted(deployment)
    room = wanted(deployment) + limits(deployment).surge - spec_replicas(everything)
    return size if room <= 0 else size + min(room, wanted(deployment) - size)


def old_sizes(deployment: Obj, old: Sequence[Obj], new: Obj) -> dict[str, int]:
    """New sizes, by name, of old ReplicaSets that may shrink now: first pods that are not available."""
    everything = [*old, new]
    minimum = wanted(deployment) - limits(deployment).unavailable
    new_missing = new["spec"]["replicas"] - status_count([new], "availableReplicas")
    may_go = spec_replicas(everything) - minimum - new_missing
    sizes = {one["metadata"]["name"]: one["spec"]["replicas"] for one in old}
    if may_go <= 0:
        return {}
    for one in by_age(old):
        name = one["metadata"]["name"]
        gone = min(may_go, sizes[name] - status_count([one], "availableReplicas"))
        if gone > 0:
            sizes[name] -= gone
            may_go -= gone
    spare = status_count(everything, "availableReplicas") - minimum
    for one in by_age(old):
        name = one["metadata"]["name"]
        gone = min(sizes[name], spare)
        if gone > 0:
            sizes[name] -= gone
            spare -= gone
    return {one["metadata"]["name"]: sizes[one["metadata"]["name"]] for one in old if _shrinks(one, sizes)}


def _shrinks(one: Obj, sizes: dict[str, int]) -> bool:
    smaller: bool = sizes[one["metadata"]["name"]] < one["spec"]["replicas"]
    return smaller


def proportional_sizes(deployment: Obj, old: Sequence[Obj], new: Obj | None) -> dict[str, int]:
    """New sizes, by name, when the Deployment is scaled in the middle of a rolling update."""
    parts = active([*old, new])
    allowed = wanted(deployment) + limits(deployment).surge if wanted(deployment) else 0
    change = allowed - spec_replicas(parts)
    parts = sorted(by_age(parts)[:: 1 if change < 0 else -1], key=lambda one: -one["spec"]["replicas"])
    sizes: dict[str, int] = {}
    moved = 0
    for one in parts:
        share = _share(deployment, one, change, moved)
        sizes[one["metadata"]["name"]] = one["spec"]["replicas"] + share
        moved += share
    if parts and change:
        largest = parts[0]["metadata"]["name"]
        sizes[largest] = max(sizes[largest] + change - moved, 0)
    return sizes


def _share(deployment: Obj, one: Obj, change: int, moved: int) -> int:
    size: int = one["spec"]["replicas"]
    if not change or change == moved:
        return 0
    if wanted(deployment) == 0:
        return max(-size, change - moved)
    before = int((one["metadata"].get("annotations") or {}).get(MAXIMUM, 0))
    before = before or deployment.get("status", {}).get("replicas", 0)
    if not before:
        return 0
    ideal = math.floor(size * (wanted(deployment) + limits(deployment).surge) / before + 0.5) - size
    return min(ideal, change - moved) if change > 0 else max(ideal, change - moved)


def is_saturated(deployment: Obj, new: Obj | None) -> bool:
    """Tell whether the new ReplicaSet alone carries the Deployment."""
    if new is None:
        return False
    desired = (new["metadata"].get("annotations") or {}).get(DESIRED)
    available = status_count([new], "availableReplicas")
    return desired == str(wanted(deployment)) and new["spec"]["replicas"] == available == wanted(deployment)


def only_one(old: Sequence[Obj], new: Obj | None) -> Obj | None:
    """The one ReplicaSet that has pods, or the newest when none has; None when several have."""
    alive = active([*old, new])
    if len(alive) > 1:
        return None
    return alive[0] if alive else new or (by_age(old)[-1] if old else None)
