"""The way to a Service: by cluster DNS from a pod of the cluster, through the API server's proxy from elsewhere."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from test_kube_pods import ready_pod, service, until, workload

from kube.apply import apply, apply_all
from kube.logs import logs
from kube.service import ServiceWay, way_to
from sandbox.kubernetes.server import KubernetesServer
from serving.errors import ClusterError

ACCOUNT = "/account"

ASKING = """
import json, sys
from pathlib import Path
from kube.connect import in_cluster
from kube.service import way_to
account, host, port, namespace = Path(sys.argv[1]), *sys.argv[2:]
environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
with in_cluster(directory=account, environ=environ) as cluster:
    way = way_to(cluster, namespace, "chat", 80, own=account)
    answer = way.request("GET", "/health", timeout=10)
    with way.stream("GET", "/stream", timeout=10) as opened:
        lines = [line for line in opened.lines if line]
    missing = str(way_to(cluster, namespace, "no-such", 80, own=account))
print(json.dumps({"way": str(way), "answer": answer.text, "lines": lines, "missing": missing}), flush=True)
"""


def account(place: Any, server: KubernetesServer) -> dict[str, Any]:
    """What a kubelet puts into every pod, as a Secret: pods of the sandbox have no account of their own."""
    assert server.ca_file is not None
    data = {"token": server.admin_token, "ca.crt": server.ca_file.read_text(), "namespace": place.namespace}
    metadata = {"name": "account", "namespace": place.namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}


def test_a_pod_of_the_cluster_asks_by_name(running_place: Any, running_server: KubernetesServer) -> None:
    cluster, namespace = running_place.cluster, running_place.namespace
    apply_all(
        cluster,
        [workload(running_place, "chat"), service(running_place, "chat"), account(running_place, running_server)],
    )
    ready_pod(running_place, "chat")
    address = urlsplit(running_server.url)
    command = ["python", "-c", ASKING, ACCOUNT, str(address.hostname), str(address.port), namespace]
    mount = {"name": "account", "mountPath": ACCOUNT}
    container = {"name": "asks", "image": "python:3.11", "command": command, "volumeMounts": [mount]}
    volume = {"name": "account", "secret": {"secretName": "account"}}
    metadata = {"name": "asks", "namespace": namespace}
    spec = {"containers": [container], "restartPolicy": "Never", "volumes": [volume]}
    apply(cluster, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    told = json.loads(until(lambda: said_by(running_place, "asks"), seconds=60))
    assert told["way"] == f"by cluster DNS (http://chat.{namespace}.svc:80)"
    assert told["answer"] == "path /health"
    assert told["lines"] == ["data: one", "data: two", "data: [DONE]"]
    assert "proxy" in told["missing"]
    outside = way_to(cluster, namespace, "chat", 80)
    assert "proxy" in str(outside)
    assert outside.request("GET", "/health", timeout=10).text == "path /health"


def said_by(place: Any, pod: str) -> str:
    try:
        return logs(place.cluster, place.namespace, pod)
    except ClusterError:
        return ""


def test_a_name_that_leads_elsewhere_is_not_used(
    running_place: Any, running_server: KubernetesServer, tmp_path: Path
) -> None:
    """A pod of this cluster by its authority, where the name resolves to what is not the Service."""
    cluster, namespace = running_place.cluster, running_place.namespace
    apply(cluster, service(running_place, "elsewhere"))
    assert running_server.ca_file is not None
    (tmp_path / "ca.crt").write_bytes(running_server.ca_file.read_bytes())

    looked_up: list[str] = []

    def resolve(name: str, _: int) -> list[str]:
        looked_up.append(name)
        return ["127.0.0.1"]

    def chosen(own: Path) -> str:
        return str(way_to(cluster, namespace, "elsewhere", 80, own=own, resolve=resolve))

    assert "proxy" in chosen(tmp_path)
    assert looked_up == [f"elsewhere.{namespace}.svc"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\nanother cluster's\n-----END CERTIFICATE-----\n")
    assert "proxy" in chosen(other)
    assert len(looked_up) == 1, "in a pod of another cluster the name is not even looked up"


def test_a_service_that_does_not_answer_is_an_error_that_says_so(running_place: Any) -> None:
    way = ServiceWay(running_place.cluster, "inference", "chat", 80, direct="http://127.0.0.1:1")
    with pytest.raises(ClusterError) as caught:
        way.request("GET", "/health", timeout=1)
    assert caught.value.code == "service.unreachable"
    assert "Connection refused" in str(caught.value)
    assert "kubernetes.io/service-name=chat" in str(caught.value)
    with pytest.raises(ClusterError) as streamed, way.stream("GET", "/health", timeout=1):
        pass
    assert streamed.value.code == "service.unreachable"
