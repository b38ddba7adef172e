"""The long proofs of releases: who asks all the time gets an answer; bad revisions; two runs at once; nothing left."""

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from flows.deploy_vllm import deploy_vllm
from flows.refresh_models import RefreshReport, refresh_models
from flows.remove_endpoint import remove_endpoint
from flows.rollback_endpoint import rollback_endpoint
from kube.apply import apply
from kube.proxy import stream
from kube.read import list_
from sandbox.tiny_tokenizer import tokenizer
from serving.errors import ClusterError, InferenceError
from serving.events import EndpointFailed, EndpointRefreshFailed
from serving.frameworks.labels import RELEASE_LABEL
from serving.record import ENDPOINT_LABEL, ReleaseState
from tasks.live import holders
from tests.flows.conftest import World
from tests.flows.live_endpoint import (
    REPO,
    Spot,
    ask,
    client,
    completed,
    everything,
    make_spot,
    mute_tokenizer,
    wait_until,
)
from tests.flows.other_run import other_run
from tests.flows.told import post, runs_with_tag, validated, wait_for_events

pytestmark = [pytest.mark.server, pytest.mark.long, pytest.mark.timeout(900)]
SPACE = "proofs"
PROMPTS = 4000
"""In one request: the answer has more bytes than fit between a client that does not read and the engine."""


@pytest.fixture(scope="module")
def spot(world: World, tmp_path_factory: pytest.TempPathFactory) -> Spot:
    return make_spot(world, SPACE, tmp_path_factory.mktemp("revisions"))


@pytest.fixture
def endpoint(spot: Spot, request: pytest.FixtureRequest) -> Iterator[str]:
    """An endpoint's name; the endpoint is gone in the end, and the branch where it was."""
    name = str(request.node.name).partition("[")[2].rstrip("]") or "-".join(str(request.node.name).split("_")[1:3])
    yield name
    asyncio.run(remove_endpoint(name, spot.place.cluster, spot.place.store, return_state=True))
    spot.move(spot.old)


def refresh(spot: Spot) -> RefreshReport:
    report = completed(refresh_models(**spot.place.target(), namespace=SPACE, return_state=True))
    return RefreshReport.model_validate(report)


def report_of(spot: Spot, endpoint: str) -> str:
    """The newest of the endpoint's reports in the UI."""
    wanted = {"artifacts": {"key": {"any_": [f"endpoint-{endpoint}"]}}, "sort": "CREATED_DESC", "limit": 1}
    return str(asyncio.run(post("/artifacts/filter", wanted))[0]["data"])


@pytest.mark.parametrize("strategy", ["blue-green", "recreate"])
def test_a_client_through_a_whole_refresh(spot: Spot, endpoint: str, strategy: str) -> None:
    spot.deploy(endpoint, strategy=strategy)
    with spot.connected() as cluster:
        before = ask(cluster, SPACE, endpoint)
    spot.move(spot.new)
    with client(spot, endpoint) as asked:
        assert refresh(spot).refreshed == [f"{SPACE}/{endpoint}"]
    with spot.connected() as cluster:
        after = ask(cluster, SPACE, endpoint)
    assert before != after
    assert {text for text in asked.texts if text is not None} == {before, after}
    shown = "s without an answer" in report_of(spot, endpoint)
    if strategy == "blue-green":
        assert asked.gap is None, asked.errors[:3]
        assert not shown
        return
    # One gap: before it the old release answers, after it the new one; the run's report tells how long it was.
    assert asked.gap is not None
    first, last = asked.gap
    assert {text for at, text in asked.answers if at < first} == {before}
    assert {text for at, text in asked.answers if at > last} == {after}
    assert shown
    print(f"\n{endpoint}: {last - first:.2f} s between the first and the last failed request of {len(asked.answers)}")


def test_an_answer_under_way_is_finished_by_the_release_that_began_it(spot: Spot, endpoint: str) -> None:
    old = spot.deploy(endpoint, pod={"drain_seconds": 1, "termination_seconds": 600}).serving.id
    spot.move(spot.new)
    prompts = [f"one two {number}" for number in range(PROMPTS)]
    question = {"model": REPO, "prompt": prompts, "max_tokens": 64, "temperature": 0, "stream": True}
    with (
        spot.connected() as cluster,
        stream(cluster, "POST", SPACE, endpoint, "http", "/v1/completions", json=question, timeout=300.0) as answer,
    ):
        lines = iter(answer.lines)
        got, refreshed = [next(lines)], threading.Event()

        def read_on() -> list[str]:
            """Reads once the Service points elsewhere and the pod was told to end."""
            while not told_to_end(spot, old):
                assert not refreshed.wait(0.2), "the pod went with a request to finish"
            return list(lines)

        with ThreadPoolExecutor(1) as reader:
            rest = reader.submit(read_on)
            try:
                report = refresh(spot)
            finally:
                refreshed.set()
                got += rest.result()  # a reader that failed is why the refresh could not end
    assert report.refreshed == [f"{SPACE}/{endpoint}"]
    told = [line for line in got if line.startswith("data:")]
    assert told[-1] == "data: [DONE]"
    ended = [one for line in told[:-1] for one in json.loads(line[5:])["choices"] if one["finish_reason"]]
    assert len(ended) == PROMPTS
    wait_until(lambda: pods_of(spot, old) == [])


