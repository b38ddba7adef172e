"""Marked secrets through the flows, well and badly; then none anywhere but in Secrets and block documents."""

import asyncio
import base64
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tblib.pickling_support
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_LOGGING_LEVEL, PREFECT_RESULTS_PERSIST_BY_DEFAULT
from prefect_aws import AwsCredentials
from pydantic import SecretStr

from blocks.hub import HuggingFaceHub
from flows.benchmark_endpoint import LoadEngine, LoadOptions, benchmark_endpoint
from flows.check_endpoints import check_endpoints
from flows.deploy_model import deploy_model
from flows.list_endpoints import list_endpoints
from flows.prune_models import prune_models
from flows.refresh_models import refresh_models
from flows.remove_endpoint import remove_endpoint
from flows.rollback_endpoint import rollback_endpoint
from flows.stage_model import stage_model
from kube.apply import apply
from kube.connect import from_kubeconfig
from sandbox.faults import Status
from sandbox.images import default_images
from sandbox.kubernetes.node.config import ImageConfig
from sandbox.prefect_server import PrefectServer, serve_prefect, wait_until_healthy
from sandbox.tiny_models import add_revision
from serving.benchmark.job import JobOptions
from serving.catalog import Overrides
from serving.models import ModelSource
from tests.conftest import reporting_to
from tests.flows import conftest
from tests.flows.conftest import GPU_CAPACITY, NAMESPACE, World, cluster_block, serve_world, store_block
from tests.flows.leaks import Leak, in_database, in_files, search, tables

pytestmark = [pytest.mark.server, pytest.mark.long, pytest.mark.timeout(900)]

TOLD = "S3 denies the pod access"
"""What the pod that prints its environment ends with."""

TELLING = ImageConfig("telling/*", path=Path(__file__).parents[1] / "data" / "telling_image")
WRONG_TOKEN = "hf_MarkedWrongTokenMarkedWrongToken42"
SESSION_TOKEN = "IQoJMarkedSession/Token+MarkedSessionToken=="
WRONG_KUBE_TOKEN = "MarkedKubeTokenMarkedKubeToken-42"
ENDPOINT = "marked-chat"
REPO = "NousResearch/Llama-3.2-1B"
PASSED = Overrides.read({"name": ENDPOINT, "pod": {"drain_seconds": 0}, "store_secret": "s3-keys"})
SHORT = LoadOptions(rates=(4,), stage_seconds=1, input_tokens=8, output_tokens=4)


@dataclass
class Place:
    """Servers of this test's own, and every secret that goes through them."""

    home: Path
    prefect: PrefectServer
    world: World
    secrets: dict[str, str]
    states: list[State[Any]]

    def run(self, flow: Any, *arguments: Any, **parameters: Any) -> State[Any]:
        """Runs a flow and keeps how it ended."""
        state: State[Any] = asyncio.run(flow(*arguments, **parameters, return_state=True))
        self.states.append(state)
        return state

    def must_fail(self, state: State[Any], said: str) -> None:
        """Holds that a run failed for the reason that was meant."""
        assert state.is_failed(), state
        assert said in str(state.message), state.message

    def deploy(self, world: World, **overrides: Any) -> State[Any]:
        given = Overrides.read(PASSED.model_dump(exclude_unset=True, mode="json") | overrides)
        return self.run(deploy_model, "llama-32-1b-vllm", **world.target(), overrides=given, timeout_minutes=1)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    home = tmp_path / "prefect"
    monkeypatch.setattr(conftest, "default_images", lambda: (TELLING, *default_images()))
    with ExitStack() as stack:
        prefect = stack.enter_context(serve_prefect(home))
        world = stack.enter_context(serve_world(tmp_path / "world", gpu_a=GPU_CAPACITY, gpu_b=GPU_CAPACITY))
        wait_until_healthy(prefect)
        everything = {PREFECT_RESULTS_PERSIST_BY_DEFAULT: True, PREFECT_LOGGING_LEVEL: "DEBUG"}
        stack.enter_context(reporting_to(prefect, everything))
        private = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        secrets = {
            "Hub token": world.hub_server.token,
            "Hub token without access": world.hub_server.token_without_access,
            "wrong Hub token": WRONG_TOKEN,
            "AWS secret key": world.s3.secret_key,
            "denied AWS secret key": world.s3.denied.secret_key,
            "AWS session token": SESSION_TOKEN,
            "kubeconfig token": world.kubernetes.admin_token,
            "wrong kubeconfig token": WRONG_KUBE_TOKEN,
            "client key": private.decode().splitlines()[1],
        }
        yield Place(home, prefect, world_with_client_key(world, private), secrets, [])


