"""The sandbox's Kubernetes: an API server, its controllers and its nodes, in one background thread."""

import asyncio
import base64
import logging
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

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
from sandbox.kubernetes.node.config import ImageConfig, NodeConfig
from sandbox.kubernetes.resources import Registry
from sandbox.kubernetes.store import Store

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
        images: The images that its nodes can run.
        node_env: Environment of every pod's processes beneath what the pod says.
        controllers: Run Deployments, Jobs, Services and pods; without, the server only stores and answers.
    """

    state_dir: Path
    port: int = 0
    tls: bool = True
    nodes: tuple[NodeConfig, ...] = ()
    images: tuple[ImageConfig, ...] = ()
    node_env: Mapping[str, str] = field(default_factory=dict, repr=False)
    controllers: bool = True


class KubernetesServer:
    """A running server; its methods can be called from any thread.

    Attributes:
        url: Where it listens.
        kubeconfig: The administrator's kubeconfig.
        ca_file: The certificate authority; None without TLS.
        admin_token: The administrator's bearer token.
    """

    def __init__(
        self, url: str, api: ApiServer, loop: asyncio.AbstractEventLoop, config: KubernetesConfig, ca_file: Path | None
    ) -> None:
        self.url, self.ca_file = url, ca_file
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
        listener = socket.create_server(("127.0.0.1", config.port))
        port = listener.getsockname()[1]
        backend = Backend(Store(), Registry(), Tokens(), address=f"127.0.0.1:{port}")
        api = ApiServer(backend)
        ca_text = certificates.ca.read_text() if certificates else ""
        populate(backend.cluster, backend.registry, ca_text)
        url = f"{'https' if config.tls else 'http'}://127.0.0.1:{port}"
        ca_file = certificates.ca if certificates else None
        server = KubernetesServer(url, api, self._loop, config, ca_file)
        web = _web_server(api, certificates)
        serving = asyncio.create_task(web.serve([listener]))
        background = [asyncio.create_task(_guarded(name, work)) for name, work in _keepers(backend, ca_text).items()]
        while not web.started and not serving.done():
            await asyncio.sleep(0.005)
        self.started.set_result(server)
        await asyncio.wait([asyncio.create_task(self._stop.wait()), serving], return_when=asyncio.FIRST_COMPLETED)
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        backend.watches.cut()
        web.should_exit = True
        await serving
        await backend.close()


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


def _keepers(backend: Backend, ca_text: str) -> dict[str, Coroutine[Any, Any, None]]:
    """What runs in every cluster, controllers or not."""
    store, cluster, registry = backend.store, backend.cluster, backend.registry
    return {
        "garbage collector": GarbageCollector(store, registry).run(),
        "namespace keeper": NamespaceKeeper(store, cluster, ca_text).run(),
        "definition keeper": DefinitionKeeper(store, cluster, registry).run(),
        "quota keeper": QuotaKeeper(store, cluster).run(),
    }


async def _guarded(name: str, work: Coroutine[Any, Any, None]) -> None:
    """Run background work; should it fail, say so where people look."""
    try:
        await work
    except asyncio.CancelledError:
        raise
    except Exception:
        _LOG.exception("the sandbox's %s failed and stopped", name)
