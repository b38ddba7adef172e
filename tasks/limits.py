"""How many runs may do something at the same time, across all workers: limits that live on the Prefect server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prefect import get_run_logger
from prefect.concurrency.asyncio import concurrency

STAGING_LIMIT = "inference-staging"
"""Global concurrency limit of transfers; ``python -m deployments.bootstrap`` creates it."""

QUIET_SECONDS = 2.0


@asynccontextmanager
async def staging_slot() -> AsyncIterator[None]:
    """Holds one slot of the staging limit, and says so if it has to be waited for.

    The slot is a lease: one whose run was killed is free again after five minutes. A server without the limit bounds
    nothing, and the run's log says that.
    """
    log, loop = get_run_logger(), asyncio.get_running_loop()
    busy = f"Waiting for a slot of {STAGING_LIMIT}: other transfers are under way"
    notice = loop.call_later(QUIET_SECONDS, log.info, busy)
    try:
        # A transfer goes on if the server cannot be reached for a moment to renew the lease.
        async with concurrency(STAGING_LIMIT, occupy=1, raise_on_lease_renewal_failure=False):
            notice.cancel()
            yield
    finally:
        notice.cancel()
