"""A live endpoint is checked and listed: pods, answer, drift with its owner, how far behind; removed with weights."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from prefect.client.schemas.objects import State

from flows.check_endpoints import CheckReport, check_endpoints
from flows.deploy_model import deploy_model
from flows.list_endpoints import as_text, list_endpoints, table
from flows.remove_endpoint import remove_endpoint
from kube.apply import apply
from kube.connect import Cluster, from_kubeconfig
from kube.read import get, list_
from serving.catalog import Overrides
from serving.errors import InferenceError
from serving.events import EndpointHealthy, EndpointUnhealthy
from serving.record import ENDPOINT_LABEL, EndpointRecord, record_name
from serving.spec import EndpointSpec, SmokeOptions
from tasks.check import Wanted, examine, look
from tasks.live import find_live
from tasks.record import read_record
from tests.flows.conftest import World, cluster_block
from tests.flows.other_run import other_run
from tests.flows.records import record_only, write
from tests.flows.told import wait_for_events

pytestmark = pytest.mark.server
SPACE = "checking"
QUESTION = SmokeOptions(prompt="How many seas are there?", max_tokens=9)
REPO = "NousResearch/Llama-3.2-1B"


@pytest.fixture(scope="module")
def place(world: World) -> World:
    """A namespace with one live endpoint, ``live``."""
    with from_kubeconfig(world.kubernetes.kubeconfig) as cluster:
        apply(cluster, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    place = world.with_blocks(cluster=cluster_block(world.kubernetes.kubeconfig, namespace=SPACE))
    overrides = Overrides.read({"name": "live", "pod": {"drain_seconds": 0}})
    deployed = deploy_model(
        "llama-32-1b-vllm", **place.target(), overrides=overrides, smoke=QUESTION, return_state=True
    )
    state = asyncio.run(deployed)
    assert state.is_completed(), state.message
    return place


@pytest.fixture
def cluster(place: World) -> Iterator[Cluster]:
    with from_kubeconfig(place.kubernetes.kubeconfig) as connection:
        yield connection


def check(place: World, **parameters: Any) -> State[Any]:
    given = {"cluster": place.cluster, "store": place.store, "namespace": SPACE, **parameters}
    return asyncio.run(check_endpoints(**given, return_state=True))


def healthy(place: World, **parameters: Any) -> CheckReport:
    state = check(place, **parameters)
    assert state.is_completed(), state.message
    return CheckReport.model_validate(asyncio.run(state.aresult()))


def record(cluster: Cluster) -> EndpointRecord:
    found = read_record(SPACE, "live", cluster)
    assert found is not None
    return found


def test_a_healthy_endpoint_and_what_the_record_keeps(place: World, cluster: Cluster) -> None:
    before = record(cluster)
    assert healthy(place) == CheckReport(healthy=[f"{SPACE}/live"], unhealthy={}, skipped={})
    after = record(cluster)
    assert after.serving.smoke is not None
    assert after.serving.smoke.at
    assert after.serving.smoke.prompt == QUESTION.prompt
    assert after.serving.model_copy(update={"smoke": before.serving.smoke}) == before.serving
    told = wait_for_events(f"inference.endpoint.{SPACE}.live", lambda names: EndpointHealthy.name in names)
    assert told


def test_drift_is_named_with_its_owner_and_goes_with_the_next_apply(place: World, cluster: Cluster) -> None:
    [workload] = list_(cluster, "apps/v1", "Deployment", SPACE, labels=f"{ENDPOINT_LABEL}=live")
    name = workload["metadata"]["name"]
    by_hand = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": SPACE},
        "spec": {"revisionHistoryLimit": 7, "minReadySeconds": 1},
    }
    apply(cluster, by_hand, manager="kubectl-somebody", force=True)
    before = get(cluster, "apps/v1", "Deployment", name, SPACE)
    state = check(place)
    assert state.is_failed()
    said = str(state.message)
    assert "1 of 1 endpoints are not healthy: checking/live" in said
    assert "spec.revisionHistoryLimit changed: 7, applied was 2 (by kubectl-somebody)" in said
    assert "spec.minReadySeconds added (by kubectl-somebody)" in said
    wait_for_events(f"inference.endpoint.{SPACE}.live", lambda names: EndpointUnhealthy.name in names)
    # A check looks and changes nothing.
    after = get(cluster, "apps/v1", "Deployment", name, SPACE)
    assert after is not None
    assert before is not None
    assert after["spec"] == before["spec"]
    assert healthy(place, drift=False).healthy == [f"{SPACE}/live"]
    # Whoever wrote it takes it back.
    apply(cluster, {**by_hand, "spec": {}}, manager="kubectl-somebody")
    back = {**by_hand, "spec": {"revisionHistoryLimit": 2}}
    apply(cluster, back, manager="kubectl-somebody", force=True)
    assert healthy(place).healthy == [f"{SPACE}/live"]


@pytest.mark.long
def test_a_service_that_points_elsewhere(place: World, cluster: Cluster) -> None:
    service = get(cluster, "v1", "Service", "live", SPACE)
    assert service is not None
    spec = service["spec"]
    elsewhere = {**spec["selector"], "inference-flows/release": "ffffffffff"}
    moved = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "live", "namespace": SPACE},
        "spec": {"selector": elsewhere},
    }
    apply(cluster, moved, manager="kubectl-edit", force=True)
    state = check(place, smoke=False)
    assert state.is_failed()
    assert "points at release ffffffffff" in str(state.message)
    assert "selector.inference-flows/release changed" in str(state.message)
    apply(cluster, {**moved, "spec": {"selector": spec["selector"]}}, manager="kubectl-edit", force=True)
    assert healthy(place, smoke=False).healthy == [f"{SPACE}/live"]


def test_what_a_run_is_changing_is_left_alone(place: World, cluster: Cluster) -> None:
    before = get(cluster, "v1", "ConfigMap", record_name("live"), SPACE)
    with other_run(cluster, SPACE, "live"):
        report = healthy(place)
    assert report.skipped == {f"{SPACE}/live": "run a-deploy is changing it"}
    assert get(cluster, "v1", "ConfigMap", record_name("live"), SPACE) == before


def test_what_is_wrong_with_a_record_that_was_changed_meanwhile_is_looked_at_anew(
    place: World, cluster: Cluster
) -> None:
    present = record(cluster)
    other = present.serving.model_copy(update={"id": "ffffffffff"})
    outdated = present.model_copy(update={"current": other})
    wanted, read = Wanted(smoke=False, drift=False), find_live(cluster, [outdated])
    assert look(outdated, read, wanted, place.store, cluster).problems
    assert examine(outdated, read, wanted, place.store, cluster) == look(present, read, wanted, place.store, cluster)
    with other_run(cluster, SPACE, "live"):
        assert examine(outdated, read, wanted, place.store, cluster).skipped == "run a-deploy is changing it"
    ghost = outdated.model_copy(update={"current": other.model_copy(update={"spec": renamed(other.spec, "nobody")})})
    assert examine(ghost, read, wanted, place.store, cluster).skipped == "it was removed meanwhile"


def renamed(spec: EndpointSpec, name: str) -> EndpointSpec:
    return spec.model_copy(update={"name": name})


@pytest.mark.long
def test_a_record_without_pods_is_told_and_stops_no_other(place: World, cluster: Cluster) -> None:
    ghost = record_only("ghost", SPACE, REPO, record(cluster).serving.model.commit)
    write(cluster, ghost)
    state = check(place)
    error = asyncio.run(state.aresult(raise_on_failure=False))
    assert isinstance(error, InferenceError)
    assert error.code == "check.unhealthy"
    assert "checking/ghost: Its Service is missing" in str(error)
    assert "checking/live" not in str(error)


@pytest.mark.long
def test_the_list_says_how_far_behind_and_how_many_ready(place: World) -> None:
    before = len(place.hub_server.requests)
    state = asyncio.run(list_endpoints(place.cluster, place.hub, namespace=SPACE, return_state=True))
    rows = {row["endpoint"]: row for row in asyncio.run(state.aresult())}
    assert len(place.hub_server.requests) - before == 1
    live, ghost = rows[f"{SPACE}/live"], rows[f"{SPACE}/ghost"]
    assert (live["ready"], live["behind by"], live["state"]) == ("1/1", "up to date", "serving")
    assert live["smoke test"].endswith("ago")
    assert ghost["ready"] == "none"
    place.hub_server.content.commit(REPO, {"notes.md": b"More.\n"}, title="Notes")
    away = list_endpoints(place.cluster, place.hub, namespace=SPACE, return_state=True)
    again = {row["endpoint"]: row for row in asyncio.run(asyncio.run(away).aresult())}
    assert again[f"{SPACE}/live"]["behind by"].startswith("1 commit since ")
    text = as_text(list(again.values()))
    assert text.splitlines()[0].split()[0] == "endpoint"
    assert table(list(again.values())).row_count == 2


def test_removal_takes_the_weights_that_nobody_else_uses(place: World, cluster: Cluster) -> None:
    serving = record(cluster).serving
    prefix = serving.staged_uri.removeprefix("s3://models/")
    write(cluster, record_only("ghost", SPACE, REPO, serving.model.commit, staged_uri=serving.staged_uri))
    write(cluster, record_only("spare", SPACE, REPO, serving.model.commit, staged_uri=serving.staged_uri))

    def remove(endpoint: str) -> State[Any]:
        removal = remove_endpoint(endpoint, place.cluster, place.store, staged_models=True, return_state=True)
        return asyncio.run(removal)

    assert remove("ghost").is_completed()
    assert remove("live").is_completed()
    assert any(key.startswith(prefix) for key in place.staged_keys())
    assert not list_(cluster, "v1", "Pod", SPACE)
    last = remove("spare")
    assert last.is_completed(), last.message
    assert f"{REPO}@{serving.model.commit}" in asyncio.run(last.aresult())
    assert not any(key.startswith(prefix) for key in place.staged_keys())
