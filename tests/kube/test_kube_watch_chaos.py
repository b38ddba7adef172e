"""A watch whose connections are cut again and again while the objects change."""

import random
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import pytest

from kube.apply import apply
from kube.connect import from_kubeconfig
from kube.delete import BACKGROUND, delete
from kube.read import get, list_
from kube.watch import Change, WatchTarget, watch
from sandbox.kubernetes.server import KubernetesServer
from serving.errors import ClusterError

CUTS = 50
LAST = "last"


class Writer(threading.Thread):
    """Creates, changes and deletes objects at random, and remembers what it did."""

    def __init__(self, server: KubernetesServer, namespace: str, until: threading.Event) -> None:
        super().__init__(name="writer")
        self._server = server
        self._namespace = namespace
        self._until = until
        self._random = random.Random(7)
        self.done: list[tuple[str, str]] = []

    def run(self) -> None:
        with from_kubeconfig(self._server.kubeconfig) as cluster:
            alive: set[str] = set()
            number = 0
            while not self._until.is_set():
                name = self._random.choice(["a", "b", "c"])
                if name in alive and self._random.random() < 0.3:
                    with suppress(ClusterError):
                        delete(
                            cluster,
                            "v1",
                            "ConfigMap",
                            name,
                            namespace=self._namespace,
                            propagation=BACKGROUND,
                            wait=None,
                        )
                    if get(cluster, "v1", "ConfigMap", name, self._namespace) is not None:
                        continue
                    alive.discard(name)
                    self.done.append((name, "gone"))
                else:
                    number += 1
                    self._write(cluster, name, str(number))
                    alive.add(name)
            self._write(cluster, LAST, "0")

    def _write(self, cluster: Any, name: str, number: str) -> None:
        metadata = {"name": name, "namespace": self._namespace, "labels": {"chaos": "yes"}}
        manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"number": number}}
        while True:
            try:
                apply(cluster, manifest)
            except ClusterError:  # one error too many: the same again, it was not applied
                continue
            self.done.append((name, number))
            return


def observe(
    server: KubernetesServer, place: Any, disturb: Callable[[int], None], times: int
) -> tuple[list[tuple[str, str]], list[tuple[str, str]], list[dict[str, Any]]]:
    """Watches while the writer writes and `disturb` is called again and again.

    Returns what was seen and what was done, as (name, number) with ``gone`` for deletions, and all objects reported.
    """
    until = threading.Event()
    writer = Writer(server, place.namespace, until)
    cutter_done = threading.Event()

    def cut() -> None:
        for number in range(times):
            disturb(number)
            time.sleep(0.02)
        cutter_done.set()
        until.set()

    seen: list[tuple[str, str]] = []
    objects: list[dict[str, Any]] = []
    target = WatchTarget("v1", "ConfigMap", namespace=place.namespace, labels="chaos=yes")
    threads = [writer, threading.Thread(target=cut, name="cutter")]
    with closing(watch(place.cluster, [target], deadline=time.monotonic() + 60)) as events:
        for event in events:
            if event.type is Change.SYNCED:
                for thread in threads:
                    thread.start()
                continue
            name = event.object["metadata"]["name"]
            gone = event.type is Change.DELETED
            seen.append((name, "gone" if gone else event.object["data"]["number"]))
            if not gone:
                objects.append(event.object)
            if name == LAST:
                break
    for thread in threads:
        thread.join(30)
    assert cutter_done.is_set()
    assert seen[-1] == (LAST, "0")
    return seen, writer.done, objects


def test_fifty_cuts_lose_no_state_and_repeat_none(sandbox_server: KubernetesServer, sandbox_place: Any) -> None:
    def cut(_: int) -> None:
        while not sandbox_server.cut_watches():
            time.sleep(0.02)

    seen, done, _objects = observe(sandbox_server, sandbox_place, cut, CUTS)
    assert seen == done
    assert len(done) > 30


@pytest.mark.long
def test_cuts_errors_and_expired_versions_end_in_the_right_state(
    sandbox_server: KubernetesServer, sandbox_place: Any
) -> None:
    path = f"/api/v1/namespaces/{sandbox_place.namespace}/configmaps"

    def disturb(number: int) -> None:
        if number % 4 == 3:
            sandbox_server.compact()
        if number % 7 == 6:
            sandbox_server.fail_next((500, 503, 504)[number % 3], count=2, path_prefix=path)
        sandbox_server.cut_watches()

    seen, done, objects = observe(sandbox_server, sandbox_place, disturb, 60)
    live = {
        one["metadata"]["name"]: one["data"]["number"]
        for one in list_(sandbox_place.cluster, "v1", "ConfigMap", sandbox_place.namespace, labels="chaos=yes")
    }
    state: dict[str, str] = {}
    for name, number in seen:
        if number == "gone":
            assert name in state, "an object that was never reported cannot go"
            del state[name]
        else:
            assert state.get(name) != number, "the same state twice"
            state[name] = number
    assert state == live
    states = [(one["metadata"]["uid"], one["metadata"]["resourceVersion"]) for one in objects]
    assert len(states) == len(set(states))
    positions = {entry: place for place, entry in enumerate(done) if entry[1] != "gone"}
    for name in ("a", "b", "c"):
        order = [positions[entry] for entry in seen if entry[0] == name and entry[1] != "gone"]
        assert order == sorted(order), "states of one object came out of order"