def world_with_client_key(world: World, private: bytes) -> World:
    """The same cluster by a kubeconfig that holds a client key besides its token."""
    config = yaml.safe_load(world.kubernetes.kubeconfig.read_text())
    config["users"][0]["user"] |= {"client-key-data": base64.b64encode(private).decode()}
    path = world.kubernetes.kubeconfig.with_name("with-key")
    path.write_text(yaml.safe_dump(config))
    return world.with_blocks(cluster=cluster_block(path))


def store_keys(world: World) -> None:
    """The Secret from which pods read the store."""
    with from_kubeconfig(world.kubernetes.kubeconfig) as cluster:
        keys = {"AWS_ACCESS_KEY_ID": world.s3.access_key, "AWS_SECRET_ACCESS_KEY": world.s3.secret_key}
        metadata = {"name": "s3-keys", "namespace": NAMESPACE}
        apply(cluster, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": keys})


def what_works(place: Place) -> None:
    """A whole life: staged, deployed twice, loaded in both ways, refreshed, rolled back, listed, removed."""
    world = place.world
    loaded = {"cluster": world.cluster, "store": world.store, "load": SHORT, "timeout_minutes": 2}
    job = JobOptions(cpu="100m", memory="256Mi")
    states = [
        place.run(stage_model, ModelSource(repo_id="Qwen/Qwen3-1.7B"), hub=world.hub, store=world.store),
        place.deploy(world),
        place.deploy(world, env={"CHANGED": "yes"}),
        place.run(benchmark_endpoint, ENDPOINT, **loaded),
        place.run(benchmark_endpoint, ENDPOINT, **loaded, engine=LoadEngine.INFERENCE_PERF, job=job),
    ]
    add_revision(world.hub_server.content, REPO, cache=place.home.parent, seed=7, size=300_000)
    states += [
        place.run(refresh_models, **world.target(), namespace=NAMESPACE),
        place.run(rollback_endpoint, ENDPOINT, **world.target()),
        place.run(list_endpoints, world.cluster, hub=world.hub),
        place.run(check_endpoints, world.cluster, world.store),
        place.run(prune_models, world.cluster, world.store, keep_days=0, dry_run=False),
    ]
    assert [state.message for state in states if not state.is_completed()] == []


def what_fails(place: Place) -> None:
    """Refusals of every server, several of which repeat what they were sent; and a pod that tells its environment."""
    world, kubernetes = place.world, place.world.kubernetes
    wrong_hub = HuggingFaceHub(token=SecretStr(WRONG_TOKEN), endpoint=world.hub_server.url)
    stranger = HuggingFaceHub(token=SecretStr(world.hub_server.token_without_access), endpoint=world.hub_server.url)
    session = AwsCredentials(
        aws_access_key_id="ASIAMARKED",
        aws_secret_access_key=SecretStr(world.s3.secret_key),
        aws_session_token=SESSION_TOKEN,
    )
    denied = store_block(world.s3, access_key=world.s3.denied.access_key, secret_key=world.s3.denied.secret_key)
    unknown = cluster_block(kubernetes.write_kubeconfig(WRONG_KUBE_TOKEN, "wrong-token"))
    cases: list[tuple[World, dict[str, Any], str]] = [
        (world.with_blocks(hub=wrong_hub), {}, "token"),
        (world.with_blocks(hub=stranger), {"model": "meta-llama/Llama-3.1-8B-Instruct"}, "licence"),
        (world.with_blocks(store=denied), {}, "s3:"),
        (world.with_blocks(store=store_block(world.s3, credentials=session)), {}, "credentials"),
        (world.with_blocks(cluster=unknown), {}, "does not accept the credentials"),
        (world, {"name": "telling", "image": "telling/vllm:1", "weights": "sync"}, TOLD),
    ]
    for on, overrides, said in cases:
        place.must_fail(place.deploy(on, **overrides), said)

    told = Status(401, {"X-Error-Message": f"no such token: {WRONG_TOKEN}"}, WRONG_TOKEN.encode())
    world.hub_server.faults.add(told, times=None)
    place.must_fail(place.deploy(world.with_blocks(hub=wrong_hub)), "token")
    world.hub_server.faults.clear()
    said = f"<Error><Code>SignatureDoesNotMatch</Code><Message>{SESSION_TOKEN} {world.s3.secret_key}</Message></Error>"
    world.s3.faults.add(Status(403, {"Content-Type": "application/xml"}, said.encode()), times=None)
    place.must_fail(place.deploy(world), "SignatureDoesNotMatch")
    world.s3.faults.clear()


def by_another_process(place: Place) -> None:
    """Saved blocks and a process of its own, as a user has it, which prints all that it holds."""
    world = place.world
    for block in (world.hub, world.store, world.cluster):
        block.save("marked", overwrite=True)
    program = (
        "import asyncio, sys, json\n"
        "from flows.deploy_model import deploy_model\n"
        "from blocks.cluster import InferenceCluster\n"
        "from blocks.hub import HuggingFaceHub\n"
        "from blocks.store import ModelStore\n"
        "from serving.catalog import Overrides\n"
        "given = {'cluster': InferenceCluster.load('marked'), 'hub': HuggingFaceHub.load('marked'),"
        " 'store': ModelStore.load('marked')}\n"
        "for model in ('NousResearch/Llama-3.2-1B', 'NousResearch/none'):\n"
        "    overrides = Overrides.read({'name': 'marked-chat', 'model': model, 'pod': {'drain_seconds': 0}})\n"
        "    state = asyncio.run(deploy_model('llama-32-1b-vllm', **given, overrides=overrides, return_state=True))\n"
        "    print(repr(state), repr(given))\n"
    )
    env = {**place.prefect.env, "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true", "PREFECT_LOGGING_LEVEL": "DEBUG"}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, check=False, cwd=Path(__file__).parents[2]
    )
    (place.home / "process.log").write_bytes(ended.stdout + ended.stderr)
    assert ended.returncode == 0, ended.stderr[-2000:].decode()


