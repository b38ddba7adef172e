"""The `prefect` command for a server that keeps its data in SQLite: transactions take the write lock as they begin.

By default Prefect's take it at their first write. One that has read before then, while another transaction was
committed, is refused with SQLITE_BUSY_SNAPSHOT; the server answers 503 and the client waits 2, 4, 8 … s before it asks
again. The request for a task's concurrency slots reads and then writes: on a busy machine most of them were refused,
and a deploy lost 2 to 60 s (measured: 7 of 11 requests refused, none of 5 with this). In production the database is
PostgreSQL, which knows no such refusal.
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from prefect.server.database.configurations import AioSqliteConfiguration
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

begin_as_prefect_does = AioSqliteConfiguration.begin_transaction


@asynccontextmanager
async def begin_immediately(
    self: AioSqliteConfiguration,
    session: AsyncSession,
    with_for_update: bool = False,  # noqa: ARG001  # all of them are begun as if they would
) -> AsyncGenerator[AsyncSessionTransaction, None]:
    """Begins a transaction as one that will write."""
    async with begin_as_prefect_does(self, session, with_for_update=True) as transaction:
        yield transaction


def main() -> None:
    """Runs the command line."""
    from prefect.cli import app

    AioSqliteConfiguration.begin_transaction = begin_immediately  # type: ignore[method-assign]
    sys.argv[0] = "prefect"
    app()


if __name__ == "__main__":
    main()
