"""The verbs against an API server that stores, defaults, validates and tracks who owns what."""

import base64
import json
import threading
import time
from contextlib import closing
from typing import Any

import pytest

import kube.read
from kube.access import can, whoami
from kube.apply import Outcome, apply, apply_all
from kube.connect import from_kubeconfig
from kube.delete import delete, delete_by_label
from kube.discovery import find_kind, has_kind, server_version
from kube.read import ALL_NAMESPACES, get, list_
from kube.watch import Change, WatchTarget, watch
from sandbox.kubernetes.server import KubernetesServer
from serving.errors import ApplyError, ClusterError


def config_map(place: Any, name: str = "settings", labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": place.namespace, "labels": labels or {"app": "chat"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def deployment(place: Any, name: str = "chat", **spec: Any) -> dict[str, Any]:
    container = {"name": "vllm", "image": "vllm/vllm-openai:v0.11.0", "ports": [{"containerPort": 8000}]}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": place.namespace, "labels": {"app": "chat"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template, **spec},
    }


def test_created_unchanged_configured(place: Any) -> None:
    created = apply(place.cluster, deployment(place))
    assert (created.outcome, created.name) == (Outcome.CREATED, f"Deployment {place.namespace}/chat")
    assert "+kind: Deployment" in created.diff
    again = apply(place.cluster, deployment(place))
    assert (again.outcome, again.diff) == (Outcome.UNCHANGED, "")
    assert again.object["metadata"]["generation"] == created.object["metadata"]["generation"]
    changed = apply(place.cluster, deployment(place, replicas=2))
    assert changed.outcome is Outcome.CONFIGURED
    assert "-  replicas: 1\n+  replicas: 2\n" in changed.diff


def test_a_dry_run_shows_what_the_server_computed_and_keeps_nothing(place: Any) -> None:
    tried = apply(place.cluster, deployment(place), dry_run=True)
    assert tried.outcome is Outcome.CREATED
    assert "+  progressDeadlineSeconds: 600" in tried.diff  # the server's default
    assert get(place.cluster, "apps/v1", "Deployment", "chat", place.namespace) is None
    apply(place.cluster, deployment(place))
    tried = apply(place.cluster, deployment(place, replicas=3), dry_run=True)
    assert tried.outcome is Outcome.CONFIGURED
    live = get(place.cluster, "apps/v1", "Deployment", "chat", place.namespace)
    assert live is not None
    assert live["spec"]["replicas"] == 1


def test_a_field_that_is_no_longer_named_goes(place: Any) -> None:
    apply(place.cluster, config_map(place, one="1", two="2"))
    changed = apply(place.cluster, config_map(place, one="1"))
    assert changed.object["data"] == {"one": "1"}
    assert "-  two: '2'" in changed.diff


def test_a_misspelt_field_changes_nothing(place: Any) -> None:
    apply(place.cluster, deployment(place))
    with pytest.raises(ApplyError, match=r"has no field spec\.replicass") as caught:
        apply(place.cluster, deployment(place, replicass=3))
    assert caught.value.code == "apply.unknown_field"


def test_a_conflict_names_the_owner_and_force_takes_over(place: Any) -> None:
    apply(place.cluster, config_map(place, model="a"))
    apply(place.cluster, config_map(place, model="b"), manager="somebody", force=True)
    with pytest.raises(ApplyError, match=r"somebody owns data\.model") as caught:
        apply(place.cluster, config_map(place, model="a"))
    assert caught.value.code == "apply.conflict"
    taken = apply(place.cluster, config_map(place, model="a"), force=True)
    assert taken.object["data"] == {"model": "a"}


def test_a_secrets_values_are_nowhere_to_be_seen(place: Any) -> None:
    def secret(value: str) -> dict[str, Any]:
        encoded = base64.b64encode(value.encode()).decode()
        metadata = {"name": "hf-token", "namespace": place.namespace}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"token": encoded}}

    first = apply(place.cluster, secret("hf_marked-first"))
    second = apply(place.cluster, secret("hf_marked-second"))
    assert (first.outcome, second.outcome) == (Outcome.CREATED, Outcome.CONFIGURED)
    shown = json.dumps([first.object, second.object]) + first.diff + second.diff + repr(first)
    assert "marked" not in shown
    assert base64.b64encode(b"hf_marked").decode()[:10] not in shown
    live = get(place.cluster, "v1", "Secret", "hf-token", place.namespace)
    assert live is not None
    assert base64.b64decode(live["data"]["token"]) == b"hf_marked-second"


