"""The Hub token as a Secret beside the workload."""

import asyncio
import base64

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from pydantic import SecretStr

from blocks.hub import HuggingFaceHub
from kube.apply import Outcome, apply
from kube.connect import Cluster

TOKEN_KEY = "token"


@task(name="hf-secret", task_run_name="hf-secret", cache_policy=NO_CACHE)
async def apply_hub_secret(name: str, namespace: str, hub: HuggingFaceHub, cluster: Cluster) -> Outcome | None:
    """Brings the block's token into the cluster; a changed token follows. None if the block has no token."""
    log = get_run_logger()
    if hub.token is None:
        log.info("The Hub block has no token: Secret %s/%s is left as it is", namespace, name)
        return None
    applied = await asyncio.to_thread(apply, cluster, secret_manifest(name, namespace, hub.token))
    log.info("Secret %s/%s %s", namespace, name, applied.outcome.value)
    return applied.outcome


def secret_manifest(name: str, namespace: str, token: SecretStr) -> dict[str, object]:
    """The Secret that pods read the Hub token from, under the key ``token``."""
    encoded = base64.b64encode(token.get_secret_value().encode()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "inference-flows"},
        },
        "type": "Opaque",
        "data": {TOKEN_KEY: encoded},
    }
