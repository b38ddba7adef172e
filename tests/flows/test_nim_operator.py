"""A NIM that its operator runs, the whole way: deployed, replaced on the same cache, removed."""

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from flows.deploy_nim import deploy_nim
from flows.parameters import WorkloadOptions
from flows.remove_endpoint import remove_endpoint
from kube.apply import apply
from kube.connect import Cluster, from_kubeconfig
from kube.delete import delete
from kube.proxy import request
from kube.read import list_
from sandbox.kubernetes.controllers.operators import NIM, simulate
from serving.models import ModelSource
from serving.record import ReleaseRecord
from serving.spec import NimOptions, SmokeOptions
from tests.flows.conftest import NAMESPACE, World
from tests.flows.test_deploy import report_of

pytestmark = [pytest.mark.server, pytest.mark.long]

ENDPOINT, MODEL = "by-operator", "meta/llama-3.1-8b-instruct"
KINDS = (
    ("apps.nvidia.com/v1alpha1", "NIMService"),
    ("apps.nvidia.com/v1alpha1", "NIMCache"),
    ("apps/v1", "Deployment"),
    ("batch/v1", "Job"),
    ("v1", "PersistentVolumeClaim"),
    ("v1", "Pod"),
    ("v1", "Service"),
)


@pytest.fixture
def cluster(world: World) -> Iterator[Cluster]:
    """The cluster with the operator, and with the Secret that a person creates."""
    world.kubernetes.call(partial(simulate, names=NIM))
    with from_kubeconfig(world.kubernetes.kubeconfig, namespace=NAMESPACE) as found:
        key = {"metadata": {"name": "ngc-by-operator"}, "stringData": {"NGC_API_KEY": "nvapi-sandbox"}}
        apply(found, {"apiVersion": "v1", "kind": "Secret", **key})
        yield found
        delete(found, "v1", "Secret", "ngc-by-operator", namespace=NAMESPACE)
    world.kubernetes.call(partial(simulate, names=NIM, running=False))


def names(cluster: Cluster, kind: tuple[str, str]) -> set[str]:
    """Of the objects that are the endpoint's, made by us or by the operator."""
    found = [one["metadata"]["name"] for one in list_(cluster, *kind, NAMESPACE)]
    return {name for name in found if name.startswith(ENDPOINT)}


def deployed(world: World, **env: str) -> ReleaseRecord:
    given: dict[str, Any] = {"pod": {"drain_seconds": 0}, "rollout": {"retire_after": 0}, "env": env}
    state = asyncio.run(
        deploy_nim(
            endpoint=ENDPOINT,
            model=ModelSource(repo_id=MODEL),
            image=f"nvcr.io/nim/{MODEL}:1.8.3",
            nim=NimOptions(operator=True, storage_class="disks", key_secret="ngc-by-operator", pull_secret=""),
            workload=WorkloadOptions.model_validate(given),
            smoke=SmokeOptions(prompt="How many seas are there?"),
            timeout_minutes=3,
            return_state=True,
            **world.target(),
        )
    )
    record = report_of(state).record
    assert record is not None
    release = record.current
    assert release.smoke is not None
    assert (release.smoke.prompt, bool(release.smoke.answer.strip())) == ("How many seas are there?", True)
    return release


def test_a_nim_of_the_operator_is_deployed_replaced_and_removed(world: World, cluster: Cluster) -> None:
    first = deployed(world)
    [cache] = names(cluster, KINDS[1])
    assert request(cluster, "GET", NAMESPACE, ENDPOINT, "http", "/v1/models").json()["data"][0]["id"] == MODEL

    second = deployed(world, NIM_LOG_LEVEL="DEBUG")
    assert second.id != first.id
    assert names(cluster, KINDS[0]) == names(cluster, KINDS[2]) == {f"{ENDPOINT}-{second.id}"}
    assert names(cluster, KINDS[1]) == {cache}, "the model is fetched once"
    assert names(cluster, KINDS[6]) == {ENDPOINT, f"{ENDPOINT}-{second.id}"}
    [pod] = list_(cluster, "v1", "Pod", NAMESPACE, labels=f"app={ENDPOINT}-{second.id}")
    assert {"name": "NIM_LOG_LEVEL", "value": "DEBUG"} in pod["spec"]["containers"][0]["env"]
    assert request(cluster, "GET", NAMESPACE, ENDPOINT, "http", "/v1/models").json()["data"][0]["id"] == MODEL

    state = asyncio.run(remove_endpoint(ENDPOINT, world.cluster, world.store, return_state=True))
    assert state.is_completed(), state.message
    assert {kind: names(cluster, kind) for kind in KINDS} == {kind: set() for kind in KINDS}
