"""The long proof of releases whose workload is no plain Deployment: RayService, LeaderWorkerSet, AIBrix.

All three move at the same time, on accelerators that just suffice: with `recreate` a candidate can only come up where
its endpoint's old release has gone, with `blue-green` beside it.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from prefect.client.schemas.objects import State

from flows.deploy_aibrix import deploy_aibrix
from flows.deploy_lws_vllm import deploy_lws_vllm
from flows.deploy_ray_vllm import deploy_ray_vllm
from flows.parameters import WorkloadOptions
from flows.refresh_endpoint import refresh_endpoint
from flows.remove_endpoint import remove_endpoint
from flows.rollback_endpoint import rollback_endpoint
from kube.read import get, list_
from sandbox.kubernetes.controllers.operators import simulate
from serving.frameworks.labels import GATEWAY_MODEL_LABEL, RELEASE_LABEL
from serving.models import ModelSource
from serving.record import ENDPOINT_LABEL, EndpointRecord, ReleaseState
from serving.spec import RayOptions, VllmOptions
from tasks.kinds import workload_kind
from tests.flows.conftest import GPU_CAPACITY, serve_world
from tests.flows.live_endpoint import (
    REPO,
    Client,
    Spot,
    ask,
    client,
    everything,
    make_spot,
    mute_tokenizer,
    wait_until,
)

pytestmark = [pytest.mark.server, pytest.mark.long, pytest.mark.timeout(900)]
SPACE = "kinds"
PODS = 4
"""With accelerators, of all endpoints together: a group of LeaderWorkerSet has two."""

CAPACITY = {**GPU_CAPACITY, "cpu": "64", "memory": "256Gi", "nvidia.com/gpu": str(2 * PODS)}
ACCELERATORS = {"blue-green": 1, "recreate": 2}
"""Per pod: two releases of each endpoint fit onto the node, or one."""


@dataclass(frozen=True)
class Kind:
    """What a test deploys of a kind.

    Attributes:
        deploy: The framework's flow.
        parameters: Its parameters beside those that all have.
        model: The model's name in the endpoint's API.
    """

    deploy: Any
    parameters: Mapping[str, Any]
    model: str = REPO


KINDS = {
    "ray": Kind(
        deploy_ray_vllm,
        {
            "image": "rayproject/ray-llm:2.52.0-py311-cu128",
            "ray": RayOptions(head_cpu="1", head_memory="1Gi"),
        },
    ),
    "lws": Kind(
        deploy_lws_vllm,
        {"image": "vllm/vllm-openai:v0.18.0", "engine": VllmOptions(pipeline_parallel_size=2)},
    ),
    "aibrix": Kind(deploy_aibrix, {"image": "vllm/vllm-openai:v0.11.0"}, model="aibrix"),
}


@pytest.fixture(scope="module")
def spot(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spot]:
    """Servers of its own, for no other endpoint may take the node's accelerators."""
    with serve_world(tmp_path_factory.mktemp("world"), gpu=CAPACITY) as world:
        world.kubernetes.call(simulate)
        yield make_spot(world, SPACE, tmp_path_factory.mktemp("revisions"))


def deployment(spot: Spot, name: str, strategy: str) -> dict[str, Any]:
    given = {
        "pod": {"drain_seconds": 1},
        "rollout": {"strategy": strategy, "retire_after": 2},
        "weights": "stream",
        "resources": {"accelerators": ACCELERATORS[strategy]},
    }
    return {
        "endpoint": name,
        "model": ModelSource(repo_id=REPO, revision=SPACE),
        "workload": WorkloadOptions.model_validate(given),
        **KINDS[name].parameters,
        **spot.place.target(),
    }


def together(*runs: Any) -> list[State[Any]]:
    """Runs flows at the same time; how they ended."""

    async def work() -> list[State[Any]]:
        return await asyncio.gather(*runs)

    return asyncio.run(work())


def succeed(*runs: Any) -> None:
    """Runs flows at the same time, which must complete."""
    assert [state.message for state in together(*runs) if not state.is_completed()] == []


def refreshes(spot: Spot) -> list[Any]:
    return [refresh_endpoint(name, **spot.place.target(), return_state=True) for name in KINDS]


def records(spot: Spot) -> dict[str, EndpointRecord]:
    found = {name: spot.record(name) for name in KINDS}
    return {name: record for name, record in found.items() if record is not None}


