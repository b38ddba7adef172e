"""The whole sandbox cluster in a process of its own, used with the official client, and killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

ROOT = Path(__file__).parents[2]
SERVE = """
import sys, time
from pathlib import Path
from sandbox.kubernetes.config import KubernetesConfig
from sandbox.kubernetes.node import ImageConfig, NodeConfig
from sandbox.kubernetes.server import serve_kubernetes

images = (ImageConfig("sandbox/python:*"),)
with serve_kubernetes(KubernetesConfig(Path(sys.argv[1]), nodes=(NodeConfig(),), images=images)) as server:
    print(server.kubeconfig, flush=True)
    sys.stdin.read()
"""
APP = """
import http.server, subprocess
child = subprocess.Popen(["setsid", "sleep", "1000"])
print("listening", child.pid, flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"hello"
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Handler).serve_forever()
"""


def until(check: Callable[[], Any], seconds: float = 30) -> Any:
    end = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return value


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], client.ApiClient]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        yield process, config.new_client_from_config(process.stdout.readline().strip())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        if process.stdin:
            process.stdin.close()


def deployment() -> dict[str, Any]:
    probe = {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1}
    container = {
        "name": "app",
        "image": "sandbox/python:3.11",
        "command": ["python3", "-c", APP],
        "ports": [{"name": "http", "containerPort": 8000}],
        "readinessProbe": probe,
    }
    return {
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}},
        },
    }


def test_a_rollout_through_the_api_and_a_killed_server(
    server: tuple[subprocess.Popen[str], client.ApiClient],
) -> None:
    process, api = server
    apps, core = client.AppsV1Api(api), client.CoreV1Api(api)
    apps.create_namespaced_deployment("default", deployment())
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    core.create_namespaced_service(
        "default", {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": ports}}
    )
    until(lambda: apps.read_namespaced_deployment("web", "default").status.available_replicas == 1)

    (pod,) = core.list_namespaced_pod("default", label_selector="app=web").items
    text = core.read_namespaced_pod_log(pod.metadata.name, "default")
    assert text.startswith("listening ")
    answer = core.connect_get_namespaced_service_proxy_with_path("http:web:http", "default", "")
    assert answer == "hello"
    events = core.list_namespaced_event("default", field_selector=f"involvedObject.name={pod.metadata.name}").items
    assert {"Scheduled", "Created", "Started"} <= {one.reason for one in events}

    daemon = int(text.split()[1])
    main = int(Path(f"/proc/{daemon}/stat").read_text().rpartition(")")[2].split()[1])
    assert not gone(daemon)
    os.killpg(process.pid, signal.SIGKILL)
    until(lambda: gone(daemon) and gone(main))


def test_a_server_that_ends_takes_its_pods_along(server: tuple[subprocess.Popen[str], client.ApiClient]) -> None:
    process, api = server
    apps, core = client.AppsV1Api(api), client.CoreV1Api(api)
    apps.create_namespaced_deployment("default", deployment())
    until(lambda: apps.read_namespaced_deployment("web", "default").status.available_replicas == 1)
    (pod,) = core.list_namespaced_pod("default").items
    daemon = int(core.read_namespaced_pod_log(pod.metadata.name, "default").split()[1])
    assert json.loads(core.read_node("node-a", _preload_content=False).data)["status"]["capacity"]["pods"] == "110"
    assert process.stdin is not None
    process.stdin.close()
    process.wait(timeout=20)
    assert process.returncode == 0
    assert gone(daemon)
