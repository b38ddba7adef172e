"""`python -m sandbox`: what it refuses, what it shows, what it leaves behind, and its whole way once."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sandbox.keeper import descendants
from sandbox.options import RunOptions, check
from sandbox.processes import alive, child, wait_for
from sandbox.report import SandboxReport, show
from sandbox.run_view import shown
from serving.catalog import get_preset
from serving.errors import InputError

PROJECT = Path(__file__).parents[2]
PRESET = "qwen3-1.7b-vllm"
REPORT = SandboxReport(
    preset=PRESET,
    state="Completed",
    message="",
    ui="http://127.0.0.1:4200/runs/flow-run/31246822-a748-4f39-a0ad-3553c8c67f02",
    run_seconds=11.3,
    ready_seconds=20.0,
    steps={"preflight": 1.02, "stage-model": 0.5},
    endpoint="http://qwen3-1-7b-vllm.inference.svc:8000",
    service="qwen3-1-7b-vllm",
    model="Qwen/Qwen3-1.7B",
    commit="c" * 40,
    staged_uri=f"s3://models/Qwen/Qwen3-1.7B/{'c' * 40}/",
    staged_bytes=6195520,
    moved_bytes=0,
    engine="sandbox-stand-in",
    prompt="What is [red]?",
    answer=" a [colour] ",
)


def shown_text(report: SandboxReport, *, width: int = 60) -> str:
    out = io.StringIO()
    show(report, Console(file=out, width=width))
    return out.getvalue()


# What is refused before anything starts


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (RunOptions("qwen3-1.7b-vlm"), "did you mean qwen3-1.7b-vllm"),
        (RunOptions(PRESET, vllm=Path("/nowhere/vllm")), "--vllm /nowhere/vllm is no program"),
        (RunOptions(PRESET, vllm=PROJECT / "README.md"), "is no program"),
        (RunOptions("qwen3-1.7b-triton", vllm=PROJECT / "README.md"), "qwen3-1.7b-triton is for triton-vllm"),
        (RunOptions(PRESET, store="models"), "Write s3://bucket/prefix"),
        (RunOptions(PRESET, store="s3://"), "Write s3://bucket/prefix"),
        (RunOptions(PRESET, hub="huggingface.co"), "no web address"),
        (RunOptions(PRESET, store="s3://b/p", kubeconfig=Path("/nowhere/config")), "no file"),
        (RunOptions(PRESET, kubeconfig=PROJECT / "README.md"), "Give --store"),
    ],
)
def test_options_that_cannot_work_are_refused(options: RunOptions, said: str) -> None:
    with pytest.raises(InputError) as caught:
        check(options)
    assert said in str(caught.value)


def test_options_that_can_work_pass() -> None:
    check(RunOptions(PRESET))
    check(RunOptions(PRESET, vllm=Path(sys.executable), store="s3://bucket", hub="https://huggingface.co"))


def test_an_unknown_preset_ends_the_program_with_one_paragraph(tmp_path: Path) -> None:
    done = run_program("--preset", "no-such-preset", "--state", str(tmp_path / "state"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("python -m sandbox: Preset 'no-such-preset' does not exist")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "state").exists()


# What is shown


def test_the_report_names_all_that_a_person_needs_and_breaks_no_address() -> None:
    text = shown_text(REPORT)
    lines = text.splitlines()
    assert f"Staged    {REPORT.staged_uri} (6,195,520 bytes, 0 moved now)" in lines
    assert f"In the UI {REPORT.ui}" in lines
    assert "Endpoint  http://qwen3-1-7b-vllm.inference.svc:8000" in lines
    assert "Engine    sandbox-stand-in" in lines
    assert "Asked     What is [red]?" in lines
    assert "Answered  a [colour]" in lines
    assert "Steps     preflight            1.02 s" in lines
    assert "          stage-model          0.50 s" in lines


def test_a_failure_is_reported_with_its_message_and_without_what_never_was() -> None:
    failed = SandboxReport(PRESET, "Failed", "Bucket [models] is missing. Create it.", REPORT.ui, 2.0, 20.0)
    text = shown_text(failed, width=200)
    assert not failed.passed
    assert "Bucket [models] is missing. Create it." in text
    assert "Endpoint" not in text
    assert "Staged" not in text


def test_the_json_report_holds_every_fact_and_the_verdict() -> None:
    data = json.loads(json.dumps(REPORT.as_json()))
    assert data["passed"] is True
    assert data["steps"] == {"preflight": 1.02, "stage-model": 0.5}
    assert {name: data[name] for name in ("staged_bytes", "moved_bytes", "service", "engine")} == {
        "staged_bytes": 6195520,
        "moved_bytes": 0,
        "service": "qwen3-1-7b-vllm",
        "engine": "sandbox-stand-in",
    }
    assert replace(REPORT, state="Crashed").as_json()["passed"] is False


def test_a_pipe_gets_a_line_for_each_change_and_a_terminal_a_table() -> None:
    from sandbox.run_watch import RunView, Step

    def view(*steps: Step) -> RunView:
        return RunView(uuid.UUID(int=1), "deploy x", "Running", "", False, 1.0, steps)

    waiting = Step("wait-until-ready", "Running", 0.0)
    views = [
        view(Step("preflight", "Running", 0.1)),
        view(Step("preflight", "Running", 0.6)),
        view(Step("preflight", "Completed", 1.0), waiting),
        view(Step("preflight", "Completed", 1.0), replace(waiting, progress="50 % [pulling] the image")),
        view(Step("preflight", "Completed", 1.0), replace(waiting, state="Failed", seconds=3.0)),
    ]
    piped, terminal = io.StringIO(), io.StringIO()
    for out, is_terminal in ((piped, False), (terminal, True)):
        with shown(Console(file=out, force_terminal=is_terminal, width=100)) as show_view:
            for one in views:
                show_view(one)
    assert piped.getvalue().splitlines() == [
        "… preflight",
        "✔ preflight Completed 1.0 s",
        "… wait-until-ready",
        "… wait-until-ready 50 % [pulling] the image",
        "✘ wait-until-ready Failed 3.0 s",
    ]
    assert "deploy x: Running" in terminal.getvalue()
    assert "✘" in terminal.getvalue()


# What is left behind

FAMILY = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleep = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"]
stays = subprocess.Popen(sleep)
leaves = subprocess.Popen(sleep, start_new_session=True)
print(os.getpid(), stays.pid, leaves.pid, flush=True)
time.sleep(600)
"""


