"""The verbs where pods run: logs, the Service proxy, deleting with what is owned, snapshots."""

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from kube.apply import apply, apply_all
from kube.delete import delete, delete_by_label
from kube.logs import follow_logs, logs
from kube.proxy import request, stream
from kube.read import get, list_
from kube.snapshot import collect
from serving.errors import ClusterError
from serving.snapshot import Snapshot

T = TypeVar("T")

SERVER = """
import http.server, sys, time
print("marked-start", flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path.startswith("/stream"):
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            for word in ("one", "two", "[DONE]"):
                self.wfile.write(f"data: {word}\\n\\n".encode())
                self.wfile.flush()
                time.sleep(0.1)
            self.close_connection = True
            return
        body = f"path {self.path}".encode()
        self.send_response(404 if self.path.startswith("/missing") else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Handler).serve_forever()
"""


def workload(place: Any, name: str, script: str = SERVER, **container: Any) -> dict[str, Any]:
    probe = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 1}
    main = {
        "name": "engine",
        "image": "python:3.11",
        "command": ["python", "-c", script],
        "ports": [{"name": "http", "containerPort": 8000}],
        "env": [{"name": "HF_TOKEN", "value": "marked-plain-token"}],
        "readinessProbe": probe,
        **container,
    }
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": place.namespace, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [main], "terminationGracePeriodSeconds": 1},
            },
        },
    }


def service(place: Any, name: str, target: int | str = "http") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": place.namespace, "labels": {"app": name}},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": target}]},
    }


def until(found: Callable[[], T], seconds: float = 20.0) -> T:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := found():
            return result
        time.sleep(0.05)
    raise AssertionError("it did not come to be in time")


def ready_pod(place: Any, name: str) -> dict[str, Any]:
    def ready() -> dict[str, Any] | None:
        for pod in list_(place.cluster, "v1", "Pod", place.namespace, labels=f"app={name}"):
            if any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", [])):
                return pod
        return None

    return until(ready)


def test_a_service_through_the_proxy_and_the_pods_log(running_place: Any) -> None:
    cluster, namespace = running_place.cluster, running_place.namespace
    apply_all(cluster, [workload(running_place, "chat"), service(running_place, "chat")])
    with pytest.raises(ClusterError) as caught:
        request(cluster, "GET", namespace, "chat", "http", "/health")
    assert caught.value.code == "proxy.no_endpoints"
    pod = ready_pod(running_place, "chat")["metadata"]["name"]

    def answered() -> Any:
        try:
            return request(cluster, "GET", namespace, "chat", "http", "/health", query={"a": 1})
        except ClusterError as error:
            if error.code != "proxy.no_endpoints":
                raise
            return None

    response = until(answered)
    assert (response.status, response.text) == (200, "path /health?a=1")
    missing = request(cluster, "GET", namespace, "chat", 80, "/missing")
    assert (missing.status, missing.text) == (404, "path /missing")
    with stream(cluster, "GET", namespace, "chat", "http", "/stream") as streamed:
        began = time.monotonic()
        lines = [(line, time.monotonic() - began) for line in streamed.lines if line]
    assert [line for line, _ in lines] == ["data: one", "data: two", "data: [DONE]"]
    assert lines[-1][1] - lines[0][1] > 0.1  # they came one by one
    assert logs(cluster, namespace, pod) == "marked-start\n"
    assert logs(cluster, namespace, pod, "engine", previous=True) == ""
    assert next(iter(follow_logs(cluster, namespace, pod, "engine"))) == "marked-start"
    removed = delete_by_label(
        cluster, namespace, "app=chat", [("apps/v1", "Deployment"), ("v1", "Service")], timeout=30
    )
    assert [one.kind for one in removed] == ["Deployment", "Service"]
    assert list_(cluster, "v1", "Pod", namespace) == []


