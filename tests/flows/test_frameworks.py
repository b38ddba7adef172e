"""Releases of every framework replaced and taken away: nothing is left, nothing of others goes; what fails is said."""

from typing import Any

import pytest

from kube.read import list_
from serving.diagnosis import Category
from serving.errors import RolloutError
from serving.spec import Accelerator, Framework, WeightsSource
from tasks.gateway import kept_out
from tasks.kinds import KINDS, VOLUME_KINDS
from tasks.release import point, retire, take_away
from tasks.wait import workload_of
from tests.flows.cells import Cell, spec_for
from tests.flows.conftest import NAMESPACE, World
from tests.flows.custom_kinds import DEFINITIONS
from tests.flows.releases import spec_of, trial


@pytest.fixture(scope="module", autouse=True)
def operators(machines: World) -> None:
    """Definitions of the operators' kinds."""
    for one in DEFINITIONS:
        machines.kubernetes.install_crd(one)


VARIANTS: dict[str, tuple[Cell, dict[str, Any], str]] = {
    "hpa": (
        (Framework.VLLM, Accelerator.GPU, WeightsSource.SYNC),
        {"autoscaling": {"by": "hpa", "max_replicas": 3}},
        "HorizontalPodAutoscaler",
    ),
    "keda": (
        (Framework.TRITON_VLLM, Accelerator.GPU, WeightsSource.SYNC),
        {
            "autoscaling": {
                "by": "keda",
                "max_replicas": 3,
                "prometheus": "http://prometheus:9090",
                "query": "sum(rate(nv_inference_request_success[1m]))",
            }
        },
        "ScaledObject",
    ),
    "aibrix": (
        (Framework.AIBRIX, Accelerator.GPU, WeightsSource.SYNC),
        {"autoscaling": {"by": "aibrix", "max_replicas": 3}},
        "PodAutoscaler",
    ),
    "monitor": (
        (Framework.VLLM, Accelerator.GPU, WeightsSource.SYNC),
        {"pod": {"monitor": True, "drain_seconds": 0}},
        "PodMonitor",
    ),
    "budget": ((Framework.VLLM, Accelerator.GPU, WeightsSource.SYNC), {"replicas": 2}, "PodDisruptionBudget"),
    "volume": ((Framework.VLLM, Accelerator.GPU, WeightsSource.MOUNT), {}, "PersistentVolume"),
    "ray": ((Framework.RAY_VLLM, Accelerator.GPU, WeightsSource.STREAM), {}, "RayService"),
    "lws": ((Framework.LWS_VLLM, Accelerator.GPU, WeightsSource.STREAM), {}, "LeaderWorkerSet"),
    "operator": ((Framework.NIM, Accelerator.GPU, WeightsSource.HUB), {"nim": {"operator": True}}, "NIMService"),
}


QUICK = {"hpa", "volume", "ray"}
"""In the default suite: a kind of Kubernetes' own, one without a namespace, one of an operator."""


@pytest.mark.parametrize(
    "variant", [pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in VARIANTS]
)
def test_a_release_that_is_replaced_leaves_nothing_whatever_it_consisted_of(variant: str, machines: World) -> None:
    """Replaced by plain vLLM: the endpoint's Services remain, and of the old release no object."""
    cell, fields, kind = VARIANTS[variant]
    old = spec_for(cell, **fields).model_copy(update={"name": f"old-{variant}"})
    new = spec_of(Framework.VLLM, name=f"old-{variant}", served_model_name=f"old-{variant}", replicas=1)
    # Pods that no node takes: the objects are what this is about.
    old, new = (
        spec.model_copy(update={"instance_type": "none.such", "served_model_name": spec.name}) for spec in (old, new)
    )
    with trial(machines, old) as before, trial(machines, new) as after:
        cluster = before.cluster
        before.apply()
        point(old, before.release, cluster)
        assert kind in {one["kind"] for one in before.manifests}
        after.apply()
        point(new, after.release, cluster)
        retire(new, after.release, after.manifests, cluster)
        left = {
            (found, one["metadata"]["name"])
            for api_version, found in (*KINDS, *VOLUME_KINDS)
            for one in list_(cluster, api_version, found, "*", labels=f"inference-flows/endpoint={new.name}")
        }
        wanted = {(one["kind"], one["metadata"]["name"]) for one in after.manifests}
        assert left == wanted | {("Service", new.name)}


