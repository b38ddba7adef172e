"""What a watch follows, and what it reports."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Object = dict[str, Any]


class Change(StrEnum):
    """What happened to an object.

    SYNCED: everything that existed at the start has been reported. QUIET: nothing has happened for a while. Neither has
    an object.
    """

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    SYNCED = "SYNCED"
    QUIET = "QUIET"


@dataclass(frozen=True)
class WatchTarget:
    """What to follow: one object by name, or all that the selectors find.

    Attributes:
        api_version: For example ``apps/v1``.
        kind: For example ``Deployment``.
        namespace: None means the cluster's default namespace, ``*`` all of them.
        name: Empty means all.
        labels: Label selector.
        fields: Field selector.
    """

    api_version: str
    kind: str
    namespace: str | None = None
    name: str = ""
    labels: str = ""
    fields: str = ""

    @property
    def field_selector(self) -> str:
        """The field selector, the name included."""
        return ",".join(part for part in (f"metadata.name={self.name}" if self.name else "", self.fields) if part)


@dataclass(frozen=True)
class WatchEvent:
    """One change of one object.

    Attributes:
        target: What it was watched for.
        type: What happened.
        object: The object as it is now, or was last if it is gone; without managedFields. Empty for SYNCED.
    """

    target: WatchTarget
    type: Change
    object: Object = field(default_factory=dict, repr=False)
