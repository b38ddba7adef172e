"""The proxy subresource of Services and pods: requests that the API server passes on."""

import random
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from starlette.responses import Response, StreamingResponse
from yarl import URL

from sandbox.kubernetes import errors
from sandbox.kubernetes.api.backend import Backend, Call
from sandbox.kubernetes.errors import ApiError
from sandbox.kubernetes.resources import ENDPOINTSLICES, PODS, SERVICES

Manifest = Mapping[str, Any]

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_NOT_PASSED_ON = _HOP_BY_HOP | {"host", "content-length", "authorization"}
"""The caller's credentials are for the API server, never for a pod."""


@dataclass(frozen=True)
class Reference:
    """`name`, `name:port` or `scheme:name:port`, as the path has it."""

    text: str
    scheme: str
    name: str
    port: str


def parse_reference(text: str, kind: str) -> Reference:
    """The object, port and scheme in a proxy path.

    Raises:
        ApiError: 400.
    """
    parts = text.split(":")
    if len(parts) == 1:
        return Reference(text, "", text, "")
    if len(parts) == 2:
        return Reference(text, "", parts[0], parts[1])
    if len(parts) == 3 and parts[0] in ("http", "https", ""):
        return Reference(text, *parts)
    raise errors.bad_request(f'invalid {kind} request "{text}"')


def _unavailable(message: str) -> ApiError:
    return ApiError(503, "ServiceUnavailable", message)


def _service_address(backend: Backend, namespace: str, reference: Reference) -> tuple[str, int]:
    """A ready endpoint of a Service's port."""
    service = backend.store.get(SERVICES.key, namespace, reference.name)
    if service is None:
        raise errors.not_found(SERVICES, reference.name)
    port = reference.port
    if port.isdigit():
        named = next(
            (one.get("name", "") for one in service["spec"].get("ports", ()) if one["port"] == int(port)), None
        )
        if named is None:
            raise _unavailable(f'no service port {port} found for service "{reference.name}"')
        port = named
    slices = [
        one
        for one in backend.store.select(ENDPOINTSLICES.key, namespace)
        if one["metadata"].get("labels", {}).get("kubernetes.io/service-name") == reference.name
        and one.get("endpoints")
        and one.get("ports")
    ]
    if not slices:
        raise _unavailable(f'no endpoints available for service "{reference.name}"')
    candidates = [
        (endpoint["addresses"][0], number["port"])
        for one in slices
        for number in one["ports"]
        if number.get("name", "") == port
        for endpoint in one["endpoints"]
        if endpoint.get("conditions", {}).get("ready", True)
    ]
    if not candidates:
        raise _unavailable(f'no endpoints available for service "{reference.text}"')
    host, found = random.choice(candidates)
    return str(host), int(found)


def _pod_address(backend: Backend, namespace: str, reference: Reference) -> tuple[str, int]:
    pod = backend.store.get(PODS.key, namespace, reference.name)
    if pod is None:
        raise errors.not_found(PODS, reference.name)
    address = pod["status"].get("podIP")
    if not address:
        raise errors.bad_request("address not allowed")
    if reference.port:
        if not reference.port.isdigit():
            raise errors.bad_request(f'invalid pod request "{reference.text}"')
        return address, int(reference.port)
    ports = [port["containerPort"] for one in pod["spec"]["containers"] for port in one.get("ports", ())]
    return address, int(ports[0]) if ports else 80


def _pod_of(backend: Backend, address: str) -> Manifest | None:
    return next((pod for pod in backend.store.select(PODS.key) if pod["status"].get("podIP") == address), None)


async def proxy(backend: Backend, call: Call) -> Response:
    """Pass a request on to a Service's endpoint or to a pod, and its answer back."""
    of_service = call.resource is SERVICES
    reference = parse_reference(call.target.name, "service" if of_service else "pod")
    if call.target.rest is None:
        # Relative links of the backend work below a path that ends with a slash alone.
        query = call.request.url.query
        location = call.request.scope["path"] + "/" + (f"?{query}" if query else "")
        return Response(status_code=301, headers={"Location": location})
    address = (_service_address if of_service else _pod_address)(backend, call.namespace, reference)
    pod = _pod_of(backend, address[0])
    host, port = backend.runtime.pod_address(dict(pod), address[1]) if backend.runtime and pod else address
    return await _forward(backend, call, reference.scheme or "http", (host, port), address)


async def _forward(
    backend: Backend, call: Call, scheme: str, connect: tuple[str, int], shown: tuple[str, int]
) -> Response:
    raw_path = call.request.scope.get("raw_path", b"").decode("latin-1").partition("?")[0]
    rest = raw_path.split("/proxy/", 1)[1] if "/proxy/" in raw_path else ""
    query = call.request.scope["query_string"].decode("latin-1")
    url = URL(f"{scheme}://{connect[0]}:{connect[1]}/{rest}" + (f"?{query}" if query else ""), encoded=True)
    headers = [(name, value) for name, value in call.request.headers.items() if name not in _NOT_PASSED_ON]
    client = call.request.client
    headers.append(("x-forwarded-for", client.host if client else "127.0.0.1"))
    headers.append(("x-forwarded-uri", call.request.scope["path"]))
    try:
        answer = await backend.session().request(
            call.request.method, url, headers=headers, data=call.body or None, allow_redirects=False, ssl=False
        )
    except aiohttp.ClientError as error:
        raise _unavailable(f"error trying to reach service: {_reason(error, shown)}") from None
    kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
    return StreamingResponse(_body(answer), answer.status, headers=kept)


async def _body(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for part in answer.content.iter_any():
            yield part
    finally:
        answer.close()


def _reason(error: aiohttp.ClientError, shown: tuple[str, int]) -> str:
    """The failure in Go's words, for those are what people search for."""
    place = f"{shown[0]}:{shown[1]}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "EOF"
    if isinstance(error, aiohttp.ClientSSLError) or isinstance(error.__cause__, ssl.SSLError):
        return "tls: first record does not look like a TLS handshake"
    if isinstance(error, aiohttp.ClientOSError):
        cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
        if isinstance(cause, ConnectionRefusedError):
            return f"dial tcp {place}: connect: connection refused"
        if isinstance(cause, ConnectionResetError):
            return f"read tcp {place}: read: connection reset by peer"
        return f"dial tcp {place}: connect: {cause.strerror or cause}".lower()
    return str(error)
