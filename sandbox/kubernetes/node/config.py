"""What a sandbox node is and which images it can run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ImageConfig:
    """An image that the sandbox's registry holds: a directory of executables with an environment.

    Attributes:
        pattern: Shell-style pattern that the whole image reference must match, e.g. `vllm/vllm-openai:*`.
        path: Directory put first on `PATH` of the containers; None when the image adds no executables.
        env: The image's own environment (`ENV` of a Dockerfile); a container's `env` overrides it.
        entrypoint: Used when the container gives no `command`.
        cmd: Used when the container gives neither `command` nor `args`.
        pull_seconds: How long the first pull on a node takes.
    """

    pattern: str
    path: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    pull_seconds: float = 0.0

    def matches(self, reference: str) -> bool:
        """Tell whether an image reference names this image."""
        return fnmatchcase(reference, self.pattern)


@dataclass(frozen=True)
class NodeConfig:
    """A node as it registers itself.

    Attributes:
        name: The node's name.
        labels: Labels beside the well-known ones (hostname, os, arch), which every node carries.
        capacity: Quantities by resource name, e.g. `{"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "1"}`.
        taints: `{"key": …, "value": …, "effect": …}` each.
        ready: False for a node whose kubelet does not answer.
        env: Environment that every container on the node gets beneath its own, as credentials of a node's role
            would reach it; never shown in an object or a log.
        csi_drivers: CSI drivers that run on it: `s3.csi.aws.com`, or none.
    """

    name: str = "node-a"
    labels: Mapping[str, str] = field(default_factory=dict)
    capacity: Mapping[str, str] = field(default_factory=lambda: {"cpu": "8", "memory": "32Gi", "pods": "110"})
    taints: tuple[Mapping[str, Any], ...] = ()
    ready: bool = True
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    csi_drivers: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodeTimings:
    """How long a node waits, in seconds; a kubelet's own values are ten times as long and more.

    Attributes:
        crash_backoff: Pause before the second restart of a container; it doubles with every further one.
        crash_backoff_max: Longest pause between restarts.
        image_backoff: Pause before the second attempt to pull an image; it doubles too.
        image_backoff_max: Longest pause between pulls.
        sync: How often a pod that cannot start (missing Secret, missing volume) is tried again.
        glance: How often a container that has not started, or is not ready, is probed between the attempts that its
            probe's period asks for. A failed glance counts for nothing, a successful one ends the wait: long periods
            need not make a cluster of processes slow.
    """

    crash_backoff: float = 1.0
    crash_backoff_max: float = 30.0
    image_backoff: float = 1.0
    image_backoff_max: float = 30.0
    sync: float = 1.0
    glance: float = 0.5
