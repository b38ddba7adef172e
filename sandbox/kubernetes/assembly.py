"""A whole cluster on the running event loop: API server, controllers and nodes, started and stopped in order."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from sandbox.kubernetes.api.app import ApiServer
from sandbox.kubernetes.api.backend import Backend
from sandbox.kubernetes.authn import Tokens
from sandbox.kubernetes.bootstrap import populate
from sandbox.kubernetes.certificates import Certificates, make_certificates
from sandbox.kubernetes.config import KubernetesConfig
from sandbox.kubernetes.garbage import GarbageCollector
from sandbox.kubernetes.housekeeping import DefinitionKeeper, NamespaceKeeper, QuotaKeeper
from sandbox.kubernetes.resources import Registry
from sandbox.kubernetes.store import Store

if TYPE_CHECKING:
    from sandbox.kubernetes.node import Fleet

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunningCluster:
    """What is there once a cluster answers.

    Attributes:
        api: The API server.
        fleet: The nodes; None when the cluster runs without.
        url: Where the API server listens.
        ca_file: The certificate authority; None without TLS.
    """

    api: ApiServer
    fleet: "Fleet | None"
    url: str
    ca_file: Path | None


@asynccontextmanager
async def running_cluster(config: KubernetesConfig) -> AsyncIterator[RunningCluster]:
    """Run a cluster until the block ends; then no process of a pod is left.

    Raises:
        OSError: the port is taken.
    """
    certificates = make_certificates(config.state_dir) if config.tls else None
    ca_text = certificates.ca.read_text() if certificates else ""
    listener = _listen(config.port)
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    backend = Backend(Store(), Registry(), Tokens(), address=address)
    api = ApiServer(backend)
    populate(backend.cluster, backend.registry, ca_text)
    fleet = _fleet(config, backend) if config.controllers else None
    backend.runtime = fleet
    web = _web_server(api, certificates)
    serving = asyncio.create_task(web.serve([listener]))
    nodes = [asyncio.create_task(_guarded("nodes", fleet.run()))] if fleet else []
    keepers = [asyncio.create_task(_guarded(*named)) for named in _keepers(backend, ca_text, config).items()]
    try:
        while not web.started:
            if serving.done():
                raise RuntimeError("the sandbox's API server could not start") from serving.exception()
            await asyncio.sleep(0.005)
        scheme = "https" if config.tls else "http"
        yield RunningCluster(api, fleet, f"{scheme}://{address}", certificates.ca if certificates else None)
    finally:
        # The controllers first: they would replace the pods that go with their nodes.
        await _cancel(*keepers)
        await _cancel(*nodes)
        backend.watches.cut()
        web.should_exit = True
        await asyncio.wait([serving])
        await backend.close()


def _listen(port: int) -> socket.socket:
    # Named by its protocol, or asyncio would leave Nagle's algorithm on: 40 ms for every answer.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _fleet(config: KubernetesConfig, backend: Backend) -> "Fleet":
    from sandbox.kubernetes.node import Fleet

    nodes = [replace(one, env={**config.node_env, **one.env}) for one in config.nodes]
    return Fleet(backend.cluster, nodes, config.images, config.state_dir / "pods", config.node_timings)


def _web_server(api: ApiServer, certificates: Certificates | None) -> uvicorn.Server:
    tls: dict[str, Any] = {}
    if certificates:
        tls = {"ssl_certfile": str(certificates.certificate), "ssl_keyfile": str(certificates.key)}
    return uvicorn.Server(
        uvicorn.Config(
            api.app,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=120,
            timeout_graceful_shutdown=1,
            **tls,
        )
    )


def _keepers(backend: Backend, ca_text: str, config: KubernetesConfig) -> dict[str, Coroutine[Any, Any, None]]:
    """What runs beside the server, by name."""
    store, cluster, registry = backend.store, backend.cluster, backend.registry
    found: dict[str, Coroutine[Any, Any, None]] = {
        "garbage collector": GarbageCollector(store, registry).run(),
        "namespace keeper": NamespaceKeeper(store, cluster, ca_text).run(),
        "definition keeper": DefinitionKeeper(store, cluster, registry).run(),
        "quota keeper": QuotaKeeper(store, cluster).run(),
    }
    if config.controllers:
        from sandbox.kubernetes.controllers import run_controllers

        found["controllers"] = run_controllers(cluster, jobs=config.job_timings)
    return found


async def _guarded(name: str, work: Coroutine[Any, Any, None]) -> None:
    """Run background work; should it fail, say so where people look."""
    try:
        await work
    except asyncio.CancelledError:
        raise
    except Exception:
        _LOG.exception("the sandbox's %s failed and stopped", name)
