"""A new Prefect database at once: what the migrations make of an empty one is kept, and copied from then on.

Prefect's migrations cost 12 s of processor time for an empty SQLite database (measured, Prefect 3.8), more than all
else that its server does as it starts. They make the same of it each time.
"""

import os
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path
from tempfile import NamedTemporaryFile


def template() -> Path:
    """Where the migrated database of the installed Prefect is kept, for all sandboxes of this user."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "inference-sandbox" / f"prefect-{version('prefect')}.db"


async def create(database: Path, migrate: Callable[[], Awaitable[None]]) -> None:
    """Brings a database up to date; one that is not there yet begins as a copy of the template.

    Args:
        database: The SQLite file.
        migrate: Brings it up to date, from whatever it is; called in any case, so that an older copy does no harm.
    """
    is_new = not database.exists()
    copied = is_new and _copied(template(), database)
    await migrate()
    if is_new and not copied:
        _keep(database, template())


def _copied(source: Path, database: Path) -> bool:
    """Whether the database is a whole copy of the template now."""
    try:
        with closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as connection:
            if not source.stat().st_size or connection.execute("PRAGMA quick_check").fetchall() != [("ok",)]:
                return False
        shutil.copyfile(source, database)
    except (OSError, sqlite3.Error):  # there is none, or it is damaged
        database.unlink(missing_ok=True)
        return False
    return True


def _keep(database: Path, target: Path) -> None:
    """Keeps a database as the template, unless the cache cannot be written: the next one is migrated anew then."""
    with suppress(OSError, sqlite3.Error):
        target.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=target.parent, suffix=".db", delete=False) as file:
            copy = Path(file.name)
        try:
            with closing(sqlite3.connect(database)) as connection:
                connection.execute("VACUUM INTO ?", (str(copy),))
            copy.replace(target)
        finally:
            copy.unlink(missing_ok=True)