def family(log: Path) -> list[int]:
    """Process ids that the family wrote down."""
    eventually(lambda: log.exists() and log.read_text().count("\n") == 1)
    return [int(number) for number in log.read_text().split()]


def eventually(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_child_is_stopped_with_all_below_it_even_if_they_ignore_the_request(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with child([sys.executable, "-c", FAMILY], env=os.environ, log=log, grace_seconds=0.5) as pid:
        members = family(log)
        assert set(members) <= set(descendants(pid))
        assert all(map(alive, members))
    assert not any(map(alive, [pid, *members]))


def test_a_child_ends_with_a_sandbox_that_was_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    parent = (
        "import os, pathlib, sys, time; from sandbox.processes import child\n"
        "command, log = [sys.executable, '-c', sys.argv[1]], pathlib.Path(sys.argv[2])\n"
        "with child(command, env=os.environ, log=log, grace_seconds=0.5): time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent, FAMILY, str(log)], cwd=PROJECT)
    members = family(log)
    process.send_signal(signal.SIGKILL)
    process.wait()
    eventually(lambda: not any(map(alive, members)))


def test_a_server_that_ends_while_starting_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with (
        child([sys.executable, "-c", "print('port taken'); raise SystemExit(3)"], env=os.environ, log=log) as pid,
        pytest.raises(RuntimeError, match=r"The server ended\.\nport taken"),
    ):
        wait_for(lambda: False, "The server", seconds=60, pid=pid, log=log)


# The whole way


def run_program(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "sandbox", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=600, check=False)


def with_state(state: Path) -> list[str]:
    """Command lines of running processes whose environment or arguments name the directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes()
            about = line + (process / "environ").read_bytes()
        except OSError:
            continue
        if str(state).encode() in about and int(process.name) != os.getpid():
            found.append(line.replace(b"\0", b" ").decode())
    return found


@pytest.mark.long
@pytest.mark.timeout(700)
def test_one_command_takes_a_model_from_the_hub_to_an_endpoint_that_answers(tmp_path: Path) -> None:
    state = tmp_path / "state"
    done = run_program("--json", "--state", str(state))
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["passed"] is True
    assert report["state"] == "Completed"
    assert report["moved_bytes"] == report["staged_bytes"] > 0
    assert report["engine"] == "sandbox-stand-in"
    assert report["answer"].strip()
    assert report["model"] == "Qwen/Qwen3-1.7B"
    assert report["staged_uri"] == f"s3://models/Qwen/Qwen3-1.7B/{report['commit']}/"
    assert {"preflight", "stage-model", "apply-workload", "wait-until-ready", "smoke-test"} <= report["steps"].keys()
    assert "✔ smoke-test Completed" in done.stderr
    assert with_state(state) == []


@pytest.mark.long
@pytest.mark.timeout(700)
@pytest.mark.parametrize("preset", ["qwen3-1.7b-triton", "llama-31-8b-ray-vllm-neuron"])
def test_a_preset_of_another_server_accelerator_or_operator_goes_the_same_way(preset: str, tmp_path: Path) -> None:
    state, known = tmp_path / "state", get_preset(preset)
    done = run_program("--preset", preset, "--json", "--state", str(state))
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert (report["passed"], report["framework"], report["model"]) == (True, known.framework.value, known.model)
    assert report["service"] == known.endpoint
    assert report["moved_bytes"] == report["staged_bytes"] > 0
    assert report["answer"].strip()
    assert with_state(state) == []
