"""Many endpoints in one refresh: who is asked about, who moves, who waits; and the token that follows its block."""

import asyncio
import base64
import dataclasses
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect.client.schemas.objects import State, StateType
from pydantic import SecretStr

from blocks.hub import HuggingFaceHub
from flows.refresh_endpoint import NOTHING_TO_DO, refresh_endpoint
from flows.refresh_models import RefreshReport, refresh_models
from kube.apply import apply
from kube.connect import Cluster, from_kubeconfig
from kube.delete import delete
from kube.read import get
from serving.errors import InferenceError
from serving.record import Change, EndpointRecord, Rejected, record_name
from tasks.record import lease_name, read_record
from tests.flows.conftest import World, cluster_block
from tests.flows.other_run import HOLDER, other_run, other_run_until_the_hub_was_asked
from tests.flows.records import record_only, write

pytestmark = pytest.mark.server
SPACE = "refreshing"


@pytest.fixture(scope="module")
def place(world: World) -> World:
    with from_kubeconfig(world.kubernetes.kubeconfig) as cluster:
        apply(cluster, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    return world.with_blocks(cluster=cluster_block(world.kubernetes.kubeconfig, namespace=SPACE))


@contextmanager
def endpoints(place: World, *records: EndpointRecord) -> Iterator[None]:
    """Records, for as long as the block lasts."""
    with from_kubeconfig(place.kubernetes.kubeconfig) as cluster:
        write(cluster, *records)
        try:
            yield
        finally:
            for one in records:
                delete(cluster, "v1", "ConfigMap", record_name(one.spec.name), namespace=SPACE)


def repository(place: World, name: str, commits: int = 1) -> list[str]:
    """Makes a repository of so many commits; returns them, the oldest first."""
    return [
        place.hub_server.content.commit(name, {"config.json": f'{{"n": {number}}}'.encode()})
        for number in range(commits)
    ]


def refresh(place: World, **parameters: Any) -> State[Any]:
    return asyncio.run(refresh_models(**{**place.target(), "namespace": SPACE, **parameters}, return_state=True))


def report_of(state: State[Any]) -> RefreshReport:
    assert state.is_completed(), state.message
    return RefreshReport.model_validate(asyncio.run(state.aresult()))


def test_ten_endpoints_cost_one_request_per_repository(place: World) -> None:
    heads = {f"ten/model-{number}": repository(place, f"ten/model-{number}")[0] for number in range(4)}
    records = [
        record_only(f"ten-{number}", SPACE, repo, heads[repo])
        for number, repo in enumerate(sorted(heads) * 2 + ["ten/model-0"])
    ]
    dev = place.hub_server.content.commit("ten/model-0", {"a.json": b"{}"}, branch="dev")
    records.append(record_only("ten-dev", SPACE, "ten/model-0", dev, revision="dev"))
    with endpoints(place, *records):
        before = len(place.hub_server.requests)
        objects = place.objects()
        report = report_of(refresh(place))
        # The Hub's token follows the block, whatever the models do.
        changed = {name for name, seen in place.objects().items() if objects.get(name) != seen}
        assert changed <= {("Secret", "hf-token")}
    assert sorted(report.current) == sorted(f"{SPACE}/{one.spec.name}" for one in records)
    assert report.refreshed == []
    asked = Counter(one.path for one in place.hub_server.requests[before:])
    assert len(asked) == 4
    assert set(asked.values()) == {1}


def test_each_endpoint_gets_what_its_policy_says(place: World) -> None:
    old, new = repository(place, "mixed/model", 2)
    now = datetime.now(UTC)
    opens, closes = (f"{now + timedelta(hours=hours):%H:%M}" for hours in (2, 3))
    rejected = record_only("rejected", SPACE, "mixed/model", old)
    records = [
        record_only("pinned", SPACE, "mixed/model", old, refresh={"mode": "pinned"}),
        record_only("commit", SPACE, "mixed/model", old, revision=old),
        record_only("later", SPACE, "mixed/model", old, refresh={"opens": opens, "closes": closes}),
        record_only("current", SPACE, "mixed/model", new),
        rejected.model_copy(update={"rejected": Rejected(commit=new, reason="rolled back", at="")}),
        # One that cannot be looked up stops no other.
        record_only("gone", SPACE, "mixed/gone", old),
        # A run that asks refers to saved blocks; these are not.
        record_only("asking", SPACE, "mixed/model", old, refresh={"approval": True}),
    ]
    with endpoints(place, *records):
        state = refresh(place)
        assert state.is_failed()
        error = asyncio.run(state.aresult(raise_on_failure=False))
        assert isinstance(error, InferenceError)
        assert "2 of 7 endpoints were not refreshed" in str(error)
        assert "no repository mixed/gone" in str(error)
        assert "is not saved" in str(error)

        report = report_of(refresh(place, endpoint="later"))
        assert list(report.waiting) == [f"{SPACE}/later"]
        assert f"{opens} (UTC)" in report.waiting[f"{SPACE}/later"]
        before = len(place.hub_server.requests)
        assert report_of(refresh(place, endpoint="pinned")).current == [f"{SPACE}/pinned"]
        alone = asyncio.run(refresh_endpoint("pinned", **place.target(), return_state=True))
        assert (alone.name, alone.type) == (NOTHING_TO_DO, StateType.COMPLETED)
        assert len(place.hub_server.requests) == before
        report = report_of(refresh(place, repo_id="Mixed/Nobody"))
        assert report == RefreshReport()
        unknown = refresh(place, endpoint="nobody")
        assert unknown.is_failed()
        assert "no endpoint nobody" in str(unknown.message)


def test_nobody_is_asked_about_a_commit_that_another_run_went_beyond(place: World) -> None:
    old, new = repository(place, "beyond/model", 2)
    with endpoints(place, record_only("beyond", SPACE, "beyond/model", new, refresh={"approval": True})):
        state = asyncio.run(refresh_endpoint("beyond", **place.target(), commit=old, return_state=True))
        assert (state.name, state.type) == (NOTHING_TO_DO, StateType.COMPLETED), state.message


def secret(place: World, name: str) -> dict[str, Any] | None:
    with from_kubeconfig(place.kubernetes.kubeconfig) as cluster:
        return get(cluster, "v1", "Secret", name, SPACE)


def with_token(place: World, token: str) -> World:
    return dataclasses.replace(place, hub=HuggingFaceHub(token=SecretStr(token), endpoint=place.hub_server.url))


def test_a_changed_token_follows_and_an_expired_one_is_told(place: World) -> None:
    head = repository(place, "tokens/model")[0]
    theirs = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "theirs", "namespace": SPACE}}
    with from_kubeconfig(place.kubernetes.kubeconfig) as cluster:
        apply(cluster, {**theirs, "stringData": {"token": "by hand"}})
    records = [
        record_only("tok-one", SPACE, "tokens/model", head, token_secret="hf-follow"),
        record_only("tok-two", SPACE, "tokens/model", head, token_secret="hf-follow"),
        record_only("tok-theirs", SPACE, "tokens/model", head, token_secret="theirs"),
    ]
    with endpoints(place, *records):
        assert report_of(refresh(place)).secrets == [f"{SPACE}/hf-follow"]
        made = secret(place, "hf-follow")
        assert report_of(refresh(place)).secrets == []
        assert secret(place, "hf-follow") == made

        other = with_token(place, place.hub_server.token_without_access)
        assert report_of(refresh(other)).secrets == [f"{SPACE}/hf-follow"]
        changed = secret(place, "hf-follow")
        assert changed is not None
        assert base64.b64decode(changed["data"]["token"]).decode() == place.hub_server.token_without_access
        left = secret(place, "theirs")
        assert left is not None
        assert base64.b64decode(left["data"]["token"]) == b"by hand"

        state = refresh(with_token(place, place.hub_server.token_expired))
        assert state.is_failed()
        error = asyncio.run(state.aresult(raise_on_failure=False))
        assert isinstance(error, InferenceError)
        assert error.code == "hub.token_expired"
        assert str(error).count("has expired") == 1
        assert place.hub_server.token_expired not in str(error)
        assert secret(place, "hf-follow") == changed


