"""Bring an endpoint back to a release that it served before."""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.parameters import (
    ClusterBlock,
    HubBlock,
    NamedEndpoint,
    Namespace,
    StoreBlock,
    TimeoutMinutes,
    WaitMinutes,
    titled,
)
from flows.pipeline import DeployReport, deploy_endpoint
from flows.target import Target
from serving.events import rolled_back
from serving.rollback import choose_release, rejection_of, with_present_rules
from tasks.events import emit
from tasks.explain import explained
from tasks.record import load_record
from tasks.runs import describe_run, endpoint_tag


@flow(name="rollback-endpoint", flow_run_name="roll back {endpoint}")
async def rollback_endpoint(
    endpoint: NamedEndpoint,
    cluster: ClusterBlock,
    hub: HubBlock,
    store: StoreBlock,
    to: Annotated[str, titled("Release")] = "",
    namespace: Namespace = "",
    timeout_minutes: TimeoutMinutes = 60,
    wait_minutes: WaitMinutes = 60,
) -> DeployReport | State[Any]:
    """Brings an endpoint back to a release that it served before, proved before it is switched.

    The release's weights are staged still: nothing is downloaded and the Hub is not asked. Refreshes pass over the
    commit that was rolled back from until the branch moves on.

    Args:
        endpoint: Name of the endpoint.
        cluster: Cluster and namespace of the endpoint.
        hub: Token and address of the Hub.
        store: Bucket and prefix that hold staged models.
        to: Release or commit to go back to, at least its first six characters; empty for the one before.
        namespace: By default the cluster block's.
        timeout_minutes: How long the workload may take to become ready.
        wait_minutes: How long to wait for another run that changes this endpoint; 0 refuses at once.
    """
    target = Target(cluster=cluster, hub=hub, store=store)

    async def work() -> DeployReport:
        await describe_run(tags=[endpoint_tag(endpoint)])
        record = await load_record(namespace or cluster.namespace, endpoint, cluster)
        chosen = choose_release(record, to)
        report = await deploy_endpoint(
            with_present_rules(chosen.spec, record),
            target,
            timeout_seconds=60.0 * timeout_minutes,
            wait_seconds=60.0 * wait_minutes,
            action="rollback",
            pinned=chosen.model,
            seen=record,
            rejecting=rejection_of(record, chosen),
        )
        if report.record is not None and report.record.previous:
            emit(rolled_back(report.record))
        return report

    return await explained(work())
