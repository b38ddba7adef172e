r"""Staging against what people run today (`hf download`, then `aws s3 sync`), interleaved on given servers.

    python benchmarks/staging.py --hub http://127.0.0.1:8100 --s3 http://127.0.0.1:8300 --repo org/synth \\
        --work /var/tmp/reference [--rounds 5] [--chart] [--again] [--ours-only] [--json]

Every round runs ours and then the reference with fresh prefixes and directories; medians and ratios follow. Wall and
CPU seconds are those of the whole command with its children, start-up included; memory is the peak of the resident
sizes of the process tree, sampled every 20 ms; disk is what the kernel says the processes wrote.

The reference needs `hf` and `aws` on PATH. Servers and clients share the machine's processors if they run on one
machine: then only ratios mean something. The store must accept any key pair, or take AWS_* from the environment.
"""

import argparse
import contextlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Run:
    """One command, measured.

    Attributes:
        label: Which way.
        wall_s: Seconds from start to end.
        cpu_s: User and system seconds of all its processes.
        peak_rss_MiB: Largest sum of resident sizes.
        disk_MiB: Written to disk.
    """

    label: str
    wall_s: float
    cpu_s: float
    peak_rss_MiB: float
    disk_MiB: float


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for known in found:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            for task in Path(f"/proc/{known}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def measure(label: str, steps: list[list[str]], environment: dict[str, str]) -> Run:
    """Run commands one after the other as one run.

    Raises:
        SystemExit: One of them failed.
    """
    os.sync()  # what the run before left to be written to the disk is not this one's work
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    peak, written = 0, {}
    for step in steps:
        child = subprocess.Popen(step, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        done = threading.Event()

        def sample(pid: int = child.pid, done: threading.Event = done) -> None:
            nonlocal peak
            while not done.wait(0.02):
                resident = 0
                for process in tree(pid):
                    try:
                        resident += int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE
                        lines = Path(f"/proc/{process}/io").read_text().splitlines()
                        written[process] = int(lines[5].split()[1])
                    except (OSError, IndexError):
                        continue
                peak = max(peak, resident)

        sampler = threading.Thread(target=sample)
        sampler.start()
        _, err = child.communicate()
        done.set()
        sampler.join()
        if child.returncode:
            raise SystemExit(f"{label}: {' '.join(step[:3])} ended with {child.returncode}: {err.decode()[-500:]}")
    use = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = use.ru_utime + use.ru_stime - before.ru_utime - before.ru_stime
    wall = time.perf_counter() - started
    return Run(label, round(wall, 2), round(cpu, 2), round(peak / 2**20, 1), round(sum(written.values()) / 2**20, 1))


def copy(options: argparse.Namespace, prefix: str) -> list[str]:
    """`python -m staging copy` below a prefix."""
    target = f"s3://{options.bucket}/{prefix}"
    return [sys.executable, "-m", "staging", "copy", options.repo, target, "--endpoint-url", options.s3, "--json"]


def ours(options: argparse.Namespace, environment: dict[str, str]) -> Run:
    """Into a fresh prefix."""
    return measure("ours", [copy(options, f"ours-{uuid.uuid4().hex[:8]}")], environment)


def again(options: argparse.Namespace, environment: dict[str, str]) -> Run:
    """Where everything is staged already."""
    command = copy(options, f"again-{os.getpid()}")
    subprocess.run(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return measure("again", [command], environment)


def reference(options: argparse.Namespace, environment: dict[str, str]) -> Run:
    """`hf download` to a fresh directory, then `aws s3 sync` (before it `aws s3 cp` with --chart)."""
    directory = Path(options.work) / uuid.uuid4().hex[:8]
    target = f"s3://{options.bucket}/reference-{directory.name}/{options.repo}/"
    local = f"{directory}/download/{options.repo}"
    aws = ["aws", "--endpoint-url", options.s3, "s3"]
    steps = [["hf", "download", options.repo, "--exclude", "original/*", "--local-dir", local]]
    if options.chart:
        steps.append([*aws, "cp", "--recursive", "--no-progress", local, target])
    steps.append([*aws, "sync", "--no-progress", "--exclude", ".cache/*", local, target])
    try:
        return measure("reference", steps, {**environment, "HF_HOME": f"{directory}/home"})
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def add_servers(parser: argparse.ArgumentParser) -> None:
    """Where to, from where, what, and how often."""
    parser.add_argument("--hub", required=True, help="address of the Hub")
    parser.add_argument("--s3", required=True, help="address of the store")
    parser.add_argument("--repo", default="org/synth")
    parser.add_argument("--bucket", default="bench")
    parser.add_argument("--rounds", type=int, default=5)


def variables(options: argparse.Namespace) -> dict[str, str]:
    """The environment of all commands."""
    return {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        **os.environ,
        "HF_ENDPOINT": options.hub,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }


def medians(runs: list[Run]) -> dict[str, float]:
    """The median of each figure."""
    rows = [asdict(run) for run in runs]
    return {name: round(statistics.median(row[name] for row in rows), 2) for name in rows[0] if name != "label"}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_servers(parser)
    parser.add_argument("--work", default="/var/tmp/staging-benchmark", help="directory on a disk, for the reference")
    parser.add_argument("--chart", action="store_true", help="the reference uploads twice, as the chart's job does")
    parser.add_argument("--again", action="store_true", help="also a run that finds all staged; the store must keep it")
    parser.add_argument("--ours-only", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    ways: list[Callable[[argparse.Namespace, dict[str, str]], Run]] = [ours]
    if options.again:
        ways.append(again)
    if not options.ours_only:
        ways.append(reference)
    runs: list[Run] = []
    for _ in range(options.rounds):
        for way in ways:
            runs.append(way(options, variables(options)))
            if not options.json:
                print(json.dumps(asdict(runs[-1])), flush=True)
    found = {
        label: medians([run for run in runs if run.label == label]) for label in dict.fromkeys(r.label for r in runs)
    }
    if "reference" in found:
        mine, theirs = found["ours"], found["reference"]
        found["ratio"] = {
            "faster": round(theirs["wall_s"] / mine["wall_s"], 2),
            "cpu": round(theirs["cpu_s"] / mine["cpu_s"], 2),
        }
    print(json.dumps({"rounds": options.rounds, **found}, indent=None if options.json else 1))


if __name__ == "__main__":
    main()
