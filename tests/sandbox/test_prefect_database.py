"""A new Prefect database begins as a copy of one that was migrated before, and never as a damaged one."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sandbox.prefect_database import create, template
from sandbox.prefect_server import serve_prefect, wait_until_healthy


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return template().parent


class Migrations:
    """Stands for Prefect's: they make a table where there is none, and count."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.tables_made = 0

    async def __call__(self) -> None:
        with closing(sqlite3.connect(self.database)) as connection, connection:
            if not tables(self.database):
                connection.execute("CREATE TABLE flow_run (id)")
                self.tables_made += 1


def tables(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]


def created(database: Path) -> int:
    """Creates a database, and returns how many tables the migrations had to make."""
    migrations = Migrations(database)
    asyncio.run(create(database, migrations))
    assert tables(database) == ["flow_run"]
    return migrations.tables_made


def test_only_the_first_is_migrated(tmp_path: Path, cache: Path) -> None:
    assert [created(tmp_path / name) for name in ("a.db", "b.db", "c.db")] == [1, 0, 0]
    assert [path.name for path in cache.iterdir()] == [template().name], "nothing half-made is left"


def test_what_a_server_wrote_is_not_copied(tmp_path: Path) -> None:
    created(tmp_path / "a.db")
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection, connection:
        connection.execute("INSERT INTO flow_run VALUES (1)")
    created(tmp_path / "a.db")
    created(tmp_path / "b.db")
    with closing(sqlite3.connect(tmp_path / "b.db")) as connection:
        assert connection.execute("SELECT * FROM flow_run").fetchall() == []


@pytest.mark.parametrize("damage", [b"", b"no database", None])
def test_a_damaged_template_is_replaced(damage: bytes | None, tmp_path: Path) -> None:
    created(tmp_path / "a.db")
    kept = template().read_bytes()
    template().write_bytes(kept[: len(kept) // 2] if damage is None else damage)
    assert created(tmp_path / "b.db") == 1
    assert created(tmp_path / "c.db") == 0


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path, cache: Path) -> None:
    cache.parent.write_text("a file, and no folder")
    assert [created(tmp_path / name) for name in ("a.db", "b.db")] == [1, 1]


@pytest.mark.long
def test_a_server_keeps_its_migrated_database_and_the_next_begins_with_it(tmp_path: Path) -> None:
    with serve_prefect(tmp_path / "a") as server:
        wait_until_healthy(server)
    with closing(sqlite3.connect(template())) as connection, connection:
        connection.execute("CREATE TABLE mark (id)")
    with serve_prefect(tmp_path / "b") as server:
        wait_until_healthy(server)
        assert {"flow_run", "mark"} <= set(tables(server.home / "prefect.db"))
