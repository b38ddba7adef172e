"""The sandbox's own servers, started together: a Hub, S3, and a Kubernetes API with nodes."""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sandbox.hub import HubServer, serve_hub
from sandbox.images import default_images
from sandbox.kubernetes.controllers.operators import simulate
from sandbox.kubernetes.controllers.operators.nim.caches import GPU_NODES
from sandbox.kubernetes.node.config import NodeConfig
from sandbox.kubernetes.node.mountpoint import DRIVER
from sandbox.kubernetes.server import KubernetesConfig, KubernetesServer, serve_kubernetes
from sandbox.s3 import S3Server, serve_s3
from sandbox.tiny_models import DEFAULT_SIZE, hub_content
from serving.instances import instance_types
from serving.spec import Accelerator

NAMES = ("hub", "s3", "kubernetes")
BUCKET = "models"
REGION = "us-west-2"

_INSTANCE_TYPE = "node.kubernetes.io/instance-type"


def _node(name: str, instance_type: str, cpu: int, memory: int, accelerator: str = "", count: int = 0) -> NodeConfig:
    capacity = {"cpu": str(cpu), "memory": f"{memory}Gi", "pods": "110", "ephemeral-storage": "500Gi"}
    taint = {"key": accelerator, "value": "true", "effect": "NoSchedule"}
    found = GPU_NODES if accelerator == Accelerator.GPU.resource else {}
    return NodeConfig(
        name,
        labels={_INSTANCE_TYPE: instance_type, **found},
        capacity={**capacity, **({accelerator: str(count)} if accelerator else {})},
        taints=(taint,) if accelerator else (),
        csi_drivers=(DRIVER,),
    )


NODES = (
    _node("cpu-a", "m7i.4xlarge", 16, 64),
    _node("gpu-a", "g6e.2xlarge", 8, 64, "nvidia.com/gpu", 1),
    _node("gpu-b", "g6e.2xlarge", 8, 64, "nvidia.com/gpu", 1),
    _node("gpu-c", "g6e.48xlarge", 192, 1536, "nvidia.com/gpu", 8),
    _node("neuron-a", "inf2.48xlarge", 192, 384, "aws.amazon.com/neuron", 12),
)
"""Machines as EC2 has them, kept for their accelerators by taints; the devices are a number and nothing more."""


def nodes_for(instance_type: str, pods: int) -> tuple[NodeConfig, ...]:
    """The cluster's machines, and as many more as pods of an instance type need that it has not.

    Args:
        instance_type: One of EC2's; empty: any.
        pods: How many there will be, each on a machine of its own.
    """
    found = instance_types().get(instance_type)
    there = sum(node.labels.get(_INSTANCE_TYPE) == instance_type for node in NODES)
    if found is None or there >= pods:
        return NODES
    more = []
    for number in range(there, pods):
        name = f"{instance_type.replace('.', '-')}-{number}"
        resource = found.accelerator.resource
        node = _node(name, instance_type, found.vcpu, int(found.memory), resource, found.accelerators)
        more.append(replace(node, labels={**node.labels, "kubernetes.io/arch": found.architecture}))
    return (*NODES, *more)


@dataclass(frozen=True)
class Servers:
    """What is running; None for what was not asked for."""

    hub: HubServer | None = None
    s3: S3Server | None = None
    kubernetes: KubernetesServer | None = None


@contextmanager
def serve(
    names: Collection[str],
    home: Path,
    *,
    vllm: Path | None = None,
    hub_port: int = 0,
    s3_port: int = 0,
    kubernetes_port: int = 0,
    model_size: int = DEFAULT_SIZE,
    nodes: tuple[NodeConfig, ...] = NODES,
) -> Iterator[Servers]:
    """Run the named servers while the context is open.

    Custom resources that the cluster knows have their operators, simulated.
    The cluster's nodes have, as a cloud's would: credentials that read the S3 bucket, and the Hub's address.

    Args:
        names: Of `NAMES`.
        home: Directory for models, certificates and pods.
        vllm: A real vllm executable for the pods; None for the stand-in engine.
        hub_port: 0 for any free port, as in the two that follow.
        s3_port: Port of S3.
        kubernetes_port: Port of the Kubernetes API.
        model_size: About how many bytes of weights each of the Hub's models has.
        nodes: The cluster's machines.

    Raises:
        ValueError: A name is unknown.
        OSError: A port is taken.
    """
    if unknown := set(names) - set(NAMES):
        raise ValueError(f"unknown server {sorted(unknown)[0]!r}; there are {', '.join(NAMES)}")
    with ExitStack() as stack:
        hub = s3 = kubernetes = None
        if "hub" in names:
            hub = stack.enter_context(serve_hub(hub_content(home / "models", size=model_size), port=hub_port))
        if "s3" in names:
            s3 = stack.enter_context(serve_s3((BUCKET,), port=s3_port, region=REGION))
        if "kubernetes" in names:
            config = KubernetesConfig(
                home / "kubernetes",
                port=kubernetes_port,
                nodes=nodes,
                images=default_images(vllm=vllm),
                node_env=_node_env(hub, s3),
            )
            kubernetes = stack.enter_context(serve_kubernetes(config))
            kubernetes.call(simulate)
        yield Servers(hub, s3, kubernetes)


def _node_env(hub: HubServer | None, s3: S3Server | None) -> dict[str, str]:
    env = {"AWS_EC2_METADATA_DISABLED": "true"}
    if hub is not None:
        env["HF_ENDPOINT"] = hub.url
    if s3 is not None:
        env |= {
            "AWS_ACCESS_KEY_ID": s3.reader.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.reader.secret_key,
            "AWS_REGION": s3.region,
            "AWS_DEFAULT_REGION": s3.region,
        }
    return env
