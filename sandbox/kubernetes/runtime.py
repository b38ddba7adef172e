"""What the API server asks of the machine that runs the pods."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True)
class LogOptions:
    """Which part of a container's log is wanted.

    Attributes:
        previous: The run before the current one.
        tail_lines: Only that many lines from the end.
        since: Only lines written at or after this moment.
        follow: Go on until the container ends.
        timestamps: Each line starts with its RFC 3339 time.
    """

    previous: bool = False
    tail_lines: int | None = None
    since: datetime | None = None
    follow: bool = False
    timestamps: bool = False


class NodeRuntime(Protocol):
    """A kubelet as the API server sees it."""

    def logs(self, pod: dict[str, Any], container: str, options: LogOptions) -> AsyncIterator[bytes]:
        """Yield the log of a container that has started (its pod is on a node, its name is valid).

        The API server has answered every question that the pod's spec and status settle: unknown container,
        container still waiting, no previous run.

        Raises:
            ApiError: the node is down or has no such log.
        """
        ...

    def pod_address(self, pod: dict[str, Any], port: int) -> tuple[str, int]:
        """Where the pod's port `port` (as containers know it) can be connected to from here."""
        ...
