"""The sandbox's Kubernetes: an API server, its controllers and its nodes, in one background thread."""

import asyncio
import base64
import logging
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import uvicorn
import yaml

from sandbox.kubernetes.api.app import ApiServer, Fault, LoggedRequest
from sandbox.kubernetes.api.backend import Backend
from sandbox.kubernetes.authn import ADMINS, Tokens
from sandbox.kubernetes.bootstrap import install_definition, populate
from sandbox.kubernetes.certificates import Certificates, make_certificates, write_private
from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.garbage import GarbageCollector
from sandbox.kubernetes.housekeeping import DefinitionKeeper, NamespaceKeeper, QuotaKeeper
from sandbox.kubernetes.resources import Registry
from sandbox.kubernetes.store import Store

if TYPE_CHECKING:
    from sandbox.kubernetes.controllers import JobTimings
    from sandbox.kubernetes.node import Fleet, ImageConfig, NodeConfig, NodeTimings

T = TypeVar("T")
Manifest = dict[str, Any]

_LOG = logging.getLogger(__name__)
_ADMIN = "sandbox-admin"


@dataclass(frozen=True)
class KubernetesConfig:
    """How to run the sandbox's Kubernetes.

    Attributes:
        state_dir: Where certificates, the kubeconfig and the pods' files go.
        port: 0 for a free one.
        tls: Serve HTTPS with a certificate of the sandbox's own authority.
        nodes: The machines of the cluster.
        images: The images that its nodes can run, first match first.
        node_env: Environment of all nodes: every container has it beneath its own and its node's.
        controllers: Run Deployments, Jobs, Services and pods; without, the server only stores and answers.
        node_timings: How long nodes wait for what; None for the sandbox's own pace.
        job_timings: Pauses between the pods of a failing Job; None for the sandbox's own pace.
    """

    state_dir: Path
    port: int = 0
    tls: bool = True
    nodes: "tuple[NodeConfig, ...]" = ()
    images: "tuple[ImageConfig, ...]" = ()
    node_env: Mapping[str, str] = field(default_factory=dict, repr=False)
    controllers: bool = True
    node_timings: "NodeTimings | None" = None
    job_timings: "JobTimings | None" = None


class KubernetesServer:
    """A running server; its methods can be called from any thread.

    Attributes:
        url: Where it listens.
        kubeconfig: The administrator's kubeconfig.
        ca_file: The certificate authority; None without TLS.
        admin_token: The administrator's bearer token.
    """

    def __init__(
        self,
        url: str,
        api: ApiServer,
        loop: asyncio.AbstractEventLoop,
        config: KubernetesConfig,
        ca_file: Path | None,
        fleet: "Fleet | None",
    ) -> None:
        self.url, self.ca_file, self._fleet = url, ca_file, fleet
        self._api, self._loop, self._config = api, loop, config
        self.admin_token = api.backend.tokens.issue(_ADMIN, [ADMINS])
        self.kubeconfig = self.write_kubeconfig(self.admin_token, "kubeconfig")

    def call(self, function: Callable[[Cluster], T]) -> T:
        """Run `function` with the cluster on the server's event loop; its result."""
        result: Future[T] = Future()

        def run() -> None:
            try:
                result.set_result(function(self._api.backend.cluster))
            except BaseException as error:
                result.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return result.result(timeout=30)

    def with_nodes(self, function: "Callable[[Fleet], T]") -> T:
        """Run `function` with the nodes on the server's event loop: lose one, add one; its result.

        Raises:
            RuntimeError: the server runs without controllers and nodes.
        """
        fleet = self._fleet
        if fleet is None:
            raise RuntimeError("this cluster runs without nodes (controllers=False)")
        return self.call(lambda _: function(fleet))

    def add_token(self, user: str, groups: Sequence[str] = (), *, expired: bool = False) -> str:
        """A bearer token for a user; one that has expired already when told so."""
        return self._api.backend.tokens.issue(user, groups, seconds=-1 if expired else None)

    def write_kubeconfig(self, token: str, name: str, *, namespace: str = "default") -> Path:
        """Write a kubeconfig for a token into the state directory, for its owner's eyes only."""
        cluster: Manifest = {"server": self.url}
        if self.ca_file:
            cluster["certificate-authority-data"] = base64.b64encode(self.ca_file.read_bytes()).decode()
        context = {"cluster": "sandbox", "user": "sandbox", "namespace": namespace}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "sandbox", "cluster": cluster}],
            "users": [{"name": "sandbox", "user": {"token": token}}],
            "contexts": [{"name": "sandbox", "context": context}],
            "current-context": "sandbox",
        }
        path = self._config.state_dir / name
        write_private(path, yaml.safe_dump(content, sort_keys=False))
        return path

    @property
    def request_log(self) -> list[LoggedRequest]:
        """The requests for resources so far."""
        return list(self._api.request_log)

    def compact(self) -> None:
        """Forget the history of changes: watches and pages that resume from an earlier version get 410."""
        self.call(lambda _: self._api.backend.store.compact())

    def cut_watches(self) -> int:
        """Break the connections of all open watches; how many there were."""
        return self.call(lambda _: self._api.backend.watches.cut())

    def fail_next(self, status: int, count: int = 1, *, path_prefix: str = "/") -> None:
        """Answer the next `count` requests below a path with an error status."""
        self._api.faults.append(Fault(status, count, path_prefix))

    def install_crd(self, crd: Manifest) -> None:
        """Serve a custom resource by its CustomResourceDefinition.

        Raises:
            ApiError: the definition is invalid.
        """
        self.call(lambda cluster: install_definition(cluster, self._api.backend.registry, crd))


@contextmanager
def serve_kubernetes(config: KubernetesConfig) -> Iterator[KubernetesServer]:
    """Run a cluster until the block ends; every process and thread of it ends with it."""
    config.state_dir.mkdir(parents=True, exist_ok=True)
    runner = _Runner(config)
    thread = threading.Thread(target=runner.run, name="sandbox-kubernetes", daemon=True)
    thread.start()
    try:
        yield runner.started.result(timeout=60)
    finally:
        runner.stop()
        thread.join(timeout=30)


class _Runner:
    """The server's thread."""

    def __init__(self, config: KubernetesConfig) -> None:
        self.started: Future[KubernetesServer] = Future()
        self._config = config
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            if not self.started.done():
                self.started.set_exception(error)
            else:
                _LOG.exception("the sandbox's Kubernetes ended with an error")

    def stop(self) -> None:
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        config = self._config
        certificates = make_certificates(config.state_dir) if config.tls else None
        ca_text = certificates.ca.read_text() if certificates else ""
        listener = _listen(config.port)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        backend = Backend(Store(), Registry(), Tokens(), address=address)
        api = ApiServer(backend)
        populate(backend.cluster, backend.registry, ca_text)
        fleet = _fleet(config, backend) if config.controllers else None
        backend.runtime = fleet
        url = f"{'https' if config.tls else 'http'}://{address}"
        ca_file = certificates.ca if certificates else None
        server = KubernetesServer(url, api, self._loop, config, ca_file, fleet)
        web = _web_server(api, certificates)
        serving = asyncio.create_task(web.serve([listener]))
        nodes = [asyncio.create_task(_guarded("nodes", fleet.run()))] if fleet else []
        keepers = [asyncio.create_task(_guarded(*named)) for named in _keepers(backend, ca_text, config).items()]
        try:
            while not web.started:
                if serving.done():
                    raise RuntimeError("the sandbox's API server could not start") from serving.exception()
                await asyncio.sleep(0.005)
            self.started.set_result(server)
            await self._stop.wait()
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
