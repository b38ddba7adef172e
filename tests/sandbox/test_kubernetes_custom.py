"""Custom resources: the definitions that are there, and those that others bring."""

from typing import Any

import pytest
from kubernetes_http import STRATEGIC, Api, Space, config_map, until

from sandbox.kubernetes.errors import ApiError
from sandbox.kubernetes.server import KubernetesServer

TEMPLATE = {"spec": {"containers": [{"name": "ray", "image": "registry.example.com/ray:1"}]}}
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def ray_service(serve: str = "applications: []\n") -> dict[str, Any]:
    head = {"rayStartParams": {}, "template": TEMPLATE}
    cluster = {"headGroupSpec": head, "workerGroupSpecs": [{"groupName": "gpu", "template": TEMPLATE}]}
    cluster["workerGroupSpecs"][0] |= {"replicas": 2}
    spec = {"serveConfigV2": serve, "rayClusterConfig": cluster}
    return {"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": {"name": "r"}, "spec": spec}


def definition(plural: str = "widgets", **schema: Any) -> dict[str, Any]:
    spec_schema = {
        "type": "object",
        "required": ["size"],
        "properties": {
            "size": {"type": "integer", "minimum": 1, "maximum": 9},
            "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 3}},
            "fixed": {
                "type": "string",
                "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "fixed stays"}],
            },
            **schema,
        },
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec_schema}}},
        "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
    }
    names = {"plural": plural, "kind": plural.removesuffix("s").title()}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }


@pytest.fixture
def widgets(space: Space, api_server: KubernetesServer) -> str:
    api_server.install_crd(definition())
    return f"{space.group('example.com/v1')}/widgets"


def widget(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}


def test_generation_and_status_of_a_ray_service(space: Space) -> None:
    path = f"{space.group('ray.io/v1')}/rayservices/r"
    made = space.api.apply(path, ray_service())
    assert (made.status, made.meta["generation"]) == (201, 1)
    worker = made.body["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    assert (worker["replicas"], worker["minReplicas"], worker["numOfHosts"]) == (2, 0, 1)
    assert space.api.apply(path, ray_service()).meta["resourceVersion"] == made.meta["resourceVersion"]
    status = {"spec": {"serveConfigV2": "no"}, "status": {"serviceStatus": "Running", "numServeEndpoints": 1}}
    written = space.api.patch(f"{path}/status", status)
    assert (written.meta["generation"], written.body["status"]["serviceStatus"]) == (1, "Running")
    assert written.body["spec"] == made.body["spec"]
    ignored = space.api.patch(path, {"status": {"numServeEndpoints": 9}})
    assert ignored.body["status"]["numServeEndpoints"] == 1
    changed = space.api.apply(path, ray_service("applications: [x]\n"))
    assert (changed.meta["generation"], changed.body["status"]["numServeEndpoints"]) == (2, 1)
    assert space.api.patch(path, {"spec": {}}, STRATEGIC).status == 415


def test_unknown_fields_reach_into_pod_templates(space: Space) -> None:
    body = ray_service()
    body["spec"]["rayClusterConfig"]["headGroupSpec"] = {
        "template": {"spec": {"containers": [{"name": "c", "imag": 1}]}}
    }
    refused = space.api.apply(f"{space.group('ray.io/v1')}/rayservices/r", body)
    assert refused.status == 500
    assert '.template.spec.containers[name="c"].imag: field not declared in schema' in refused.message


def test_defaults_and_scale_of_a_leader_worker_set(space: Space) -> None:
    path = f"{space.group('leaderworkerset.x-k8s.io/v1')}/leaderworkersets/l"
    body = {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": "l"},
        "spec": {"leaderWorkerTemplate": {"size": 2, "workerTemplate": TEMPLATE}},
    }
    made = space.api.apply(path, body)
    assert (made.body["spec"]["startupPolicy"], made.body["spec"]["replicas"]) == ("LeaderCreated", 1)
    space.api.patch(f"{path}/status", {"status": {"replicas": 1, "hpaPodSelector": "a=b"}})
    scaled = space.api.patch(f"{path}/scale", {"spec": {"replicas": 3}})
    assert (scaled.body["spec"], scaled.body["status"]) == ({"replicas": 3}, {"replicas": 1, "selector": "a=b"})
    assert space.api.get(path).meta["generation"] == 2


def test_an_installed_definition_is_served_at_once(api: Api, space: Space, widgets: str) -> None:
    resources = {one["name"]: one for one in api.get("/apis/example.com/v1").body["resources"]}
    assert (resources["widgets"]["kind"], resources["widgets"]["singularName"]) == ("Widget", "widget")
    made = space.api.apply(f"{widgets}/w", widget(size=3, free={"any": ["thing"]}))
    assert made.body["spec"] == {"size": 3, "color": "red", "free": {"any": ["thing"]}}
    assert made.meta["generation"] == 1
    listed = space.api.get(widgets).body
    assert (listed["kind"], listed["items"][0]["kind"]) == ("WidgetList", "Widget")
    table = space.api.get(widgets, accept=TABLE).body
    assert [row["cells"] for row in table["rows"]] == [["w", 3]]
    crd = api.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com").body
    assert {one["type"]: one["status"] for one in crd["status"]["conditions"]} == {
        "NamesAccepted": "True",
        "Established": "True",
    }


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({}, "spec.size: Required value"),
        ({"size": 0}, "spec.size in body should be greater than or equal to 1"),
        ({"size": 12}, "spec.size in body should be less than or equal to 9"),
        ({"size": 1, "color": "green"}, 'spec.color: Unsupported value: "green": supported values: "red", "blue"'),
        ({"size": 1, "tags": ["long"]}, "spec.tags[0]: Too long: may not be more than 3 bytes"),
    ],
)
def test_a_custom_object_is_validated(space: Space, widgets: str, spec: dict[str, Any], text: str) -> None:
    refused = space.api.apply(f"{widgets}/w", widget(**spec))
    assert refused.failure()[:2] == (422, "Invalid")
    assert text in refused.message


