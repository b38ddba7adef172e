"""The Hub token as a Secret beside the workload; a token that was changed in the block follows."""

import asyncio
import base64
from collections.abc import Iterable

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from pydantic import SecretStr

from blocks.cluster import InferenceCluster
from blocks.hub import HuggingFaceHub
from kube.apply import Outcome, apply
from kube.connect import Cluster
from kube.read import get
from serving.errors import ClusterError

TOKEN_KEY = "token"
MANAGED_BY = {"app.kubernetes.io/managed-by": "inference-flows"}
BLOCK_ANNOTATION = "inference-flows/hub-block"
"""Name of the block whose token the Secret holds: a run with another block leaves it alone unless it deploys."""


@task(name="hf-secret", task_run_name="hf-secret", cache_policy=NO_CACHE)
async def apply_hub_secret(name: str, namespace: str, hub: HuggingFaceHub, cluster: Cluster) -> Outcome | None:
    """Brings the block's token into the cluster; a changed token follows. None if the block has no token."""
    log = get_run_logger()
    if hub.token is None:
        log.info("The Hub block has no token: Secret %s/%s is left as it is", namespace, name)
        return None
    applied = await asyncio.to_thread(apply, cluster, secret_manifest(name, namespace, hub.token, block_name(hub)))
    log.info("Secret %s/%s %s", namespace, name, applied.outcome.value)
    return applied.outcome


@task(name="hf-secrets", task_run_name="hf-secrets", cache_policy=NO_CACHE)
async def follow_hub_secrets(
    secrets: Iterable[tuple[str, str]], hub: HuggingFaceHub, cluster: InferenceCluster
) -> tuple[list[str], dict[str, str]]:
    """Brings a token that was changed in the block to the Secrets of endpoints: one look at each, no more if it is so.

    Args:
        secrets: Namespace and name of each.
        hub: The block.
        cluster: Where they are.

    Returns:
        The Secrets that were changed, and those that could not be with the reason, as ``namespace/name``.
    """
    if hub.token is None:
        return [], {}
    changed, failed = await asyncio.to_thread(follow, sorted(set(secrets)), hub, cluster)
    for one in changed:
        get_run_logger().info("Secret %s has the block's token now", one)
    return changed, failed


def follow(
    secrets: Iterable[tuple[str, str]], hub: HuggingFaceHub, block: InferenceCluster
) -> tuple[list[str], dict[str, str]]:
    """Does what `follow_hub_secrets` says."""
    changed: list[str] = []
    failed: dict[str, str] = {}
    with block.connect() as cluster:
        for namespace, name in secrets:
            try:
                if _follow(name, namespace, hub, cluster):
                    changed.append(f"{namespace}/{name}")
            except ClusterError as error:
                failed[f"{namespace}/{name}"] = str(error)
    return changed, failed


def _follow(name: str, namespace: str, hub: HuggingFaceHub, cluster: Cluster) -> bool:
    """Whether the Secret was changed. One that is not ours, or has another block's token, is left as it is."""
    assert hub.token is not None  # the caller's word
    there = get(cluster, "v1", "Secret", name, namespace)
    wanted = secret_manifest(name, namespace, hub.token, block_name(hub))
    if there is not None:
        metadata = there["metadata"]
        from_block = (metadata.get("annotations") or {}).get(BLOCK_ANNOTATION, "")
        ours = (metadata.get("labels") or {}).items() >= MANAGED_BY.items()
        if not ours or from_block not in ("", block_name(hub)) or there.get("data") == wanted["data"]:
            return False
    return apply(cluster, wanted).outcome is not Outcome.UNCHANGED


def block_name(hub: HuggingFaceHub) -> str:
    """Name under which the block is saved; empty if it is not."""
    return hub._block_document_name or ""


def secret_manifest(name: str, namespace: str, token: SecretStr, block: str = "") -> dict[str, object]:
    """The Secret that pods read the Hub token from, under the key ``token``.

    Args:
        name: Its name.
        namespace: Where it goes.
        token: The token.
        block: Name of the block that it comes from; empty: none is noted.
    """
    encoded = base64.b64encode(token.get_secret_value().encode()).decode()
    noted = {"annotations": {BLOCK_ANNOTATION: block}} if block else {}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": MANAGED_BY, **noted},
        "type": "Opaque",
        "data": {TOKEN_KEY: encoded},
    }
