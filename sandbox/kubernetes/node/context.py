"""What the parts of a node share: the node itself, and one pod on it."""

import asyncio
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.controllers.meta import Obj
from sandbox.kubernetes.controllers.recorder import Recorder
from sandbox.kubernetes.node.config import NodeConfig, NodeTimings
from sandbox.kubernetes.node.environment import PodFacts
from sandbox.kubernetes.node.images import ImageStore
from sandbox.kubernetes.node.network import Subnet
from sandbox.kubernetes.resources import CONFIGMAPS, PVCS, PVS, SECRETS, SERVICES

MANAGER = "kubelet"


class ClusterSources:
    """The objects that pods refer to, from the cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def secret(self, namespace: str, name: str) -> Obj | None:
        """A Secret."""
        return self._cluster.get(SECRETS, namespace, name)

    def config_map(self, namespace: str, name: str) -> Obj | None:
        """A ConfigMap."""
        return self._cluster.get(CONFIGMAPS, namespace, name)

    def services(self, namespace: str) -> list[Obj]:
        """The Services of a namespace."""
        return self._cluster.list(SERVICES, namespace)

    def volume_of_claim(self, namespace: str, claim: str) -> Obj | None:
        """The volume that a claim is bound to."""
        found = self._cluster.get(PVCS, namespace, claim)
        name = found["spec"].get("volumeName") if found else None
        return self._cluster.get(PVS, "", name) if name else None

    def token(self, pod: Obj, audience: str) -> str | None:  # noqa: ARG002 - the protocol asks for both
        """None: pods of the sandbox get no token, since they cannot reach its API at its usual address."""
        return None


@dataclass
class NodeContext:
    """One node.

    Attributes:
        config: What the node is.
        address: Its address.
        directory: Where its pods' files are.
        cluster: The cluster it belongs to.
        images: Its images.
        subnet: Where its pods' addresses come from.
        timings: How long it waits for what.
        session: HTTP client for probes.
        names: File with the cluster's names.
        reporting: False while the node counts as lost: its containers go on, nobody hears of them.
    """

    config: NodeConfig
    address: str
    directory: Path
    cluster: Cluster
    images: ImageStore
    subnet: Subnet
    timings: NodeTimings
    session: aiohttp.ClientSession
    names: Path
    reporting: bool = True
    recorder: Recorder = field(init=False)
    sources: ClusterSources = field(init=False)

    def __post_init__(self) -> None:
        self.recorder = Recorder(self.cluster, MANAGER, self.config.name)
        self.sources = ClusterSources(self.cluster)


class PodContext:
    """One pod on a node, as its containers see it."""

    def __init__(self, node: NodeContext, pod: Obj) -> None:
        self.node, self.pod = node, pod
        self.address = node.subnet.take()
        self.directory: Path = node.directory / "pods" / pod["metadata"]["uid"]
        self._temporary: dict[str, Path] = {}
        self.ending = asyncio.Event()
        self._kick = asyncio.Event()

    @property
    def facts(self) -> PodFacts:
        """What the pod knows about itself."""
        return PodFacts(
            pod=self.pod,
            pod_ip=self.address,
            host_ip=self.node.address,
            node_capacity=self.node.config.capacity,
            ports=self.directory / "ports",
            names=self.node.names,
            node_env=self.node.config.env,
            csi_drivers=self.node.config.csi_drivers,
        )

    @property
    def title(self) -> str:
        """Name, namespace and uid, as a kubelet writes them in messages."""
        meta = self.pod["metadata"]
        return f"{meta['name']}_{meta['namespace']}({meta['uid']})"

    def log_path(self, container_id: str) -> Path:
        """Where a container's output is kept."""
        return self.directory / "logs" / f"{container_id}.log"

    def temporary(self, container: str) -> Path:
        """A container's directory for temporary files."""
        if container not in self._temporary:
            self._temporary[container] = Path(tempfile.mkdtemp(prefix="pod-"))
        return self._temporary[container]

    def remove_files(self) -> None:
        """Forget everything that the pod has left on disk."""
        for folder in (*self._temporary.values(), self.directory):
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self) -> None:
        """Report the pod's status."""
        raise NotImplementedError

    def kick(self) -> None:
        """Something that the pod may be waiting for has changed."""
        self._kick.set()

    async def pause(self, seconds: float, *, kickable: bool = True) -> None:
        """Wait, unless the pod is ending or (if that matters) is kicked."""
        self._kick.clear()
        events = [self.ending, self._kick] if kickable else [self.ending]
        waits = [asyncio.create_task(event.wait()) for event in events]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()

    def warn(self, reason: str, message: str, field_path: str = "") -> None:
        """Record a warning about the pod, or one of its containers."""
        if self.node.reporting:
            self.node.recorder.warning(self.pod, reason, message, field_path=field_path)

    def note(self, reason: str, message: str, field_path: str = "") -> None:
        """Record what happens to the pod, or one of its containers."""
        if self.node.reporting:
            self.node.recorder.normal(self.pod, reason, message, field_path=field_path)
