"""What programs print as they end, amid what they print all the time: the cause is told from the noise."""

import copy
import json
from typing import Any

import pytest

from serving.diagnosis import Diagnosis, diagnose
from serving.snapshot import Snapshot
from tests.serving.conftest import DATA, load_scene

CASES: list[dict[str, Any]] = json.loads((DATA / "last_words.json").read_text())

NOISE = """INFO 11-22 12:11:58 [api_server.py:1839] vLLM API server version 0.11.0
(APIServer pid=1) INFO 11-22 12:11:58 [utils.py:233] non-default args: {'trust_remote_code=True': True}
WARNING 11-22 12:11:58 [x.py:1] 429 Client Error: Too Many Requests for url: https://h/api/models/org/x, retrying in 1s
2026-11-22 12:11:58,103 - WARNING - Temporary failure in name resolution, retrying
(EngineCore_DP0 pid=68) INFO 11-22 12:11:58 [topk.py] not available: ModuleNotFoundError: No module named 'flashinfer'
{"level":"info","msg":"AccessDenied is what a pod without a role would get"}
AWS_CONTAINER_CREDENTIALS_FULL_URI=http://169.254.170.23/v1/credentials
found /dev/neuron0, /dev/neuron1
W1122 12:11:58.000000 1 server.cc:251] no kernel image is available, falling back
"""


def ended(container: str, log: str, *, exit_code: int = 1, restarts: int = 3) -> Diagnosis:
    document = load_scene("15a" if container == "fetch" else "10a")
    entry: dict[str, Any] = document["timeline"][-1]
    pod = entry["pods"][0]
    kind = "initContainerStatuses" if container == "fetch" else "containerStatuses"
    status = pod["status"][kind][0]
    for state in (status["state"], status["lastState"]):
        if "terminated" in state:
            state["terminated"] |= {"exitCode": exit_code, "reason": "Error"}
    status["restartCount"] = restarts
    said = {"status": 200, "body": log}
    entry["logs"][pod["metadata"]["name"]][container] = {"current": said, "previous": said}
    found = diagnose(Snapshot.read(entry, document["nodes"]))
    assert found is not None
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["log"].strip()[:60])
def test_the_cause_is_told_alone_and_amid_noise(case: dict[str, Any]) -> None:
    for noise in ("", NOISE):
        found = ended(case["container"], noise + case["log"], exit_code=case.get("exit_code", 1))
        assert f"{found.category}/{found.reason}".startswith(case["want"]), noise
        assert case.get("names", "") in " ".join((found.cause, *found.fixes))


def test_noise_before_a_kill_is_no_cause() -> None:
    found = ended("vllm", NOISE, exit_code=137)
    assert (found.category, found.reason) == ("crash", "signal-9")


def test_a_last_warning_is_a_cause_where_nothing_else_is_said() -> None:
    found = ended("vllm", "INFO starting\nWARNING 401 Client Error: Unauthorized for url: https://h/api\n")
    assert (found.category, found.reason) == ("model-access", "token")


def test_attempts_that_were_used_up_are_a_cause() -> None:
    found = ended(
        "vllm", "ConnectionError: HTTPSConnectionPool(host='h', port=443): Max retries exceeded with url: /x\n"
    )
    assert (found.category, found.reason) == ("model-access", "network")


@pytest.mark.parametrize("exit_code", [137, 143])
def test_a_start_that_lasted_its_budget_was_ended_by_its_probe_though_the_event_is_gone(exit_code: int) -> None:
    document = load_scene("13a")
    entry = copy.deepcopy(document["timeline"][-1])
    for status in entry["pods"][0]["status"]["containerStatuses"]:
        for state in (status["state"], status["lastState"]):
            if "terminated" in state:
                state["terminated"]["exitCode"] = exit_code
    found = diagnose(Snapshot.read({**entry, "events": []}, document["nodes"]))
    assert found is not None
    assert (found.category, found.reason) == ("probe", "startup-kill")


def test_what_would_not_heal_before_the_deadline_is_why_it_passed() -> None:
    document = load_scene("13a")
    entry = copy.deepcopy(document["timeline"][-1])
    for deployment in entry["deployments"]:
        deployment["status"]["conditions"] = [
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}
        ]
    for status in entry["pods"][0]["status"]["containerStatuses"]:
        status["restartCount"] = 1
        status["state"] = {"running": {"startedAt": "2026-11-22T12:12:30Z"}}
    found = diagnose(Snapshot.read(entry, document["nodes"]))
    assert found is not None
    assert (found.category, found.reason, found.final) == ("probe", "startup-kill", True)
    assert any("Progressing" in evidence.where for evidence in found.evidence)
