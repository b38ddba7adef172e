"""Requests to a Service through the API server's proxy: they reach it from anywhere that reaches the API.

The API server uses the Authorization header for itself and does not pass it on: a backend that wants one of its own
cannot be asked this way.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from kube.connect import Cluster
from kube.discovery import group_path
from kube.errors import Failure, cluster_error, failure
from kube.streaming import stream as open_stream
from kube.transport import Query, Repeat, call
from serving.errors import ClusterError

_REFUSED = ("connection refused", "no route to host", "connection reset")


@dataclass(frozen=True)
class Response:
    """What the backend answered, whatever its status.

    Attributes:
        status: HTTP status of the backend.
        headers: Response headers, keys in lower case.
        body: Bytes as they came.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """The body, parsed.

        Raises:
            ValueError: It is not JSON.
        """
        return json.loads(self.body)


@dataclass(frozen=True)
class StreamedResponse:
    """What the backend answers, as it comes.

    Attributes:
        status: HTTP status of the backend.
        headers: Response headers, keys in lower case.
        lines: Lines of the body, without their ends, each as soon as it is there (empty ones separate SSE events).
    """

    status: int
    headers: Mapping[str, str]
    lines: Iterator[str] = field(repr=False)


def request(
    cluster: Cluster,
    method: str,
    namespace: str,
    service: str,
    port: int | str,
    path: str,
    *,
    json: object = None,
    body: bytes | None = None,
    query: Query | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 60.0,
    scheme: str = "http",
) -> Response:
    """Send a request to a Service and return the backend's answer.

    Args:
        cluster: Where the Service is.
        method: HTTP method.
        namespace: The Service's namespace.
        service: The Service's name.
        port: Its port: number or name, as the Service declares it.
        path: Path at the backend, with its leading slash.
        json: Sent as JSON.
        body: Sent as it is; name its type in the headers.
        query: Query parameters.
        headers: Request headers; Authorization cannot be passed on.
        timeout: Seconds to wait for the answer, and between its parts.
        scheme: ``https`` if the backend speaks TLS.

    Raises:
        ClusterError: The backend was not reached: ``proxy.no_endpoints``, ``proxy.refused``, ``proxy.unreachable``,
            ``proxy.service_missing``; or the API server refuses or cannot be reached.
    """
    backend = _Backend(namespace, service, port)
    doing = f"{method} {path} at service {namespace}/{service}"
    reply = call(
        cluster,
        method,
        backend.path(path, scheme),
        doing=doing,
        query=query,
        body=body if body is not None else json,
        headers=_headers(headers, body),
        read_timeout=timeout,
        repeat=Repeat.UNSENT if method in {"GET", "HEAD"} else Repeat.NEVER,
    )
    if reply.status >= 400:
        _raise_if_not_the_backend(failure(reply.status, reply.body), backend, doing=doing, server=cluster.server)
    return Response(reply.status, reply.headers, reply.body)


@contextmanager
def stream(
    cluster: Cluster,
    method: str,
    namespace: str,
    service: str,
    port: int | str,
    path: str,
    *,
    json: object = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 60.0,
    scheme: str = "http",
) -> Iterator[StreamedResponse]:
    """Like `request`, for an answer that is read as it comes (server-sent events, tokens).

    Args:
        cluster: Where the Service is.
        method: HTTP method.
        namespace: The Service's namespace.
        service: The Service's name.
        port: Its port: number or name, as the Service declares it.
        path: Path at the backend, with its leading slash.
        json: Sent as JSON.
        headers: Request headers; Authorization cannot be passed on.
        timeout: Seconds of silence after which it counts as broken.
        scheme: ``https`` if the backend speaks TLS.

    Raises:
        ClusterError: As for `request`; also if the connection breaks while the answer is read.
    """
    backend = _Backend(namespace, service, port)
    doing = f"{method} {path} at service {namespace}/{service}"
    with open_stream(
        cluster,
        method,
        backend.path(path, scheme),
        doing=doing,
        body=json,
        headers=_headers(headers, None),
        read_timeout=timeout,
    ) as opened:
        if opened.status >= 400:
            content = opened.read()
            _raise_if_not_the_backend(failure(opened.status, content), backend, doing=doing, server=cluster.server)
            lines = iter(content.decode(errors="replace").splitlines())
        else:
            lines = (line.decode(errors="replace").removesuffix("\r") for line in opened.lines())
        yield StreamedResponse(opened.status, opened.headers, lines)


@dataclass(frozen=True)
class _Backend:
    namespace: str
    service: str
    port: int | str

    def path(self, path: str, scheme: str) -> str:
        place = f"{group_path('v1')}/namespaces/{quote(self.namespace, safe='')}/services"
        rest = quote(path.lstrip("/"), safe="/%~")
        return f"{place}/{scheme}:{quote(self.service, safe='')}:{self.port}/proxy/{rest}"


def _headers(headers: Mapping[str, str] | None, body: bytes | None) -> dict[str, str]:
    sent = {"Accept": "*/*", **(headers or {})}
    if any(name.lower() == "authorization" for name in sent):
        raise ValueError("the API server's proxy does not pass an Authorization header on")
    if body is not None:
        kind = next((value for name, value in sent.items() if name.lower() == "content-type"), "")
        if "json" in kind:
            raise ValueError("give JSON as `json`")
        if not kind:
            sent["Content-Type"] = "application/octet-stream"
    return sent


def _raise_if_not_the_backend(failed: Failure, backend: _Backend, *, doing: str, server: str) -> None:
    """Raise if the API server itself speaks; whatever else comes is the backend's answer."""
    if not failed.explained:
        return
    if failed.status == 503 and failed.message.startswith("no endpoints available"):
        raise ClusterError(
            f"Could not {doing}: no pod of it is ready to take requests at port {backend.port}.",
            cause="Its pods are not ready, its selector finds none, or it has no such port.",
            fix=f"Look at kubectl get endpointslices -n {backend.namespace} "
            f"-l kubernetes.io/service-name={backend.service}.",
            code="proxy.no_endpoints",
        )
    if failed.message.startswith("error trying to reach service"):
        reason = failed.message.partition(": ")[2]
        refused = any(sign in reason for sign in _REFUSED)
        raise ClusterError(
            f"Could not {doing}: the pod was not reached ({reason}).",
            cause="Nothing in the pod listens at the Service's target port." if refused else "",
            fix="Compare the Service's targetPort with the port that the server listens at."
            if refused
            else "Check the backend's scheme (http or https), network policies and the pod's node.",
            code="proxy.refused" if refused else "proxy.unreachable",
        )
    if failed.status == 404 and failed.details.get("kind") == "services":
        raise ClusterError(
            f"Could not {doing}: there is no such Service.",
            fix=f"Check the name (kubectl get services -n {backend.namespace}).",
            code="proxy.service_missing",
        )
    raise cluster_error(failed, server=server, doing=doing)