def test_what_others_need_is_applied_first(place: Any) -> None:
    service_account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "runner", "namespace": place.namespace},
    }
    applied = apply_all(place.cluster, [deployment(place), config_map(place), service_account])
    assert [one.object["kind"] for one in applied] == ["ServiceAccount", "ConfigMap", "Deployment"]


def test_one_rejected_manifest_leaves_the_cluster_as_it_was(place: Any) -> None:
    with pytest.raises(ApplyError):
        apply_all(place.cluster, [config_map(place), deployment(place, replicass=1)])
    assert get(place.cluster, "v1", "ConfigMap", "settings", place.namespace) is None


def test_a_namespace_is_made_before_what_goes_into_it(place: Any) -> None:
    name = f"{place.namespace}-new"
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    inside = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": name}}
    applied = apply_all(place.cluster, [inside, namespace])
    assert [one.outcome for one in applied] == [Outcome.CREATED, Outcome.CREATED]
    delete(place.cluster, "v1", "Namespace", name, wait=None)


def test_a_namespace_that_does_not_exist(place: Any) -> None:
    manifest = config_map(place)
    manifest["metadata"]["namespace"] = "nowhere"
    with pytest.raises(ClusterError, match="namespace nowhere does not exist") as caught:
        apply(place.cluster, manifest)
    assert caught.value.code == "cluster.namespace_missing"
    assert list_(place.cluster, "v1", "ConfigMap", "nowhere") == []


def test_a_kind_that_is_not_installed_is_found_once_it_is(sandbox_server: KubernetesServer, sandbox_place: Any) -> None:
    cluster = sandbox_place.cluster
    assert not has_kind(cluster, "example.com/v1", "Widget")
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    sandbox_server.install_crd(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.example.com"},
            "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
        }
    )
    assert find_kind(cluster, "example.com/v1", "Widget").namespaced
    widget = {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": "one", "namespace": sandbox_place.namespace},
        "spec": {"size": 1},
    }
    assert apply(cluster, widget).outcome is Outcome.CREATED
    assert apply(cluster, widget).outcome is Outcome.UNCHANGED
    with pytest.raises(ApplyError, match=r"no field spec\.sice"):
        apply(cluster, {**widget, "spec": {"sice": 1}})


def test_discovery(place: Any) -> None:
    assert server_version(place.cluster).minor >= 28
    found = find_kind(place.cluster, "apps/v1", "Deployment")
    assert (found.plural, found.namespaced, found.group) == ("deployments", True, "apps")
    assert {"scale", "status"} <= found.subresources
    assert not find_kind(place.cluster, "v1", "Node").namespaced
    with pytest.raises(ClusterError, match="Kind"):
        find_kind(place.cluster, "apps/v1", "Kind")


def test_lists_by_label_by_field_in_pages_and_everywhere(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube.read, "PAGE", 2)
    for number in range(5):
        labels = {"app": "chat", "even": "yes" if number % 2 == 0 else "no", "own": place.namespace}
        apply(place.cluster, config_map(place, f"c{number}", labels))

    def names(labels: str = "", fields: str = "", namespace: str = place.namespace) -> list[str]:
        found = list_(place.cluster, "v1", "ConfigMap", namespace, labels=labels, fields=fields)
        assert all(one["kind"] == "ConfigMap" and one["apiVersion"] == "v1" for one in found)
        return [one["metadata"]["name"] for one in found]

    assert names("app=chat") == ["c0", "c1", "c2", "c3", "c4"]
    assert names("app in (chat),even!=yes") == ["c1", "c3"]
    assert names(fields="metadata.name=c2") == ["c2"]
    assert names(f"own={place.namespace}", namespace=ALL_NAMESPACES) == ["c0", "c1", "c2", "c3", "c4"]
    with pytest.raises(ClusterError, match="unable to parse"):
        names("app in (")


def test_what_these_credentials_may_do(sandbox_server: KubernetesServer, sandbox_place: Any) -> None:
    path = sandbox_server.write_kubeconfig(sandbox_server.add_token("jane"), "jane", namespace=sandbox_place.namespace)
    assert can(sandbox_place.cluster, "patch", "apps", "deployments", sandbox_place.namespace)
    with from_kubeconfig(path) as jane:
        assert whoami(jane) == "jane"
        assert not can(jane, "patch", "apps", "deployments", sandbox_place.namespace)
        with pytest.raises(ClusterError, match="jane may not get configmaps in namespace") as caught:
            apply(jane, config_map(sandbox_place))
        assert caught.value.code == "cluster.forbidden"
        with pytest.raises(ClusterError, match="jane may not list pods") as caught:
            list(watch(jane, [WatchTarget("v1", "Pod")], deadline=time.monotonic() + 20))
        assert caught.value.code == "cluster.forbidden"