def test_types_are_checked_when_posted_too(space: Space, widgets: str) -> None:
    refused = space.api.post(widgets, widget(size="big"))
    assert 'spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"' in refused.message
    pruned = space.api.post(widgets, widget(size=1, sise=2))
    assert pruned.headers.getlist("warning") == ['299 - "unknown field \\"spec.sise\\""']
    assert pruned.body["spec"] == {"size": 1, "color": "red"}


def test_a_rule_about_the_old_value(space: Space, widgets: str) -> None:
    space.api.apply(f"{widgets}/w", widget(size=1, fixed="a"))
    refused = space.api.apply(f"{widgets}/w", widget(size=1, fixed="b"))
    assert 'spec.fixed: Invalid value: "b": fixed stays' in refused.message


def test_definitions_come_and_go_through_the_api(api: Api, space: Space) -> None:
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    rule = {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 3"}]}
    made = api.post(crds, definition("gears", teeth=rule))
    assert made.status == 201
    assert made.headers.getlist("warning") == ["299 - \"the sandbox does not evaluate the validation rule 'self > 3'\""]
    path = f"{space.group('example.com/v1')}/gears"
    until(lambda: api.get(path).status == 200)
    body = {"apiVersion": "example.com/v1", "kind": "Gear", "metadata": {"name": "g"}, "spec": {"size": 1}}
    assert space.api.post(path, body).status == 201
    api.delete(f"{crds}/gears.example.com")
    until(lambda: api.get(path).status == 404)
    wrong = definition("gears")
    wrong["metadata"]["name"] = "gear.example.com"
    refused = api.post(crds, wrong)
    assert refused.failure()[:2] == (422, "Invalid")
    assert 'must be spec.names.plural+"."+spec.group' in refused.message


def test_versions_differ_in_nothing_but_their_name(space: Space, api_server: KubernetesServer) -> None:
    wheels = definition("wheels")
    (first,) = wheels["spec"]["versions"]
    wheels["spec"]["versions"].append({**first, "name": "v1beta1", "storage": False})
    api_server.install_crd(wheels)
    old, new = (f"{space.group(f'example.com/{version}')}/wheels" for version in ("v1beta1", "v1"))
    body = {"apiVersion": "example.com/v1beta1", "kind": "Wheel", "metadata": {"name": "w"}, "spec": {"size": 1}}
    assert space.api.apply(f"{old}/w", body).status == 201
    assert space.api.get(f"{new}/w").body["apiVersion"] == "example.com/v1"
    assert space.api.get(old).body["items"][0]["apiVersion"] == "example.com/v1beta1"
    ((_, seen),) = space.api.watch(old, 1)
    assert seen["apiVersion"] == "example.com/v1beta1"
    moved = space.api.apply(f"{new}/w", {**body, "apiVersion": "example.com/v1"})
    assert [one["apiVersion"] for one in moved.meta["managedFields"]] == ["example.com/v1"]


def test_a_definition_that_cannot_be_served_is_refused(api_server: KubernetesServer) -> None:
    broken = definition("broken")
    broken["spec"]["versions"][0]["storage"] = False
    with pytest.raises(ApiError, match="must have exactly one version marked as storage version"):
        api_server.install_crd(broken)


def test_config_maps_are_no_custom_resources(space: Space) -> None:
    refused = space.api.apply(f"{space.core}/secrets/x", config_map("x"))
    assert refused.failure() == (400, "BadRequest", "invalid object type: /v1, Kind=ConfigMap")
