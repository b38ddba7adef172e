"""What `prefect` needs to know of the sandbox: blocks, a work pool, the deployments of prefect.yaml."""

import asyncio
import importlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

BLOCK_NAME = "default"


@dataclass(frozen=True)
class Places:
    """Where the flows find the Hub, the store and the cluster.

    Attributes:
        hub_url: Address of the Hub.
        hub_token: Its token; empty for none.
        bucket: Bucket of the model store.
        prefix: Key prefix of staged models.
        region: Region of the bucket.
        s3_url: Address of an S3-compatible store; empty for Amazon S3.
        access_key: Key of the identity that stages; empty for boto3's default chain.
        secret_key: Its secret.
        kubeconfig: Path of the kubeconfig.
        namespace: Namespace to deploy to.
    """

    hub_url: str
    hub_token: str
    bucket: str
    prefix: str
    region: str
    s3_url: str
    access_key: str
    secret_key: str
    kubeconfig: Path
    namespace: str

    def __repr__(self) -> str:
        return f"Places(hub={self.hub_url}, bucket={self.bucket}, kubeconfig={self.kubeconfig})"


def load() -> None:
    """Imports what saving and registering need: seconds, spent best while the server starts."""
    importlib.import_module("deployments.register")
    importlib.import_module("flows.deploy_model")


def save_blocks(places: Places) -> None:
    """Saves the three blocks under the name that the deployments refer to. PREFECT_API_URL says where."""
    from prefect_aws import AwsCredentials
    from prefect_kubernetes.credentials import KubernetesClusterConfig
    from pydantic import SecretStr

    from blocks.cluster import InferenceCluster
    from blocks.hub import HuggingFaceHub
    from blocks.store import ModelStore

    token = SecretStr(places.hub_token) if places.hub_token else None
    HuggingFaceHub(token=token, endpoint=places.hub_url).save(BLOCK_NAME, overwrite=True)
    keys = (
        AwsCredentials(
            aws_access_key_id=places.access_key,
            aws_secret_access_key=SecretStr(places.secret_key),
            region_name=places.region,
        )
        if places.access_key
        else AwsCredentials(region_name=places.region or None)
    )
    ModelStore(
        bucket=places.bucket,
        prefix=places.prefix,
        region=places.region,
        endpoint_url=places.s3_url,
        credentials=keys,
    ).save(BLOCK_NAME, overwrite=True)
    config = KubernetesClusterConfig.from_file(places.kubeconfig)
    InferenceCluster(kubeconfig=config, namespace=places.namespace).save(BLOCK_NAME, overwrite=True)


def register_deployments(only: Collection[str] = ()) -> None:
    """Creates the work pool and its limits and registers deployments of prefect.yaml. PREFECT_API_URL says where.

    Args:
        only: Names of deployments; by default all. Registering one takes the server a good part of a second.
    """
    asyncio.run(_register(only))


async def _register(only: Collection[str]) -> None:
    from prefect.client.orchestration import get_client

    from deployments.limits import ensure_limits
    from deployments.pools import PodSettings, ensure_pool
    from deployments.prefect_yaml import PROCESS
    from deployments.register import read, register

    async with get_client() as client:
        await ensure_pool(client, PROCESS, PodSettings())
        await ensure_limits(client)
        await register([entry for entry in read() if not only or entry["name"] in only], client=client)
