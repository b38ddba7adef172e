"""Take an endpoint away with everything that belongs to it."""

import asyncio
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.parameters import ClusterBlock, NamedEndpoint, Namespace
from tasks.explain import explained
from tasks.record import one_writer
from tasks.remove import remove_all
from tasks.runs import describe_run, endpoint_tag

WAIT_SECONDS = 600.0


@flow(name="remove-endpoint", flow_run_name="remove {endpoint}")
async def remove_endpoint(
    endpoint: NamedEndpoint, cluster: ClusterBlock, namespace: Namespace = ""
) -> list[str] | State[Any]:
    """Takes an endpoint away: its workloads, Services, configuration and record. Staged models stay.

    Doing it again, or after a run that was interrupted, takes away what is left.

    Args:
        endpoint: Name of the endpoint.
        cluster: Cluster and namespace of the endpoint.
        namespace: By default the cluster block's.
    """

    async def work() -> list[str]:
        where = namespace or cluster.namespace
        await describe_run(tags=[endpoint_tag(endpoint), f"namespace:{where}"])
        connection = await asyncio.to_thread(cluster.connect)
        try:
            async with one_writer(where, endpoint, connection, wait_seconds=WAIT_SECONDS):
                return await remove_all(where, endpoint, connection)
        finally:
            await asyncio.to_thread(connection.close)

    return await explained(work())
