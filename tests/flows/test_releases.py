"""An endpoint over time: refreshed when its branch moves, rolled back, listed, removed; never without an answer."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State

from flows.deploy_model import deploy_model
from flows.list_endpoints import list_endpoints
from flows.refresh_models import refresh_models
from flows.remove_endpoint import remove_endpoint
from flows.rollback_endpoint import rollback_endpoint
from kube.apply import apply
from kube.connect import from_kubeconfig
from kube.proxy import request
from sandbox.tiny_models import add_revision
from serving.catalog import Overrides
from serving.events import EndpointRemoved
from serving.record import EndpointRecord
from serving.spec import SmokeOptions
from tasks.record import read_record
from tests.flows.conftest import World, cluster_block
from tests.flows.other_run import other_run_until_the_hub_was_asked
from tests.flows.told import events_about, runs_with_tag, validated, wait_for_events

pytestmark = pytest.mark.server
REPO = "NousResearch/Llama-3.2-1B"
SPACE = "releases"
QUESTION = SmokeOptions(prompt="How many seas are there?", expect=r"\w")


@pytest.fixture(scope="module")
def place(world: World) -> World:
    """A namespace of its own, so that nothing but this file's endpoints is refreshed."""
    with from_kubeconfig(world.kubernetes.kubeconfig) as cluster:
        apply(cluster, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    return world.with_blocks(cluster=cluster_block(world.kubernetes.kubeconfig, namespace=SPACE))


def result_of(state: State[Any]) -> Any:
    assert state.is_completed(), state.message
    return asyncio.run(state.aresult())


def record_of(place: World, endpoint: str) -> EndpointRecord:
    with from_kubeconfig(place.kubernetes.kubeconfig) as cluster:
        record = read_record(SPACE, endpoint, cluster)
    assert record is not None
    return record


def question_of(record: EndpointRecord) -> str:
    """What the release that serves was asked to be promoted."""
    assert record.serving.smoke is not None
    return record.serving.smoke.prompt


def answer(place: World, endpoint: str) -> str:
    with from_kubeconfig(place.kubernetes.kubeconfig) as cluster:
        body = {"model": REPO, "prompt": "one two three", "max_tokens": 8, "temperature": 0}
        reply = request(cluster, "POST", SPACE, endpoint, "http", "/v1/completions", json=body)
    assert reply.status == 200, reply.text
    return str(reply.json()["choices"][0]["text"])


def test_refreshed_rolled_back_listed_and_removed(place: World, tmp_path: Path) -> None:
    overrides = Overrides.read({"name": "follow", "pod": {"drain_seconds": 0}, "rollout": {"retire_after": 0}})
    deployed = deploy_model(
        "llama-32-1b-vllm", **place.target(), overrides=overrides, smoke=QUESTION, return_state=True
    )
    result_of(asyncio.run(deployed))
    first, old_answer = record_of(place, "follow"), answer(place, "follow")
    assert question_of(first) == QUESTION.prompt

    # Nothing moved upstream: one request, nothing changes.
    asked = len(place.hub_server.requests)
    report = result_of(asyncio.run(refresh_models(**place.target(), namespace=SPACE, return_state=True)))
    assert report.current == [f"{SPACE}/follow"]
    assert len(place.hub_server.requests) - asked == 1
    assert record_of(place, "follow") == first

    # The branch moves: staged, proved, switched; other weights give another answer. Another run is waited for.
    add_revision(place.hub_server.content, REPO, cache=tmp_path, seed=7, size=300_000)
    with other_run_until_the_hub_was_asked(place, "follow"):
        report = result_of(asyncio.run(refresh_models(**place.target(), namespace=SPACE, return_state=True)))
    assert report.refreshed == [f"{SPACE}/follow"]
    second = record_of(place, "follow")
    assert second.current.model.commit != first.current.model.commit
    assert [old.id for old in second.previous] == [first.current.id]
    assert answer(place, "follow") != old_answer
    assert question_of(second) == QUESTION.prompt

    # Back again: nothing is downloaded, the Hub is not asked, and the next refresh leaves it so.
    asked = len(place.hub_server.requests)
    back = result_of(asyncio.run(rollback_endpoint("follow", **place.target(), return_state=True)))
    assert back.moved_bytes == 0
    assert len(place.hub_server.requests) == asked
    assert answer(place, "follow") == old_answer
    third = record_of(place, "follow")
    assert question_of(third) == QUESTION.prompt
    assert third.current.model.commit == first.current.model.commit
    assert third.rejected is not None
    assert third.rejected.commit == second.current.model.commit
    report = result_of(asyncio.run(refresh_models(**place.target(), namespace=SPACE, return_state=True)))
    assert report.current == [f"{SPACE}/follow"]

    rows = result_of(asyncio.run(list_endpoints(place.cluster, place.hub, namespace=SPACE, return_state=True)))
    assert [(row["endpoint"], row["commit"]) for row in rows] == [(f"{SPACE}/follow", first.current.model.commit[:12])]

    result_of(asyncio.run(remove_endpoint("follow", place.cluster, place.store, return_state=True)))
    rows = result_of(asyncio.run(list_endpoints(place.cluster, place.hub, namespace=SPACE, return_state=True)))
    assert rows == []
    again = asyncio.run(remove_endpoint("follow", place.cluster, place.store, return_state=True))
    assert again.is_failed()
    assert "no endpoint follow" in (again.message or "")

    the_life_was_told(first, second)


def the_life_was_told(first: EndpointRecord, second: EndpointRecord) -> None:
    """Events of the endpoint, each as its schema says; its lineage; names and tags of its runs."""
    told = wait_for_events(f"inference.endpoint.{SPACE}.follow", lambda names: names[-1:] == [EndpointRemoved.name])
    served = ["inference.endpoint.promoted", "inference.endpoint.ready"]
    assert [event["event"] for event in told] == [
        *served,
        *served,
        "inference.endpoint.refreshed",
        *served,
        "inference.endpoint.rolled-back",
        EndpointRemoved.name,
    ]
    commits = [getattr(validated(event), "commit", "") for event in told]
    old, new = first.current.model.commit, second.current.model.commit
    assert commits == [old, old, new, new, new, old, old, old, ""]

    staged = [validated(event) for event in events_about(f"inference.model.{REPO}")]
    assert {old, new} <= {getattr(event, "commit", "") for event in staged}
    assert lineage(second.current.staged_uri) == {f"huggingface://{REPO}@{new}"}
    made_from = lineage(f"kubernetes://*/{SPACE}/follow")
    assert made_from == {first.current.staged_uri, second.current.staged_uri}

    names = [run["name"] for run in runs_with_tag("endpoint:follow")]
    assert names == [
        f"deploy follow (llama-32-1b-vllm): {REPO}@{old[:12]}",
        f"deploy follow (gpu): {REPO}@{old[:12]}",
        f"refresh follow: {REPO}@{new[:12]}",
        f"roll back follow: {REPO}@{old[:12]}",
        "remove follow",
        "remove follow",
    ]


def lineage(made: str) -> set[str]:
    """Keys of the assets that an asset was made from; of its key the cluster may be left open."""
    head, _, tail = made.partition("*")
    events = wait_for_events(f"{head}*", lambda names: "prefect.asset.materialization.succeeded" in names)
    return {
        one["prefect.resource.id"]
        for event in events
        if event["resource"]["prefect.resource.id"].endswith(tail)
        and event["event"] == "prefect.asset.materialization.succeeded"
        for one in event["related"]
        if one["prefect.resource.role"] == "asset"
    }