def test_what_another_run_did_meanwhile_is_decided_about_anew(place: World) -> None:
    old, new = repository(place, "race/model", 2)
    behind = record_only("raced", SPACE, "race/model", old)

    def deploy_the_next(cluster: Cluster) -> None:
        newer = place.hub_server.content.commit("race/model", {"config.json": b"{}"})
        write(cluster, record_only("raced", SPACE, "race/model", newer))

    with endpoints(place, behind), other_run_until_the_hub_was_asked(place, "raced", deploy_the_next):
        report = report_of(refresh(place))
        # It goes neither back to the commit that was the newest when it was looked up, nor is it told to have moved.
        assert report == RefreshReport(current=[f"{SPACE}/raced"], secrets=report.secrets)
        with from_kubeconfig(place.kubernetes.kubeconfig) as cluster:
            record = read_record(SPACE, "raced", cluster)
    assert record is not None
    assert record.serving.model.commit not in (old, new)


def test_an_endpoint_that_goes_while_it_is_waited_for_leaves_nothing(place: World) -> None:
    behind = record_only("going", SPACE, "going/model", repository(place, "going/model", 2)[0])

    def remove(cluster: Cluster) -> None:
        delete(cluster, "v1", "ConfigMap", record_name("going"), namespace=SPACE)

    with endpoints(place, behind), other_run_until_the_hub_was_asked(place, "going", remove):
        report = report_of(refresh(place))
        assert report == RefreshReport(secrets=report.secrets)
    with from_kubeconfig(place.kubernetes.kubeconfig) as cluster:
        assert get(cluster, "coordination.k8s.io/v1", "Lease", lease_name("going"), SPACE) is None


def test_one_that_is_not_to_be_waited_for_is_busy_and_the_others_are_attended_to(place: World) -> None:
    head = repository(place, "busy/model", 2)[0]
    behind = record_only("a-busy", SPACE, "busy/model", head)
    gone = record_only("left", SPACE, "busy/model", head)
    left = gone.model_copy(update={"change": Change(action="remove", run="dead", started_at="")})
    with endpoints(place, behind, left), from_kubeconfig(place.kubernetes.kubeconfig) as cluster:
        with other_run(cluster, SPACE, "a-busy"):
            report = report_of(refresh(place, wait_minutes=0))
            single = refresh_endpoint("a-busy", **place.target(), namespace=SPACE, wait_minutes=0, return_state=True)
            refused = asyncio.run(single)
        assert report.busy == {f"{SPACE}/a-busy": f"Run {HOLDER} is changing it."}
        assert report.settled == [f"{SPACE}/left"]
        assert report.current == report.refreshed == []
        assert refused.is_failed()
        assert f"held by {HOLDER}" in str(refused.message)
        assert read_record(SPACE, "a-busy", cluster) == behind
        assert read_record(SPACE, "left", cluster) is None


def test_a_refresh_leaves_records_of_others_alone(place: World) -> None:
    old, _ = repository(place, "only/one", 2)
    untouched = record_only("untouched", SPACE, "only/one", old, refresh={"mode": "pinned"})
    with endpoints(place, untouched):
        report_of(refresh(place))
        with from_kubeconfig(place.kubernetes.kubeconfig) as cluster:
            assert read_record(SPACE, "untouched", cluster) == untouched
