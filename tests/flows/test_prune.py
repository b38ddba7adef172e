"""Pruning takes what no release uses, and never what one does: serving, coming up, kept for rollback, being staged."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from prefect.client.schemas.objects import State

from flows.prune_models import PruneReport, prune_models
from kube.apply import apply
from kube.connect import Cluster, from_kubeconfig
from kube.delete import delete
from kube.lease import LeaseTerms, held
from serving.models import ModelSource, StagedModel
from serving.record import ENDPOINT_LABEL, Change, EndpointRecord, record_name
from staging.engine import stage
from staging.holder import this_process
from staging.hub import pin
from staging.journal import JournalEntry
from staging.layout import journal_key
from staging.manifest import find_staged
from staging.plan import plan
from staging.store import s3
from tasks.record import lease_name
from tests.flows.conftest import World, cluster_block, store_block
from tests.flows.records import record_only, write

pytestmark = pytest.mark.server
SPACE = "pruning"
REPO = "prune/model"
ROLES = ("serving", "candidate", "previous", "oldest", "staging", "unused")


@pytest.fixture(scope="module")
def place(world: World) -> World:
    """A store of its own in the bucket: what other files stage is none of this one's."""
    with from_kubeconfig(world.kubernetes.kubeconfig) as cluster:
        apply(cluster, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    block = cluster_block(world.kubernetes.kubeconfig, namespace=SPACE)
    return world.with_blocks(cluster=block, store=store_block(world.s3, prefix="pruning"))


@pytest.fixture(scope="module")
def staged(place: World) -> dict[str, StagedModel]:
    """A staged commit for each role."""
    found = {}
    for number, role in enumerate(ROLES):
        place.hub_server.content.commit(REPO, {"config.json": f'{{"n": {number}}}'.encode(), "w.bin": role.encode()})
        pinned = pin(ModelSource(repo_id=REPO), place.hub.access())
        found[role] = stage(plan(pinned, place.hub.access(), place.store.access())).staged
    return found


@pytest.fixture
def cluster(place: World) -> Iterator[Cluster]:
    with from_kubeconfig(place.kubernetes.kubeconfig) as connection:
        yield connection


@pytest.fixture
def used(place: World, staged: dict[str, StagedModel], cluster: Cluster) -> Iterator[EndpointRecord]:
    """An endpoint whose releases use all but ``staging`` and ``unused``; the former is being staged now."""

    def release(role: str) -> Any:
        one = staged[role]
        return record_only("user", SPACE, REPO, one.model.commit, staged_uri=one.uri).serving

    moment = datetime.now(UTC).isoformat(timespec="seconds")
    record = EndpointRecord(
        change=Change(action="deploy", run="r", started_at=moment),
        current=release("serving"),
        candidate=release("candidate"),
        previous=(release("previous"), release("oldest")),
    )
    write(cluster, record)
    store, key = place.store.access(), journal_key("pruning", staged["staging"].model)
    body = JournalEntry(run="r", holder=this_process()).model_dump_json().encode()
    s3(store).put_object(Bucket=store.bucket, Key=key, Body=body)
    yield record
    s3(store).delete_object(Bucket=store.bucket, Key=key)
    delete(cluster, "v1", "ConfigMap", record_name("user"), namespace=SPACE)


def run(place: World, **parameters: Any) -> State[Any]:
    given = {"cluster": place.cluster, "store": place.store, "keep_days": 0, **parameters}
    return asyncio.run(prune_models(**given, return_state=True))


def pruned(place: World, **parameters: Any) -> PruneReport:
    state = run(place, **parameters)
    assert state.is_completed(), state.message
    return PruneReport.model_validate(asyncio.run(state.aresult()))


def there(place: World, staged: dict[str, StagedModel]) -> set[str]:
    return {role for role, one in staged.items() if find_staged(one.model, place.store.access())}


@pytest.mark.long
@pytest.mark.usefixtures("used")
def test_what_is_kept_can_be_widened_and_what_is_uncertain_stays(
    place: World, staged: dict[str, StagedModel], cluster: Cluster
) -> None:
    unused = [f"{REPO}@{staged['unused'].model.commit}"]
    assert pruned(place, keep_days=1).commits == []
    assert pruned(place, keep_newest=1).commits == []
    oldest = [f"{REPO}@{staged['oldest'].model.commit}"]
    assert sorted(pruned(place, keep_releases=1).commits) == sorted(unused + oldest)

    # While a run changes an endpoint, nobody knows what it will use.
    terms = LeaseTerms(namespace=SPACE, name=lease_name("user"), holder="a-run", labels={ENDPOINT_LABEL: "user"})
    with held(cluster, terms):
        busy = run(place, dry_run=False)
    assert busy.is_failed()
    assert f"{SPACE}/user is being changed by a run" in str(busy.message)
    unknown = run(place, dry_run=False, other_clusters=["nowhere"])
    assert unknown.is_failed()
    assert "inference-cluster/nowhere" in str(unknown.message)
    assert there(place, staged) == set(ROLES)


@pytest.mark.usefixtures("used")
def test_only_what_nobody_uses_goes_and_only_when_asked_to(place: World, staged: dict[str, StagedModel]) -> None:
    unused = [f"{REPO}@{staged['unused'].model.commit}"]
    assert pruned(place) == PruneReport(
        removed=False, commits=unused, remains=[], uploads=0, bytes=staged["unused"].total_bytes
    )
    assert there(place, staged) == set(ROLES)
    assert pruned(place, dry_run=False).commits == unused
    assert there(place, staged) == set(ROLES) - {"unused"}
    assert pruned(place, dry_run=False).commits == []


def test_a_record_that_cannot_be_read_stops_everything(
    place: World, staged: dict[str, StagedModel], cluster: Cluster
) -> None:
    before = there(place, staged)
    broken = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "broken-record",
            "namespace": SPACE,
            "labels": {"inference-flows/record": "true", ENDPOINT_LABEL: "broken"},
        },
        "data": {"record.json": "{}"},
    }
    apply(cluster, broken)
    try:
        state = run(place, dry_run=False)
    finally:
        delete(cluster, "v1", "ConfigMap", "broken-record", namespace=SPACE)
    assert state.is_failed()
    assert "broken-record" in str(state.message)
    assert there(place, staged) == before


def test_a_workload_without_a_record_keeps_its_weights(
    place: World, staged: dict[str, StagedModel], cluster: Cluster
) -> None:
    """A run that died before it wrote the record has left pods that read them."""
    one = staged["serving"]
    workload = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "orphan",
            "namespace": SPACE,
            "labels": {ENDPOINT_LABEL: "orphan"},
            "annotations": {"inference-flows/staged-model": one.uri},
        },
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "orphan"}},
            "template": {
                "metadata": {"labels": {"app": "orphan"}},
                "spec": {"containers": [{"name": "a", "image": "sandbox/python:3"}]},
            },
        },
    }
    apply(cluster, workload)
    try:
        assert f"{REPO}@{one.model.commit}" not in pruned(place).commits
    finally:
        delete(cluster, "apps/v1", "Deployment", "orphan", namespace=SPACE)
    assert f"{REPO}@{one.model.commit}" in pruned(place).commits
