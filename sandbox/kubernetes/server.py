"""The sandbox's Kubernetes: an API server, its controllers and its nodes, in one background thread."""

import asyncio
import base64
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from sandbox.kubernetes.api.app import Fault, LoggedRequest
from sandbox.kubernetes.assembly import RunningCluster, running_cluster
from sandbox.kubernetes.authn import ADMINS
from sandbox.kubernetes.authz import Attributes
from sandbox.kubernetes.bootstrap import install_definition
from sandbox.kubernetes.certificates import write_private
from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.config import KubernetesConfig

if TYPE_CHECKING:
    from sandbox.kubernetes.node import Fleet

__all__ = ["KubernetesConfig", "KubernetesServer", "LoggedRequest", "serve_kubernetes"]

T = TypeVar("T")
Manifest = dict[str, Any]

_LOG = logging.getLogger(__name__)
_ADMIN = "sandbox-admin"


class KubernetesServer:
    """A running server; its methods can be called from any thread.

    Attributes:
        url: Where it listens.
        kubeconfig: The administrator's kubeconfig.
        ca_file: The certificate authority; None without TLS.
        admin_token: The administrator's bearer token.
    """

    def __init__(self, running: RunningCluster, loop: asyncio.AbstractEventLoop, config: KubernetesConfig) -> None:
        self.url, self.ca_file = running.url, running.ca_file
        self._api, self._fleet, self._loop, self._config = running.api, running.fleet, loop, config
        self.admin_token = running.api.backend.tokens.issue(_ADMIN, [ADMINS])
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

    def rights_used(self, user: str) -> list[Attributes]:
        """The rights that a user has made use of so far, those among them that a request needs besides its own verb."""
        authorizer = self._api.backend.authorizer
        return self.call(lambda _: [wanted for name, wanted in authorizer.used if name == user])

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
    """The cluster's thread."""

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
        async with running_cluster(self._config) as cluster:
            self.started.set_result(KubernetesServer(cluster, self._loop, self._config))
            await self._stop.wait()
