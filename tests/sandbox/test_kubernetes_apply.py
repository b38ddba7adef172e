"""Server-side apply: ownership, conflicts, generations, defaults, validation."""

from typing import Any

import pytest
from kubernetes_http import JSON_PATCH, MERGE, STRATEGIC, Space, config_map, deployment, service

from sandbox.kubernetes.objects.ownership import Entry, Manager, encode


def owners(obj: dict[str, Any]) -> set[str]:
    return {one["manager"] for one in obj["metadata"].get("managedFields", [])}


def fields(obj: dict[str, Any], manager: str) -> dict[str, Any]:
    return next(one["fieldsV1"] for one in obj["metadata"]["managedFields"] if one["manager"] == manager)


def test_a_new_object_is_created_with_its_identity(space: Space) -> None:
    answer = space.api.apply(f"{space.core}/configmaps/cm", config_map("cm"))
    assert answer.status == 201
    assert answer.meta["uid"]
    assert answer.meta["resourceVersion"].isdigit()
    assert answer.meta["creationTimestamp"].endswith("Z")
    assert "generation" not in answer.meta
    (entry,) = answer.meta["managedFields"]
    assert (entry["manager"], entry["operation"], entry["apiVersion"]) == ("flows", "Apply", "v1")
    assert entry["fieldsV1"] == {"f:data": {"f:a": {}, "f:b": {}}}


def test_the_same_again_changes_nothing_at_all(space: Space) -> None:
    path = f"{space.apps}/deployments/web"
    first = space.api.apply(path, deployment("web", replicas=2))
    second = space.api.apply(path, deployment("web", replicas=2))
    assert (first.status, second.status) == (201, 200)
    assert second.body == first.body == space.api.get(path).body


def test_a_changed_field_moves_the_version_and_a_dropped_one_goes(space: Space) -> None:
    path = f"{space.core}/configmaps/cm"
    before = space.api.apply(path, config_map("cm"))
    after = space.api.apply(path, config_map("cm", {"a": "9"}))
    assert after.body["data"] == {"a": "9"}
    assert int(after.meta["resourceVersion"]) > int(before.meta["resourceVersion"])
    assert after.meta["uid"] == before.meta["uid"]


def test_a_conflict_names_manager_and_field_and_force_takes_the_field(space: Space) -> None:
    path = f"{space.core}/configmaps/cm"
    space.api.apply(path, config_map("cm"))
    space.api.patch(path, {"data": {"a": "x"}}, fieldManager="kubectl-edit")
    refused = space.api.apply(path, config_map("cm"))
    text = 'Apply failed with 1 conflict: conflict with "kubectl-edit" using v1: .data.a'
    assert refused.failure() == (409, "Conflict", text)
    assert refused.body["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "kubectl-edit" using v1', "field": ".data.a"}
    ]
    forced = space.api.apply(path, config_map("cm"), force="true")
    assert forced.body["data"] == {"a": "1", "b": "2"}
    assert owners(forced.body) == {"flows"}


def test_no_conflict_over_a_value_that_is_the_same(space: Space) -> None:
    path = f"{space.core}/configmaps/cm"
    space.api.apply(path, config_map("cm"))
    space.api.patch(path, {"data": {"a": "x"}}, fieldManager="other")
    answer = space.api.apply(path, config_map("cm", {"a": "x", "b": "2"}))
    assert answer.status == 200
    assert fields(answer.body, "flows") == {"f:data": {"f:a": {}, "f:b": {}}}
    assert fields(answer.body, "other") == {"f:data": {"f:a": {}}}


def test_conflicts_are_grouped_by_manager(space: Space) -> None:
    path = f"{space.core}/configmaps/cm"
    space.api.apply(path, config_map("cm", {"a": "1", "b": "2", "c": "3"}))
    space.api.patch(path, {"data": {"a": "x", "b": "y"}}, fieldManager="other")
    space.api.patch(path, {"data": {"c": "z"}}, fieldManager="another")
    refused = space.api.apply(path, config_map("cm", {"a": "1", "b": "2", "c": "3"}))
    assert refused.message == (
        'Apply failed with 3 conflicts: conflicts with "another" using v1:\n- .data.c\n'
        'conflicts with "other" using v1:\n- .data.a\n- .data.b'
    )
    assert len(refused.body["details"]["causes"]) == 3


