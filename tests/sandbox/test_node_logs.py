"""Reading containers' logs."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.kubernetes.node.logs import last_lines, read_log
from sandbox.kubernetes.runtime import LogOptions

START = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def stored(texts: list[str]) -> bytes:
    """Lines as a container runtime stores them, a second apart."""
    moments = [START + timedelta(seconds=number) for number in range(len(texts))]
    return b"".join(
        f"{moment:%Y-%m-%dT%H:%M:%S}.123456789Z stdout F {text}\n".encode()
        for moment, text in zip(moments, texts, strict=True)
    )


def read(path: Path, **options: object) -> str:
    async def main() -> bytes:
        wanted = LogOptions(**options)  # type: ignore[arg-type]
        return b"".join([part async for part in read_log(path, wanted, lambda: True)])

    return asyncio.run(main()).decode()


TEXTS = st.lists(st.text(alphabet=st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=30))


@settings(max_examples=40)
@given(texts=TEXTS, count=st.integers(0, 12))
def test_the_tail_is_the_end_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], count: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    path.write_bytes(stored(texts))
    assert read(path) == "".join(text + "\n" for text in texts)
    assert read(path, tail_lines=count) == "".join(text + "\n" for text in texts[max(len(texts) - count, 0) :])


def test_a_tail_longer_than_one_block(tmp_path: Path) -> None:
    texts = [f"{number} " + "x" * 200 for number in range(2000)]
    path = tmp_path / "log"
    path.write_bytes(stored(texts))
    assert read(path, tail_lines=1500).splitlines() == texts[-1500:]


def test_times_and_since(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(stored(["one", "two", "three"]))
    assert read(path, since=START + timedelta(seconds=2)) == "three\n"
    assert read(path, timestamps=True, tail_lines=1) == "2026-11-22T12:00:02.123456789Z three\n"


def test_parts_of_a_line_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"2026-11-22T12:00:00.1Z stdout P aa\n2026-11-22T12:00:00.2Z stdout F bb\n")
    assert read(path) == "aabb\n"


def test_following_goes_on_until_the_container_ends(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(stored(["old"]))
    over = False

    async def write() -> None:
        nonlocal over
        for text in ("new", "last"):
            await asyncio.sleep(0.05)
            with path.open("ab") as file:
                file.write(stored([text]))
        over = True

    async def main() -> list[bytes]:
        writing = asyncio.create_task(write())
        found = [part async for part in read_log(path, LogOptions(follow=True, tail_lines=0), lambda: over)]
        await writing
        return found

    assert asyncio.run(main()) == [b"new\n", b"last\n"]


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path / "none") == ""
    assert read(tmp_path / "none", tail_lines=3) == ""
    assert last_lines(tmp_path / "none") == ""
