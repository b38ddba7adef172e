"""The long proof: deploy, refresh, rollback and remove killed at random moments; the next run ends as if nothing was.

RELEASE_KILLS=40 kills so often, RELEASE_KILLS_SEED=N at other moments.
"""

import os
import random
import time
from collections import Counter
from typing import Any

import pytest

from kube.connect import Cluster
from kube.read import get
from sandbox.kubernetes.authn import ADMINS
from serving.frameworks.labels import RELEASE_LABEL, RUN_LABEL
from serving.record import EndpointRecord
from tests.flows.child import Child, Ended, start
from tests.flows.conftest import World, cluster_block
from tests.flows.live_endpoint import EXPIRED, WAIT_SECONDS, Spot, all_objects, ask, let_lease_expire, make_spot

SPACE, ENDPOINT = "kills", "killed"
STEPS = ("deploy", "refresh", "rollback", "remove")
STRATEGIES = ("blue-green", "recreate")
KILLS = int(os.environ.get("RELEASE_KILLS", "8"))
SEED = int(os.environ.get("RELEASE_KILLS_SEED", "20"))
UNDISTURBED_SECONDS, KILL_SECONDS = 800, 125
pytestmark = [pytest.mark.server, pytest.mark.long, pytest.mark.timeout(UNDISTURBED_SECONDS + KILL_SECONDS * KILLS)]

MADE_BY_CONTROLLERS = {"pods", "replicasets", "endpointslices", "endpoints", "events"}
OF_ITS_TIME = {"flow_run", "started_at", "deployed_at", "retire_at", "retired_at", "at", "run", "moved_bytes"}
MEASURED = {"seconds", "first_token_seconds", "tokens_per_second"}
State = dict[str, Any]


@pytest.fixture(scope="module")
def spot(world: World, tmp_path_factory: pytest.TempPathFactory) -> Spot:
    store = world.store.model_copy(update={"prefix": SPACE})
    return make_spot(world.with_blocks(store=store), SPACE, tmp_path_factory.mktemp("revisions"))


class Runs:
    """Runs of the four flows, each under a name of its own, so that its requests can be told apart."""

    def __init__(self, spot: Spot) -> None:
        self.spot = spot
        self._count = 0

    def start(self, step: str, strategy: str) -> tuple[Child, str]:
        """Starts a run; returns it with its name."""
        self._count += 1
        server, user = self.spot.place.kubernetes, f"run-{self._count}"
        block = cluster_block(server.write_kubeconfig(server.add_token(user, [ADMINS]), user), namespace=SPACE)
        target = {**self.spot.place.target(), "cluster": block}
        if step == "deploy":
            parameters = self.spot.deployment(ENDPOINT, strategy=strategy) | target
            return start("deploy-vllm", parameters), user
        if step == "refresh":
            return start("refresh-models", {**target, "namespace": SPACE}), user
        if step == "rollback":
            return start("rollback-endpoint", {**target, "endpoint": ENDPOINT, "to": self.spot.old}), user
        del target["hub"]
        return start("remove-endpoint", {**target, "endpoint": ENDPOINT, "staged_models": True}), user

    def requests(self, user: str) -> int:
        """How often a run has asked the cluster so far."""
        return sum(one.user == user for one in self.spot.place.kubernetes.request_log)

    def finish(self, step: str, strategy: str) -> tuple[Ended, int]:
        """Runs to the end; how it ended, and how often it asked."""
        child, user = self.start(step, strategy)
        ended = child.wait()
        assert ended is not None
        return ended, self.requests(user)

    def kill(self, step: str, strategy: str, after: int, delay: float) -> bool:
        """Starts a run and kills it after so many requests and seconds; whether it was still alive."""
        child, user = self.start(step, strategy)
        while child.process.is_alive() and self.requests(user) < after:
            time.sleep(0.005)
        time.sleep(delay)
        alive = child.process.is_alive()
        child.kill()
        return alive


def prepare(spot: Spot, step: str) -> None:
    """What happens upstream before a step."""
    if step == "deploy":
        spot.move(spot.old)
    if step == "refresh":
        spot.move(spot.new)


def state_of(spot: Spot) -> State:
    """All that is there, without what differs between two undisturbed runs."""
    with spot.connected() as cluster:
        found = list(all_objects(cluster, SPACE))
    lease = next((one for kind, one in found if kind == "leases"), None)
    record = spot.record(ENDPOINT)
    return {
        "objects": sorted((kind, one["metadata"]["name"]) for kind, one in found if kind not in MADE_BY_CONTROLLERS),
        "specs": {one["metadata"]["name"]: bare(one) for kind, one in found if kind in ("deployments", "services")},
        "pods": Counter(one["metadata"].get("labels", {}).get(RELEASE_LABEL) for kind, one in found if kind == "pods"),
        "holder": holder_of(lease["spec"]) if lease else None,
        "record": timeless(record.model_dump(mode="json")) if record else None,
        "staged": [key for key in spot.place.staged_keys() if key.startswith(f"{SPACE}/")],
    }


