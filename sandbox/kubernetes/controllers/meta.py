"""What controllers ask of any object: its owner, its times, whether a selector takes it."""

import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

Obj = dict[str, Any]

MANAGER = "kube-controller-manager"
"""The field manager of everything that controllers write."""

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Letters of generated names: no vowels and no look-alikes, as in a real cluster."""


def timestamp(moment: datetime | None = None) -> str:
    """RFC 3339 with seconds, as objects carry times."""
    return (moment or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp() -> str:
    """RFC 3339 with microseconds, as `eventTime` carries it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """The moment that an object's timestamp names."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def seconds_since(text: str) -> float:
    """Seconds from an object's timestamp until now."""
    return (datetime.now(UTC) - parse_time(text)).total_seconds()


def random_suffix(length: int = 5) -> str:
    """The random end of a generated name."""
    return "".join(random.choices(_ALPHABET, k=length))


def safe_encode(text: str) -> str:
    """Map `text` onto letters that cannot spell anything."""
    return "".join(_ALPHABET[ord(letter) % len(_ALPHABET)] for letter in text)


def owner_reference(owner: Obj) -> Obj:
    """The reference that makes `owner` the controller of an object."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def controller_of(obj: Obj) -> Obj | None:
    """The owner reference of the object's controller, if it has one."""
    for reference in obj["metadata"].get("ownerReferences") or []:
        if reference.get("controller"):
            found: Obj = reference
            return found
    return None


def is_controlled_by(obj: Obj, owner: Obj) -> bool:
    """Tell whether `owner` is the controller of `obj`."""
    reference = controller_of(obj)
    return reference is not None and reference["uid"] == owner["metadata"]["uid"]


def may_be_claimed_by(owner: Obj) -> Callable[[Obj], bool]:
    """What `owner` controls, and what nobody does: all that its controller has to look at."""
    return lambda obj: controller_of(obj) is None or is_controlled_by(obj, owner)


def is_terminating(obj: Obj) -> bool:
    """Tell whether somebody has deleted the object."""
    return "deletionTimestamp" in obj["metadata"]


def selects(selector: Mapping[str, Any] | None, labels: Mapping[str, str] | None) -> bool:
    """Tell whether a LabelSelector takes an object with `labels`; no selector takes nothing, an empty one all."""
    if selector is None:
        return False
    labels = labels or {}
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(meets(labels, requirement) for requirement in selector.get("matchExpressions") or [])


def meets(labels: Mapping[str, str], requirement: Mapping[str, Any]) -> bool:
    """Tell whether labels meet one requirement of a label selector or a node selector."""
    value, values = labels.get(requirement["key"]), requirement.get("values") or []
    match requirement["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as operator:
            if value is None or not value.lstrip("-").isdigit() or len(values) != 1:
                return False
            return int(value) > int(values[0]) if operator == "Gt" else int(value) < int(values[0])
    return False


def condition(obj: Obj, kind: str) -> Obj | None:
    """The condition of that type in the object's status."""
    for one in obj.get("status", {}).get("conditions") or []:
        if one["type"] == kind:
            found: Obj = one
            return found
    return None
