"""A create and a rolling update step by step: the same states in the same order as a real cluster's watches."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from cluster_harness import IMAGE, NAMESPACE, deployment, eventually, running_cluster, service
from scene_replay import ENGINE, normalized

from sandbox.kubernetes.resources import DEPLOYMENTS, ENDPOINTSLICES, REPLICASETS, Resource

pytestmark = pytest.mark.xdist_group("controllers-recorded-rollout")

RECORDED = json.loads((Path(__file__).parents[1] / "data" / "recorded_rollout.json").read_text())
Steps = dict[str, list[Any]]


def deployment_step(change: str, obj: dict[str, Any]) -> Any:
    """What a client reads of a Deployment in a watch, revision and observedGeneration included."""
    generation, status = obj["generation"], dict(obj["status"])
    if "observedGeneration" in status:
        status["observedGeneration"] -= generation
    revision = obj["annotations"].get("deployment.kubernetes.io/revision")
    return [change, revision, normalized(status)]


def replica_set_step(change: str, obj: dict[str, Any]) -> Any:
    return [change, normalized(obj["name"]), normalized(obj["annotations"]), normalized(obj["status"])]


def endpoints_step(obj: dict[str, Any]) -> Any:
    return normalized([obj["endpoints"], obj["ports"]])


def recorded_steps() -> Steps:
    slices = [one for one in RECORDED["endpointslices"] if one["name"].startswith("chat-")]
    return {
        "deployments": [deployment_step(one["type"], one) for one in RECORDED["deployments"]],
        "replicasets": [replica_set_step(one["type"], one) for one in RECORDED["replicasets"]],
        "endpointslices": [endpoints_step(one) for one in slices],
    }


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Steps:
    steps: Steps = {"deployments": [], "replicasets": [], "endpointslices": []}

    def note(change: str, resource: Resource, obj: dict[str, Any]) -> None:
        meta = obj["metadata"]
        seen = {
            "name": meta["name"],
            "annotations": meta.get("annotations", {}),
            "generation": meta.get("generation"),
            "status": obj.get("status", {}),
            **obj,
        }
        if resource is DEPLOYMENTS:
            steps["deployments"].append(deployment_step(change, seen))
        elif resource is REPLICASETS:
            steps["replicasets"].append(replica_set_step(change, seen))
        elif obj.get("endpoints"):
            steps["endpointslices"].append(endpoints_step(seen))

    async def play() -> None:
        async with running_cluster(tmp_path_factory.mktemp("rollout"), images=[ENGINE]) as harness:

            async def watch() -> None:
                async for change, resource, obj in harness.cluster.subscribe(DEPLOYMENTS, REPLICASETS, ENDPOINTSLICES):
                    note(change, resource, obj)

            watching = asyncio.create_task(watch())
            first = deployment()
            first["spec"] = json.loads(json.dumps(RECORDED["manifest_spec"]))
            wait = first["spec"]["template"]["spec"]["containers"][0]["env"][0]
            wait["value"] = "0.5"
            harness.apply(service(), first)
            await eventually(lambda: harness.one(DEPLOYMENTS, "chat")["status"].get("availableReplicas") == 1)
            harness.change(DEPLOYMENTS, "chat", use_other_environment)
            await eventually(lambda: len(harness.pods()) == 2)
            await eventually(lambda: len(harness.pods()) == 1)
            await asyncio.sleep(0.1)
            watching.cancel()

    asyncio.run(play())
    return steps


def use_other_environment(obj: dict[str, Any]) -> None:
    container = obj["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == IMAGE
    container["env"] = [{"name": "LOAD_SECONDS", "value": "0.4"}]


@pytest.mark.parametrize("kind", ["deployments", "replicasets", "endpointslices"])
def test_every_step_is_the_recorded_one(shown: Steps, kind: str) -> None:
    assert shown[kind] == recorded_steps()[kind]


def test_the_recording_is_of_this_namespace() -> None:
    assert NAMESPACE == "inference"
    assert len(recorded_steps()["deployments"]) == 12
