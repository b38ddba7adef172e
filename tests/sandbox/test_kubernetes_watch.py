"""Watches: order, resuming, selectors, bookmarks, expiry, and connections that break."""

import threading

import pytest
import urllib3
from kubernetes_http import Api, Space, config_map, deployment, until

from sandbox.kubernetes.server import KubernetesServer

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def shown(events: list[tuple[str, dict]]) -> list[tuple[str, str]]:
    return [(kind, one["metadata"].get("name", "")) for kind, one in events]


def version(space: Space) -> str:
    return space.api.get(f"{space.core}/configmaps").meta["resourceVersion"]


def test_later_events_in_order(space: Space) -> None:
    path = f"{space.core}/configmaps"
    start = version(space)

    def act() -> None:
        space.api.post(path, config_map("w"))
        space.api.patch(f"{path}/w", {"data": {"a": "5"}})
        space.api.delete(f"{path}/w")

    events = space.api.watch(path, 1, act, resourceVersion=start)
    assert shown(events) == [("ADDED", "w"), ("MODIFIED", "w"), ("DELETED", "w")]
    versions = [int(one["metadata"]["resourceVersion"]) for _, one in events]
    assert int(start) < versions[0] < versions[1] < versions[2]
    assert events[2][1]["data"]["a"] == "5"
    assert (events[0][1]["kind"], events[0][1]["apiVersion"]) == ("ConfigMap", "v1")


def test_the_state_first_and_nothing_twice(space: Space) -> None:
    path = f"{space.core}/configmaps"
    made = space.api.post(path, config_map("one", labels={"app": "x"}))
    space.api.post(path, config_map("two"))
    assert shown(space.api.watch(path, 1, labelSelector="app=x")) == [("ADDED", "one")]
    space.api.patch(f"{path}/one", {"data": {"a": "7"}})
    resumed = space.api.watch(path, 1, resourceVersion=made.meta["resourceVersion"], fieldSelector="metadata.name=one")
    assert [(kind, one["data"]["a"]) for kind, one in resumed] == [("MODIFIED", "7")]


def test_objects_enter_and_leave_a_selection(space: Space) -> None:
    path = f"{space.core}/configmaps"

    def act() -> None:
        space.api.post(path, config_map("cm", labels={"w": "2"}))
        for value in ("1", "2"):
            space.api.patch(f"{path}/cm", {"metadata": {"labels": {"w": value}}})

    events = space.api.watch(path, 1, act, resourceVersion=version(space), labelSelector="w=1")
    assert [kind for kind, _ in events] == ["ADDED", "DELETED"]
    # What left is shown as it was last selected, at the version of its leaving.
    assert events[1][1]["metadata"]["labels"] == {"w": "1"}
    assert int(events[1][1]["metadata"]["resourceVersion"]) > int(events[0][1]["metadata"]["resourceVersion"])


def test_a_bookmark_comes_before_the_end(space: Space) -> None:
    path = f"{space.apps}/deployments"
    start = space.api.get(path).meta["resourceVersion"]
    query = {"resourceVersion": start, "allowWatchBookmarks": "true", "labelSelector": "no=thing"}
    events = space.api.watch(path, 3, lambda: space.api.apply(f"{path}/web", deployment("web")), **query)
    ((kind, bookmark),) = events
    assert (kind, bookmark["kind"]) == ("BOOKMARK", "Deployment")
    assert int(bookmark["metadata"]["resourceVersion"]) > int(start)
    assert bookmark["metadata"].keys() == {"resourceVersion"}


def test_the_initial_state_can_end_with_a_bookmark(space: Space) -> None:
    path = f"{space.core}/configmaps"
    space.api.post(path, config_map("cm"))
    query = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
        "fieldSelector": "metadata.name=cm",
    }
    events = space.api.watch(path, 1, **query)
    assert [kind for kind, _ in events] == ["ADDED", "BOOKMARK"]
    assert events[1][1]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_a_forgotten_version_is_an_error_event(space: Space, api_server: KubernetesServer) -> None:
    path = f"{space.core}/configmaps"
    start = version(space)
    space.api.post(path, config_map("cm"))
    api_server.compact()
    for old in (start, "1"):
        ((kind, status),) = space.api.watch(path, 1, resourceVersion=old)
        assert (kind, status["code"], status["reason"]) == ("ERROR", 410, "Expired")
        assert status["message"].startswith(f"too old resource version: {old} (")
    assert space.api.watch(path, 1, resourceVersion=version(space)) == []


def test_a_version_of_the_future_shows_nothing(space: Space) -> None:
    act = lambda: space.api.post(f"{space.core}/configmaps", config_map("cm"))  # noqa: E731
    assert space.api.watch(f"{space.core}/configmaps", 1, act, resourceVersion="99999999") == []


def test_versions_and_timeouts_that_are_no_numbers(space: Space) -> None:
    path = f"{space.core}/configmaps"
    text = 'resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax'
    assert space.api.get(path, watch="true", resourceVersion="abc").failure() == (500, None, text)
    assert space.api.get(path, watch="true", timeoutSeconds="x").status == 400
    assert space.api.get("/apis/not-installed.example.com/v1/things", watch="true").status == 404


def test_tables_send_their_columns_once(space: Space) -> None:
    path = f"{space.core}/configmaps"
    for name in ("one", "two"):
        space.api.post(path, config_map(name))
    events = space.api.watch(path, 1, accept=TABLE)
    assert [one["kind"] for _, one in events] == ["Table"] * 3
    assert [bool(one["columnDefinitions"]) for _, one in events] == [True, False, False]


def test_cut_watches_break_and_can_be_resumed(api_server: KubernetesServer, space: Space) -> None:
    path = f"{space.core}/configmaps"
    start = version(space)
    broken = threading.Event()

    def listen() -> None:
        own = Api(api_server.url, api_server.admin_token, api_server.ca_file)
        with pytest.raises(urllib3.exceptions.ProtocolError):
            own.watch(path, 30, resourceVersion=start)
        broken.set()

    listener = threading.Thread(target=listen)
    listener.start()
    until(api_server.cut_watches)
    assert broken.wait(10)
    listener.join()
    space.api.post(path, config_map("after"))
    assert shown(space.api.watch(path, 1, resourceVersion=start)) == [("ADDED", "after")]
