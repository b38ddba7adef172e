"""Containers' processes: started, ended, and never left behind."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.kubernetes.node.process import Command, Process, StartError

ENV = {"PATH": "/usr/bin:/bin"}
PATH = Path(__file__).parents[2]


def shell(text: str, tmp_path: Path, log: Path | None = None) -> Command:
    return Command(["sh", "-c", text], ENV, tmp_path, log)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(check: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end
        time.sleep(0.01)


def noted(path: Path, count: int) -> list[int]:
    """Process ids that processes have written into files of a directory."""

    def pids() -> list[int]:
        return [int(one.name) for one in path.iterdir() if one.name.isdigit()]

    until(lambda: len(pids()) == count)
    return pids()


def test_output_is_logged_with_time_and_stream(tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def main() -> int:
        process = await Process.start(shell("echo out; sleep 0.05; echo err >&2; printf rest; exit 3", tmp_path, log))
        return (await process.wait()).code

    assert asyncio.run(main()) == 3
    lines = [line.split(" ", 3) for line in log.read_text().splitlines()]
    assert sorted(line[1:] for line in lines) == [
        ["stderr", "F", "err"],
        ["stdout", "F", "out"],
        ["stdout", "P", "rest"],
    ]
    assert all(line[0].endswith("Z") for line in lines)


def test_long_lines_are_stored_in_parts(tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def main() -> None:
        text = "head -c 40000 /dev/zero | tr '\\0' x; echo"
        await (await Process.start(shell(text, tmp_path, log))).wait()

    asyncio.run(main())
    parts = [line.split(" ", 3) for line in log.read_text().splitlines()]
    assert [one[2] for one in parts] == ["P", "P", "F"]
    assert sum(len(one[3]) for one in parts) == 40000


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("no-such-program", 'exec: "no-such-program": executable file not found in $PATH: unknown'),
        ("/no/such/program", 'exec: "/no/such/program": stat /no/such/program: no such file or directory: unknown'),
        ("/etc/passwd", 'exec: "/etc/passwd": permission denied: unknown'),
    ],
)
def test_a_program_that_cannot_start(tmp_path: Path, program: str, text: str) -> None:
    async def main() -> None:
        await Process.start(Command([program], ENV, tmp_path))

    with pytest.raises(StartError) as error:
        asyncio.run(main())
    assert str(error.value).endswith(text)


def test_ending_is_polite_first(tmp_path: Path) -> None:
    async def main() -> list[int]:
        kind = await Process.start(shell("trap 'exit 7' TERM; while :; do sleep 0.02; done", tmp_path))
        plain = await Process.start(shell("exec sleep 1000", tmp_path))
        deaf = await Process.start(shell("trap '' TERM; while :; do sleep 0.02; done", tmp_path))
        await asyncio.sleep(0.2)
        return [one.code for one in await asyncio.gather(kind.end(5), plain.end(5), deaf.end(0.3))]

    assert asyncio.run(main()) == [7, 143, 137]


def test_nothing_outlives_the_main_process(tmp_path: Path) -> None:
    noting = "sh -c 'touch $$; exec sleep 1000'"

    async def main() -> list[int]:
        text = f"setsid {noting} & (setsid sh -c '{noting.replace(chr(39), chr(34))} & wait' &) ; sleep 0.3"
        process = await Process.start(shell(text, tmp_path))
        pids = await asyncio.to_thread(noted, tmp_path, 2)
        assert all(alive(pid) for pid in pids)
        await process.wait()
        return pids

    assert not any(alive(pid) for pid in asyncio.run(main()))


def test_nothing_outlives_a_killed_server(tmp_path: Path) -> None:
    """A server that gets SIGKILL cannot clean up; its containers end nevertheless, daemons among them."""
    script = f"""
import asyncio, sys
from pathlib import Path
from sandbox.kubernetes.node.process import Command, Process

async def main():
    here = Path({str(tmp_path)!r})
    secrets = here / "secrets"
    secrets.mkdir()
    noting = "sh -c 'touch $$; exec sleep 1000'"
    for text in (noting, f"setsid {{noting}} & sleep 1000", "trap '' TERM HUP INT; " + f"{{noting}} & wait"):
        await Process.start(Command(["sh", "-c", text], {ENV!r}, here, here / "log", [secrets]))
    await asyncio.sleep(1000)

asyncio.run(main())
"""
    server = subprocess.Popen([sys.executable, "-c", script], cwd=PATH, start_new_session=True)
    try:
        pids = noted(tmp_path, 3)
        assert all(alive(pid) for pid in pids)
        os.killpg(server.pid, signal.SIGKILL)
    finally:
        server.kill()
        server.wait()
    until(lambda: not any(alive(pid) for pid in pids))
    until(lambda: not (tmp_path / "secrets").exists())


def test_a_container_ends_with_its_shim(tmp_path: Path) -> None:
    async def main() -> tuple[int, int]:
        process = await Process.start(shell("exec sleep 1000", tmp_path))
        parent = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(parent, signal.SIGKILL)
        return (await process.wait()).code, process.pid

    code, pid = asyncio.run(main())
    assert code == 137
    until(lambda: not alive(pid))


def test_secrets_are_on_no_command_line(tmp_path: Path) -> None:
    async def main() -> str:
        command = Command(["sleep", "1000"], {**ENV, "HF_TOKEN": "hf_secret"}, tmp_path)
        process = await Process.start(command)
        listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        process.kill()
        await process.wait()
        return listing

    listing = asyncio.run(main())
    assert "sleep 1000" in listing
    assert "hf_secret" not in listing
