"""Prefect's own diagnosis of its workers' pods, which this project's reaches beyond: they never disagree."""

import json

import pytest
from prefect_kubernetes.diagnostics import DiagnosisCategory as Theirs
from prefect_kubernetes.diagnostics import diagnose_k8s_pod

from serving.diagnosis import Category, diagnose
from serving.snapshot import Snapshot
from tests.serving.conftest import DATA

WITHOUT_NODE = {Category.UNSCHEDULABLE, Category.VOLUME, Category.ROLLOUT, Category.NODE, Category.QUOTA}
OURS = {
    Theirs.IMAGE_PULL_ERROR: {Category.IMAGE_PULL},
    Theirs.CRASH_LOOP_BACKOFF: set(Category) - WITHOUT_NODE - {Category.IMAGE_PULL, Category.ADMISSION},
    Theirs.OOM_KILLED: {Category.HOST_MEMORY},
    Theirs.EVICTED: {Category.NODE},
    Theirs.UNSCHEDULABLE: WITHOUT_NODE,
    Theirs.UNSCHEDULABLE_INSUFFICIENT_RESOURCES: WITHOUT_NODE,
    Theirs.UNSCHEDULABLE_NODE_AFFINITY: WITHOUT_NODE,
    Theirs.UNSCHEDULABLE_TAINT: WITHOUT_NODE,
}
SCENES = sorted((DATA / "scenes").glob("*.json"))


def test_whatever_prefect_knows_of_a_pod_is_known_here() -> None:
    seen = set()
    for scene in SCENES:
        document = json.loads(scene.read_text())
        for entry in document["timeline"]:
            theirs = {found.category for pod in entry["pods"] if (found := diagnose_k8s_pod(pod["status"]))}
            if theirs:
                ours = diagnose(Snapshot.read(entry, document["nodes"]))
                assert ours is not None, scene.stem
                assert any(ours.category in OURS[one] for one in theirs), (scene.stem, theirs, ours.category)
                seen |= theirs
    assert len(seen) >= 5


@pytest.mark.parametrize("category", Theirs)
def test_every_category_of_prefects_has_its_place(category: Theirs) -> None:
    assert OURS[category]
