"""The sandbox's servers together, and the command that starts them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from engine_models import write_manifest
from kubernetes import client, config
from kubernetes.client import ApiException

from sandbox import tiny_models
from sandbox.__main__ import main
from sandbox.servers import NAMES, Servers, serve

REPO = "Qwen/Qwen3-1.7B"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with serve(NAMES, tmp_path_factory.mktemp("sandbox"), model_size=2_000_000) as running:
        yield running


def engine_pod(prefix: str, endpoint: str) -> dict[str, object]:
    command = [
        "vllm", "serve", prefix, "--load-format", "runai_streamer", "--served-model-name", REPO, "--port", "8000",
        "--max-model-len", "8192",
    ]  # fmt: skip
    env = {
        "AWS_ENDPOINT_URL": endpoint,
        "RUNAI_STREAMER_S3_ENDPOINT": endpoint,
        "RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING": "0",
    }
    container = {
        "name": "engine",
        "image": "public.ecr.aws/deep-learning-containers/vllm:0.10.2-gpu-py312-ec2",
        "command": command,
        "env": [{"name": name, "value": value} for name, value in env.items()],
        "ports": [{"containerPort": 8000, "name": "http"}],
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
        "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 1},
    }
    tolerations = [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    spec = {"containers": [container], "tolerations": tolerations, "restartPolicy": "Never"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "engine"}, "spec": spec}


def test_a_pod_serves_what_is_in_s3(servers: Servers, tmp_path: Path) -> None:
    assert servers.s3
    assert servers.kubernetes
    model = tiny_models.generate(tiny_models.MODELS[REPO], tmp_path, size=2_000_000)
    write_manifest(model)
    keys = {"aws_access_key_id": servers.s3.access_key, "aws_secret_access_key": servers.s3.secret_key}
    s3 = boto3.client("s3", endpoint_url=servers.s3.url, region_name=servers.s3.region, **keys)
    for path in model.iterdir():
        s3.put_object(Bucket="models", Key=f"qwen/{path.name}", Body=path.read_bytes())
    core = client.CoreV1Api(config.new_client_from_config(str(servers.kubernetes.kubeconfig)))
    core.create_namespaced_pod("default", engine_pod("s3://models/qwen/", servers.s3.url))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        pod = core.read_namespaced_pod("engine", "default")
        if any(one.type == "Ready" and one.status == "True" for one in pod.status.conditions or []):
            break
        time.sleep(0.2)
    assert pod.spec.node_name.startswith("gpu-")
    said = core.read_namespaced_pod_log("engine", "default")
    assert "Application startup complete." in said, said
    version = core.connect_get_namespaced_pod_proxy_with_path("engine:8000", "default", "version")
    assert "sandbox-stand-in" in str(version)
    core.delete_namespaced_pod("engine", "default", grace_period_seconds=2)


def test_nodes_keep_their_accelerators(servers: Servers) -> None:
    assert servers.kubernetes
    core = client.CoreV1Api(config.new_client_from_config(str(servers.kubernetes.kubeconfig)))
    nodes = {node.metadata.name: node for node in core.list_node().items}
    assert nodes["gpu-a"].status.allocatable["nvidia.com/gpu"] == "1"
    assert nodes["gpu-a"].spec.taints[0].key == "nvidia.com/gpu"
    assert nodes["neuron-a"].status.allocatable["aws.amazon.com/neuron"] == "12"
    with pytest.raises(ApiException):
        core.read_namespaced_pod("nothing", "default")


def test_the_command_prints_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "sandbox", "serve", "hub", "s3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout
        found = json.loads(process.stdout.readline())
        with urllib.request.urlopen(f"{found['hub']['url']}/api/models/{REPO}") as answer:
            assert json.load(answer)["id"] == REPO
        assert set(found) == {"hub", "s3"}
        assert found["s3"]["bucket"] == "models"
        assert list(tmp_path.iterdir())
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(found["hub"]["url"].rpartition(":")[2])))


def test_a_port_that_is_taken(servers: Servers, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert servers.hub
    port = servers.hub.url.rpartition(":")[2]
    assert main(["serve", "hub", "--hub-port", port, "--state", str(tmp_path)]) == 1
    assert "Address already in use" in capsys.readouterr().err


def test_servers_have_to_be_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "redis"])
    assert "invalid choice: 'redis'" in capsys.readouterr().err
    with pytest.raises(ValueError, match="unknown server 'redis'"), serve(["redis"], tmp_path):
        pass
