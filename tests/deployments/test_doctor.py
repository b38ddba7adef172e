"""The doctor says what is missing on either side, with the fix."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolUpdate

from deployments.doctor import examine, main, show
from deployments.findings import Check, Health
from deployments.limits import ensure_limits
from deployments.look_at_cluster import cluster_side
from deployments.look_at_prefect import prefect_side, read_blocks
from deployments.look_at_stores import hub_side, store_side
from deployments.pools import PodSettings, ensure_pool
from deployments.prefect_yaml import PROCESS
from deployments.register import read, register
from deployments.rules import manifests
from kube.apply import apply
from kube.connect import from_kubeconfig
from tasks.limits import STAGING_LIMIT
from tests.conftest import prefect_of_its_own
from tests.deployments.test_automations import ask
from tests.deployments.test_permissions import PSA, USER
from tests.flows.conftest import GPU_CAPACITY, World, cluster_block, serve_world, store_block
from tests.flows.custom_kinds import DEFINITIONS

pytestmark = [pytest.mark.server, pytest.mark.long]

LISTING = "list-endpoints/list-endpoints"


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


def test_a_bucket_that_is_not_there_or_elsewhere(place: World) -> None:
    for fields, said in (
        ({"bucket": "no-such-bucket"}, "no-such-bucket does not exist"),
        ({"region": "eu-central-1"}, f"lies in {place.s3.region}, but the model store is set to eu-central-1"),
    ):
        [found] = asyncio.run(store_side(store_block(place.s3, **fields)))
        assert found.health is Health.FAILED
        assert said in found.what
        assert found.fix


def test_a_cluster_that_cannot_be_used(place: World, tmp_path: Path) -> None:
    elsewhere_block = cluster_block(place.kubernetes.kubeconfig, namespace="elsewhere")
    elsewhere = named(asyncio.run(cluster_side(elsewhere_block)), "namespace")
    assert [(one.health, one.fix) for one in elsewhere] == [(Health.FAILED, "kubectl create namespace elsewhere")]
    gone = tmp_path / "gone"
    gone.write_text(place.kubernetes.kubeconfig.read_text().replace(place.kubernetes.url, "https://127.0.0.1:1"))
    [found] = asyncio.run(cluster_side(cluster_block(gone)))
    assert (found.name, found.health) == ("cluster", Health.FAILED)
    assert "127.0.0.1:1" in found.what
    assert found.fix


def test_an_operator_that_was_installed_is_seen(place: World) -> None:
    def keda() -> list[Health]:
        return [one.health for one in named(asyncio.run(cluster_side(place.cluster)), "operator") if "KEDA" in one.what]

    assert keda() == [Health.WARNING]
    [scaled] = [one for one in DEFINITIONS if one["spec"]["names"]["kind"] == "ScaledObject"]
    place.kubernetes.install_crd(scaled)
    assert keda() == [Health.OK]


async def save_blocks(place: World) -> None:
    """Saves copies: a block keeps the id that it got on the server where it was saved."""
    for block in (place.hub, place.store, place.cluster):
        await type(block)(**dict(block)).asave("default", overwrite=True)


def test_prefects_side_with_one_thing_missing_at_a_time(place: World, tmp_path: Path) -> None:
    """Each is told with its fix, and what is as it should be is not named."""

    async def set_up(client: PrefectClient) -> None:
        await save_blocks(place)
        await ensure_pool(client, PROCESS, PodSettings())
        await ensure_limits(client)
        await register(read(), client=client)

    async def look(_: PrefectClient) -> dict[str, str]:
        checks = [*(await read_blocks())[1], *await prefect_side(PROCESS)]
        return {one.what: one.fix for one in checks if one.health is not Health.OK}

    async def paused(client: PrefectClient) -> None:
        await client.update_work_pool(PROCESS.name, WorkPoolUpdate(is_paused=True))

    async def resumed(client: PrefectClient) -> None:
        await client.update_work_pool(PROCESS.name, WorkPoolUpdate(is_paused=False))

    async def without_limit(client: PrefectClient) -> None:
        await client.delete_global_concurrency_limit_by_name(STAGING_LIMIT)

    async def with_limit(client: PrefectClient) -> None:
        await ensure_limits(client)

    async def outdated(client: PrefectClient) -> None:
        there = await client.read_deployment_by_name(LISTING)
        await client.update_deployment(there.id, DeploymentUpdate(description="old"))

    async def without_deployment(client: PrefectClient) -> None:
        there = await client.read_deployment_by_name(LISTING)
        await client.delete_deployment(there.id)

    async def with_deployment(client: PrefectClient) -> None:
        await register([one for one in read() if one["name"] == "list-endpoints"], client=client)

    again = "python -m deployments.bootstrap --pool process"
    with prefect_of_its_own(tmp_path):
        ask(set_up)
        before = ask(look)
        assert not [what for what in before if "block" in what or what[:1].isdigit()], before
        for take, give, what, fix in (
            (paused, resumed, "inference is paused.", "prefect work-pool resume inference"),
            (without_limit, with_limit, f"There is no limit {STAGING_LIMIT}", "python -m deployments.bootstrap"),
            (outdated, with_deployment, f"1 are not as the catalogue says now: {LISTING}.", again),
            (without_deployment, with_deployment, f"1 are not registered: {LISTING}.", again),
        ):
            ask(take)
            [(told, how)] = (ask(look).items() - before.items()) or [("nothing", "")]
            assert told.startswith(what)
            assert how == fix
            ask(give)
            assert ask(look) == before

        async def without_block(client: PrefectClient) -> None:
            document = await client.read_block_document_by_name("default", "hugging-face-hub")
            await client.delete_block_document(document.id)

        # The deployments name the block that is gone: they are told as well.
        ask(without_block)
        more = dict(ask(look).items() - before.items())
        assert more.pop("hugging-face-hub/default is not there.") == "python -m deployments.bootstrap makes it."
        assert set(more.values()) == {again}


def test_prefects_side(place: World, capsys: pytest.CaptureFixture[str]) -> None:
    async def save() -> None:
        await save_blocks(place)
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
