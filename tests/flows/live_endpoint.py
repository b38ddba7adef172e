"""An endpoint of a branch of its own, what its runs leave of it, and a client that asks it all the time."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect.client.schemas.objects import State

from flows.deploy_vllm import deploy_vllm
from flows.parameters import WorkloadOptions
from kube.apply import apply
from kube.connect import Cluster, from_kubeconfig
from kube.discovery import find_kind
from kube.proxy import request
from kube.read import get
from kube.transport import call
from sandbox.tiny_models import add_revision
from sandbox.tiny_tokenizer import tokenizer
from serving.errors import ClusterError
from serving.models import ModelSource
from serving.record import ENDPOINT_LABEL, EndpointRecord
from tasks.record import lease_name, read_record
from tests.flows.conftest import World, cluster_block

REPO = "NousResearch/Llama-3.2-1B"
EVERY_SECONDS, WAIT_SECONDS = 0.1, 60.0


@dataclass(frozen=True)
class Spot:
    """A namespace and a branch of the model's, for one test file.

    Attributes:
        place: The servers; the cluster block is of this namespace.
        name: Of the namespace and of the branch.
        old: Commit that the branch is.
        new: A commit with other weights, which it may be moved to.
    """

    place: World
    name: str
    old: str
    new: str

    def move(self, commit: str) -> None:
        """Points the branch at a commit."""
        self.place.hub_server.content.move_revision(REPO, self.name, commit)

    @contextmanager
    def connected(self) -> Iterator[Cluster]:
        """The cluster, for a test's own questions."""
        with from_kubeconfig(self.place.kubernetes.kubeconfig) as cluster:
            yield cluster

    def record(self, endpoint: str) -> EndpointRecord | None:
        """The endpoint's record."""
        with self.connected() as cluster:
            return read_record(self.name, endpoint, cluster)

    def deployment(self, endpoint: str, *, strategy: str = "blue-green", **workload: Any) -> dict[str, Any]:
        """Parameters of a deploy whose endpoint follows the branch."""
        given = {
            "pod": {"drain_seconds": 1},
            "rollout": {"strategy": strategy, "retire_after": 1},
            "weights": "stream",
            **workload,
        }
        return {
            "endpoint": endpoint,
            "model": ModelSource(repo_id=REPO, revision=self.name),
            "image": "vllm/vllm-openai:v0.18.0",
            "workload": WorkloadOptions.model_validate(given),
            **self.place.target(),
        }

    def deploy(self, endpoint: str, **workload: Any) -> EndpointRecord:
        """Brings an endpoint up; its record."""
        completed(deploy_vllm(**self.deployment(endpoint, **workload), return_state=True))
        record = self.record(endpoint)
        assert record is not None
        return record


