"""Ask every live endpoint a question, count its pods, and look whether its objects are what was applied."""

import asyncio
from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import acreate_table_artifact
from prefect.client.schemas.objects import State
from pydantic import BaseModel, ConfigDict, Field

from flows.naming import in_namespace
from flows.parameters import ClusterBlock, Namespace, StoreBlock, titled
from kube.connect import Cluster
from kube.read import ALL_NAMESPACES
from serving.check import Check
from serving.errors import InferenceError
from serving.record import EndpointRecord
from tasks.check import Wanted, check_endpoint
from tasks.explain import explained
from tasks.live import Live, find_live
from tasks.record import read_records
from tasks.refresh import chosen


class CheckReport(BaseModel):
    """What a check found, by ``namespace/endpoint``.

    Attributes:
        healthy: Endpoints with all pods ready, a right answer, and objects as they were applied.
        unhealthy: Endpoints with what is wrong, one sentence each.
        skipped: Endpoints that were not checked, with the reason.
    """

    model_config = ConfigDict(frozen=True)

    healthy: list[str]
    unhealthy: dict[str, list[str]]
    skipped: dict[str, str]


@flow(name="check-endpoints", flow_run_name=in_namespace("check endpoints"))
async def check_endpoints(
    cluster: ClusterBlock,
    store: StoreBlock,
    namespace: Namespace = "",
    endpoint: Annotated[str, titled("Endpoint")] = "",
    smoke: Annotated[bool, titled("Ask a question")] = True,
    drift: Annotated[bool, titled("Look for drift")] = True,
    at_once: Annotated[int, Field(ge=1, le=64, json_schema_extra={"title": "At the same time"})] = 4,
) -> CheckReport | State[Any]:
    """Checks the live endpoints: pods, a real question through the endpoint's own Service, drift of their objects.

    Nothing is changed but the last test in the endpoint's record. An endpoint that a run is changing now is left alone.
    The run fails if an endpoint is not healthy, and names it.

    Args:
        cluster: Cluster whose endpoints are checked.
        store: Bucket and prefix that hold staged models: what was applied is rendered from there.
        namespace: By default all namespaces.
        endpoint: Only the endpoint of this name; by default all.
        smoke: Ask each endpoint the question of its smoke test.
        drift: Compare the live objects with what was applied, field by field.
        at_once: How many endpoints are checked at the same time.
    """

    async def work() -> CheckReport:
        connection = await asyncio.to_thread(cluster.connect)
        try:
            records, live = await asyncio.to_thread(_read, connection, namespace, endpoint)
            gate = asyncio.Semaphore(at_once)

            async def one(record: EndpointRecord) -> Check:
                async with gate:
                    return await check_endpoint(record, live, Wanted(smoke, drift), store, connection)

            checks = list(await asyncio.gather(*map(one, records)))
        finally:
            await asyncio.to_thread(connection.close)
        await acreate_table_artifact(
            table=[check.row() for check in sorted(checks, key=lambda check: (check.healthy, check.name))],
            key="check-endpoints",
            description=f"{sum(check.healthy for check in checks)} of {len(checks)} endpoints are healthy",
        )
        return _judged(checks)

    return await explained(work())


def _read(connection: Cluster, namespace: str, endpoint: str) -> tuple[list[EndpointRecord], Live]:
    records = chosen(read_records(namespace or ALL_NAMESPACES, connection), endpoint=endpoint, repo_id="")
    return records, find_live(connection, records)


def _judged(checks: list[Check]) -> CheckReport:
    """The report of healthy endpoints.

    Raises:
        InferenceError: Names those that are not healthy.
    """
    report = CheckReport(
        healthy=[check.name for check in checks if check.healthy],
        unhealthy={check.name: list(check.problems) for check in checks if check.problems},
        skipped={check.name: check.skipped for check in checks if check.skipped},
    )
    if report.unhealthy:
        told = "; ".join(f"{name}: {' '.join(found)}" for name, found in report.unhealthy.items())
        raise InferenceError(
            f"{len(report.unhealthy)} of {len(checks)} endpoints are not healthy: {told}",
            fix="Deploy an endpoint again to bring back what was applied; its report says why pods do not start.",
            code="check.unhealthy",
        )
    return report