def test_a_token_that_has_expired(sandbox_server: KubernetesServer) -> None:
    token = sandbox_server.add_token("jane", expired=True)
    path = sandbox_server.write_kubeconfig(token, "expired")
    with from_kubeconfig(path) as cluster, pytest.raises(ClusterError) as caught:
        list_(cluster, "v1", "Pod")
    assert caught.value.code == "cluster.unauthorized"
    assert token not in str(caught.value) + repr(vars(caught.value))


def test_a_kubeconfig_with_the_wrong_authority(sandbox_server: KubernetesServer) -> None:
    text = sandbox_server.kubeconfig.read_text()
    without = "\n".join(line for line in text.splitlines() if "certificate-authority-data" not in line)
    with from_kubeconfig(without) as cluster, pytest.raises(ClusterError) as caught:
        server_version(cluster)
    assert caught.value.code == "cluster.tls"


def test_deleting_one_object_and_waiting_until_it_is_gone(place: Any) -> None:
    apply(place.cluster, config_map(place))
    removed = delete(place.cluster, "v1", "ConfigMap", "settings", namespace=place.namespace)
    assert str(removed) == f"ConfigMap {place.namespace}/settings"
    assert removed is not None
    assert removed.seconds is not None
    assert get(place.cluster, "v1", "ConfigMap", "settings", place.namespace) is None
    assert delete(place.cluster, "v1", "ConfigMap", "settings", namespace=place.namespace) is None


def test_deleting_by_label_goes_in_order_and_spares_the_rest(place: Any) -> None:
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "chat", "namespace": place.namespace, "labels": {"app": "chat"}},
        "spec": {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}},
    }
    spared = config_map(place, "spared", {"app": "other"})
    apply_all(place.cluster, [deployment(place), config_map(place), spared, autoscaler])
    kinds = [
        ("v1", "ConfigMap"),
        ("ray.io/v1", "RayService"),
        ("apps/v1", "Deployment"),
        ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ]
    removed = delete_by_label(place.cluster, place.namespace, "app=chat", kinds)
    assert [one.kind for one in removed] == ["HorizontalPodAutoscaler", "Deployment", "ConfigMap"]
    left = list_(place.cluster, "v1", "ConfigMap", place.namespace)
    assert [one["metadata"]["name"] for one in left if one["metadata"]["name"] != "kube-root-ca.crt"] == ["spared"]
    assert delete_by_label(place.cluster, place.namespace, "app=chat", kinds) == []
    with pytest.raises(ValueError, match="everything"):
        delete_by_label(place.cluster, place.namespace, " ", kinds)


def test_what_a_finalizer_holds_is_named_and_cannot_be_applied(place: Any) -> None:
    held = config_map(place, "held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    apply(place.cluster, held)
    with pytest.raises(ClusterError, match=f"ConfigMap {place.namespace}/held") as caught:
        delete(place.cluster, "v1", "ConfigMap", "held", namespace=place.namespace, wait=0.3)
    assert caught.value.code == "delete.unfinished"
    assert "example.com/hold" in caught.value.cause
    with pytest.raises(ApplyError, match="being deleted") as terminating:
        apply(place.cluster, held)
    assert terminating.value.code == "apply.terminating"


def test_a_watch_of_several_kinds_ends_its_connections_at_once(place: Any) -> None:
    apply(place.cluster, config_map(place))
    targets = [
        WatchTarget("v1", "ConfigMap", namespace=place.namespace, name="settings"),
        WatchTarget("apps/v1", "Deployment", namespace=place.namespace),
    ]
    seen = []
    with closing(watch(place.cluster, targets, deadline=time.monotonic() + 30)) as events:
        for event in events:
            seen.append((event.target.kind, event.type))
            if sum(kind is Change.SYNCED for _, kind in seen) == 2 and ("Deployment", Change.ADDED) not in seen:
                apply(place.cluster, deployment(place))
            if ("Deployment", Change.ADDED) in seen:
                break
    assert seen.count(("ConfigMap", Change.ADDED)) == 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("watch-")]
