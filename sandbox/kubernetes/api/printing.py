"""Texts in table cells: ages and durations as kubectl users know them."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any


def parse_time(text: str) -> datetime:
    """A timestamp of an object."""
    return datetime.fromisoformat(text)


def human_duration(seconds: float) -> str:
    """A duration in at most two units (`2m30s`, `5h12m`, `3d4h`), as kubectl prints it."""
    whole = int(seconds)
    if whole < 0:
        return "0s" if whole >= -2 else "<invalid>"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 365 * 2:
        return f"{days}d"
    if days < 365 * 8:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two(large: int, unit: str, small: int, small_unit: str) -> str:
    return f"{large}{unit}{small}{small_unit}" if small else f"{large}{unit}"


def since(start: str, end: str | None = None) -> str:
    """The time from one timestamp to another, or to now."""
    until = parse_time(end) if end else datetime.now(UTC)
    return human_duration((until - parse_time(start)).total_seconds())


def age(obj: Mapping[str, Any]) -> str:
    """How long ago an object was created."""
    created = obj["metadata"].get("creationTimestamp")
    return since(created) if created else "<unknown>"


def joined(texts: Iterable[str], empty: str = "<none>") -> str:
    """Texts with commas between, or what stands for none."""
    return ",".join(texts) or empty


def selector_text(selector: Mapping[str, Any] | None) -> str:
    """A label selector in one line."""
    parts = [f"{key}={value}" for key, value in sorted((selector or {}).get("matchLabels", {}).items())]
    for one in (selector or {}).get("matchExpressions", ()):
        operator = {"In": "in", "NotIn": "notin"}.get(one["operator"])
        if operator:
            parts.append(f"{one['key']} {operator} ({','.join(one['values'])})")
        else:
            parts.append(one["key"] if one["operator"] == "Exists" else f"!{one['key']}")
    return ",".join(parts) or "<none>"
