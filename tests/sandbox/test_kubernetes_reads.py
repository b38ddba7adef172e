"""Discovery, getting, listing, selecting and paging."""

from typing import Any

import pytest
from kubernetes_http import Api, Space, config_map, deployment

from sandbox.kubernetes.server import KubernetesServer

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


def names(items: list[dict[str, Any]]) -> list[str]:
    return [one["metadata"]["name"] for one in items]


def test_version_groups_and_resources(api: Api) -> None:
    assert api.get("/version").body["major"] == "1"
    assert api.get("/api").body["versions"] == ["v1"]
    groups = {one["name"]: one for one in api.get("/apis").body["groups"]}
    assert {"apps", "batch", "autoscaling", "authorization.k8s.io", "ray.io", "leaderworkerset.x-k8s.io"} <= set(groups)
    assert groups["apps"]["preferredVersion"] == {"groupVersion": "apps/v1", "version": "v1"}
    core = {one["name"]: one for one in api.get("/api/v1").body["resources"]}
    assert (core["pods"]["kind"], core["pods"]["namespaced"], core["namespaces"]["namespaced"]) == ("Pod", True, False)
    assert {"pods/log", "services/proxy", "serviceaccounts/token"} <= set(core)
    apps = {one["name"]: one for one in api.get("/apis/apps/v1").body["resources"]}
    assert {"get", "list", "watch", "patch", "create", "delete"} <= set(apps["deployments"]["verbs"])
    assert {"deployments/status", "deployments/scale"} <= set(apps)


def test_aggregated_discovery_tells_the_same(api: Api) -> None:
    plain = {
        (f"{group['name']}/{version['version']}", one["name"])
        for group in api.get("/apis").body["groups"]
        for version in group["versions"]
        for one in api.get(f"/apis/{version['groupVersion']}").body["resources"]
        if "/" not in one["name"]
    }
    aggregated = {
        (f"{group['metadata']['name']}/{version['version']}", one["resource"])
        for group in api.get("/apis", accept=AGGREGATED).body["items"]
        for version in group["versions"]
        for one in version["resources"]
    }
    assert aggregated == plain


def test_every_served_kind_is_in_openapi(api: Api) -> None:
    paths = api.get("/openapi/v3").body["paths"]
    document = api.get(paths["apis/apps/v1"]["serverRelativeURL"]).body
    assert "io.k8s.api.apps.v1.Deployment" in document["components"]["schemas"]
    operation = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert "fieldValidation" in {one["name"] for one in operation["parameters"]}
    assert set(paths) >= {"api/v1", "apis/ray.io/v1"}


@pytest.mark.parametrize("path", ["/nope", "/apis/not-installed.example.com/v1", "/apis/ray.io/v9", "/apis/x/v1/y/z"])
def test_an_unknown_path_is_a_plain_text_404(api: Api, path: str) -> None:
    answer = api.get(path)
    assert (answer.status, answer.body) == (404, "404 page not found\n")
    assert answer.headers["content-type"].startswith("text/plain")


def test_an_unknown_resource_of_a_known_group_is_a_status(api: Api) -> None:
    answer = api.get("/apis/apps/v1/namespaces/default/nopes")
    assert answer.failure() == (404, "NotFound", "the server could not find the requested resource")


@pytest.mark.parametrize(
    ("method", "path", "what"),
    [
        ("GET", "/apis/apps/v1/namespaces/default/daemonsets", "daemonsets of apps/v1"),
        ("POST", "/apis/apps/v1/namespaces/default/statefulsets", "making statefulsets of apps/v1"),
        ("GET", "/api/v1/limitranges", "limitranges of v1"),
        ("GET", "/apis/networking.k8s.io/v1", "networking.k8s.io/v1"),
        ("POST", "/api/v1/namespaces/default/pods/x/exec", "pods/exec"),
        ("POST", "/api/v1/namespaces/default/pods/x/eviction", "pods/eviction"),
        ("GET", "/openapi/v2", "OpenAPI v2: ask for /openapi/v3"),
    ],
)
def test_what_is_not_there_says_so_by_name(api: Api, method: str, path: str, what: str) -> None:
    code, reason, message = api.call(method, path).failure()
    assert (code, reason) == (501, "NotImplemented")
    assert message == f"the sandbox's API server does not implement {what}"


@pytest.mark.parametrize(
    ("path", "body", "what"),
    [
        (
            "/api/v1/namespaces",
            {"metadata": {"name": "strict", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}},
            "Pod Security admission (pod-security.kubernetes.io/enforce=restricted)",
        ),
        (
            "/api/v1/namespaces/default/resourcequotas",
            {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}, "scopes": ["BestEffort"]}},
            "scopes of a ResourceQuota",
        ),
    ],
)
def test_what_would_not_be_enforced_is_refused(api: Api, path: str, body: dict[str, Any], what: str) -> None:
    refused = api.post(path, body)
    text = f"the sandbox's API server does not implement {what}"
    assert refused.failure() == (501, "NotImplemented", text)


