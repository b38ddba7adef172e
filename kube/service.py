"""The way to a Service: by its name from inside the cluster, through the API server's proxy from anywhere else.

A pod of the cluster needs no detour, and what answers it answers clients. From outside, the proxy needs what the flows
have anyway (HTTP to the API server, `services/proxy`); a port-forward would need `pods/portforward`, hold on to one pod
instead of the Service, and show no more.
"""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3
import urllib3.exceptions as http

from kube.connect import SERVICE_ACCOUNT, Cluster
from kube.proxy import Response, StreamedResponse
from kube.proxy import request as proxied
from kube.proxy import stream as proxied_stream
from kube.read import get
from kube.streaming import Stream
from serving.errors import ClusterError

CONNECT_SECONDS = 3.0
"""Longest wait for a Service of one's own cluster to take a connection."""

Resolve = Callable[[str, int], list[str]]
"""Addresses of a host name; raises OSError if it has none."""


@dataclass(frozen=True)
class ServiceWay:
    """How a Service is reached.

    Attributes:
        direct: Its URL by cluster DNS; empty for the API server's proxy.
    """

    cluster: Cluster = field(repr=False)
    namespace: str
    service: str
    port: int
    direct: str = ""

    def __str__(self) -> str:
        return f"by cluster DNS ({self.direct})" if self.direct else "through the API server's proxy"

    def through_proxy(self) -> "ServiceWay":
        """The same Service by the other way."""
        return ServiceWay(self.cluster, self.namespace, self.service, self.port)

    def request(
        self, method: str, path: str, *, json: object = None, headers: Mapping[str, str] | None = None, timeout: float
    ) -> Response:
        """Sends a request and returns the Service's answer, whatever its status.

        Raises:
            ClusterError: It was not reached: ``service.unreachable``, ``service.timeout``, or as `kube.proxy.request`.
        """
        if not self.direct:
            place = (self.namespace, self.service, self.port)
            return proxied(self.cluster, method, *place, path, json=json, headers=headers, timeout=timeout)
        with self._opened(method, path, json, headers, timeout) as reply:
            return Response(reply.status, reply.headers, reply.read())

    @contextmanager
    def stream(
        self, method: str, path: str, *, json: object = None, headers: Mapping[str, str] | None = None, timeout: float
    ) -> Iterator[StreamedResponse]:
        """Like `request`, for an answer that is read as it comes.

        Raises:
            ClusterError: As for `request`; also if the connection breaks while the answer is read.
        """
        if not self.direct:
            place = (self.namespace, self.service, self.port)
            with proxied_stream(
                self.cluster, method, *place, path, json=json, headers=headers, timeout=timeout
            ) as answer:
                yield answer
            return
        with self._opened(method, path, json, headers, timeout) as reply:
            lines = (line.decode(errors="replace").removesuffix("\r") for line in reply.lines())
            yield StreamedResponse(reply.status, reply.headers, lines)

    @contextmanager
    def _opened(
        self, method: str, path: str, json: object, headers: Mapping[str, str] | None, timeout: float
    ) -> Iterator[Stream]:
        doing = f"{method} {path} at {self.direct}"
        limits = urllib3.Timeout(connect=CONNECT_SECONDS, read=timeout)
        sent: dict[str, Any] = {"Accept": "*/*", **(headers or {})}
        try:
            with urllib3.PoolManager(retries=False) as pool:
                reply = Stream(
                    pool.request(  # type: ignore[arg-type]
                        method,
                        self.direct + path,
                        json=json,
                        headers=sent | ({"Content-Type": "application/json"} if json is not None else {}),
                        timeout=limits,
                        preload_content=False,
                    )
                )
                try:
                    yield reply
                finally:
                    reply.close()
        except http.ReadTimeoutError:
            raise ClusterError(
                f"Could not {doing}: no answer within {timeout:g} s.",
                fix=f"See what the engine does: kubectl logs -n {self.namespace} of the pods behind {self.service}.",
                code="service.timeout",
            ) from None
        except (http.HTTPError, OSError) as error:
            raise ClusterError(
                f"Could not {doing}: the Service was not reached ({_short(error)}).",
                cause="No pod of it is ready or listens, or a network policy is in the way.",
                fix=f"Look at kubectl get endpointslices -n {self.namespace} "
                f"-l kubernetes.io/service-name={self.service}.",
                code="service.unreachable",
            ) from None


def way_to(
    cluster: Cluster,
    namespace: str,
    service: str,
    port: int,
    *,
    own: Path = SERVICE_ACCOUNT,
    resolve: Resolve | None = None,
) -> ServiceWay:
    """Chooses the way: by name where this process runs in a pod of this very cluster and the name leads there.

    That a name resolves is not enough: a run in a pod of one cluster may deploy to another, which has Services of the
    same names. The pod's own authority must be the API server's, the name must lead to the Service's address, and that
    must take connections (a network policy may not let it).

    Args:
        cluster: Where the Service is.
        namespace: Its namespace.
        service: Its name.
        port: Its port's number.
        own: Where a pod finds its service account.
        resolve: Looks names up; by default as the system does.
    """
    proxy = ServiceWay(cluster, namespace, service, port)
    if not _is_own_cluster(cluster, own):
        return proxy
    name = f"{service}.{namespace}.svc"
    try:
        found = get(cluster, "v1", "Service", service, namespace) or {}
        addresses = set((resolve or _addresses)(name, port)) & _cluster_addresses(found)
    except (ClusterError, OSError):
        return proxy
    if not addresses or not _takes_connections(sorted(addresses)[0], port):
        return proxy
    return ServiceWay(cluster, namespace, service, port, direct=f"http://{name}:{port}")


def _is_own_cluster(cluster: Cluster, own: Path) -> bool:
    """Whether the API server shows the authority that this pod's cluster has: each cluster has its own."""
    configuration = cluster.api_client.configuration
    try:
        mine = (own / "ca.crt").read_text()
        theirs = configuration.ca_cert_data or Path(configuration.ssl_ca_cert or "").read_text()
    except (OSError, UnicodeDecodeError):
        return False
    text = theirs.decode() if isinstance(theirs, bytes) else str(theirs)
    return bool(mine.strip()) and mine.strip() == text.strip()


def _addresses(name: str, port: int) -> list[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)]


def _cluster_addresses(service: Mapping[str, Any]) -> set[str]:
    """The Service's own addresses; none for a headless one, whose ports are its pods'."""
    spec = service.get("spec") or {}
    return {str(found) for found in (*(spec.get("clusterIPs") or ()), spec.get("clusterIP"))} - {"None", ""}


def _takes_connections(address: str, port: int) -> bool:
    """Whether somebody is there; one who refuses is (a Service whose endpoints are not known yet does)."""
    try:
        socket.create_connection((address, port), timeout=CONNECT_SECONDS).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True


def _short(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error).rpartition(": ")[2].rstrip(".") or type(error).__name__