def told_to_end(spot: Spot, release: str) -> bool:
    with suppress(ClusterError):  # on a busy machine one question may come to nothing
        return any(pod["metadata"].get("deletionTimestamp") for pod in pods_of(spot, release))
    return False


def pods_of(spot: Spot, release: str) -> list[dict[str, Any]]:
    with spot.connected() as cluster:
        return list_(cluster, "v1", "Pod", SPACE, labels=f"{RELEASE_LABEL}={release}")


def broken_revisions(spot: Spot) -> dict[str, str]:
    """Commits that must not be served, by what is wrong with them."""
    content = spot.place.hub_server.content
    commit = content[REPO].commits[spot.new]
    path = next(path for path in commit.files if path.endswith(".safetensors"))
    data = commit.files[path].read()
    foreign = json.loads(tokenizer("llama").to_str())
    foreign["model"]["vocab"] = {word: number + 500_000 for word, number in foreign["model"]["vocab"].items()}
    changes: dict[str, dict[str, bytes]] = {
        "weights that do not load": {path: data[: len(data) // 2]},
        "a tokenizer of another model": {"tokenizer.json": json.dumps(foreign).encode()},
        "answers without a word": {"tokenizer.json": mute_tokenizer()},
    }
    commits = {}
    for what, files in changes.items():
        spot.move(spot.new)
        commits[what] = content.commit(REPO, files, title=what, branch=SPACE)
    spot.move(spot.old)
    return commits


@pytest.mark.parametrize("strategy", ["blue-green", "recreate"])
def test_bad_revisions_are_not_served(spot: Spot, endpoint: str, strategy: str) -> None:
    good = spot.deploy(endpoint, strategy=strategy)
    with spot.connected() as cluster:
        answer = ask(cluster, SPACE, endpoint)
    for number, (what, commit) in enumerate(broken_revisions(spot).items(), 1):
        spot.move(commit)
        with client(spot, endpoint) as asked:
            state = asyncio.run(refresh_models(**spot.place.target(), namespace=SPACE, return_state=True))
        assert state.is_failed(), what
        # The old commit serves throughout, or again.
        assert {text for text in asked.texts if text is not None} == {answer}, what
        if strategy == "blue-green":
            assert asked.gap is None, asked.errors[:3]
        with spot.connected() as cluster:
            assert ask(cluster, SPACE, endpoint) == answer, what
        # Record, artifact and event say why.
        record = spot.record(endpoint)
        assert record is not None
        assert record.settled
        assert record.serving.model_copy(update={"smoke": None}) == good.serving.model_copy(update={"smoke": None})
        assert record.serving.state is ReleaseState.SERVING
        assert record.failed is not None
        assert record.failed.commit == commit
        assert record.rejected is not None
        assert record.rejected.commit == commit
        wanted = "rollout" if what.startswith("weights") else "smoke"
        assert record.failed.code.startswith(wanted), record.failed
        text = report_of(spot, endpoint)
        assert f"# {endpoint} was not deployed" in text
        assert record.failed.code in text
        assert ("s without an answer" in text) == (strategy == "recreate")
        refused, failures = told_of_failures(endpoint, number)
        assert refused[-1].rejected_commit == commit
        assert failures[-1].message == record.failed.reason
        # Nothing of it is left, and the next refresh passes it over.
        assert {one[1] for one in everything(spot, endpoint) if one[0] == "deployments"} == {
            f"{endpoint}-{good.serving.id}"
        }
        assert refresh(spot).current == [f"{SPACE}/{endpoint}"]


def told_of_failures(endpoint: str, count: int) -> tuple[list[EndpointRefreshFailed], list[EndpointFailed]]:
    """Events of refreshes and deploys that failed, as soon as there are so many of both."""
    names = (EndpointRefreshFailed.name, EndpointFailed.name)
    events = wait_for_events(
        f"inference.endpoint.{SPACE}.{endpoint}", lambda told: all(told.count(name) >= count for name in names)
    )
    told = [validated(event) for event in events]
    return (
        [one for one in told if isinstance(one, EndpointRefreshFailed)],
        [one for one in told if isinstance(one, EndpointFailed)],
    )


def holder_of(spot: Spot, endpoint: str) -> str:
    """The run that changes the endpoint now; empty if none does."""
    with spot.connected() as cluster:
        return holders(cluster, SPACE).get((SPACE, endpoint), "")


def code_of(state: Any) -> str:
    error = asyncio.run(state.aresult(raise_on_failure=False))
    assert isinstance(error, InferenceError)
    return error.code


async def two_rollbacks(spot: Spot, endpoint: str, caplog: pytest.LogCaptureFixture) -> list[Any]:
    """Two that both chose where to go back to before either could begin."""
    caplog.clear()
    with spot.connected() as cluster, other_run(cluster, SPACE, endpoint):
        runs = [
            asyncio.create_task(rollback_endpoint(endpoint, **spot.place.target(), return_state=True)) for _ in range(2)
        ]
        while sum("waiting for it" in record.getMessage() for record in caplog.records) < 2:
            assert not any(run.done() for run in runs)
            await asyncio.sleep(0.05)
    return await asyncio.gather(*runs)


def test_two_runs_on_one_endpoint(spot: Spot, endpoint: str, caplog: pytest.LogCaptureFixture) -> None:
    spot.deploy(endpoint)

    async def both(*runs: Any) -> list[Any]:
        return await asyncio.gather(*runs)

    # Two deploys: one waits for the other, and the endpoint is what the later one made of it.
    one, other = (
        deploy_vllm(**spot.deployment(endpoint, env={"WHICH": which}), return_state=True) for which in ("one", "other")
    )
    states = asyncio.run(both(one, other))
    assert [state.is_completed() for state in states] == [True, True]
    reports = [asyncio.run(state.aresult()) for state in states]
    last = max((report.record for report in reports), key=lambda record: len(record.previous))
    assert spot.record(endpoint) == last
    assert [len(report.record.previous) for report in sorted(reports, key=lambda one: len(one.record.previous))] == [
        1,
        2,
    ]
    assert {report.record.serving.id for report in reports} == {last.serving.id, last.previous[0].id}
    workloads = {name for kind, name in everything(spot, endpoint) if kind == "deployments"}
    assert workloads == {f"{endpoint}-{last.serving.id}"}

    # One that is not to wait is refused, and changes nothing.
    async def one_while_the_other_works() -> tuple[Any, Any]:
        third = spot.deployment(endpoint, env={"WHICH": "third", "SANDBOX_ENGINE_LOAD_SECONDS": "20"})
        working = asyncio.create_task(deploy_vllm(**third, return_state=True))
        while not await asyncio.to_thread(holder_of, spot, endpoint) and not working.done():
            await asyncio.sleep(0.05)
        none = spot.deployment(endpoint, env={"WHICH": "none"})
        refused = await deploy_vllm(**none, wait_minutes=0, return_state=True)
        return await working, refused

    done, refused = asyncio.run(one_while_the_other_works())
    assert done.is_completed(), done.message
    assert refused.is_failed()
    assert code_of(refused) == "lease.held"

    # Two rollbacks that were decided upon at the same time do not go back twice.
    before = spot.record(endpoint)
    assert before is not None
    states = asyncio.run(two_rollbacks(spot, endpoint, caplog))
    after = spot.record(endpoint)
    assert after is not None
    assert after.serving.id == before.previous[0].id
    assert [code_of(state) for state in states if state.is_failed()] == ["endpoint.changed"]


def plant_orphans(spot: Spot, endpoint: str) -> None:
    """What a release that no record knows would have left, in kinds that the endpoint does not consist of, too."""
    labels = {ENDPOINT_LABEL: endpoint, RELEASE_LABEL: "forgotten"}
    metadata = {"name": "left-over", "namespace": SPACE, "labels": labels}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "none"}]}}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "left-over"}
    kinds: dict[tuple[str, str], dict[str, Any]] = {
        ("apps/v1", "Deployment"): {
            "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod},
        },
        ("autoscaling/v2", "HorizontalPodAutoscaler"): {"spec": {"maxReplicas": 2, "scaleTargetRef": target}},
        ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"): {
            "spec": {"replicas": 0, "leaderWorkerTemplate": {"size": 1, "workerTemplate": pod}}
        },
        ("v1", "Service"): {"spec": {"ports": [{"name": "http", "port": 8000}]}},
        ("v1", "ConfigMap"): {"data": {"a": "1"}},
    }
    with spot.connected() as cluster:
        for (api_version, kind), body in kinds.items():
            apply(cluster, {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body})


def test_nothing_of_a_removed_endpoint_is_left(spot: Spot, endpoint: str) -> None:
    spot.deploy(endpoint)
    spot.move(spot.new)
    refresh(spot)
    plant_orphans(spot, endpoint)
    assert {kind for kind, _ in everything(spot, endpoint)} >= {"deployments", "services", "configmaps", "leases"}
    completed(remove_endpoint(endpoint, spot.place.cluster, spot.place.store, return_state=True))
    wait_until(lambda: everything(spot, endpoint) == set())
    # What Prefect keeps is history: runs that ended, reports, events.
    runs = runs_with_tag(f"endpoint:{endpoint}")
    assert runs
    assert {run["state"]["type"] for run in runs} == {"COMPLETED"}
    for path in ("variables", "concurrency_limits", "v2/concurrency_limits", "automations", "deployments"):
        found = json.dumps(asyncio.run(post(f"/{path}/filter", {})))
        assert f"{SPACE}/{endpoint}" not in found
        assert f'"{endpoint}"' not in found