def test_a_shared_field_stays_until_its_last_owner_drops_it(space: Space) -> None:
    path = f"{space.core}/configmaps/cm"
    space.api.apply(path, config_map("cm", {"a": "1"}))
    space.api.apply(path, config_map("cm", {"a": "1", "c": "3"}), manager="second")
    first = space.api.apply(path, config_map("cm", {"z": "0"}))
    assert first.body["data"] == {"a": "1", "c": "3", "z": "0"}
    second = space.api.apply(path, config_map("cm", {}), manager="second")
    assert second.body["data"] == {"z": "0"}


def test_list_items_belong_to_who_names_them(space: Space) -> None:
    path = f"{space.apps}/deployments/web"
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    space.api.apply(path, deployment("web", env=env))
    side = {"name": "web", "namespace": space.name}
    extra = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": side,
        "spec": {"template": {"spec": {"containers": [{"name": "c", "env": [{"name": "C", "value": "3"}]}]}}},
    }
    answer = space.api.apply(path, extra, manager="injector")
    container = answer.body["spec"]["template"]["spec"]["containers"][0]
    assert [one["name"] for one in container["env"]] == ["A", "B", "C"]
    dropped = space.api.apply(path, deployment("web", env=env[1:]))
    container = dropped.body["spec"]["template"]["spec"]["containers"][0]
    assert [one["name"] for one in container["env"]] == ["B", "C"]


def test_an_item_goes_though_another_manager_changed_its_value(space: Space) -> None:
    path = f"{space.apps}/deployments/web"
    space.api.apply(path, deployment("web", env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]))
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "env": [{"name": "A", "value": "x"}]}]}}}}
    space.api.patch(path, patch, STRATEGIC, fieldManager="kubectl-edit")
    answer = space.api.apply(path, deployment("web", env=[{"name": "B", "value": "2"}]))
    assert answer.body["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "B", "value": "2"}]


def test_dropping_a_block_drops_its_defaults_too(space: Space) -> None:
    path = f"{space.apps}/deployments/web"
    probe = {"httpGet": {"path": "/health", "port": "http"}}
    made = space.api.apply(path, deployment("web", readinessProbe=probe))
    assert made.body["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["timeoutSeconds"] == 1
    answer = space.api.apply(path, deployment("web"))
    assert "readinessProbe" not in answer.body["spec"]["template"]["spec"]["containers"][0]
    assert answer.body["spec"]["revisionHistoryLimit"] == 10


def test_a_dry_run_answers_and_stores_nothing(space: Space) -> None:
    path = f"{space.apps}/deployments/web"
    space.api.apply(path, deployment("web"))
    before = space.api.get(path).body
    dry = space.api.apply(path, deployment("web", setting="2"), dryRun="All")
    assert dry.meta["generation"] == 2
    assert dry.meta["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert space.api.get(path).body == before
    assert space.api.apply(f"{space.core}/configmaps/dry", config_map("dry"), dryRun="All").status == 201
    assert space.api.get(f"{space.core}/configmaps/dry").status == 404


def test_what_moves_the_generation_of_a_deployment(space: Space) -> None:
    path = f"{space.apps}/deployments/web"
    one = deployment("web")
    assert space.api.apply(path, one).meta["generation"] == 1
    labelled = {**one, "metadata": {"name": "web", "labels": {"app": "web", "more": "1"}}}
    assert space.api.apply(path, labelled).meta["generation"] == 1
    noted = {**one, "metadata": {"name": "web", "annotations": {"note": "1"}}}
    assert space.api.apply(path, noted).meta["generation"] == 2
    changed = space.api.apply(path, deployment("web", setting="2"))
    assert changed.meta["generation"] == 3
    assert "note" not in changed.meta.get("annotations", {})
    status = {"status": {"conditions": []}, "spec": {"replicas": 5}}
    written = space.api.patch(f"{path}/status", status)
    assert (written.meta["generation"], written.body["spec"]["replicas"]) == (3, 0)
    ignored = space.api.patch(path, {"status": {"replicas": 7}})
    assert "replicas" not in ignored.body["status"]


def test_dropped_replicas_are_defaulted_and_scale_takes_them(space: Space) -> None:
    path = f"{space.apps}/deployments/web"
    made = space.api.apply(path, deployment("web", replicas=1))
    dropped = space.api.apply(path, deployment("web", replicas=None))
    assert (dropped.body["spec"]["replicas"], dropped.meta["generation"]) == (1, made.meta["generation"])
    assert dropped.meta["resourceVersion"] != made.meta["resourceVersion"]
    scaled = space.api.patch(f"{path}/scale", {"spec": {"replicas": 3}}, fieldManager="hpa")
    assert (scaled.body["kind"], scaled.body["spec"], scaled.body["status"]["selector"]) == (
        "Scale",
        {"replicas": 3},
        "app=web",
    )
    assert space.api.get(path).meta["generation"] == 2
    refused = space.api.apply(path, deployment("web", replicas=1))
    text = 'Apply failed with 1 conflict: conflict with "hpa" with subresource "scale" using apps/v1: .spec.replicas'
    assert refused.message == text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"replicass": 2}, ".spec.replicass: field not declared in schema"),
        ({"replicas": "two"}, ".spec.replicas: expected numeric (int or float), got string"),
        ({"paused": "yes"}, ".spec.paused: expected boolean, got &{yes}"),
        ({"template": []}, ".spec.template: expected map, got &{[]}"),
        ({"a": 1, "b": 2}, "errors:\n  .spec.a: field not declared in schema\n  .spec.b: field not declared in schema"),
    ],
)
def test_what_does_not_fit_the_schema_is_a_500_without_reason(space: Space, change: dict[str, Any], text: str) -> None:
    body = deployment("bad")
    body["spec"] |= change
    refused = space.api.apply(f"{space.apps}/deployments/bad", body)
    prefix = f"failed to create typed patch object ({space.name}/bad; apps/v1, Kind=Deployment): "
    assert refused.failure() == (500, None, prefix + text)
    assert space.api.get(f"{space.apps}/deployments/bad").status == 404


