"""Requests to the API server as raw JSON through the kubernetes client's transport.

Manifests are plain dicts: the client's models drop or refuse fields that they do not know. The client does not raise on
4xx and 5xx by itself; `checked` does. Requests that may be repeated are, within a small budget.
"""

import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import urllib3
import urllib3.exceptions as http
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException

from kube.connect import Cluster
from kube.errors import cluster_error, connection_error, during_handshake, failure
from serving.errors import ClusterError

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
MAX_TRIES = 5
MAX_WAITING = 10.0
"""Seconds spent between the tries of one request, all together."""

Query = Mapping[str, str | int | bool]
BROKEN = (http.HTTPError, ApiException, OSError)
"""What a connection that fails or breaks raises."""


class Repeat(StrEnum):
    """When a request may be sent again: always (it is idempotent), if the API was never reached, or never."""

    ALWAYS = "always"
    UNSENT = "unsent"
    NEVER = "never"


@dataclass(frozen=True)
class Reply:
    """A response, read whole.

    Attributes:
        status: HTTP status.
        headers: Response headers, keys in lower case.
        body: Bytes as they came.
        warnings: What the API server warns of (deprecated versions and the like).
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    warnings: tuple[str, ...] = ()

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


def backoff(attempt: int, *, base: float = 0.2, cap: float = 10.0) -> float:
    """Seconds to wait before the next try: exponential, with jitter so that many clients do not come back at once."""
    ceiling = min(cap, base * 2 ** min(attempt, 16))
    return random.uniform(ceiling / 2, ceiling)  # noqa: S311 - not a secret


def call(
    cluster: Cluster,
    method: str,
    path: str,
    *,
    doing: str,
    query: Query | None = None,
    body: object = None,
    headers: Mapping[str, str] | None = None,
    read_timeout: float = READ_SECONDS,
    repeat: Repeat = Repeat.ALWAYS,
) -> Reply:
    """Send a request and read its response, whatever its status.

    Args:
        cluster: Where to.
        method: HTTP method.
        path: Absolute path, its segments quoted.
        doing: What is asked, as a verb phrase for error messages.
        query: Query parameters.
        body: Sent as JSON unless the headers name another content type; then bytes.
        headers: Request headers.
        read_timeout: Seconds to wait for an answer.
        repeat: When it may be sent again after 429, 5xx or a broken connection.

    Raises:
        ClusterError: ``cluster.unreachable``, ``cluster.timeout``, ``cluster.tls``, ``cluster.credentials``.
    """
    request = Request(method, path, doing, query or {}, body, headers or {}, read_timeout)
    waited, renewed, attempt = 0.0, False, 0
    while True:
        delay: float | None
        try:
            reply = _read(send(cluster, request))
        except BROKEN as error:
            delay = _delay_after_break(error, attempt, repeat)
            if delay is None:
                raise connection_error(error, server=cluster.server, doing=doing, timeout=read_timeout) from error
        else:
            if reply.status == 401 and cluster.renew is not None and not renewed:
                renewed = True
                cluster.renew()
                continue
            delay = _delay_after_reply(reply, attempt) if repeat is Repeat.ALWAYS else None
            if delay is None or waited + delay > MAX_WAITING:
                return reply
        attempt += 1
        waited += delay
        time.sleep(delay)


def checked(
    cluster: Cluster,
    method: str,
    path: str,
    *,
    doing: str,
    query: Query | None = None,
    body: object = None,
) -> dict[str, Any]:
    """Send a request and return the JSON object that came back.

    Raises:
        ClusterError: For every status of 400 and more, and whatever `call` raises.
    """
    reply = call(cluster, method, path, doing=doing, query=query, body=body)
    if reply.status >= 400:
        raise cluster_error(failure(reply.status, reply.body), server=cluster.server, doing=doing)
    try:
        parsed = reply.json()
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise ClusterError(
            f"Could not {doing}: what answers at {cluster.server} is not a Kubernetes API server.",
            fix="Check the server's address, and that no login page or proxy stands before it.",
            code="cluster.unreachable",
        )
    return parsed


@dataclass(frozen=True)
class Request:
    """A request as it is sent; see `call` for the meaning of its parts."""

    method: str
    path: str
    doing: str
    query: Query
    body: object
    headers: Mapping[str, str]
    read_timeout: float


def send(cluster: Cluster, request: Request) -> urllib3.HTTPResponse:
    """Send a request once and return its response, not read yet."""
    headers = {"Accept": "application/json", **request.headers}
    if request.body is not None:
        headers.setdefault("Content-Type", "application/json")
    try:
        serialized = cluster.api_client.param_serialize(
            request.method,
            request.path,
            query_params=dict(request.query),
            header_params=headers,
            body=request.body,
            auth_settings=["BearerToken"],
        )
    except (ConfigException, OSError) as error:
        raise ClusterError(
            f"Could not {request.doing}: the credentials for {cluster.server} cannot be read ({type(error).__name__}).",
            fix="Check the token file or credential command that the kubeconfig or the pod names.",
            code="cluster.credentials",
        ) from None
    timeout = (CONNECT_SECONDS, request.read_timeout)
    response: urllib3.HTTPResponse = cluster.api_client.call_api(*serialized, _request_timeout=timeout).response
    return response


def _read(response: urllib3.HTTPResponse) -> Reply:
    body = response.data
    warnings = tuple(_warning(text) for text in response.headers.getlist("Warning"))
    return Reply(response.status, lower_case(response), body, warnings)


def _warning(header: str) -> str:
    # RFC 9110's predecessor: code, agent and the text in quotes: 299 - "unknown field \"datas\""
    return header.partition('"')[2].rpartition('"')[0].replace('\\"', '"') or header


def lower_case(response: urllib3.HTTPResponse) -> dict[str, str]:
    """Response headers, keys in lower case."""
    return {name.lower(): value for name, value in response.headers.items()}


def _delay_after_break(error: Exception, attempt: int, repeat: Repeat) -> float | None:
    """Seconds until the next try; None gives up."""
    if repeat is Repeat.NEVER or isinstance(error, ApiException | http.SSLError | http.LocationValueError):
        return None
    if isinstance(error, http.NameResolutionError):
        tries = 2
    elif isinstance(error, http.NewConnectionError):
        tries = 3
    elif isinstance(error, http.ConnectTimeoutError) or during_handshake(error) or repeat is Repeat.UNSENT:
        tries = 1
    elif isinstance(error, http.ReadTimeoutError):
        tries = 2
    else:
        tries = MAX_TRIES
    return backoff(attempt) if attempt + 1 < tries else None


def _delay_after_reply(reply: Reply, attempt: int) -> float | None:
    """Seconds until the next try; None takes the reply as it is."""
    if reply.status < 429 or attempt + 1 >= MAX_TRIES or not failure(reply.status, reply.body).transient:
        return None
    return max(retry_after(reply.headers), backoff(attempt))


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a response asks to wait; 0 if it does not say (the API server only sends whole seconds)."""
    said = headers.get("retry-after", "")
    return float(said) if said.isdigit() else 0.0
