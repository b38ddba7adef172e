"""A watch over a connection that does everything but hold."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from scripted_api import Answer, Asked, Broken, Script, Streamed, event, scripted_api, status

from kube.watch import Change, WatchEvent, WatchTarget, watch
from serving.errors import ClusterError

PODS = WatchTarget("v1", "Pod")


def pod(name: str, version: int, uid: str = "") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "inference", "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, "managedFields": [{"manager": "x"}]}}


def bookmark(version: int) -> bytes:
    return event("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": str(version)}})


EXPIRED = event("ERROR", {"kind": "Status", "message": "too old resource version", "reason": "Expired", "code": 410})


class Scenario:
    """Lists and watches answered in turn; the last watch stays open and silent."""

    def __init__(self, lists: list[Any], watches: list[Any]) -> None:
        self.lists = iter(lists)
        self.watches = iter(watches)
        self.finished = threading.Event()
        self.resumed_at: list[str] = []

    def __call__(self, asked: Asked) -> Answer | Streamed | Broken:
        if "watch" not in asked.query:
            given = next(self.lists)
            if not isinstance(given, tuple):
                return given
            version, *items = given
            return Answer(200, {"metadata": {"resourceVersion": str(version)}, "items": items})
        self.resumed_at.append(asked.query["resourceVersion"])
        given = next(self.watches, None)
        return Streamed(self._silence()) if given is None else given

    def _silence(self) -> Iterator[bytes]:
        yield b"\n"
        self.finished.wait(20)


def seen(script: Script, number: int, targets: list[WatchTarget] | None = None) -> list[tuple[str, str, str]]:
    """The first `number` events, as (type, name, resource version)."""
    found: list[tuple[str, str, str]] = []
    with scripted_api(script) as api:
        deadline = time.monotonic() + 20
        with closing(watch(api.cluster, targets or [PODS], deadline=deadline)) as events:
            for one in events:
                found.append(short(one))
                if len(found) == number:
                    break
        if isinstance(script, Scenario):
            script.finished.set()
    return found


def short(one: WatchEvent) -> tuple[str, str, str]:
    metadata = one.object.get("metadata", {})
    assert "managedFields" not in metadata
    return (str(one.type), metadata.get("name", ""), metadata.get("resourceVersion", ""))


def test_what_exists_then_synced_then_changes() -> None:
    scenario = Scenario(
        [(10, pod("a", 5))],
        [Streamed([event("ADDED", pod("b", 11)), event("MODIFIED", pod("a", 12)), event("DELETED", pod("b", 13))])],
    )
    assert seen(scenario, 5) == [
        ("ADDED", "a", "5"),
        ("SYNCED", "", ""),
        ("ADDED", "b", "11"),
        ("MODIFIED", "a", "12"),
        ("DELETED", "b", "13"),
    ]
    assert scenario.resumed_at[0] == "10"


def test_nothing_exists() -> None:
    assert seen(Scenario([(10,)], []), 1) == [("SYNCED", "", "")]


def test_a_cut_connection_goes_on_where_it_was_also_in_the_middle_of_a_line() -> None:
    half = event("MODIFIED", pod("a", 12))[:60]
    scenario = Scenario(
        [(10, pod("a", 5))],
        [
            Streamed([event("MODIFIED", pod("a", 11)), half], cut=True),
            Broken(),
            status(503, "shutting down", "ServiceUnavailable"),
            Streamed([event("MODIFIED", pod("a", 12))[:40], event("MODIFIED", pod("a", 12))[40:]]),
        ],
    )
    assert [version for _, _, version in seen(scenario, 4)] == ["5", "", "11", "12"]
    assert scenario.resumed_at[:4] == ["10", "11", "11", "11"]


def test_several_events_in_one_piece_and_one_in_several() -> None:
    lines = event("ADDED", pod("b", 11)) + event("ADDED", pod("c", 12))
    pieces = [lines[start : start + 7] for start in range(0, len(lines), 7)]
    scenario = Scenario([(10,)], [Streamed([lines]), Streamed(pieces), Streamed([event("ADDED", pod("d", 13))])])
    assert [name for _, name, _ in seen(scenario, 4)] == ["", "b", "c", "d"]


def test_a_bookmark_moves_the_place_to_go_on() -> None:
    scenario = Scenario([(10,)], [Streamed([bookmark(40)]), Streamed([event("ADDED", pod("a", 41))])])
    assert seen(scenario, 2) == [("SYNCED", "", ""), ("ADDED", "a", "41")]
    assert scenario.resumed_at[:2] == ["10", "40"]


@pytest.mark.parametrize("as_status", [True, False], ids=["HTTP 410", "inside the stream"])
def test_an_expired_version_is_listed_again_and_only_the_differences_are_told(as_status: bool) -> None:
    expired = status(410, "too old resource version", "Expired") if as_status else Streamed([EXPIRED])
    scenario = Scenario(
        [
            (10, pod("same", 1), pod("changes", 2), pod("goes", 3), pod("replaced", 4)),
            (50, pod("same", 1), pod("changes", 20), pod("replaced", 30, uid="another"), pod("comes", 40)),
        ],
        [expired],
    )
    found = seen(scenario, 10)
    assert found[:5] == [
        ("ADDED", "same", "1"),
        ("ADDED", "changes", "2"),
        ("ADDED", "goes", "3"),
        ("ADDED", "replaced", "4"),
        ("SYNCED", "", ""),
    ]
    assert found[5:] == [
        ("MODIFIED", "changes", "20"),
        ("DELETED", "replaced", "4"),
        ("ADDED", "replaced", "30"),
        ("ADDED", "comes", "40"),
        ("DELETED", "goes", "3"),
    ]


def test_no_state_is_told_twice() -> None:
    again = [event("ADDED", pod("a", 5)), event("MODIFIED", pod("a", 5)), event("DELETED", pod("unknown", 6))]
    scenario = Scenario([(10, pod("a", 5))], [Streamed([*again, event("ADDED", pod("a", 11))])])
    assert seen(scenario, 3) == [("ADDED", "a", "5"), ("SYNCED", "", ""), ("MODIFIED", "a", "11")]


def test_throttling_and_restarts_are_waited_out_and_the_place_is_kept() -> None:
    scenario = Scenario(
        [status(429, "too many", "TooManyRequests"), status(500, "etcdserver: leader changed"), (10,)],
        [
            Answer(429, b"too many", {"Retry-After": "1"}),
            status(500, "etcdserver: request timed out"),
            status(401, "Unauthorized", "Unauthorized"),
            status(403, 'pods is forbidden: RBAC: role "x" not found', "Forbidden"),
            Streamed([event("ADDED", pod("a", 11))]),
        ],
    )
    assert seen(scenario, 2) == [("SYNCED", "", ""), ("ADDED", "a", "11")]
    assert scenario.resumed_at == ["10"] * 5 or scenario.resumed_at[:5] == ["10"] * 5


def test_a_version_from_the_future_is_given_up() -> None:
    late = status(504, "Timeout: Too large resource version: 99, current: 10", "Timeout")
    scenario = Scenario([(99, pod("a", 98)), (10, pod("a", 7))], [late])
    assert seen(scenario, 3) == [("ADDED", "a", "98"), ("SYNCED", "", ""), ("MODIFIED", "a", "7")]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (status(401, "Unauthorized", "Unauthorized"), "cluster.unauthorized"),
        (status(403, 'pods is forbidden: User "u" cannot list resource "pods" in API group ""'), "cluster.forbidden"),
        (status(400, "unable to parse requirement", "BadRequest"), "cluster.invalid"),
    ],
)
def test_what_waiting_does_not_mend_is_raised_at_once(answer: Answer, code: str) -> None:
    with pytest.raises(ClusterError) as caught:
        seen(Scenario([answer], []), 1)
    assert caught.value.code == code


def test_a_lasting_refusal_is_raised_in_the_end() -> None:
    denied = status(403, 'pods is forbidden: User "u" cannot watch resource "pods" in API group ""', "Forbidden")
    with pytest.raises(ClusterError, match='verbs: \\["watch"\\]'):
        seen(Scenario([(10,)], [denied] * 9), 2)


def test_a_kind_that_is_not_installed_is_said_before_anything_is_watched() -> None:
    target = WatchTarget("ray.io/v1", "RayService")
    with pytest.raises(ClusterError, match="KubeRay") as caught:
        seen(lambda _: Answer(404, b"404 page not found\n"), 1, [target])
    assert caught.value.code == "cluster.kind_missing"


def test_selectors_and_names_are_asked_for() -> None:
    queries = []

    def script(asked: Asked) -> Answer | Streamed | Broken:
        queries.append((asked.path, asked.query))
        return scenario(asked)

    scenario = Scenario([(10,)], [])
    target = WatchTarget("v1", "Pod", namespace="*", name="a", labels="app in (x,y)", fields="status.phase=Running")
    assert seen(script, 1, [target]) == [("SYNCED", "", "")]
    scenario.finished.set()
    for path, query in queries:
        assert path == "/api/v1/pods"
        assert query["labelSelector"] == "app in (x,y)"
        assert query["fieldSelector"] == "metadata.name=a,status.phase=Running"


def test_the_deadline_ends_a_silent_watch_and_its_threads() -> None:
    scenario = Scenario([(10,), (10,)], [])
    with scripted_api(scenario) as api:
        targets = [PODS, WatchTarget("v1", "ConfigMap")]
        events = list(watch(api.cluster, targets, deadline=time.monotonic() + 0.5))
        assert [one.type for one in events] == [Change.SYNCED, Change.SYNCED]
        assert not any(thread.name.startswith("watch-") for thread in threading.enumerate())
        scenario.finished.set()


def test_a_stop_from_another_thread_ends_it() -> None:
    scenario = Scenario([(10,)], [])
    stop = threading.Event()
    with scripted_api(scenario) as api:
        for one in watch(api.cluster, [PODS], deadline=None, stop=stop):
            assert one.type is Change.SYNCED
            threading.Timer(0.1, stop.set).start()
        assert not any(thread.name.startswith("watch-") for thread in threading.enumerate())
        scenario.finished.set()


def test_an_api_server_that_went_away_does_not_end_the_wait_before_the_deadline() -> None:
    scenario = Scenario([(10, pod("a", 5))], [Streamed([], cut=True)] + [Broken()] * 30)
    with scripted_api(scenario) as api:
        events = list(watch(api.cluster, [PODS], deadline=time.monotonic() + 1.5))
    assert [one.type for one in events] == [Change.ADDED, Change.SYNCED]
    assert 3 <= len(scenario.resumed_at) < 15  # it came back with pauses, not in a busy loop


def stop_when(stop: threading.Event, true: Callable[[], bool]) -> None:
    """Stops a watch as soon as something is so, or after 20 s."""
    until = time.monotonic() + 20
    while not true() and time.monotonic() < until:
        time.sleep(0.02)
    stop.set()


def test_a_line_that_is_no_event_is_a_broken_connection() -> None:
    scenario = Scenario([(10,)], [Streamed([b"<html>\n"]), Streamed([json.dumps({}).encode() + b"\n"])])
    with scripted_api(scenario) as api:
        stop, seen = threading.Event(), []
        for one in watch(api.cluster, [PODS], deadline=time.monotonic() + 30, stop=stop):
            seen.append(one.type)
            threading.Thread(target=stop_when, args=(stop, lambda: len(scenario.resumed_at) >= 2)).start()
        scenario.finished.set()
    assert seen == [Change.SYNCED]
    assert scenario.resumed_at[:2] == ["10", "10"]