def test_defaults_and_canonical_quantities(space: Space) -> None:
    resources = {"limits": {"cpu": "1000m", "memory": "1024Mi", "nvidia.com/gpu": 1}, "requests": {"cpu": 0.5}}
    body = deployment("web", replicas=None, resources=resources, image="registry.example.com/none")
    spec = space.api.apply(f"{space.apps}/deployments/web", body).body["spec"]
    assert (spec["replicas"], spec["progressDeadlineSeconds"], spec["revisionHistoryLimit"]) == (1, 600, 10)
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
    }
    container = spec["template"]["spec"]["containers"][0]
    assert container["resources"] == {
        "limits": {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "1"},
        "requests": {"cpu": "500m"},
    }
    assert (container["imagePullPolicy"], container["ports"][0]["protocol"]) == ("Always", "TCP")
    assert spec["template"]["spec"]["restartPolicy"] == "Always"


def test_a_quantity_written_otherwise_is_no_change(space: Space) -> None:
    path = f"{space.apps}/deployments/web"
    first = space.api.apply(path, deployment("web", resources={"limits": {"memory": "1024Mi"}}))
    second = space.api.apply(path, deployment("web", resources={"limits": {"memory": "1024Mi"}}))
    third = space.api.apply(path, deployment("web", resources={"limits": {"memory": "1Gi"}}))
    assert first.meta["resourceVersion"] == second.meta["resourceVersion"] == third.meta["resourceVersion"]


def test_kinds_come_back_as_the_server_keeps_them(space: Space) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"t": "abc"}}
    made = space.api.apply(f"{space.core}/secrets/s", secret)
    assert (made.body["data"], made.body["type"], "stringData" in made.body) == ({"t": "YWJj"}, "Opaque", False)
    again = space.api.apply(f"{space.core}/secrets/s", secret)
    assert again.meta["resourceVersion"] == made.meta["resourceVersion"]
    one = space.api.apply(f"{space.core}/services/web", service("web")).body["spec"]
    assert (one["type"], one["ports"][0]["protocol"], one["sessionAffinity"]) == ("ClusterIP", "TCP", "None")
    assert one["clusterIPs"] == [one["clusterIP"]]
    other = space.api.apply(f"{space.core}/services/other", service("other")).body["spec"]
    assert other["clusterIP"] != one["clusterIP"]


