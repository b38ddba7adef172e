"""The search for leaks finds a planted secret in every form and place, so that finding none says something."""

import base64
import gzip
import json
import sqlite3
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.flows.leaks import in_database, in_files, search, tables

SECRET = 'hf_marked/"quoted"+and=long\\enough'
PLANTED = {
    "plain": f"token {SECRET} end",
    "URL": f"https://x/?t={quote(SECRET, safe='')}",
    "JSON": json.dumps({"token": SECRET}),
    "JSON in JSON": json.dumps({"body": json.dumps({"token": SECRET})}),
    "hexadecimal": SECRET.encode().hex(),
    **{f"base64 at {n}": base64.b64encode(f"{'x' * n}{SECRET}:y".encode()).decode() for n in range(6)},
    **{f"base64url at {n}": base64.urlsafe_b64encode(f"{'?' * n}{SECRET}~".encode()).decode() for n in range(3)},
}


@pytest.mark.parametrize("form", PLANTED)
def test_a_planted_secret_is_found(form: str) -> None:
    assert [leak.secret for leak in search(PLANTED[form].encode(), "here", {"token": SECRET})] == ["token"]


def test_another_text_is_none() -> None:
    other = json.dumps({"token": "********", "b": base64.b64encode(b"something else entirely").decode()})
    assert list(search(other.encode(), "here", {"token": SECRET})) == []


def test_files_and_databases_are_searched_whole(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "packed").write_bytes(gzip.compress(SECRET.encode()))
    database = tmp_path / "prefect.db"
    with sqlite3.connect(database) as written:
        written.execute("create table kept (id integer, data blob)")
        written.execute("insert into kept values (1, ?)", (gzip.compress(SECRET.encode()),))
    written.close()
    assert {leak.where for leak in in_files(tmp_path, {"token": SECRET})} == {"packed, unpacked"}
    assert [leak.where for leak in in_database(database, {"token": SECRET})] == ["table kept, column data, unpacked"]
    assert tables(database) == {"kept": 1}
