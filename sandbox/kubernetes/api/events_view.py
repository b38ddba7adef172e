"""Events as events.k8s.io/v1 names their fields."""

from collections.abc import Mapping
from typing import Any

Manifest = dict[str, Any]

_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}


def as_new_event(event: Mapping[str, Any]) -> Manifest:
    """A core/v1 Event in its events.k8s.io/v1 form."""
    renamed = {_NAMES.get(name, name): value for name, value in event.items()}
    if "apiVersion" in renamed:
        renamed["apiVersion"] = "events.k8s.io/v1"
    return renamed
