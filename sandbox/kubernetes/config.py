"""How the sandbox's Kubernetes is to run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.kubernetes.controllers import JobTimings
    from sandbox.kubernetes.node import ImageConfig, NodeConfig, NodeTimings


@dataclass(frozen=True)
class KubernetesConfig:
    """How to run the sandbox's Kubernetes.

    Attributes:
        state_dir: Where certificates, the kubeconfig and the pods' files go.
        port: 0 for a free one.
        tls: Serve HTTPS with a certificate of the sandbox's own authority.
        nodes: The machines of the cluster.
        images: The images that its nodes can run, first match first.
        node_env: Environment of all nodes: every container has it beneath its own and its node's.
        controllers: Run Deployments, Jobs, Services and pods; without, the server only stores and answers.
        node_timings: How long nodes wait for what; None for the sandbox's own pace.
        job_timings: Pauses between the pods of a failing Job; None for the sandbox's own pace.
    """

    state_dir: Path
    port: int = 0
    tls: bool = True
    nodes: "tuple[NodeConfig, ...]" = ()
    images: "tuple[ImageConfig, ...]" = ()
    node_env: Mapping[str, str] = field(default_factory=dict, repr=False)
    controllers: bool = True
    node_timings: "NodeTimings | None" = None
    job_timings: "JobTimings | None" = None