def left_on_servers(world: World, secrets: Mapping[str, str]) -> Iterator[Leak]:
    """What the servers were asked, and what the store and the cluster hold but for Secrets."""
    for name, log in (
        ("Hub", world.hub_server.requests),
        ("S3", world.s3.requests),
        ("Kubernetes", world.kubernetes.request_log),
    ):
        yield from search(repr(log).encode(), f"the request log of {name}", secrets)
    yield from search(b"".join(_kept_in_store(world)), "the store", secrets)
    yield from search(_objects_but_secrets(world), "the cluster", secrets)


def left_in_prefect(place: Place, secrets: Mapping[str, str]) -> Iterator[Leak]:
    """What Prefect's server keeps and tells, files of its home with results and logs, and the states' own texts."""
    yield from in_database(place.home / "prefect.db", secrets)
    yield from in_files(place.home, secrets)
    for state in place.states:
        yield from search(f"{state!r} {state.message}".encode(), "a state", secrets)
    # Encrypted at rest, and told to nobody who does not ask for secrets.
    yield from search(asyncio.run(_block_documents()).encode(), "block documents", secrets)


def _kept_in_store(world: World) -> Iterator[bytes]:
    from staging.store import s3

    client = s3(world.store.access())
    for key in world.s3.keys("models"):
        if not key.endswith(".safetensors"):
            yield client.get_object(Bucket="models", Key=key)["Body"].read()


def _objects_but_secrets(world: World) -> bytes:
    from kube.read import list_
    from tasks.kinds import COMMON, DEPLOYMENT

    kinds = (DEPLOYMENT, *COMMON, ("batch/v1", "Job"), ("v1", "Pod"), ("v1", "Event"), ("apps/v1", "ReplicaSet"))
    with from_kubeconfig(world.kubernetes.kubeconfig) as cluster:
        return repr([list_(cluster, *kind, "*") for kind in kinds]).encode()


async def _block_documents() -> str:
    async with get_client() as client:
        answer = await client._client.post("/block_documents/filter", json={"include_secrets": False})
        return str(answer.text)


def test_no_marked_secret_is_left_anywhere(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    world = place.world
    tblib.pickling_support.install()  # as Dask does: exceptions that are kept then carry what they came from
    store_keys(world)
    what_works(place)
    what_fails(place)
    by_another_process(place)
    leaks = [*left_on_servers(world, place.secrets)]
    # What is no secret is found everywhere: a search that reads nothing would find nothing.
    told = {"endpoint": ENDPOINT, "model": REPO}
    places = {leak.where for leak in left_on_servers(world, told)}
    assert places == {
        *(f"the request log of {name}" for name in ("Hub", "S3", "Kubernetes")),
        "the store",
        "the cluster",
    }
    ended = place.run(remove_endpoint, ENDPOINT, world.cluster, world.store, staged_models=True)
    assert ended.is_completed(), ended.message

    written = tables(place.home / "prefect.db")
    assert {"flow_run", "task_run", "log", "artifact", "events", "block_document"} <= set(written)
    places = {leak.where for leak in left_in_prefect(place, told)}
    columns = ("flow_run, column parameters", "log, column message", "artifact, column data", "events, column payload")
    assert {*(f"table {column}" for column in columns), "process.log", "a state"} <= places
    assert any(where.startswith("storage/") for where in places)
    captured = capfd.readouterr()
    leaks += [*left_on_servers(world, place.secrets), *left_in_prefect(place, place.secrets)]
    leaks += search(f"{captured.out}{captured.err}".encode(), "the output of the process", place.secrets)
    assert "\n".join(sorted({str(leak) for leak in leaks})) == ""