def answers(spot: Spot) -> dict[str, str]:
    with spot.connected() as cluster:
        return {name: ask(cluster, SPACE, name, kind.model) for name, kind in KINDS.items()}


def workloads(spot: Spot, record: EndpointRecord) -> dict[str, str]:
    """The endpoint's workloads by name, with their uid."""
    labels = f"{ENDPOINT_LABEL}={record.spec.name}"
    with spot.connected() as cluster:
        found = list_(cluster, *workload_kind(record.spec), SPACE, labels=labels)
    return {one["metadata"]["name"]: one["metadata"]["uid"] for one in found}


def mute(spot: Spot) -> str:
    """A commit that loads and answers without a word."""
    changed = {"tokenizer.json": mute_tokenizer()}
    return spot.place.hub_server.content.commit(REPO, changed, title="mute", branch=SPACE)


def serves_alone(spot: Spot, record: EndpointRecord) -> None:
    """The record's release serves, and no other has anything in the namespace."""
    name, serving = record.spec.name, record.serving
    assert record.settled
    assert serving.state is ReleaseState.SERVING
    assert list(workloads(spot, record)) == [f"{name}-{serving.id}"]
    with spot.connected() as cluster:
        service = get(cluster, "v1", "Service", name, SPACE)
        assert service is not None
        assert service["spec"]["selector"][RELEASE_LABEL] == serving.id
        pods = list_(cluster, "v1", "Pod", SPACE, labels=f"{ENDPOINT_LABEL}={name},{RELEASE_LABEL}={serving.id}")
    # AIBrix' gateway knows the pods of what serves.
    assert {pod["metadata"]["labels"].get(GATEWAY_MODEL_LABEL) for pod in pods} == {name if name == "aibrix" else None}
    ids = {one.id for one in record.previous} | ({record.failed.release} if record.failed else set())
    gone = tuple(f"{name}-{one}" for one in ids - {serving.id})
    wait_until(lambda: not any(found.startswith(gone) for _, found in everything(spot, name)))


@contextmanager
def clients(spot: Spot) -> Iterator[dict[str, Client]]:
    """A client of each endpoint, for as long as the block lasts."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(client(spot, name, kind.model, every=0.3)) for name, kind in KINDS.items()}


@pytest.mark.parametrize("strategy", ["blue-green", "recreate"])
def test_releases_of_every_kind_move_come_back_and_go(spot: Spot, strategy: str) -> None:
    spot.move(spot.old)
    succeed(*(kind.deploy(**deployment(spot, name, strategy), return_state=True) for name, kind in KINDS.items()))
    first, old = records(spot), answers(spot)
    assert first.keys() == KINDS.keys()

    # Upstream moves, and they with it.
    spot.move(spot.new)
    with clients(spot) as asked:
        succeed(*refreshes(spot))
    second, new = records(spot), answers(spot)
    for name, record in second.items():
        assert record.serving.model.commit == spot.new
        assert new[name] != old[name]
        assert {text for text in asked[name].texts if text is not None} == {old[name], new[name]}
        assert (asked[name].gap is None) == (strategy == "blue-green"), asked[name].errors[:3]
        serves_alone(spot, record)

    # To something that must not serve: they serve what they served, throughout or again, from the same workload.
    commit, kept = mute(spot), {name: workloads(spot, record) for name, record in second.items()}
    with clients(spot) as asked:
        assert all(state.is_failed() for state in together(*refreshes(spot)))
    assert answers(spot) == new
    for name, record in records(spot).items():
        assert record.failed is not None
        assert record.failed.commit == commit
        assert record.failed.code.startswith("smoke."), record.failed
        assert record.rejected is not None
        assert record.rejected.commit == commit
        assert record.serving == second[name].serving
        assert workloads(spot, record) == kept[name]
        assert {text for text in asked[name].texts if text is not None} == {new[name]}
        assert (asked[name].gap is None) == (strategy == "blue-green"), asked[name].errors[:3]
        serves_alone(spot, record)

    # Back to the first.
    succeed(*(rollback_endpoint(name, **spot.place.target(), return_state=True) for name in KINDS))
    assert answers(spot) == old
    for name, record in records(spot).items():
        assert record.serving.id == first[name].serving.id
        serves_alone(spot, record)

    succeed(*(remove_endpoint(name, spot.place.cluster, spot.place.store, return_state=True) for name in KINDS))
    wait_until(lambda: not any(everything(spot, name) for name in KINDS))
