"""The doctor says what is missing on either side, with the fix."""

import asyncio
from typing import Any

import pytest
from prefect.client.orchestration import get_client

from deployments.doctor import examine, main, show
from deployments.findings import Check, Health
from deployments.look_at_cluster import cluster_side
from deployments.look_at_stores import hub_side, store_side
from deployments.pools import PodSettings, ensure_pool
from deployments.prefect_yaml import PROCESS
from deployments.rules import manifests
from kube.apply import apply
from kube.connect import from_kubeconfig
from tests.deployments.test_permissions import PSA, USER
from tests.flows.conftest import GPU_CAPACITY, World, cluster_block, serve_world, store_block

pytestmark = [pytest.mark.server, pytest.mark.long]


def named(checks: list[Check], name: str) -> list[Check]:
    return [one for one in checks if one.name == name]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> Any:
    """A cluster with the shipped rules for the flow runs."""
    with serve_world(tmp_path_factory.mktemp("doctor"), gpu_a=GPU_CAPACITY) as world:
        server = world.kubernetes
        with from_kubeconfig(server.kubeconfig) as cluster:
            for one in sorted(manifests(), key=lambda one: (one["kind"] != "Namespace", "Binding" in one["kind"])):
                if one["metadata"].get("namespace") == "envoy-gateway-system":
                    continue
                one["metadata"].get("labels", {}).pop(PSA, None)
                apply(cluster, one)
        yield world.with_blocks(cluster=cluster_block(server.write_kubeconfig(server.add_token(USER), "flows")))


def test_an_installation_as_it_should_be(place: World) -> None:
    checks = asyncio.run(cluster_side(place.cluster))
    assert not [one for one in checks if one.health is Health.FAILED], show(checks)
    assert "rights of deployments/rbac are granted" in named(checks, "permissions")[0].what
    assert "4 nvidia.com/gpu on 1 nodes" in named(checks, "accelerators")[0].what
    # What is not installed is a note with the way to get it.
    notes = {one.what: one.fix for one in named(checks, "operator") if one.health is Health.WARNING}
    assert any("KEDA" in what and "helm install keda" in fix for what, fix in notes.items())
    assert asyncio.run(hub_side(place.hub))[0].health is Health.OK
    assert asyncio.run(store_side(place.store))[0].health is Health.OK


def test_a_right_that_is_missing_is_named_with_its_rule(place: World) -> None:
    role = next(one for one in manifests() if one["metadata"]["name"] == "inference-flows" and "rules" in one)
    rules = [one for one in role["rules"] if one["resources"] != ["leases"]]
    with from_kubeconfig(place.kubernetes.kubeconfig) as admin:
        apply(admin, {**role, "rules": rules})
        try:
            found = named(asyncio.run(cluster_side(place.cluster)), "permissions")
        finally:
            apply(admin, role)
    assert [one.health for one in found] == [Health.FAILED]
    assert "leases" in found[0].what
    assert 'resources: ["leases"]' in found[0].fix


def test_a_store_and_a_hub_that_refuse(place: World) -> None:
    pair = place.s3.reader
    store = store_block(place.s3, access_key=pair.access_key, secret_key=pair.secret_key)
    found = asyncio.run(store_side(store))[0]
    assert found.health is Health.FAILED
    assert "s3:PutObject" in found.what + found.fix
    hub = place.hub.model_copy(update={"token": type(place.hub.token)("hf_marked_doctor")})
    found = asyncio.run(hub_side(hub))[0]
    assert found.health is Health.FAILED
    assert "does not accept the token" in found.what
    assert "hf_marked_doctor" not in found.what + found.fix


def test_prefects_side(place: World, capsys: pytest.CaptureFixture[str]) -> None:
    async def save() -> None:
        for block in (place.hub, place.store, place.cluster):
            await block.asave("default", overwrite=True)
        async with get_client() as client:
            await ensure_pool(client, PROCESS, PodSettings())

    asyncio.run(save())
    checks = asyncio.run(examine())
    worker = named(checks, "worker")[0]
    assert (worker.health, worker.fix) == (Health.FAILED, "prefect worker start --pool inference")
    assert any("not registered" in one.what for one in named(checks, "deployments"))
    assert len(named(checks, "block")) == 3
    assert named(checks, "permissions")[0].health is Health.OK
    assert main(["--json"]) == 1
    printed = capsys.readouterr().out
    for secret in (place.hub_server.token, place.s3.secret_key):
        assert secret not in printed