def test_endpoints_are_deprecated(space: Space) -> None:
    warning = '299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"'
    assert space.api.get(f"{space.core}/endpoints").headers.getlist("warning") == [warning]


def test_a_missing_object_is_a_404_with_details(space: Space) -> None:
    answer = space.api.get(f"{space.apps}/deployments/zz")
    assert answer.failure() == (404, "NotFound", 'deployments.apps "zz" not found')
    assert answer.body["details"] == {"name": "zz", "group": "apps", "kind": "deployments"}
    assert space.api.get(f"{space.core}/pods/zz").body["details"] == {"name": "zz", "kind": "pods"}
    assert space.api.get("/api/v1/namespaces/missing/pods").body["items"] == []


def test_a_list_has_a_version_and_items_without_kind(space: Space) -> None:
    for name in ("b", "a"):
        space.api.post(f"{space.core}/configmaps", config_map(name))
    answer = space.api.get(f"{space.core}/configmaps")
    assert (answer.body["kind"], answer.body["apiVersion"]) == ("ConfigMapList", "v1")
    assert answer.meta["resourceVersion"].isdigit()
    assert names(answer.body["items"]) == ["a", "b", "kube-root-ca.crt"]
    assert not {"kind", "apiVersion"} & answer.body["items"][0].keys()


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("app=x", "l0 l1"),
        ("app==x", "l0 l1"),
        ("app!=x", "l2 l3"),
        ("app in (x,y)", "l0 l1 l2"),
        ("app in (x, y),t", "l0"),
        ("app notin (x)", "l2 l3"),
        ("app", "l0 l1 l2"),
        ("!app", "l3"),
        ("app=x,t=1", "l0"),
        ("app=x,!t", "l1"),
        ("app=none", ""),
        ("t=", ""),
        ("example.com/a.b=1", "l3"),
    ],
)
def test_label_selectors(space: Space, selector: str, expected: str) -> None:
    every = ({"app": "x", "t": "1"}, {"app": "x"}, {"app": "y"}, {"example.com/a.b": "1"})
    for index, labels in enumerate(every):
        space.api.post(f"{space.core}/configmaps", config_map(f"l{index}", labels=labels))
    listed = space.api.get(f"{space.core}/configmaps", labelSelector=selector).body["items"]
    assert [name for name in names(listed) if name.startswith("l")] == expected.split()


def test_selectors_that_cannot_be_read_are_a_400(space: Space) -> None:
    maps, pods = f"{space.core}/configmaps", f"{space.core}/pods"
    text = "unable to parse requirement: found '', expected: ',', ')' or identifier"
    assert space.api.get(maps, labelSelector="app in (").failure() == (400, "BadRequest", text)
    assert space.api.get(maps, labelSelector="a=b c").status == 400
    text = "field label not supported: spec.image"
    assert space.api.get(pods, fieldSelector="spec.image=x").failure() == (400, "BadRequest", text)
    refused = space.api.get(maps, fieldSelector="data.a=1")
    assert '"data.a" is not a known field selector' in refused.message


def test_field_selectors(space: Space) -> None:
    for name in ("one", "two"):
        space.api.post(f"{space.core}/configmaps", config_map(name))
    listed = space.api.get(f"{space.core}/configmaps", fieldSelector="metadata.name=one")
    assert names(listed.body["items"]) == ["one"]
    for index, kind in enumerate(("Normal", "Warning")):
        involved = {"kind": "Pod", "name": f"pod-{index}", "namespace": space.name}
        event = {"metadata": {"name": f"e{index}"}, "type": kind, "reason": "Test", "involvedObject": involved}
        assert space.api.post(f"{space.core}/events", event).status == 201
    events = f"{space.core}/events"
    assert names(space.api.get(events, fieldSelector="involvedObject.name=pod-1").body["items"]) == ["e1"]
    selector = "involvedObject.kind=Pod,type=Normal,reason!=Other"
    assert names(space.api.get(events, fieldSelector=selector).body["items"]) == ["e0"]
    new = space.api.get(f"{space.group('events.k8s.io/v1')}/events", fieldSelector="type=Warning").body
    assert new["apiVersion"] == "events.k8s.io/v1"
    assert new["items"][0]["regarding"]["name"] == "pod-1"