def test_a_port_that_nobody_listens_at(running_place: Any) -> None:
    cluster, namespace = running_place.cluster, running_place.namespace
    apply_all(cluster, [workload(running_place, "chat"), service(running_place, "chat", target=8001)])
    ready_pod(running_place, "chat")

    def refused() -> ClusterError | None:
        with pytest.raises(ClusterError) as caught:
            request(cluster, "GET", namespace, "chat", "http", "/health")
        return caught.value if caught.value.code == "proxy.refused" else None

    assert "targetPort" in until(refused).fix
    with pytest.raises(ClusterError) as caught:
        request(cluster, "GET", namespace, "nothing", "http", "/health")
    assert caught.value.code == "proxy.service_missing"
    delete(cluster, "apps/v1", "Deployment", "chat", namespace=namespace, wait=30)


def test_a_snapshot_of_a_crash_loop_holds_what_a_diagnosis_needs(running_place: Any) -> None:
    cluster, namespace = running_place.cluster, running_place.namespace
    script = "import sys; print('ValueError: no such model, token hf_abcdefghijklmnopqrstuvwx'); sys.exit(3)"
    other = workload(running_place, "other")
    other["spec"]["replicas"] = 0
    apply_all(cluster, [workload(running_place, "chat", script), service(running_place, "chat"), other])

    def crashed() -> dict[str, Any] | None:
        for pod in list_(cluster, "v1", "Pod", namespace, labels="app=chat"):
            if any(one.get("restartCount", 0) >= 2 for one in pod["status"].get("containerStatuses", [])):
                return pod
        return None

    pod = until(crashed)["metadata"]["name"]
    taken = collect(cluster, namespace, "app=chat", label="crash loop")
    assert [one["metadata"]["name"] for one in taken["deployments"]] == ["chat"]
    assert len(taken["replicasets"]) == 1
    assert [one["metadata"]["name"] for one in taken["pods"]] == [pod]
    assert [one["metadata"]["name"] for one in taken["services"]] == ["chat"]
    assert len(taken["endpointslices"]) == 1
    assert [one["metadata"]["name"] for one in taken["nodes"]] == ["node-a"]
    assert {"BackOff", "Started", "SuccessfulCreate"} <= {one["reason"] for one in taken["events"]}
    log = taken["logs"][pod]["engine"]
    assert log["previous"]["status"] == 200
    assert "ValueError: no such model" in log["previous"]["body"]
    assert "no such model" in Snapshot.read(taken).log(pod, "engine")
    written = json.dumps(taken)
    assert "marked-plain-token" not in written
    assert "hf_abc" not in written
    assert "managedFields" not in written
    assert taken["node_autoscaler"] is False
    assert "unreadable" not in taken
    delete(cluster, "apps/v1", "Deployment", "chat", namespace=namespace, wait=30)


def test_a_snapshot_by_someone_who_may_not_see_everything(running_server: Any, running_place: Any) -> None:
    from kube.connect import from_kubeconfig

    rules = [
        {"apiGroups": ["", "apps"], "resources": ["pods", "deployments", "replicasets"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]},
    ]
    role = {"name": "viewer", "namespace": running_place.namespace}
    group = "rbac.authorization.k8s.io"
    apply_all(
        running_place.cluster,
        [
            {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": role, "rules": rules},
            {
                "apiVersion": f"{group}/v1",
                "kind": "RoleBinding",
                "metadata": role,
                "roleRef": {"apiGroup": group, "kind": "Role", "name": "viewer"},
                "subjects": [{"apiGroup": group, "kind": "User", "name": "jane"}],
            },
        ],
    )
    path = running_server.write_kubeconfig(running_server.add_token("jane"), "jane-pods")
    with from_kubeconfig(path) as jane:
        taken = collect(jane, running_place.namespace, "app=chat")
    assert taken["pods"] == []
    assert {"nodes", "services", "resourcequotas"} <= taken["unreadable"].keys()
    assert "jane may not list nodes" in taken["unreadable"]["nodes"]
    assert "nodes" not in taken


def test_a_workload_goes_with_its_pods(running_place: Any) -> None:
    cluster, namespace = running_place.cluster, running_place.namespace
    apply(cluster, workload(running_place, "chat"))
    pod = ready_pod(running_place, "chat")["metadata"]["name"]
    removed = delete(cluster, "apps/v1", "Deployment", "chat", namespace=namespace, wait=30)
    assert removed is not None
    assert get(cluster, "v1", "Pod", pod, namespace) is None
