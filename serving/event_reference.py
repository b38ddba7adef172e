"""The reference of all events, written from their models: what `docs/observability.md` holds."""

from typing import Any

from serving.events import EVENTS


def reference() -> str:
    """Returns the events and their fields as markdown."""
    parts = []
    for event in EVENTS.values():
        rows = [
            f"| `{name}` | {_type(field.annotation)} | {field.description} |"
            for name, field in event.model_fields.items()
        ]
        table = "\n".join(["| payload | type | |", "| --- | --- | --- |", *rows])
        parts.append(f"### `{event.name}`\n\n{event.meaning}\n\n{table}")
    return "\n\n".join(parts) + "\n"


def _type(annotation: Any) -> str:
    return str(getattr(annotation, "__name__", "")) if isinstance(annotation, type) else _generic(annotation)


def _generic(annotation: Any) -> str:
    text = str(annotation).replace("typing.", "").replace("NoneType", "None")
    return text.replace("serving.events.", "").replace(" | None", " or null").replace("|", "or")