def holder_of(lease: dict[str, Any]) -> str:
    """Who holds the endpoint; not the killed run, whose lease one that finds nothing to do leaves alone."""
    return "" if lease["renewTime"] == EXPIRED else str(lease.get("holderIdentity") or "")


def bare(thing: dict[str, Any]) -> dict[str, Any]:
    labels = {key: value for key, value in thing["metadata"].get("labels", {}).items() if key != RUN_LABEL}
    spec = {key: value for key, value in thing["spec"].items() if not key.startswith("clusterIP")}
    return {"labels": labels, "spec": spec}


def timeless(part: Any) -> Any:
    """A record without its times; a run that was interrupted is no difference."""
    if isinstance(part, dict):
        if part.get("code") == "run.interrupted":
            return None
        return {key: timeless(value) for key, value in part.items() if key not in OF_ITS_TIME | MEASURED}
    return [timeless(one) for one in part] if isinstance(part, list) else part


@pytest.fixture(scope="module")
def undisturbed(spot: Spot) -> dict[tuple[str, str], tuple[State, int]]:
    """What each step ends with, and how often its run asks the cluster, by strategy and step."""
    runs = Runs(spot)
    found: dict[tuple[str, str], tuple[State, int]] = {}
    for strategy in STRATEGIES:
        for step in STEPS:
            prepare(spot, step)
            ended, requests = runs.finish(step, strategy)
            assert ended.completed, f"{strategy} {step}: {ended.message}"
            found[strategy, step] = (state_of(spot), requests)
        assert found[strategy, "remove"][0]["record"] is None
        assert found[strategy, "remove"][0]["staged"] == []
    return found


def test_killed_at_random_moments(spot: Spot, undisturbed: dict[tuple[str, str], tuple[State, int]]) -> None:
    print(f"\n{KILLS} kills, RELEASE_KILLS_SEED={SEED}")
    moments, runs = random.Random(SEED), Runs(spot)
    runs._count = 1000
    living = 0
    for number in range(KILLS):
        step = STEPS[number % len(STEPS)]
        strategy = STRATEGIES[number // len(STEPS) % len(STRATEGIES)]
        wanted, requests = undisturbed[strategy, step]
        prepare(spot, step)
        after, delay = moments.randint(1, requests), moments.uniform(0, 0.05)
        alive = runs.kill(step, strategy, after, delay)
        living += alive
        where = f"kill {number} ({strategy} {step} after {after} of {requests} requests{'' if alive else ', too late'})"
        found = spot.record(ENDPOINT)
        print(f"{where}: {found.state if found else 'no record'}")
        with spot.connected() as cluster:
            nothing_is_lost(spot, step, strategy, found, cluster, where)
        with spot.connected() as cluster:
            let_lease_expire(cluster, SPACE, ENDPOINT)
        ended, _ = runs.finish(step, strategy)
        # After a removal that was killed at its very end there is nothing left to remove.
        assert ended.completed or (step, ended.code) == ("remove", "endpoint.unknown"), f"{where}: {ended.message}"
        assert settled_state(spot, wanted) == wanted, where
    assert living >= KILLS / 2, "too few of the kills met a run that was alive"


def settled_state(spot: Spot, wanted: State) -> State:
    """What is there once controllers have come to what is wanted, or after the longest wait."""
    deadline = time.monotonic() + WAIT_SECONDS
    while (found := state_of(spot)) != wanted and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def nothing_is_lost(
    spot: Spot, step: str, strategy: str, record: EndpointRecord | None, cluster: Cluster, where: str
) -> None:
    """Right after the kill: the record is there and the Service points at a release of it; blue-green answers."""
    service = get(cluster, "v1", "Service", ENDPOINT, SPACE)
    if step in ("refresh", "rollback"):
        assert record is not None, where
        assert service is not None, where
        if strategy == "blue-green":
            assert ask(cluster, SPACE, ENDPOINT), where
    if service is not None and record is not None:
        known = {one.id for one in (record.current, record.candidate) if one}
        assert service["spec"]["selector"][RELEASE_LABEL] in known, where
    if record is None and step != "deploy":
        left = [(kind, one["metadata"]["name"]) for kind, one in all_objects(cluster, SPACE) if kind == "deployments"]
        assert left == [], where
