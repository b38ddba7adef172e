"""Take an endpoint away with everything that belongs to it."""

import asyncio
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.parameters import ClusterBlock, NamedEndpoint, Namespace, StoreBlock, WaitMinutes, titled
from serving.lifecycle import now, removing
from serving.record import Change
from tasks.approval import end_requests_about
from tasks.explain import explained
from tasks.record import held_record
from tasks.remove import remove_all, remove_staged
from tasks.runs import describe_run, endpoint_tag, run_id


@flow(name="remove-endpoint", flow_run_name="remove {endpoint}")
async def remove_endpoint(
    endpoint: NamedEndpoint,
    cluster: ClusterBlock,
    store: StoreBlock,
    namespace: Namespace = "",
    staged_models: Annotated[bool, titled("Its staged models too")] = False,
    wait_minutes: WaitMinutes = 10,
) -> list[str] | State[Any]:
    """Takes an endpoint away: its workloads, Services, configuration and record. Staged models stay unless asked for.

    Doing it again, or after a run that was interrupted, takes away what is left. The record goes last.

    Args:
        endpoint: Name of the endpoint.
        cluster: Cluster and namespace of the endpoint.
        store: Bucket and prefix that hold staged models.
        namespace: By default the cluster block's.
        staged_models: Remove the staged models of its releases as well, but for those that another endpoint of the
            cluster uses.
        wait_minutes: How long to wait for another run that changes this endpoint; 0 refuses at once.
    """

    async def work() -> list[str]:
        where = namespace or cluster.namespace
        await describe_run(tags=[endpoint_tag(endpoint), f"namespace:{where}"])
        connection = await asyncio.to_thread(cluster.connect)
        try:
            async with held_record(where, endpoint, connection, wait_seconds=60.0 * wait_minutes) as held:
                if held.record is not None:
                    change = Change(action="remove", run=run_id(), started_at=now())
                    await held.write(removing(held.record, change))
                try:
                    gone = await remove_staged(where, endpoint, cluster, store, connection) if staged_models else []
                    removed = await remove_all(where, endpoint, connection)
                finally:
                    await held.read()  # the Lease goes with the record
            await end_requests_about(where, endpoint, cluster)
            return [*gone, *removed]
        finally:
            await asyncio.to_thread(connection.close)

    return await explained(work())