@pytest.mark.parametrize(
    ("change", "field", "text"),
    [
        ({"image": ""}, "spec.template.spec.containers[0].image", "Required value"),
        ({"name": "C_1"}, "spec.template.spec.containers[0].name", "a lowercase RFC 1123 label must consist of"),
        (
            {"resources": {"requests": {"nvidia.com/gpu": "1"}}},
            "spec.template.spec.containers[0].resources.limits",
            "Limit must be set for non overcommitable resources",
        ),
        (
            {"resources": {"limits": {"memory": "1Gi"}, "requests": {"memory": "2Gi"}}},
            "spec.template.spec.containers[0].resources.requests",
            "must be less than or equal to memory limit of 1Gi",
        ),
        (
            {"readinessProbe": {"periodSeconds": 1}},
            "spec.template.spec.containers[0].readinessProbe",
            "must specify a handler type",
        ),
        (
            {"volumeMounts": [{"name": "nope", "mountPath": "/x"}]},
            "spec.template.spec.containers[0].volumeMounts[0].name",
            'Not found: "nope"',
        ),
    ],
)
def test_what_makes_no_sense_is_a_422_with_causes(space: Space, change: dict[str, Any], field: str, text: str) -> None:
    refused = space.api.apply(f"{space.apps}/deployments/web", deployment("web", **change))
    assert refused.failure()[:2] == (422, "Invalid")
    cause = refused.body["details"]["causes"][0]
    assert cause["field"] == field
    assert text in cause["message"]


def test_immutable_fields(space: Space) -> None:
    space.api.apply(f"{space.core}/services/web", service("web"))
    moved = space.api.apply(f"{space.core}/services/web", service("web", clusterIP="10.96.77.77"), force="true")
    assert moved.failure()[:2] == (422, "Invalid")
    assert "may not change once set" in moved.message
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "registry.example.com/none:1"}]}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"template": {"spec": pod}}}
    made = space.api.apply(f"{space.batch}/jobs/j", job)
    uid = made.meta["uid"]
    assert made.body["spec"]["selector"]["matchLabels"] == {"batch.kubernetes.io/controller-uid": uid}
    pod["containers"][0]["image"] = "registry.example.com/none:2"
    changed = space.api.apply(f"{space.batch}/jobs/j", job)
    assert changed.message.startswith('Job.batch "j" is invalid: spec.template: Invalid value: ')
    assert changed.message.endswith(": field is immutable")


def test_the_other_patches(space: Space) -> None:
    path = f"{space.core}/configmaps/cm"
    space.api.apply(path, config_map("cm"))
    assert space.api.patch(path, {"data": {"a": None, "c": "3"}}, MERGE).body["data"] == {"b": "2", "c": "3"}
    operations = [{"op": "replace", "path": "/data/b", "value": "x"}, {"op": "remove", "path": "/data/c"}]
    assert space.api.patch(path, operations, JSON_PATCH).body["data"] == {"b": "x"}
    failing = [{"op": "test", "path": "/data/b", "value": "y"}]
    assert space.api.patch(path, failing, JSON_PATCH).status == 422
    web = f"{space.apps}/deployments/web"
    space.api.apply(web, deployment("web", env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]))
    env = [{"name": "A", "$patch": "delete"}, {"name": "C", "value": "3"}]
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "env": env}]}}}}
    merged = space.api.patch(web, patch, STRATEGIC).body["spec"]["template"]["spec"]["containers"]
    assert [(one["name"], one["value"]) for one in merged[0]["env"]] == [("B", "2"), ("C", "3")]
    strict = space.api.patch(path, {"datas": {}}, MERGE, fieldValidation="Strict")
    assert strict.failure()[:2] == (422, "Invalid")
    assert 'strict decoding error: unknown field "datas"' in strict.message
    lenient = space.api.patch(path, {"datas": {}}, MERGE)
    assert lenient.headers.getlist("warning") == ['299 - "unknown field \\"datas\\""']


def test_a_replacement_needs_the_present_version(space: Space) -> None:
    path = f"{space.core}/configmaps/cm"
    first = space.api.apply(path, config_map("cm"))
    space.api.patch(path, {"data": {"a": "x"}})
    refused = space.api.call("PUT", path, {**first.body, "data": {}})
    assert refused.failure()[:2] == (409, "Conflict")
    present = space.api.get(path).body
    assert space.api.call("PUT", path, {**present, "data": {"only": "this"}}).body["data"] == {"only": "this"}


def test_managed_fields_come_with_appliers_first_then_by_time_and_name() -> None:
    owned = frozenset({("f:data",)})

    def entry(name: str, operation: str, second: int) -> Entry:
        return Entry(Manager(name, operation, "v1"), owned, f"2026-01-01T00:00:0{second}Z")

    given = [entry("a", "Update", 1), entry("a", "Apply", 2), entry("c", "Apply", 1), entry("b", "Apply", 1)]
    shown = [(one["operation"], one["manager"]) for one in encode(given)]
    assert shown == [("Apply", "b"), ("Apply", "c"), ("Apply", "a"), ("Update", "a")]