def test_pages_show_everything_once_and_as_it_was(space: Space) -> None:
    path = f"{space.core}/configmaps"
    for index in range(5):
        space.api.post(path, config_map(f"m{index}"))
    everything = names(space.api.get(path).body["items"])
    first = space.api.get(path, limit=2)
    assert first.meta["remainingItemCount"] == 4
    seen, token = names(first.body["items"]), first.meta["continue"]
    space.api.delete(f"{path}/m3")
    space.api.post(path, config_map("m9"))
    while token:
        page = space.api.get(path, limit=2, continue_=token)
        seen += names(page.body["items"])
        token = page.meta.get("continue")
    assert seen == everything
    assert names(space.api.get(path, limit=2, resourceVersion="0").body["items"])[-1] == "m9"
    bad = space.api.get(path, limit=2, continue_="abc")
    assert bad.failure()[:2] == (400, "BadRequest")


def test_versions_of_the_past_and_of_the_future(space: Space, api_server: KubernetesServer) -> None:
    path = f"{space.core}/configmaps"
    made = space.api.post(path, config_map("old"))
    version = made.meta["resourceVersion"]
    space.api.delete(f"{path}/old")
    exact = space.api.get(path, resourceVersion=version, resourceVersionMatch="Exact")
    assert "old" in names(exact.body["items"])
    token = space.api.get("/api/v1/configmaps", limit=1).meta["continue"]
    future = space.api.get(path, resourceVersion="99999999", resourceVersionMatch="NotOlderThan")
    assert future.failure()[:2] == (504, "Timeout")
    assert future.message.startswith("Timeout: Too large resource version: 99999999, current: ")
    space.api.post(path, config_map("new"))
    api_server.compact()
    gone = space.api.get(path, resourceVersion=version, resourceVersionMatch="Exact")
    assert gone.failure() == (410, "Expired", "The resourceVersion for the provided list is too old.")
    page = space.api.get("/api/v1/configmaps", limit=1, continue_=token)
    assert page.failure()[:2] == (410, "Expired")
    assert space.api.get("/api/v1/configmaps", limit=1, continue_=page.meta["continue"]).status == 200


def test_tables_and_metadata(space: Space) -> None:
    space.api.apply(f"{space.apps}/deployments/web", deployment("web", replicas=2))
    table = space.api.get(f"{space.apps}/deployments", accept=TABLE).body
    assert table["kind"] == "Table"
    columns = [one["name"] for one in table["columnDefinitions"]]
    assert columns[:5] == ["Name", "Ready", "Up-to-date", "Available", "Age"]
    assert table["rows"][0]["cells"][:4] == ["web", "0/2", 0, 0]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    lean = space.api.get(f"{space.apps}/deployments", accept=METADATA_LIST).body
    assert (lean["kind"], "spec" in lean["items"][0]) == ("PartialObjectMetadataList", False)
    one = space.api.get(f"{space.apps}/deployments/web", accept=METADATA).body
    assert (one["kind"], one["metadata"]["name"]) == ("PartialObjectMetadata", "web")
    wrong = space.api.get(f"{space.apps}/deployments", accept=METADATA)
    assert wrong.failure()[:2] == (406, "NotAcceptable")
    assert space.api.get("/version", accept="text/html").status == 200
    assert space.api.get(f"{space.core}/pods", accept="application/yaml").status == 406


def test_creating_twice_strictly_or_with_unknown_fields(space: Space) -> None:
    path = f"{space.core}/configmaps"
    assert space.api.post(path, config_map("cm")).status == 201
    assert space.api.post(path, config_map("cm")).failure() == (409, "AlreadyExists", 'configmaps "cm" already exists')
    strange = {**config_map("w"), "datas": {}, "metadata": {"name": "w", "labelz": {}}}
    strict = space.api.post(path, strange, fieldValidation="Strict")
    assert strict.failure()[:2] == (400, "BadRequest")
    assert 'strict decoding error: unknown field "metadata.labelz", unknown field "datas"' in strict.message
    warned = space.api.post(path, strange, dryRun="All")
    assert warned.status == 201
    assert warned.headers.getlist("warning") == [
        '299 - "unknown field \\"metadata.labelz\\""',
        '299 - "unknown field \\"datas\\""',
    ]
    assert space.api.post(path, strange, dryRun="All", fieldValidation="Ignore").headers.get("warning") is None
    wrong = space.api.post(f"{space.apps}/deployments", {**deployment("x"), "spec": {"replicas": "two"}})
    assert wrong.message == (
        'Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct '
        "field DeploymentSpec.spec.replicas of type int32"
    )


def test_generated_names_differ(space: Space) -> None:
    body = {"metadata": {"generateName": "run-"}}
    made = {space.api.post(f"{space.core}/configmaps", body).meta["name"] for _ in range(5)}
    assert len(made) == 5
    assert all(name.startswith("run-") and len(name) == 9 for name in made)