def make_spot(world: World, name: str, cache: Path) -> Spot:
    """Makes the namespace and the branch."""
    with from_kubeconfig(world.kubernetes.kubeconfig) as cluster:
        apply(cluster, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    place = world.with_blocks(cluster=cluster_block(world.kubernetes.kubeconfig, namespace=name))
    old, new = (
        add_revision(world.hub_server.content, REPO, cache=cache, seed=seed, size=300_000, branch=name)
        for seed in (1, 7)
    )
    spot = Spot(place, name, old, new)
    spot.move(old)
    return spot


def mute_tokenizer() -> bytes:
    """A tokenizer.json with which every answer is empty."""
    made = json.loads(tokenizer("llama").to_str())
    made["decoder"] = {"type": "Replace", "pattern": {"Regex": "[\\s\\S]"}, "content": ""}
    return json.dumps(made).encode()


EXPIRED = "2026-01-01T00:00:00.000000Z"
"""When a lease was last renewed whose time a test lets be over."""


def let_lease_expire(cluster: Cluster, namespace: str, endpoint: str) -> None:
    """As if the seconds of a killed run's lease had passed."""
    kind, name = ("coordination.k8s.io/v1", "Lease"), lease_name(endpoint)
    lease = get(cluster, *kind, name, namespace)
    if lease is not None:
        lease["spec"]["renewTime"] = EXPIRED
        path = find_kind(cluster, *kind).path(namespace, name)
        assert call(cluster, "PUT", path, doing="let the lease expire", body=lease).status == 200


def completed(run: Any) -> Any:
    """Runs a flow that must complete; its result."""
    state: State[Any] = asyncio.run(run)
    assert state.is_completed(), state.message
    return asyncio.run(state.aresult())


def wait_until(true: Callable[[], bool]) -> None:
    """Waits for what controllers do in their own time."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.2)


def ask(cluster: Cluster, namespace: str, endpoint: str, model: str = REPO) -> str:
    """The endpoint's answer to a question that other weights answer otherwise.

    Raises:
        ClusterError: Nobody answers.
    """
    body = {"model": model, "prompt": "one two three", "max_tokens": 8, "temperature": 0}
    reply = request(cluster, "POST", namespace, endpoint, "http", "/v1/completions", json=body, timeout=30.0)
    if reply.status != 200:
        raise ClusterError(f"{reply.status}: {reply.text}", code="proxy.status")
    return str(reply.json()["choices"][0]["text"])


def all_objects(cluster: Cluster, namespace: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object in a namespace, of all kinds that can be listed, with the plural of its kind."""

    def read(path: str) -> dict[str, Any]:
        reply = call(cluster, "GET", path, doing=f"read {path}")
        assert reply.status == 200, (path, reply.status)
        document: dict[str, Any] = reply.json()
        return document

    groups = [version["groupVersion"] for group in read("/apis")["groups"] for version in group["versions"]]
    for root in ("/api/v1", *(f"/apis/{group}" for group in groups)):
        for resource in read(root)["resources"]:
            if resource["namespaced"] and "list" in resource["verbs"]:
                for one in read(f"{root}/namespaces/{namespace}/{resource['name']}")["items"]:
                    yield resource["name"], one


def everything(spot: Spot, endpoint: str) -> set[tuple[str, str]]:
    """Every object in the namespace that carries the endpoint's name or label, of all kinds that the API has."""
    with spot.connected() as cluster:
        return {
            (resource, one["metadata"]["name"])
            for resource, one in all_objects(cluster, spot.name)
            if resource != "events"  # the cluster's own history, for an hour
            and (
                (one["metadata"].get("labels") or {}).get(ENDPOINT_LABEL) == endpoint
                or one["metadata"]["name"] == endpoint
                or one["metadata"]["name"].startswith(f"{endpoint}-")
            )
        }


@dataclass
class Client:
    """What a client got that asks ten times a second, whatever became of its earlier questions.

    Attributes:
        answers: When it asked, on the monotonic clock, and what it got; None for a request that failed.
        errors: What the failed requests said.
    """

    answers: list[tuple[float, str | None]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def texts(self) -> list[str | None]:
        """What it got, in the order of asking."""
        return [text for _, text in sorted(self.answers)]

    @property
    def gap(self) -> tuple[float, float] | None:
        """When it asked the first question that failed, and the last; None if none did."""
        failed = [at for at, text in self.answers if text is None]
        return (min(failed), max(failed)) if failed else None


@contextmanager
def client(spot: Spot, endpoint: str, model: str = REPO, every: float = EVERY_SECONDS) -> Iterator[Client]:
    """A client that asks for as long as the block lasts, so many seconds apart; each question is asked once."""
    found, stop = Client(), threading.Event()

    def question(cluster: Cluster) -> None:
        at = time.monotonic()
        try:
            text: str | None = ask(cluster, spot.name, endpoint, model)
        except ClusterError as error:
            text = None
            found.errors.append(str(error))
        found.answers.append((at, text))

    def work() -> None:
        with spot.connected() as cluster, ThreadPoolExecutor(20) as pool:
            while not stop.wait(every):
                pool.submit(question, cluster)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()
