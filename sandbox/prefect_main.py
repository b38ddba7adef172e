"""The `prefect` command for a server that keeps its data in SQLite: transactions take the write lock as they begin.

By default Prefect's take it at their first write. One that has read before then, while another transaction was
committed, is refused with SQLITE_BUSY_SNAPSHOT; the server answers 503 and the client waits 2, 4, 8 … s before it asks
again. The request for a task's concurrency slots reads and then writes: on a busy machine most of them were refused,
and a deploy lost 2 to 60 s (measured: 7 of 11 requests refused, none of 5 with this). In production the database is
PostgreSQL, which knows no such refusal.

A new database begins as a copy of one that was migrated before, see `sandbox.prefect_database`.
"""

import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from prefect.server.database.configurations import AioSqliteConfiguration
from prefect.server.database.interface import PrefectDBInterface
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

from sandbox import prefect_database

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


async def create_database(self: PrefectDBInterface) -> None:
    """Brings the database in PREFECT_HOME up to date."""
    await prefect_database.create(Path(os.environ["PREFECT_HOME"]) / "prefect.db", self.run_migrations_upgrade)


def main() -> None:
    """Runs the command line."""
    from prefect.cli import app

    PrefectDBInterface.create_db = create_database  # type: ignore[method-assign]
    AioSqliteConfiguration.begin_transaction = begin_immediately  # type: ignore[method-assign]
    sys.argv[0] = "prefect"
    app()


if __name__ == "__main__":
    main()
