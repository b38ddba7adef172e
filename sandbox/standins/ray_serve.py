"""`ray start` of a Ray image with the LLM application: Serve's REST interface, and a replica of the engine per worker.

The head takes Serve's configuration on port 8265 and says how the applications are; on port 8000 its proxy passes
requests on to replicas. A worker asks the head what to run, loads it with the stand-in engine, tells how that went, and
answers on port 8000. One application with one model, as our manifests have it; a replica fills a worker.
"""

import hashlib
import http.client
import http.server
import importlib.util
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from sandbox.engine.api import EngineHandler, EngineServer
from sandbox.engine.arguments import Arguments, parse
from sandbox.engine.errors import EngineError
from sandbox.engine.faults import read_faults
from sandbox.engine.generation import Generator
from sandbox.engine.running import ended, in_background, listen
from sandbox.engine.serve import load_model, report
from sandbox.standins.engine_options import arguments_of, container_path

DASHBOARD_PORT, PROXY_PORT = 8265, 8000
APPLICATIONS = "/api/serve/applications/"
REPLICAS = "/sandbox/replicas"
"""Where workers report to the head: the stand-in's own way, in place of Ray's."""

ASK_SECONDS, FORGET_SECONDS = 0.3, 5.0
LLM_APPLICATION = "ray.serve.llm:build_openai_app"
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
        own = digest(self.config)
        with self.lock:
            mine = [one for one in self.replicas.values() if one.config == own and one.seen + FORGET_SECONDS > now()]
        for one in mine:
            if one.status == "DEPLOY_FAILED":
                return "DEPLOY_FAILED", one.message
        running = sum(one.status == "RUNNING" for one in mine)
        wanted = wanted_replicas(application)
        return ("RUNNING", "") if running >= wanted else ("DEPLOYING", f"{running} of {wanted} replicas run")

    def running(self) -> list[str]:
        """Addresses of replicas that answer."""
        with self.lock:
            found = [one.address for one in self.replicas.values() if one.status == "RUNNING"]
        return found

    def healthy(self) -> bool:
        """Whether every application runs."""
        found = self.applications()
        return bool(found) and all(one["status"] == "RUNNING" for one in found.values())


def now() -> float:
    """Seconds of a clock that only goes forward."""
    return time.monotonic()


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


# --- the head --------------------------------------------------------------------------------------------------------


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
                    said["config"], said["status"], said["message"], said["address"], now()
                )
        self.answer(200, head.config)


class _Proxy(_JsonHandler):
    """The head's proxy: health and routes by itself, the rest from a replica."""

    def do_GET(self) -> None:
        head = self.server.head
        if self.path == "/-/healthz":
            self.answer(200 if head.healthy() else 503, "success" if head.healthy() else "not ready")
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


# --- a worker --------------------------------------------------------------------------------------------------------


class WorkerServer(http.server.ThreadingHTTPServer):
    """A worker's proxy: it answers about its health from the start, and for the model once there is one."""

    daemon_threads = True
    draining = False

    def __init__(self) -> None:
        super().__init__(("0.0.0.0", PROXY_PORT), _WorkerHandler)
        self.replica: EngineServer | None = None
        self.config: dict[str, Any] = {}

    def enter(self) -> None:
        """A request begins: nothing waits for its end."""

    def leave(self) -> None:
        """A request is answered."""


class _WorkerHandler(EngineHandler):
    @property
    def engine(self) -> Any:
        """The replica, once there is one."""
        return self._proxy.replica or self._proxy

    @property
    def _proxy(self) -> WorkerServer:
        return cast("WorkerServer", self.server)

    def route(self, path: str, body: bytes) -> None:
        """Answer a request."""
        replica, config = self._proxy.replica, self._proxy.config
        if path == "/-/healthz":
            well = replica is not None and replica.healthy()
            return self.text(200 if well else 503, "success" if well else "no replica runs")
        if path == "/-/routes":
            return self.json(200, routes(config if replica else {}))
        if replica is None:
            return self.json(404, {"detail": f"Path '{path}' not found. See /-/routes for available routes."})
        return super().route(path, body)


def run_worker(head: str) -> int:
    """Be a worker until the end is asked for.

    Args:
        head: Host of the head.
    """
    stop = ended()
    proxy = WorkerServer()
    in_background(proxy)
    me = {"node": os.environ["HOSTNAME"], "address": os.environ["SANDBOX_POD_IP"]}
    known, status, message = "", "DEPLOYING", ""
    while not stop.wait(ASK_SECONDS):
        config = _tell(head, {**me, "config": known, "status": status, "message": message})
        if not config or digest(config) == known:
            continue
        known = digest(config)
        proxy.replica, status, message = None, "DEPLOYING", ""
        _tell(head, {**me, "config": known, "status": status, "message": message})
        try:
            generator, arguments = load_application(config["applications"][0])
            proxy.config, status = config, "RUNNING"
            # Nothing connects to its own port: the proxy's handler answers for it.
            proxy.replica = EngineServer(listen(0, "127.0.0.1"), generator, root=arguments.model, api_keys=())
        except EngineError as error:
            report(error)
            status, message = "DEPLOY_FAILED", f"{error.kind}: {error.message}"
    return 0


def _tell(head: str, said: dict[str, str]) -> dict[str, Any]:
    """Report to the head; what it wants to run, nothing if it does not answer."""
    connection = http.client.HTTPConnection(head, DASHBOARD_PORT, timeout=5)
    try:
        connection.request("POST", REPLICAS, json.dumps(said))
        found: dict[str, Any] = json.loads(connection.getresponse().read())
        return found
    except (OSError, ValueError, http.client.HTTPException):
        return {}
    finally:
        connection.close()


def load_application(application: Mapping[str, Any]) -> tuple[Generator, Arguments]:
    """Load what an application serves.

    Raises:
        EngineError: It cannot be imported, or the engine does not start.
    """
    environ = dict(os.environ)
    arguments = application_arguments(application, environ)
    return load_model(arguments, read_faults(environ), environ), arguments


def application_arguments(application: Mapping[str, Any], environ: Mapping[str, str]) -> Arguments:
    """The engine's arguments of an application: Ray's LLM application, or one of ours with a command line."""
    path = str(application["import_path"])
    args = application.get("args") or {}
    series = read_faults(environ).series
    if path == LLM_APPLICATION:
        model = args["llm_configs"][0]
        where = model["model_loading_config"]
        source = where.get("model_source") or where["model_id"]
        options = model.get("engine_kwargs") or {}
        return arguments_of(source, options, served_as=where["model_id"], series=series, environ=environ)
    if importlib.util.find_spec(path.partition(":")[0]) is None:
        text = f"Failed to import '{path}': No module named '{path.partition(':')[0]}'"
        raise EngineError("ModuleNotFoundError", text)
    command = [container_path(word, environ) for word in args.get("command") or []]
    try:
        return parse(command[1:], series=series, environ=dict(environ))
    except SystemExit:
        raise EngineError("RuntimeError", "the engine ended with exit code 2; its log stands above") from None


def main(argv: list[str]) -> int:
    """`ray start --head …`, `ray start --address=…` or `ray stop`."""
    if argv[:1] == ["stop"]:
        return 0
    print(f"ray: {' '.join(argv)}", flush=True)
    if "--head" in argv:
        return run_head()
    address = next(one.partition("=")[2] for one in argv if one.startswith("--address="))
    return run_worker(address.rpartition(":")[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
