"""Pods that run: logs and proxies through the API server, quotas, and the real clients."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, dynamic
from kubernetes import watch as kubernetes_watch
from kubernetes.config import new_client_from_config
from kubernetes_http import Api, Space, deployment, service, until

from sandbox.kubernetes.node import ImageConfig, NodeConfig, NodeTimings
from sandbox.kubernetes.server import KubernetesConfig, KubernetesServer, serve_kubernetes

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.path in ("/health", "/echo?a=1&b=%2F")
        self.send_response(200 if known else 404)
        body = self.path.encode() if known else b"nothing here"
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Authorization", self.headers.get("Authorization", "none"))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.end_headers()
        self.wfile.write(body.upper())
    def log_message(self, *args):
        pass
print("line one", flush=True)
print("line two", flush=True)
http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""
IMAGE = "registry.example.com/python:1"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesServer]:
    image = ImageConfig(IMAGE, path=Path(sys.executable).parent)
    quick = NodeTimings(crash_backoff=0.2, image_backoff=0.2, sync=0.1)
    config = KubernetesConfig(
        tmp_path_factory.mktemp("cluster"), nodes=(NodeConfig(),), images=(image,), node_timings=quick
    )
    with serve_kubernetes(config) as server:
        yield server


@pytest.fixture(scope="module")
def web(cluster: KubernetesServer) -> Space:
    """A namespace with a Deployment that answers, and its Service."""
    api = Api(cluster.url, cluster.admin_token, cluster.ca_file)
    space = Space(api, "default")
    probe = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 1}
    body = deployment("web", 1, image=IMAGE, command=["python3", "-c", SERVER], readinessProbe=probe)
    body["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 1
    space.api.apply(f"{space.apps}/deployments/web", body)
    space.api.apply(f"{space.core}/services/web", service("web"))
    until(lambda: space.api.get(f"{space.core}/services/http:web:http/proxy/health").status == 200)
    return space


def pod_of(space: Space, app: str) -> str:
    pods = until(lambda: space.api.get(f"{space.core}/pods", labelSelector=f"app={app}").body["items"])
    return pods[0]["metadata"]["name"]


def test_logs_and_the_ways_to_ask_for_them(web: Space) -> None:
    path = f"{web.core}/pods/{pod_of(web, 'web')}/log"
    everything = web.api.get(path)
    assert (everything.status, everything.body) == (200, "line one\nline two\n")
    assert everything.headers["content-type"].startswith("text/plain")
    assert web.api.get(path, tailLines=1).body == "line two\n"
    assert web.api.get(path, limitBytes=4).body == "line"
    stamped = web.api.get(path, timestamps="true", tailLines=1).body
    assert stamped.endswith("Z line two\n")


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ({"container": "zz"}, 400, "container zz is not valid for pod {pod}"),
        ({"previous": "true"}, 400, 'previous terminated container "c" in pod "{pod}" not found'),
        ({"tailLines": "x"}, 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        ({"tailLines": "-1"}, 422, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
    ],
)
def test_log_requests_that_cannot_be_answered(web: Space, query: dict[str, str], status: int, text: str) -> None:
    pod = pod_of(web, "web")
    refused = web.api.get(f"{web.core}/pods/{pod}/log", **query)
    assert refused.status == status
    assert text.format(pod=pod) in refused.message


def test_logs_of_pods_that_do_not_run(web: Space) -> None:
    web.api.apply(f"{web.apps}/deployments/wait", deployment("wait", 1, imagePullPolicy="Never"))
    waiting = pod_of(web, "wait")

    def reason() -> bool:
        statuses = web.api.get(f"{web.core}/pods/{waiting}").body["status"].get("containerStatuses", [{}])
        return statuses[0].get("state", {}).get("waiting", {}).get("reason") == "ErrImageNeverPull"

    until(reason)
    text = f'container "c" in pod "{waiting}" is waiting to start: ErrImageNeverPull'
    assert web.api.get(f"{web.core}/pods/{waiting}/log").failure() == (400, "BadRequest", text)
    huge = deployment("huge", 1, resources={"limits": {"nvidia.com/gpu": "64"}})
    web.api.apply(f"{web.apps}/deployments/huge", huge)
    unscheduled = web.api.get(f"{web.core}/pods/{pod_of(web, 'huge')}/log")
    assert (unscheduled.status, unscheduled.body) == (204, "")
    sidecar = {"name": "side", "image": IMAGE}
    two = deployment("two", 1)
    two["spec"]["template"]["spec"]["containers"].append(sidecar)
    web.api.apply(f"{web.apps}/deployments/two", two)
    pod = pod_of(web, "two")
    text = f"a container name must be specified for pod {pod}, choose one of: [c side]"
    assert web.api.get(f"{web.core}/pods/{pod}/log").failure() == (400, "BadRequest", text)
    for name in ("wait", "huge", "two"):
        web.api.delete(f"{web.apps}/deployments/{name}")


def test_the_service_proxy_passes_requests_and_answers(web: Space) -> None:
    base = f"{web.core}/services"
    for reference in ("http:web:http", "web:http", "http:web:80", "web:80"):
        assert web.api.get(f"{base}/{reference}/proxy/health").body == "/health"
    proxy = f"{base}/http:web:http/proxy"
    assert web.api.get(f"{proxy}/echo?a=1&b=%2F").body == "/echo?a=1&b=%2F"
    missing = web.api.get(f"{proxy}/nothing")
    assert (missing.status, missing.body) == (404, "nothing here")
    posted = web.api.post(f"{proxy}/anything", "text", content_type="text/plain")
    assert (posted.status, posted.body) == (201, "TEXT")
    # The caller's credentials stay with the API server.
    assert web.api.get(f"{proxy}/health").headers["x-authorization"] == "none"
    redirect = web.api.get(proxy)
    assert (redirect.status, redirect.headers["location"]) == (301, f"{proxy}/")
    pod = web.api.get(f"{web.core}/pods/{pod_of(web, 'web')}:8000/proxy/health")
    assert pod.body == "/health"


def test_a_service_that_cannot_be_reached(web: Space) -> None:
    base = f"{web.core}/services"
    unknown = web.api.get(f"{base}/http:nope:http/proxy/health")
    assert unknown.failure() == (404, "NotFound", 'services "nope" not found')
    nameless = web.api.get(f"{base}/web/proxy/health")
    assert nameless.failure() == (503, "ServiceUnavailable", 'no endpoints available for service "web"')
    port = web.api.get(f"{base}/http:web:grpc/proxy/health")
    assert port.failure() == (503, "ServiceUnavailable", 'no endpoints available for service "http:web:grpc"')
    number = web.api.get(f"{base}/http:web:81/proxy/health")
    assert number.failure() == (503, "ServiceUnavailable", 'no service port 81 found for service "web"')
    tls = web.api.get(f"{base}/https:web:http/proxy/health")
    text = "error trying to reach service: tls: first record does not look like a TLS handshake"
    assert tls.failure() == (503, "ServiceUnavailable", text)
    web.api.apply(f"{base}/idle", service("idle"))
    until(lambda: web.api.get(f"{base}/http:idle:http/proxy/health").status == 503)
    assert web.api.get(f"{base}/http:idle:http/proxy/x").message == 'no endpoints available for service "idle"'
    wrong = service("wrong", selector={"app": "web"}, ports=[{"name": "http", "port": 80, "targetPort": 9999}])
    web.api.apply(f"{base}/wrong", wrong)
    path = f"{base}/http:wrong:http/proxy/health"
    until(lambda: "dial tcp" in web.api.get(path).message)
    refused = web.api.get(path)
    assert refused.status == 503
    assert refused.message.startswith("error trying to reach service: dial tcp 127.")
    assert refused.message.endswith(":9999: connect: connection refused")


def test_a_quota_refuses_and_shows_what_is_used(web: Space) -> None:
    space = Space(web.api, "limited")
    space.api.post("/api/v1/namespaces", {"metadata": {"name": "limited"}})
    quota = {"metadata": {"name": "gpus"}, "spec": {"hard": {"requests.nvidia.com/gpu": "1", "pods": "1"}}}
    space.api.post(f"{space.core}/resourcequotas", quota)
    until(lambda: space.api.get(f"{space.core}/serviceaccounts/default").status == 200)
    container = {"name": "c", "image": IMAGE, "resources": {"limits": {"nvidia.com/gpu": "2"}}}
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [container]}}
    refused = space.api.post(f"{space.core}/pods", pod)
    text = (
        'pods "p" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=2, '
        "used: requests.nvidia.com/gpu=0, limited: requests.nvidia.com/gpu=1"
    )
    assert refused.failure() == (403, "Forbidden", text)
    container["resources"]["limits"]["nvidia.com/gpu"] = "1"
    assert space.api.post(f"{space.core}/pods", pod).status == 201
    status = f"{space.core}/resourcequotas/gpus"
    until(lambda: space.api.get(status).body.get("status", {}).get("used", {}).get("pods") == "1")
    nobody = {"metadata": {"generateName": "x-"}, "spec": {**pod["spec"], "serviceAccountName": "nobody"}}
    text = 'pods "x-" is forbidden: error looking up service account limited/nobody: serviceaccount "nobody" not found'
    assert space.api.post(f"{space.core}/pods", nobody).failure() == (403, "Forbidden", text)


def test_the_official_client_over_tls(cluster: KubernetesServer, web: Space) -> None:
    with new_client_from_config(str(cluster.kubeconfig)) as connection:
        core, apps = client.CoreV1Api(connection), client.AppsV1Api(connection)
        found = apps.read_namespaced_deployment("web", "default")
        assert found.status.available_replicas == 1
        pods = core.list_namespaced_pod("default", label_selector="app=web").items
        assert pods[0].status.phase == "Running"
        assert core.read_namespaced_pod_log(pods[0].metadata.name, "default", tail_lines=1) == "line two\n"
        with pytest.raises(client.ApiException) as failure:
            core.read_namespaced_config_map("nope", "default")
        assert (failure.value.status, failure.value.reason) == (404, "Not Found")
        made = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="from-client"), data={"a": "b"})
        assert core.create_namespaced_config_map("default", made).data == {"a": "b"}
        events = kubernetes_watch.Watch().stream(core.list_namespaced_config_map, "default", timeout_seconds=1)
        assert ("ADDED", "from-client") in [(one["type"], one["object"].metadata.name) for one in events]
        core.delete_namespaced_config_map("from-client", "default")


def test_the_dynamic_client_over_tls(cluster: KubernetesServer, web: Space) -> None:
    with new_client_from_config(str(cluster.kubeconfig)) as connection:
        anything = dynamic.DynamicClient(connection)
        sets = anything.resources.get(api_version="leaderworkerset.x-k8s.io/v1", kind="LeaderWorkerSet")
        template = {"spec": {"containers": [{"name": "c", "image": IMAGE}]}}
        body: dict[str, Any] = {
            "apiVersion": "leaderworkerset.x-k8s.io/v1",
            "kind": "LeaderWorkerSet",
            "metadata": {"name": "l", "namespace": "default"},
            "spec": {"leaderWorkerTemplate": {"workerTemplate": template}},
        }
        made = sets.server_side_apply(body, name="l", namespace="default", field_manager="flows")
        assert made.spec.replicas == 1
        assert [one.metadata.name for one in sets.get(namespace="default").items] == ["l"]
        sets.delete(name="l", namespace="default")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not at hand")
def test_kubectl(cluster: KubernetesServer, web: Space, tmp_path: Path) -> None:
    def kubectl(*arguments: str, succeeds: bool = True) -> str:
        command = ["kubectl", f"--kubeconfig={cluster.kubeconfig}", f"--cache-dir={tmp_path}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode == 0) is succeeds, done.stderr
        return done.stdout if succeeds else done.stderr

    header, row = kubectl("get", "deployments", "web").splitlines()
    assert header.split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert row.split()[:4] == ["web", "1/1", "1", "1"]
    assert "availableReplicas: 1" in kubectl("get", "deploy", "web", "-o", "yaml")
    assert "MinimumReplicasAvailable" in kubectl("describe", "deployment", "web")
    assert "Successfully assigned default/web-" in kubectl("describe", "pods", "-l", "app=web")
    assert "condition met" in kubectl("wait", "--for=condition=Available", "deploy/web", "--timeout=10s")
    assert kubectl("logs", "deploy/web", "--tail=1") == "line two\n"
    manifest = tmp_path / "cm.yaml"
    manifest.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: from-kubectl}\ndata: {a: b}\n")
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", str(manifest))
    assert kubectl("delete", "-f", str(manifest)) == 'configmap "from-kubectl" deleted\n'
    assert kubectl("auth", "can-i", "create", "deployments") == "yes\n"
    assert "created" in kubectl("create", "namespace", "short-lived")
    assert "deleted" in kubectl("delete", "namespace", "short-lived")
    assert "does not implement pods/exec" in kubectl("exec", "deploy/web", "--", "ls", succeeds=False)
