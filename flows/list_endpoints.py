"""What is deployed, in one table."""

import asyncio
from typing import Any

from prefect import flow
from prefect.artifacts import acreate_table_artifact
from prefect.client.schemas.objects import State

from flows.naming import in_namespace
from flows.parameters import ClusterBlock, Namespace
from kube.read import ALL_NAMESPACES
from serving.record import EndpointRecord
from tasks.explain import explained
from tasks.record import read_records


@flow(name="list-endpoints", flow_run_name=in_namespace("list endpoints"))
async def list_endpoints(cluster: ClusterBlock, namespace: Namespace = "") -> list[dict[str, str]] | State[Any]:
    """Lists the endpoints with model, commit, release and last smoke test, as a table artifact.

    Args:
        cluster: Cluster to look at.
        namespace: By default all namespaces.
    """

    def read() -> list[EndpointRecord]:
        with cluster.connect() as connection:
            return read_records(namespace or ALL_NAMESPACES, connection)

    async def work() -> list[dict[str, str]]:
        rows = [row(record) for record in await asyncio.to_thread(read)]
        await acreate_table_artifact(table=rows, key="endpoints", description=f"{len(rows)} endpoints")
        return rows

    return await explained(work())


def row(record: EndpointRecord) -> dict[str, str]:
    """An endpoint as one row of the table."""
    spec, release = record.spec, record.current or record.candidate
    assert release is not None  # a record has one of them
    return {
        "endpoint": f"{spec.namespace}/{spec.name}",
        "framework": spec.framework.value,
        "accelerator": spec.accelerator.value,
        "model": release.model.repo_id,
        "revision": release.model.revision,
        "commit": release.model.commit[:12],
        "release": release.id,
        "state": record.state,
        "deployed": release.deployed_at,
        "earlier releases": str(len(record.previous)),
        "smoke test": f"{release.smoke.seconds:.2f} s" if release.smoke else "",
    }
