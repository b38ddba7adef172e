"""Finds marked secrets in whatever a run leaves, in the forms that they may have taken on the way."""

import base64
import gzip
import json
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus

SHORTEST = 8
_OFFSETS = 3


@dataclass(frozen=True)
class Leak:
    """A secret where it must not be."""

    secret: str
    form: str
    where: str
    around: str

    def __str__(self) -> str:
        return f"{self.secret} ({self.form}) in {self.where}: …{self.around}…"


def forms(secret: str) -> dict[str, bytes]:
    """A secret as it is, and as encodings write it; base64 at each of the three places in a longer text."""
    assert len(secret) >= SHORTEST
    found = {
        "plain": secret.encode(),
        "URL": quote(secret, safe="").encode(),
        "form": quote_plus(secret).encode(),
        "JSON": json.dumps(secret)[1:-1].encode(),
        "JSON in JSON": json.dumps(json.dumps(secret)[1:-1])[1:-1].encode(),
        "hexadecimal": secret.encode().hex().encode(),
    }
    for offset in range(_OFFSETS):
        for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
            # The letters that only the secret decides: not those that share bits with what stands around it.
            encoded = encode(b"\0" * offset + secret.encode())
            start, end = -(-offset * 8 // 6), (offset + len(secret)) * 8 // 6
            found[f"{name} at {offset}"] = encoded[start:end]
    return found


def search(text: bytes, where: str, secrets: Mapping[str, str]) -> Iterator[Leak]:
    """Every secret that stands in a text, in whichever form; each once."""
    for name, secret in secrets.items():
        for form, wanted in forms(secret).items():
            place = text.find(wanted)
            if place >= 0:
                around = text[max(0, place - 80) : place].decode(errors="replace")
                yield Leak(name, form, where, around)
                break


def in_files(folder: Path, secrets: Mapping[str, str]) -> Iterator[Leak]:
    """Secrets in all files below a folder, byte by byte; databases among them, with what stands beside them."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            yield from search(content, str(path.relative_to(folder)), secrets)
            if content[:2] == b"\x1f\x8b":
                yield from search(gzip.decompress(content), f"{path.name}, unpacked", secrets)


def in_database(path: Path, secrets: Mapping[str, str]) -> Iterator[Leak]:
    """Secrets in every column of every table of an SQLite database, whatever its type; packed ones unpacked."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        names = [row[0] for row in database.execute("select name from sqlite_master where type = 'table'")]
        for table in names:
            rows = database.execute(f'select * from "{table}"')
            columns = [column[0] for column in rows.description]
            for row in rows:
                for column, value in zip(columns, row, strict=True):
                    if isinstance(value, (str, bytes)):
                        raw = value.encode() if isinstance(value, str) else value
                        yield from search(raw, f"table {table}, column {column}", secrets)
                        yield from search(_unpacked(raw), f"table {table}, column {column}, unpacked", secrets)


def tables(path: Path) -> dict[str, int]:
    """Rows of every table that has some."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        names = [row[0] for row in database.execute("select name from sqlite_master where type = 'table'")]
        counts = {name: database.execute(f'select count(*) from "{name}"').fetchone()[0] for name in names}
    return {name: count for name, count in counts.items() if count}


def _unpacked(raw: bytes) -> bytes:
    for unpack in (gzip.decompress, zlib.decompress):
        try:
            return unpack(raw)
        except (OSError, EOFError, zlib.error):
            continue
    return b""
