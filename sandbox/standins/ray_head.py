"""The head of Ray Serve: its REST interface on port 8265, and on port 8000 a proxy that passes requests on to replicas.

It takes Serve's configuration, hears from workers what became of it, and says how the applications are.
"""

import hashlib
import http.client
import http.server
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.engine.running import ended, in_background

DASHBOARD_PORT, PROXY_PORT = 8265, 8000
APPLICATIONS = "/api/serve/applications/"
REPLICAS = "/sandbox/replicas"
"""Where workers report to the head: the stand-in's own way, in place of Ray's."""

FORGET_SECONDS = 15.0
"""Silence after which a replica is lost; on a busy machine it reports late."""

_STATES = {"DEPLOYING": "UPDATING", "RUNNING": "HEALTHY", "DEPLOY_FAILED": "UNHEALTHY"}


@dataclass
class Replica:
    """What a worker last said of itself."""

    config: str
    status: str
    message: str
    address: str
    seen: float


@dataclass
class Head:
    """What the head knows."""

    config: dict[str, Any] = field(default_factory=dict)
    replicas: dict[str, Replica] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def applications(self) -> dict[str, Any]:
        """The applications as Serve's REST interface shows them."""
        found = {}
        for one in self.config.get("applications") or []:
            status, message = self._status(one)
            deployments = {"LLMServer": {"status": _STATES[status], "message": message}}
            found[one["name"]] = {"status": status, "message": message, "deployments": deployments}
        return found

    def _status(self, application: dict[str, Any]) -> tuple[str, str]:
        mine = self._mine()
        for one in mine:
            if one.status == "DEPLOY_FAILED":
                return "DEPLOY_FAILED", one.message
        running = sum(one.status == "RUNNING" for one in mine)
        wanted = wanted_replicas(application)
        return ("RUNNING", "") if running >= wanted else ("DEPLOYING", f"{running} of {wanted} replicas run")

    def running(self) -> list[str]:
        """Addresses of replicas that answer."""
        return [one.address for one in self._mine() if one.status == "RUNNING"]

    def _mine(self) -> list[Replica]:
        """Replicas of the present configuration that were heard of lately."""
        own, since = digest(self.config), time.monotonic() - FORGET_SECONDS
        with self.lock:
            return [one for one in self.replicas.values() if one.config == own and one.seen > since]

    def healthy(self) -> bool:
        """Whether every application runs."""
        found = self.applications()
        return bool(found) and all(one["status"] == "RUNNING" for one in found.values())


def digest(config: dict[str, Any]) -> str:
    """Names a configuration by its content."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def wanted_replicas(application: Mapping[str, Any]) -> int:
    """How many replicas an application starts with."""
    args = application.get("args") or {}
    models = args.get("llm_configs") or [{}]
    scale = models[0].get("deployment_config") or args.get("deployment") or {}
    least = (scale.get("autoscaling_config") or {}).get("min_replicas", 1)
    return int(scale.get("num_replicas", least))


class _HeadServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, handler: type[http.server.BaseHTTPRequestHandler], head: Head) -> None:
        super().__init__(("0.0.0.0", port), handler)
        self.head = head


class _JsonHandler(http.server.BaseHTTPRequestHandler):
    server: _HeadServer
    protocol_version = "HTTP/1.1"

    def answer(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Dashboard(_JsonHandler):
    """Serve's REST interface, and what workers say."""

    def do_GET(self) -> None:
        if self.path == APPLICATIONS:
            self.answer(200, {"applications": self.server.head.applications()})
        else:
            self.answer(404, {})

    def do_PUT(self) -> None:
        config = json.loads(self.body())
        names = [one.get("import_path", "") for one in config.get("applications") or []]
        self.server.head.config = config
        print(f"serve: {', '.join(names)}", flush=True)
        self.answer(200, {})

    def do_POST(self) -> None:
        said = json.loads(self.body())
        head = self.server.head
        if said.get("config"):
            with head.lock:
                head.replicas[said["node"]] = Replica(
                    said["config"], said["status"], said["message"], said["address"], time.monotonic()
                )
        self.answer(200, head.config)


class _Proxy(_JsonHandler):
    """The head's proxy: health and routes by itself, the rest from a replica."""

    def do_GET(self) -> None:
        head = self.server.head
        if self.path == "/-/healthz":
            well = head.healthy()
            self.answer(200 if well else 503, "success" if well else "not ready")
        elif self.path == "/-/routes":
            self.answer(200, routes(head.config if head.healthy() else {}))
        else:
            self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        addresses = self.server.head.running()
        body = self.body()
        if not addresses:
            self.answer(503, {"error": "no replica runs"})
            return
        connection = http.client.HTTPConnection(addresses[0], PROXY_PORT, timeout=300)
        kept = ("content-type", "authorization", "accept")
        headers = {name: value for name, value in self.headers.items() if name.lower() in kept}
        connection.request(self.command, self.path, body or None, headers)
        found = connection.getresponse()
        self.send_response(found.status)
        self.send_header("Content-Type", found.headers.get("Content-Type", "application/json"))
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        while piece := found.read1(65536):
            self.wfile.write(piece)
            self.wfile.flush()


def routes(config: Mapping[str, Any]) -> dict[str, str]:
    """Route prefixes and their applications."""
    return {one.get("route_prefix", "/"): one["name"] for one in config.get("applications") or []}


def run_head() -> int:
    """Be the head until the end is asked for."""
    stop = ended()
    head = Head()
    in_background(_HeadServer(DASHBOARD_PORT, _Dashboard, head))
    in_background(_HeadServer(PROXY_PORT, _Proxy, head))
    stop.wait()
    return 0