def test_what_a_release_renders_no_longer_goes_with_the_next_deploy(machines: World) -> None:
    """Autoscaling changes no pod, and so no release: its autoscaler must go all the same."""
    cell = (Framework.VLLM, Accelerator.GPU, WeightsSource.SYNC)
    scaled = spec_for(cell, instance_type="none.such", autoscaling={"by": "hpa", "max_replicas": 3})
    fixed = scaled.model_copy(update={"autoscaling": None})
    with trial(machines, scaled) as before, trial(machines, fixed) as after:
        assert before.release.id == after.release.id
        before.apply()
        after.apply()
        removed = retire(fixed, after.release, after.manifests, after.cluster)
        assert {one.kind for one in removed} == {"HorizontalPodAutoscaler", "PodDisruptionBudget"}


def test_volumes_of_a_namesake_in_another_namespace_stay(machines: World) -> None:
    cell = (Framework.VLLM, Accelerator.GPU, WeightsSource.MOUNT)
    here = spec_for(cell, instance_type="none.such")
    there = here.model_copy(update={"namespace": "default"})
    with trial(machines, here) as mine, trial(machines, there) as theirs:
        mine.apply()
        theirs.apply()
        removed = take_away(here, mine.release, mine.cluster)
        assert "PersistentVolume" in {one.kind for one in removed}
        label = f"inference-flows/endpoint={here.name}"
        left = list_(mine.cluster, "v1", "PersistentVolume", labels=label)
        assert [one["spec"]["claimRef"]["namespace"] for one in left] == ["default"]


@pytest.mark.long
def test_a_ray_application_that_fails_ends_the_wait_with_what_ray_says(machines: World) -> None:
    spec = spec_for((Framework.RAY_VLLM, Accelerator.GPU, WeightsSource.STREAM))
    with trial(machines, spec.model_copy(update={"name": "ray-broken"})) as running:
        broken = workload_of(running.manifests)["spec"]
        broken["serveConfigV2"] = broken["serveConfigV2"].replace("ray.serve.llm:build_openai_app", "broken:app")
        running.apply()
        with pytest.raises(RolloutError) as raised:
            running.wait()
    found = raised.value.diagnosis
    assert found is not None
    assert found.category is Category.RAY_SERVE
    assert "broken:app" in " ".join((found.cause, *(one.what for one in found.evidence)))


@pytest.mark.long
def test_a_candidate_that_the_gateway_may_not_see_is_diagnosed(machines: World) -> None:
    spec = spec_for(
        (Framework.AIBRIX, Accelerator.GPU, WeightsSource.STREAM),
        name="aibrix-broken",
        env={"SANDBOX_ENGINE_FAIL": "cuda-oom"},
    )
    with trial(machines, spec) as running:
        running.apply()
        with pytest.raises(RolloutError) as raised, kept_out(spec, running.release, running.cluster):
            running.wait()
    found = raised.value.diagnosis
    assert found is not None
    assert found.category is Category.GPU_MEMORY


@pytest.mark.long
def test_the_pods_of_a_group_keep_the_service_that_gives_them_addresses(machines: World) -> None:
    """Its controller makes a headless Service under the set's own name; ours must not stand in its place."""
    with trial(machines, spec_for((Framework.LWS_VLLM, Accelerator.GPU, WeightsSource.STREAM))) as running:
        running.apply()
        running.wait()
        name = workload_of(running.manifests)["metadata"]["name"]
        made = {one["metadata"]["name"]: one for one in list_(running.cluster, "v1", "Service", NAMESPACE)}
        assert made[name]["spec"]["clusterIP"] == "None"
        assert made[running.address.service]["spec"]["clusterIP"] != "None"
