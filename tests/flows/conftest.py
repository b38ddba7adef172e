"""A Hub, an S3, a Kubernetes and a Prefect server for the flows' tests: once for all of them."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from prefect_aws import AwsCredentials
from prefect_kubernetes.credentials import KubernetesClusterConfig
from pydantic import SecretStr

from blocks.cluster import InferenceCluster
from blocks.hub import HuggingFaceHub
from blocks.store import ModelStore
from kube.apply import apply
from kube.connect import from_kubeconfig
from sandbox.hub import HubServer, serve_hub
from sandbox.images import default_images
from sandbox.kubernetes.controllers.operators import simulate
from sandbox.kubernetes.controllers.operators.nim.caches import GPU_NODES
from sandbox.kubernetes.disks import PROVISIONER
from sandbox.kubernetes.node.config import ImageConfig, NodeConfig
from sandbox.kubernetes.node.mountpoint import DRIVER
from sandbox.kubernetes.server import KubernetesConfig, KubernetesServer, serve_kubernetes
from sandbox.s3 import S3Server, serve_s3
from sandbox.tiny_models import hub_content

NAMESPACE = "inference"


@dataclass(frozen=True, eq=False)
class World:
    """The servers, and blocks that point at them."""

    hub_server: HubServer
    s3: S3Server
    kubernetes: KubernetesServer
    hub: HuggingFaceHub
    store: ModelStore
    cluster: InferenceCluster

    def target(self) -> dict[str, Any]:
        """The three blocks as flow parameters."""
        return {"cluster": self.cluster, "hub": self.hub, "store": self.store}

    def with_blocks(self, **blocks: Any) -> "World":
        """The same servers through other blocks."""
        return replace(self, **blocks)

    def objects(self) -> dict[tuple[str, str], tuple[str, int | None]]:
        """Every object of the cluster block's namespace: its resource version and generation."""
        with from_kubeconfig(self.kubernetes.kubeconfig) as cluster:
            from kube.read import list_

            kinds = (
                ("v1", "Secret"),
                ("v1", "ConfigMap"),
                ("v1", "Service"),
                ("v1", "Pod"),
                ("apps/v1", "Deployment"),
                ("apps/v1", "ReplicaSet"),
            )
            return {
                (kind, thing["metadata"]["name"]): (
                    thing["metadata"]["resourceVersion"],
                    thing["metadata"].get("generation"),
                )
                for version, kind in kinds
                for thing in list_(cluster, version, kind, self.cluster.namespace)
            }

    def staged_keys(self) -> list[str]:
        """Keys of the model store."""
        return self.s3.keys("models")


def store_block(s3: S3Server, **fields: Any) -> ModelStore:
    """A store block for the sandbox's S3."""
    keys = AwsCredentials(
        aws_access_key_id=fields.pop("access_key", s3.access_key),
        aws_secret_access_key=SecretStr(fields.pop("secret_key", s3.secret_key)),
    )
    return ModelStore(
        **({"bucket": "models", "region": s3.region, "endpoint_url": s3.url, "credentials": keys} | fields)
    )


def cluster_block(kubeconfig: Path, namespace: str = NAMESPACE) -> InferenceCluster:
    """A cluster block for the sandbox's Kubernetes."""
    return InferenceCluster(kubeconfig=KubernetesClusterConfig.from_file(kubeconfig), namespace=namespace)


LOAD_IMAGE = ImageConfig(
    "quay.io/inference-perf/*",
    path=Path(__file__).parents[1] / "data" / "inference_perf_image",
    env={"SANDBOX_PYTHON": sys.executable},
)
"""inference-perf's command, with a few real requests behind it."""

GPU_CAPACITY = {"cpu": "16", "memory": "64Gi", "pods": "110", "ephemeral-storage": "200Gi", "nvidia.com/gpu": "4"}
NEURON_CAPACITY = {**GPU_CAPACITY, "aws.amazon.com/neuron": "4"}
NEURON_CAPACITY.pop("nvidia.com/gpu")

DISKS: dict[str, Any] = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "disks"},
    "provisioner": PROVISIONER,
}
"""A storage class whose claims get a disk; it is nobody's default."""


@contextmanager
def serve_world(home: Path, *, images: Sequence[ImageConfig] = (), **nodes: dict[str, str]) -> Iterator[World]:
    """All servers but Prefect's.

    Args:
        home: Where they keep their files.
        images: What the registry has besides.
        nodes: Capacity of each node, by its name.
    """
    with ExitStack() as stack:
        hub = stack.enter_context(serve_hub(hub_content(home / "models", size=300_000)))
        s3 = stack.enter_context(serve_s3())
        given = {
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key,
            "HF_ENDPOINT": hub.url,
        }
        machines = tuple(
            NodeConfig(
                name=name.replace("_", "-"),
                labels=GPU_NODES if "nvidia.com/gpu" in capacity else {},
                capacity=capacity,
                env=given,
                csi_drivers=(DRIVER,),
            )
            for name, capacity in nodes.items()
        )
        kubernetes = stack.enter_context(
            serve_kubernetes(
                KubernetesConfig(
                    state_dir=home / "kubernetes", nodes=machines, images=(*default_images(), LOAD_IMAGE, *images)
                )
            )
        )
        with from_kubeconfig(kubernetes.kubeconfig) as cluster:
            apply(cluster, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
            apply(cluster, DISKS)
        yield World(
            hub_server=hub,
            s3=s3,
            kubernetes=kubernetes,
            hub=HuggingFaceHub(token=SecretStr(hub.token), endpoint=hub.url),
            store=store_block(s3),
            cluster=cluster_block(kubernetes.kubeconfig),
        )


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> Iterator[World]:
    """All servers, with GPU nodes enough for the endpoints that each file leaves."""
    nodes = dict.fromkeys(("gpu_a", "gpu_b", "gpu_c", "gpu_d"), GPU_CAPACITY)
    with serve_world(tmp_path_factory.mktemp("world"), **nodes) as servers:
        yield servers


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """All servers but Prefect's, with a node for each accelerator: for what runs without flows."""
    with serve_world(tmp_path_factory.mktemp("machines"), gpu_a=GPU_CAPACITY, neuron_a=NEURON_CAPACITY) as servers:
        servers.kubernetes.call(simulate)
        yield servers


@pytest.fixture
def blocks_for() -> dict[str, Callable[..., Any]]:
    """Makers of blocks that differ in one thing."""
    return {"store": store_block, "cluster": cluster_block}
