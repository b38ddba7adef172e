import copy
from typing import Any

import pytest

from serving.frameworks.labels import GATEWAY_MODEL_LABEL
from serving.readiness import Phase, Readiness, judge
from serving.snapshot import Snapshot
from tests.serving.conftest import load_scene


def judged(scene: str, label: str, *, with_evidence: bool = True) -> Readiness:
    document = load_scene(scene)
    entry = next(entry for entry in document["timeline"] if entry["label"] == label)
    workload = with_template(document, entry["deployments"][0])
    snapshot = Snapshot.read(entry, document["nodes"]) if with_evidence else None
    return judge(workload, entry["pods"], snapshot)


def with_template(document: dict[str, Any], deployment: dict[str, Any]) -> dict[str, Any]:
    """Puts back the template that the recording left out."""
    manifest = [m for m in document["manifests"] if m["kind"] == "Deployment"][-1]
    whole = copy.deepcopy(deployment)
    whole["spec"]["template"] = manifest["spec"]["template"]
    return whole


def test_a_slow_start_is_loading_until_it_is_ready() -> None:
    start, end = judged("01", "start"), judged("01", "end")
    assert (start.ready, start.phase, start.final_failure) == (False, Phase.LOADING, None)
    assert (end.ready, end.phase, end.ready_replicas, end.message) == (True, Phase.READY, 1, "ready: 1 of 1")


@pytest.mark.parametrize(
    ("scene", "phase", "words"),
    [
        ("02", Phase.PENDING_NODE, "Insufficient nvidia.com/gpu"),
        ("06a", Phase.PULLING, "ErrImagePull"),
        ("08", Phase.RESTARTING, "CreateContainerConfigError"),
        ("10a", Phase.RESTARTING, "CrashLoopBackOff"),
        ("14", Phase.WARMING, "up and not ready yet"),
        ("16", Phase.FETCHING, "init container fetch runs"),
        ("17a", Phase.PULLING, "being prepared"),
        ("23", Phase.LOADING, "loads the model"),
    ],
)
def test_what_a_pod_does_is_said(scene: str, phase: Phase, words: str) -> None:
    found = judged(scene, "end", with_evidence=False)
    assert not found.ready
    assert found.phase is phase
    assert words in found.message


def test_the_old_generation_does_not_count_as_ready() -> None:
    """Scene 22: the old pod is ready and Available is True, the new one waits for its accelerator."""
    found = judged("22", "end")
    assert not found.ready
    assert found.ready_replicas == 0
    assert found.phase is Phase.PENDING_NODE
    assert found.final_failure is not None
    assert (found.final_failure.category, found.final_failure.reason) == ("rollout", "deadlock")


def test_pods_that_are_kept_from_a_gateway_are_looked_at() -> None:
    """A candidate of AIBrix: its pods are without the template's label by which the gateway finds them."""
    document = load_scene("10a")
    entry = next(entry for entry in document["timeline"] if entry["label"] == "end")
    workload = with_template(document, entry["deployments"][0])
    workload["spec"]["template"]["metadata"]["labels"][GATEWAY_MODEL_LABEL] = "chat"
    found = judge(workload, entry["pods"], Snapshot.read(entry, document["nodes"]))
    assert found.phase is Phase.RESTARTING
    assert found.final_failure is not None


def deployment(generation: int = 2, observed: int = 2, **status: int) -> dict[str, Any]:
    labels = {"app": "chat"}
    return {
        "metadata": {"name": "chat", "namespace": "inference", "generation": generation},
        "spec": {"replicas": 2, "template": {"metadata": {"labels": labels}}},
        "status": {"observedGeneration": observed, **status},
    }


def test_an_unobserved_generation_is_not_ready_though_its_numbers_say_so() -> None:
    numbers = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}
    assert judge(deployment(**numbers), []).ready
    stale = judge(deployment(generation=3, **numbers), [])
    assert not stale.ready
    assert "new generation" in stale.message


def test_old_pods_must_be_gone() -> None:
    found = judge(deployment(replicas=3, updatedReplicas=2, readyReplicas=3, availableReplicas=3), [])
    assert not found.ready


def test_zero_replicas_are_ready_when_none_is_left() -> None:
    zero = deployment()
    zero["spec"]["replicas"] = 0
    zero["status"] = {"observedGeneration": 2}
    assert judge(zero, []).ready
    zero["status"] |= {"replicas": 1, "updatedReplicas": 1}
    assert not judge(zero, []).ready


@pytest.mark.parametrize(
    ("state", "conditions", "pods", "ready", "message"),
    [
        (None, [], [], False, "the NIM operator says nothing yet"),
        ("NotReady", [("Ready", "False", "NIMCache a not ready\n")], [], False, "says NotReady: NIMCache a not ready"),
        ("Failed", [("Failed", "True", "NIMCache a not found")], [], False, "says Failed: NIMCache a not found"),
        ("Ready", [("Ready", "True", "rolled out")], [True], True, "ready: 1 of 1"),
        # Its status names no generation: this one is of the time before the release was scaled to zero.
        ("Ready", [("Ready", "True", "rolled out")], [], False, "says Ready: rolled out"),
        ("Ready", [("Ready", "True", "rolled out")], [False], False, ""),
    ],
)
def test_a_nim_service_is_ready_when_its_operator_and_its_pods_say_so(
    state: str | None, conditions: list[tuple[str, str, str]], pods: list[bool], ready: bool, message: str
) -> None:
    told = [{"type": kind, "status": status, "reason": "Why", "message": text} for kind, status, text in conditions]
    status = {"state": state, "conditions": told} if state else {}
    workload = {"kind": "NIMService", "metadata": {"name": "a", "generation": 2}, "spec": {"replicas": 1}}
    found = [
        {"metadata": {"name": "a-1"}, "status": {"conditions": [{"type": "Ready", "status": str(one)}]}} for one in pods
    ]
    readiness = judge({**workload, "status": status}, found)
    assert readiness.ready is ready
    assert message in readiness.message
