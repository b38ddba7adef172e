"""Probes, the pods' network, and nodes that come, go and get lost."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from cluster_harness import (
    GPU_NODE,
    NAMESPACE,
    Harness,
    conditions,
    container,
    eventually,
    pod,
    pod_spec,
    running_cluster,
    service,
)

from sandbox.kubernetes.errors import ApiError
from sandbox.kubernetes.node import KUBELET, NodeConfig
from sandbox.kubernetes.node.backoff import Backoff, go_duration
from sandbox.kubernetes.node.network import Subnet
from sandbox.kubernetes.resources import NODES, PODS
from sandbox.kubernetes.runtime import LogOptions

SERVER = """
import http.server, os, sys, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.strip("/")
        if name == "slow":
            time.sleep(5)
        self.send_response(200 if not os.path.exists("broken-" + name) else 500)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer((sys.argv[1], 8000), Handler).serve_forever()
"""


def server(address: str = "0.0.0.0", **changes: Any) -> dict[str, Any]:
    ports = [{"name": "http", "containerPort": 8000}]
    return container("main", command=["python3", "-c", SERVER, address], ports=ports, **changes)


def http(path: str = "/health", **changes: Any) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": "http"}, "periodSeconds": 1, **changes}


def is_ready(harness: Harness, name: str = "one") -> bool:
    return conditions(harness.one(PODS, name)).get("Ready", ("", ""))[0] == "True"


def restarts(harness: Harness, name: str = "one") -> int:
    found: int = harness.one(PODS, name)["status"]["containerStatuses"][0]["restartCount"]
    return found


def file_of(tmp_path: Path, name: str) -> Path:
    """A file in the (only) container's own directory."""
    (folder,) = tmp_path.glob("nodes/*/pods/*/containers/main")
    return folder / name


def test_readiness_comes_and_goes_without_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_cluster(tmp_path) as harness:
            probe = http(failureThreshold=1)
            harness.apply(pod("one", pod_spec(server(readinessProbe=probe))))
            await eventually(lambda: is_ready(harness))
            file_of(tmp_path, "broken-health").touch()
            await eventually(lambda: not is_ready(harness))
            text = "Readiness probe failed: HTTP probe failed with statuscode: 500"
            assert text in harness.said("Unhealthy", "one")
            file_of(tmp_path, "broken-health").unlink()
            await eventually(lambda: is_ready(harness))
            assert restarts(harness) == 0

    asyncio.run(main())


