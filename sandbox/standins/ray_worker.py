"""A worker of Ray Serve: it asks the head what to run, loads it with the stand-in engine, and answers on port 8000.

A replica fills a worker.
"""

import http.client
import http.server
import importlib.util
import json
import os
from collections.abc import Mapping
from typing import Any, cast

from sandbox.engine.api import EngineHandler, EngineServer
from sandbox.engine.arguments import Arguments, parse
from sandbox.engine.errors import EngineError
from sandbox.engine.faults import read_faults
from sandbox.engine.generation import Generator
from sandbox.engine.running import ended, in_background, listen
from sandbox.engine.serve import load_model, report
from sandbox.standins.engine_options import arguments_of, container_path
from sandbox.standins.ray_head import DASHBOARD_PORT, PROXY_PORT, REPLICAS, digest, routes

ASK_SECONDS = 0.3
LLM_APPLICATION = "ray.serve.llm:build_openai_app"


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
    faults = read_faults(environ)
    arguments = application_arguments(application, series=faults.series, environ=environ)
    return load_model(arguments, faults, environ), arguments


def application_arguments(application: Mapping[str, Any], *, series: str, environ: Mapping[str, str]) -> Arguments:
    """The engine's arguments of an application: Ray's LLM application, or one of ours with a command line.

    Args:
        application: Of Serve's configuration.
        series: Release series whose options are known.
        environ: Of the process.

    Raises:
        EngineError: It cannot be imported, or the engine does not take its options.
    """
    path = str(application["import_path"])
    args = application.get("args") or {}
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
