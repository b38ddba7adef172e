"""How far a workload is: the bytes of its weights, its shards, its image, and what the node autoscaler says."""

import copy
import json
from typing import Any

import pytest

from serving.readiness import Phase, Readiness, pod_phase
from serving.readiness.detail import to_read, with_details
from serving.snapshot import Snapshot
from tests.serving import scene_variants as scenes
from tests.serving.conftest import DATA
from tests.serving.scene_variants import LATE, Entry, event, last, pod_of


def told(entry: Entry, log: str = "") -> Readiness:
    pod = pod_of(entry)
    phase, message = pod_phase(pod)
    plain = Readiness(False, phase, 0, 1, message)
    logs: dict[str, Any] = {}
    for name, container in to_read(plain, entry["pods"]):
        logs[name] = {container: {"current": {"status": 200, "body": log}}}
    return with_details(plain, Snapshot.read(entry | {"logs": logs}))


def loading() -> Entry:
    entry = copy.deepcopy(last("23"))
    assert pod_phase(pod_of(entry))[0] is Phase.LOADING
    return entry


def test_the_bytes_of_the_manifest_that_were_fetched_are_said() -> None:
    log = "staged-model: fetching 4000000000 bytes from s3://m/\nstaged-model: fetched 1000000000 of 4000000000 bytes\n"
    found = told(last("16"), log)
    assert (found.phase, found.share) == (Phase.FETCHING, 0.25)
    assert "fetching weights, 1.0 GB of 4.0 GB (25%)" in found.message
    assert told(last("16"), "nothing that is known").share == 0.0


def test_shards_and_then_the_warm_up_are_said() -> None:
    shards = "(EngineCore_DP0 pid=68) Loading safetensors checkpoint shards:  50% Completed | 2/4 [00:01<00:01]\n"
    found = told(loading(), shards)
    assert (found.phase, found.share) == (Phase.LOADING, 0.5)
    assert "2 of 4 shards (50%)" in found.message
    warm = told(loading(), shards + "INFO [gpu_model_runner.py] Capturing CUDA graphs (mixed prefill-decode): 10%")
    assert warm.phase is Phase.WARMING
    assert "warming up" in warm.message
    assert told(loading(), "INFO nothing").message == pod_phase(pod_of(loading()))[1]


def pulling() -> Entry:
    entry = scenes.without_events(last("01"), "Pulled", "Created", "Started", "Unhealthy")
    pod = pod_of(entry)
    pod["status"]["containerStatuses"][0] |= {"ready": False, "state": {"waiting": {"reason": "ContainerCreating"}}}
    for condition in pod["status"]["conditions"]:
        condition["status"] = "False" if condition["type"] == "Ready" else condition["status"]
    return entry


def test_an_image_that_is_being_pulled_is_named() -> None:
    entry = pulling()
    silent = scenes.without_events(entry, "Pulling")
    assert told(silent).message == pod_phase(pod_of(silent))[1]  # its volumes are being mounted: no word of the image
    event(entry, "Pulling", 'Pulling image "vllm/vllm-openai:v0.11.0"', type="Normal")
    assert 'pulling image "vllm/vllm-openai:v0.11.0"' in told(entry).message


def test_a_message_of_several_lines_is_shown_on_one() -> None:
    entry = event(pulling(), "Pulling", 'Pulling image "a/b:1"\n  from its mirror\n', type="Normal")
    name = pod_of(entry)["metadata"]["name"]
    assert told(entry).message == f'{name}: pulling image "a/b:1" from its mirror'


@pytest.mark.parametrize(
    ("component", "reason", "message"),
    [
        ("cluster-autoscaler", "TriggeredScaleUp", "pod triggered scale-up: [{gpu 0->1 (max: 4)}]"),
        ("karpenter", "Nominated", "Pod should schedule on: nodeclaim/gpu-abc"),
    ],
)
def test_what_the_node_autoscaler_says_is_shown_while_a_pod_is_pending(
    component: str, reason: str, message: str
) -> None:
    assert "Node autoscaler" not in told(last("02")).message
    found = told(event(last("02"), reason, message, source=component, when=LATE))
    assert found.phase is Phase.PENDING_NODE
    assert f"Node autoscaler: {message}" in found.message


def test_details_never_fail_whatever_is_there_and_whatever_is_left_out() -> None:
    """They are an extra: of every moment of every recorded scene, in every phase, with parts of it unread."""
    for path in sorted((DATA / "scenes").glob("*.json")):
        for entry in json.loads(path.read_text())["timeline"]:
            for left_out in ("", "events", "logs", "pods"):
                seen = Snapshot.read({key: value for key, value in entry.items() if key != left_out})
                for phase in Phase:
                    plain = Readiness(False, phase, 0, 1, "as it was")
                    list(to_read(plain, seen.pods))
                    assert with_details(plain, seen).message
