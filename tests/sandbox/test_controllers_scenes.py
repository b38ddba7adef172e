"""Recorded scenes of a real cluster, played on the sandbox: every recorded state and event comes, no event beside."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from scene_replay import Outcome, replay

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("controllers-scenes")]  # one fixture plays them all

SCENES: dict[str, dict[str, Any]] = {
    "01-healthy-slow-start": {"env": {"LOAD_SECONDS": "3"}, "deadline": 60},
    "02-unschedulable-gpu-count": {},
    "03-unschedulable-node-selector": {},
    "04-untolerated-taint": {},
    "05-neuron-resource-absent": {},
    "06a-image-not-found": {},
    "06d-image-never-pull": {},
    "08-secret-missing": {},
    "09-secret-key-missing": {},
    "10a-gated-repo-403": {"env": {"LOAD_SECONDS": "2"}},
    "13a-startup-probe-too-short-137": {
        "env": {"IGNORE_TERM": "1"},
        "startupProbe": {"failureThreshold": 1},
        "timings": {"crash_backoff": 1.8, "crash_backoff_max": 30},
    },
    "14-readiness-never-true": {},
    "15a-init-s3-access-denied": {},
    "16-init-hangs": {},
    "17a-configmap-volume-missing": {},
    "18a-pvc-no-storage-class": {},
    "19a-quota-exceeded": {},
    "20-service-account-missing": {},
    "21a-pod-affinity-zone": {},
    "22-rollout-deadlock": {"env": {"LOAD_SECONDS": "3"}, "deadline": 60, "later_deadline": 5},
    "23-progress-deadline": {},
    "24a-node-not-ready-single": {"taints": [], "lose": "node-a", "env": {"LOAD_SECONDS": "3"}, "deadline": 60},
    "27-port-mismatch": {"deadline": 60},
    "29a-job-backoff-limit": {},
}


LONG = ("13a-startup-probe-too-short-137", "22-rollout-deadlock", "10a-gated-repo-403", "24a-node-not-ready-single")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """All scenes, each on a cluster of its own, one soon after the other: they mostly wait."""
    directory: Path = tmp_path_factory.mktemp("scenes")
    longest_first = sorted(SCENES, key=lambda name: name not in LONG)

    async def play(name: str, after: float) -> Outcome:
        await asyncio.sleep(after)
        return await replay(name, directory / name, SCENES[name], seconds=40)

    async def play_all() -> list[Outcome]:
        return await asyncio.gather(*(play(name, place * 0.15) for place, name in enumerate(longest_first)))

    return dict(zip(longest_first, asyncio.run(play_all()), strict=True))


@pytest.mark.parametrize("name", SCENES)
def test_the_sandbox_shows_what_a_real_cluster_showed(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = outcomes[name]
    assert not outcome.missing, "\n".join(outcome.missing)
    assert not outcome.surplus, "\n".join(outcome.surplus)
