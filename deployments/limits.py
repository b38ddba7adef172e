"""Concurrency limits on the Prefect server."""

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, GlobalConcurrencyLimitUpdate
from prefect.exceptions import ObjectNotFound

from deployments.outcomes import Done, Outcome
from tasks.limits import STAGING_LIMIT

STAGING_SLOTS = 4
"""Transfers at the same time where nobody asked for another number: one alone fills most wires."""


async def ensure_limits(client: PrefectClient, staging_slots: int | None = None) -> list[Done]:
    """Creates the limits. One that is there keeps its number unless another is asked for."""
    try:
        there = await client.read_global_concurrency_limit_by_name(STAGING_LIMIT)
    except ObjectNotFound:
        wanted = staging_slots or STAGING_SLOTS
        await client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=STAGING_LIMIT, limit=wanted))
        return [Done("concurrency limit", STAGING_LIMIT, Outcome.CREATED, f"{wanted} transfers at the same time")]
    if staging_slots in (None, there.limit):
        return [Done("concurrency limit", STAGING_LIMIT, Outcome.UNCHANGED)]
    await client.update_global_concurrency_limit(STAGING_LIMIT, GlobalConcurrencyLimitUpdate(limit=staging_slots))
    return [Done("concurrency limit", STAGING_LIMIT, Outcome.UPDATED, f"{there.limit} -> {staging_slots}")]