def test_a_long_period_does_not_make_a_start_long(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_cluster(tmp_path) as harness:
            slow = http(periodSeconds=60, failureThreshold=1)
            waits = server(startupProbe={**slow, "failureThreshold": 2}, readinessProbe=slow)
            waits["command"][2] = "import time; time.sleep(1)\n" + SERVER
            harness.apply(pod("one", pod_spec(waits)))
            await eventually(lambda: is_ready(harness))
            refused = [one for one in harness.events("one") if one["reason"] == "Unhealthy"]
            assert [one["count"] for one in refused] == [1], "only attempts of the period itself count"

    asyncio.run(main())


def test_a_container_that_does_not_live_is_started_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_cluster(tmp_path) as harness:
            spec = server(
                startupProbe=http("/start", failureThreshold=30),
                livenessProbe=http("/live", failureThreshold=1),
            )
            harness.apply(pod("one", pod_spec(spec)))
            await eventually(lambda: is_ready(harness))
            broken = file_of(tmp_path, "broken-live")
            broken.touch()
            await eventually(lambda: harness.said("Killing", "one"))
            broken.unlink()
            assert harness.said("Killing", "one") == ["Container main failed liveness probe, will be restarted"]
            await eventually(lambda: restarts(harness) == 1 and is_ready(harness))
            last = harness.one(PODS, "one")["status"]["containerStatuses"][0]["lastState"]["terminated"]
            assert last["exitCode"] == 143

    asyncio.run(main())


FAILING: dict[str, tuple[dict[str, Any], str]] = {
    "tcp": ({"tcpSocket": {"port": 9}}, "dial tcp {ip}:9: connect: connection refused"),
    "exec": ({"exec": {"command": ["sh", "-c", "echo not yet; exit 1"]}}, "not yet\n"),
    "exec-timeout": (
        {"exec": {"command": ["sleep", "5"]}},
        'command timed out: "sleep 5" timed out after 1s',
    ),
    "port": ({"httpGet": {"path": "/", "port": "none"}}, "couldn't find port: none"),
    "http-timeout": (
        {"httpGet": {"path": "/slow", "port": "http"}, "initialDelaySeconds": 1},
        'Get "http://{ip}:8000/slow": context deadline exceeded (Client.Timeout exceeded while awaiting headers)',
    ),
}


def test_why_a_probe_failed(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_cluster(tmp_path) as harness:
            for name, (probe, _) in FAILING.items():
                harness.apply(pod(name, pod_spec(server(readinessProbe={"periodSeconds": 3, **probe}))))
            for name, (_, text) in FAILING.items():
                await eventually(lambda name=name: harness.said("Unhealthy", name))
                address = harness.one(PODS, name)["status"]["podIP"]
                wanted = "Readiness probe failed: " + text.format(ip=address)
                # On a busy machine the program listens only at the next probe.
                await eventually(lambda name=name, wanted=wanted: wanted in harness.said("Unhealthy", name))

    asyncio.run(main())


def test_tcp_and_exec_probes_pass(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_cluster(tmp_path) as harness:
            inside = "import urllib.request; urllib.request.urlopen('http://localhost:8000/health')"
            spec = server(
                startupProbe={"tcpSocket": {"port": "http"}, "periodSeconds": 1, "failureThreshold": 30},
                readinessProbe={
                    "exec": {"command": ["python3", "-c", inside]},
                    "timeoutSeconds": 5,
                    "periodSeconds": 1,
                },
            )
            harness.apply(pod("one", pod_spec(spec)))
            await eventually(lambda: is_ready(harness))

    asyncio.run(main())


def test_many_pods_listen_on_the_same_port(tmp_path: Path) -> None:
    anywhere = {"four": server("0.0.0.0"), "none": server(""), "six": server("::"), "again": server("0.0.0.0")}
    anywhere["six"]["command"][2] = SERVER.replace(
        "http.server.ThreadingHTTPServer(",
        "T = http.server.ThreadingHTTPServer; T.address_family = __import__('socket').AF_INET6; T(",
    )

    async def main() -> None:
        async with running_cluster(tmp_path) as harness:
            for name, spec in anywhere.items():
                harness.apply(pod(name, pod_spec({**spec, "readinessProbe": http()})))
            await eventually(lambda: all(is_ready(harness, name) for name in anywhere))
            addresses = {harness.one(PODS, name)["status"]["podIP"] for name in anywhere}
            assert len(addresses) == len(anywhere)
            assert not any(restarts(harness, name) for name in anywhere)

    asyncio.run(main())


def test_services_and_pods_have_names(tmp_path: Path) -> None:
    program = """
import socket, sys, urllib.request
for url in sys.argv[1:]:
    try:
        print(url, urllib.request.urlopen(url, timeout=5).status)
    except OSError as error:
        print(url, error)
"""
    urls = [
        "http://chat/health",
        "http://chat.inference.svc.cluster.local/health",
        "http://head.pods:8000/health",
        "http://idle/health",
        "http://chat:81/health",
    ]
    caller = container("main", command=["python3", "-c", program, *urls, "http://$(CHAT_SERVICE_HOST)/health"])

    async def main() -> str:
        async with running_cluster(tmp_path) as harness:
            chat = pod_spec(server(readinessProbe=http()), hostname="head", subdomain="pods")
            harness.apply(service(), service("idle"), pod("one", chat, labels={"app": "chat"}))
            await eventually(lambda: is_ready(harness))
            await asyncio.sleep(0.2)
            harness.apply(pod("two", pod_spec(caller, restartPolicy="Never")))
            await eventually(lambda: harness.one(PODS, "two")["status"]["phase"] == "Succeeded")
            assert harness.fleet is not None
            parts = harness.fleet.logs(harness.one(PODS, "two"), "main", LogOptions())
            return b"".join([part async for part in parts]).decode()

    told = dict(line.split(" ", 1) for line in asyncio.run(main()).splitlines())
    assert [told.pop(url) for url in urls] == [
        "200",
        "200",
        "200",
        *["<urlopen error [Errno 111] Connection refused>"] * 2,
    ]
    assert list(told.values()) == ["200"]


def test_a_lost_node_is_silent_and_comes_back(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_cluster(tmp_path) as harness:
            assert harness.fleet is not None
            harness.apply(pod("one", pod_spec(server(readinessProbe=http()))))
            await eventually(lambda: is_ready(harness))
            harness.fleet.lose_node("node-a")
            await eventually(lambda: not is_ready(harness))
            status = harness.one(PODS, "one")["status"]
            assert status["phase"] == "Running"
            with pytest.raises(ApiError) as error:
                harness.fleet.logs(harness.one(PODS, "one"), "main", LogOptions(tail_lines=60))
            address = status["hostIP"]
            assert error.value.code == 500
            assert error.value.message == (
                f'Get "https://{address}:10250/containerLogs/{NAMESPACE}/one/main?tailLines=60": '
                f"dial tcp {address}:10250: connect: connection refused"
            )
            assert harness.fleet.signal_container(NAMESPACE, "one", "main")
            await asyncio.sleep(0.3)
            assert restarts(harness) == 0, "nobody reported the restart"
            harness.fleet.restore_node("node-a")
            await eventually(lambda: is_ready(harness) and restarts(harness) == 1)

    asyncio.run(main())


def test_nodes_come_and_go(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_cluster(tmp_path, nodes=[GPU_NODE]) as harness:
            assert harness.fleet is not None
            wanted = {"nodeSelector": {"pool": "late"}}
            harness.apply(pod("one", pod_spec(**wanted)), pod("two", pod_spec(nodeSelector={"pool": "api"})))
            await eventually(lambda: harness.said("FailedScheduling", "two"))
            harness.fleet.add_node(NodeConfig("node-b", labels={"pool": "late"}))
            await eventually(lambda: harness.one(PODS, "one")["status"]["phase"] == "Running")
            meta = {"name": "node-c", "labels": {"pool": "api"}, "annotations": {KUBELET: "running"}}
            capacity = {"cpu": "2", "memory": "4Gi", "pods": "10"}
            node = {"apiVersion": "v1", "kind": "Node", "metadata": meta, "status": {"capacity": capacity}}
            harness.cluster.create(NODES, node, manager="kubectl")
            await eventually(lambda: harness.one(PODS, "two")["status"]["phase"] == "Running")
            pid = int(next(tmp_path.glob("nodes/node-b/pods/*/vllm.pid")).read_text())
            harness.fleet.remove_node("node-b")
            await eventually(lambda: harness.cluster.get(PODS, NAMESPACE, "one") is None)
            await eventually(lambda: not Path(f"/proc/{pid}").exists())

    asyncio.run(main())


def test_a_killed_container_is_restarted(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_cluster(tmp_path) as harness:
            assert harness.fleet is not None
            harness.apply(pod("one", pod_spec()))
            await eventually(lambda: harness.one(PODS, "one")["status"]["phase"] == "Running")
            assert harness.fleet.signal_container(NAMESPACE, "one", "vllm", 9)
            await eventually(lambda: restarts(harness) == 1)
            last = harness.one(PODS, "one")["status"]["containerStatuses"][0]["lastState"]["terminated"]
            assert (last["exitCode"], last["reason"]) == (137, "Error")
            assert not harness.fleet.signal_container(NAMESPACE, "none", "vllm")

    asyncio.run(main())


def test_two_sandboxes_share_no_address() -> None:
    first, second = Subnet(), Subnet()
    try:
        assert not {first.take() for _ in range(50)} & {second.take() for _ in range(50)}
    finally:
        first.close()
        second.close()


def test_addresses_come_back_late() -> None:
    subnet = Subnet()
    try:
        first = subnet.take()
        subnet.give_back(first)
        assert first not in {subnet.take() for _ in range(300)}
    finally:
        subnet.close()


def test_the_pause_between_restarts_doubles_up_to_the_longest() -> None:
    backoff = Backoff(10, 300)
    delays = []
    for _ in range(8):
        backoff.restarted(0.0, ran_seconds=1)
        delays.append(backoff.delay)
    assert delays == [10, 20, 40, 80, 160, 300, 300, 300]
    backoff.restarted(0.0, ran_seconds=601)
    assert backoff.delay == 10


@pytest.mark.parametrize(
    ("seconds", "text"), [(10, "10s"), (80, "1m20s"), (300, "5m0s"), (0.2, "200ms"), (1.5, "1.5s")]
)
def test_durations_are_written_as_go_does(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text
