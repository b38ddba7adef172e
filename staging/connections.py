"""Opens connections: plain or TLS, directly or through the environment's proxy."""

from __future__ import annotations

import http.client
import os
import ssl
import urllib.request
from functools import cache
from urllib.parse import SplitResult, urlsplit


def connect(parts: SplitResult, stall_seconds: float) -> http.client.HTTPConnection:
    """A connection, through the environment's proxy where one is set."""
    host, port = parts.hostname or "", parts.port
    proxy = urllib.request.getproxies().get(parts.scheme, "")
    if proxy and not urllib.request.proxy_bypass(parts.netloc):
        via = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        connection = _new(parts.scheme, via.hostname or "", via.port or 8080, stall_seconds)
        connection.set_tunnel(host, port or (443 if parts.scheme == "https" else 80))
        return connection
    return _new(parts.scheme, host, port, stall_seconds)


def _new(scheme: str, host: str, port: int | None, stall_seconds: float) -> http.client.HTTPConnection:
    if scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=stall_seconds, context=_tls())
    return http.client.HTTPConnection(host, port, timeout=stall_seconds)


@cache
def _tls() -> ssl.SSLContext:
    """Trust what boto3 and huggingface_hub trust: the configured bundle, else certifi's."""
    import certifi

    bundle = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE")
    return ssl.create_default_context(cafile=bundle or certifi.where())
