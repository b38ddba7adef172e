"""Conditions as the operator sets them: one of each type, whose time is that of its last turn."""

from sandbox.kubernetes.controllers.meta import Obj, timestamp


def with_condition(conditions: list[Obj], kind: str, value: bool, reason: str, message: str = "") -> list[Obj]:
    """The conditions with this one among them."""
    old = next((one for one in conditions if one["type"] == kind), None)
    turned = old["lastTransitionTime"] if old and old["status"] == str(value) else timestamp()
    new = {
        "lastTransitionTime": turned,
        "message": message,
        "reason": reason,
        "status": str(value),
        "type": kind,
    }
    return [new if one is old else one for one in conditions] if old else [*conditions, new]
