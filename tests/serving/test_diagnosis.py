import pickle
from dataclasses import replace

import pytest

from serving.diagnosis import Diagnosis, diagnose, logs_wanted
from serving.errors import RolloutError
from serving.snapshot import Snapshot
from tests.serving.conftest import load_scene


def seen(scene: str, label: str = "end") -> Snapshot:
    document = load_scene(scene)
    entry = next(entry for entry in document["timeline"] if entry["label"] == label)
    return Snapshot.read(entry, document["nodes"])


def found(scene: str, label: str = "end") -> Diagnosis:
    diagnosis = diagnose(seen(scene, label))
    assert diagnosis is not None
    return diagnosis


@pytest.mark.parametrize(
    ("scene", "category", "reason", "named"),
    [
        ("02", "unschedulable", "too-many-accelerators", "at most 4 nvidia.com/gpu"),
        ("03", "unschedulable", "instance-type", "node.kubernetes.io/instance-type=g6e.2xlarge"),
        ("04", "unschedulable", "taint", "toleration for nvidia.com/gpu"),
        ("05", "unschedulable", "accelerator-absent", "Neuron device plugin"),
        ("06a", "image-pull", "not-found", "registry.example.com/vllm/vllm-openai:v0.99.0"),
        ("06d", "image-pull", "never-pull", "IfNotPresent"),
        ("08", "config", "missing", "kubectl create secret generic -n inference hf-token --from-literal=token="),
        ("09", "config", "key-missing", "Add key token to Secret hf-token"),
        ("10a", "model-access", "gated", "Accept the licence"),
        ("11a", "gpu-memory", "out-of-memory", "tensor_parallel_size"),
        ("12", "host-memory", "oom-killed", "memory_limit (container vllm, now 256Mi)"),
        ("13a", "probe", "startup-kill", "startup_seconds"),
        ("15a", "init", "denied", "s3:GetObject"),
        ("17a", "volume", "configmap-missing", "Create ConfigMap chat-template"),
        ("18a", "volume", "no-storage-class", "inference/model-cache"),
        ("19a", "quota", "resource-quota", "gpu-quota"),
        ("20", "service-account", "missing", "inference-sa"),
        ("21a", "unschedulable", "affinity-label", "topology.kubernetes.io/zone"),
        ("22", "rollout", "deadlock", "maxSurge 0"),
        ("23", "rollout", "progress-deadline", "startup_seconds"),
    ],
)
def test_a_recorded_failure_gets_its_cause_and_a_fix_that_names_the_object(
    scene: str, category: str, reason: str, named: str
) -> None:
    diagnosis = found(scene)
    assert (diagnosis.category, diagnosis.reason, diagnosis.final) == (category, reason, True)
    assert diagnosis.cause
    assert all(entry.where and entry.what for entry in diagnosis.evidence)
    assert any(named in fix for fix in diagnosis.fixes), diagnosis.fixes


@pytest.mark.parametrize("label", ["start", "middle", "end"])
def test_a_healthy_slow_start_has_nothing_wrong_with_it(label: str) -> None:
    assert diagnose(seen("01", label)) is None


@pytest.mark.parametrize("scene", ["02", "03", "04", "05"])
def test_what_a_node_autoscaler_may_solve_is_not_final(scene: str) -> None:
    document = load_scene(scene)
    entry = {**document["timeline"][-1], "node_autoscaler": True}
    diagnosis = diagnose(Snapshot.read(entry, document["nodes"]))
    assert diagnosis is None or not diagnosis.final or diagnosis.category != "unschedulable"


def test_without_the_right_to_list_nodes_the_schedulers_sentence_is_reported() -> None:
    entry = load_scene("02")["timeline"][0]
    diagnosis = diagnose(Snapshot.read(entry))
    assert diagnosis is not None
    assert (diagnosis.category, diagnosis.final) == ("unschedulable", False)
    assert "8 nvidia.com/gpu" in diagnosis.cause


def test_an_unknown_crash_is_final_only_when_it_repeats() -> None:
    document = load_scene("10a")
    for entry, final in ((document["timeline"][1], False), (document["timeline"][-1], True)):
        silent = {**entry, "logs": {}, "deployments": []}
        diagnosis = diagnose(Snapshot.read(silent, document["nodes"]))
        assert diagnosis is not None
        assert (diagnosis.category, diagnosis.final) == ("crash", final)


def test_the_logs_that_tell_of_a_crash_are_named() -> None:
    (wanted,) = logs_wanted(seen("10a").pods)
    assert (wanted.container, wanted.previous) == ("vllm", True)
    assert logs_wanted(seen("01").pods) == []


def test_a_changed_copy_of_a_snapshot_has_a_time_of_its_own() -> None:
    snapshot, untouched = seen("01"), seen("01")
    before = snapshot.taken
    assert before is not None
    assert snapshot == untouched
    assert pickle.loads(pickle.dumps(snapshot)) == snapshot
    later = replace(snapshot, taken_at="2026-12-01T00:00:00Z").taken
    assert later is not None
    assert later > before


def test_a_rollout_error_says_cause_and_fix() -> None:
    error = RolloutError("Endpoint inference/chat did not become ready.", found("08"))
    assert str(error).startswith("Endpoint inference/chat did not become ready. Secret hf-token does not exist")
    assert "kubectl create secret" in str(error)
    assert error.code == "rollout.config.missing"
