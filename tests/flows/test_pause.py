"""A release of each kind without pods, and with them again: kept where it can be, else rendered anew."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kube.read import get, list_
from sandbox.kubernetes.resources import CRDS
from serving.frameworks.labels import selector
from serving.record import ReleaseRecord
from serving.spec import Accelerator, Framework, WeightsSource
from tasks.kinds import RAY_SERVICE, workload_kind
from tasks.pause import live_replicas, pause, resume
from tests.flows.cells import spec_for
from tests.flows.conftest import NAMESPACE, World
from tests.flows.releases import Trial, trial

pytestmark = pytest.mark.long


def recorded(running: Trial) -> ReleaseRecord:
    """The release as the endpoint's record has it."""
    release = running.release
    record = ReleaseRecord(
        spec=running.spec,
        id=release.id,
        model=release.model,
        staged_uri="",
        staged_bytes=0,
        moved_bytes=0,
        image=running.spec.image,
        flow_run="",
    )
    return record.model_copy(update={"replicas": live_replicas(record, running.cluster) or None})


def uid(running: Trial) -> str:
    """The workload's uid; empty if it is gone."""
    found = get(running.cluster, *workload_kind(running.spec), running.release.name, NAMESPACE)
    return str(((found or {}).get("metadata") or {}).get("uid", ""))


def pods(running: Trial) -> set[str]:
    labels = ",".join(f"{key}={value}" for key, value in selector(running.release).items())
    return {one["metadata"]["name"] for one in list_(running.cluster, "v1", "Pod", NAMESPACE, labels=labels)}


@contextmanager
def operator_without_suspension(machines: World) -> Iterator[None]:
    """KubeRay before 1.7, whose RayServices have no such field."""
    present = machines.kubernetes.call(lambda cluster: cluster.get(CRDS, "", "rayservices.ray.io"))
    older = copy.deepcopy(present)
    schema = older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"]["properties"].pop("suspend")
    machines.kubernetes.install_crd(older)
    try:
        yield
    finally:
        machines.kubernetes.install_crd(present)


@pytest.mark.parametrize("framework", [Framework.RAY_VLLM, Framework.LWS_VLLM, Framework.AIBRIX])
def test_a_workload_is_kept_without_its_pods_and_gets_them_again(framework: Framework, machines: World) -> None:
    spec = spec_for((framework, Accelerator.GPU, WeightsSource.STREAM), name=f"pause-{framework.value}")
    with trial(machines, spec) as running:
        running.apply()
        running.wait()
        release, before, first = recorded(running), uid(running), pods(running)
        for _ in range(2):  # a run that comes after one that died does it again
            pause(release, running.cluster)
            assert pods(running) == set()
            assert uid(running) == before
        assert live_replicas(release, running.cluster) == 0
        for _ in range(2):
            assert resume(release, running.cluster)
        running.wait()
        assert uid(running) == before
        assert len(pods(running)) == len(first)
        assert running.ask().passed


def test_a_ray_service_that_cannot_be_suspended_goes_and_comes_back(machines: World) -> None:
    spec = spec_for((Framework.RAY_VLLM, Accelerator.GPU, WeightsSource.STREAM), name="pause-older-ray")
    with operator_without_suspension(machines), trial(machines, spec) as running:
        running.apply()
        running.wait()
        release, before = recorded(running), uid(running)
        for _ in range(2):
            pause(release, running.cluster)
            assert pods(running) == set()
            assert get(running.cluster, *RAY_SERVICE, running.release.name, NAMESPACE) is None
        assert not resume(release, running.cluster)
        assert resume(release, running.cluster, running.manifests)
        assert resume(release, running.cluster)
        running.wait()
        assert uid(running) not in ("", before)
        assert running.ask().passed
