"""What the Kubernetes API says, put into words: a `Status` or a broken connection becomes a `ClusterError`.

Codes: ``cluster.unreachable``, ``.timeout``, ``.tls``, ``.unauthorized``, ``.forbidden``, ``.namespace_missing``,
``.namespace_terminating``, ``.kind_missing``, ``.not_found``, ``.exists``, ``.conflict``, ``.invalid``,
``.throttled``, ``.server_error``. What a rejected manifest means stands in `kube.rejections`. Shapes and messages of
the API as recorded from Kubernetes 1.36.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import urllib3.exceptions as http
from kubernetes.client.exceptions import ApiException

from serving.errors import ClusterError

MAX_MESSAGE = 400
"""Characters of a server's message that are passed on: some messages quote whole pod templates."""

_RBAC = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]*)")?'
)
_NOT_TRANSIENT = re.compile(
    # A manifest that does not fit the schema is answered with 500; so is a kubelet that cannot be reached.
    r"failed to create typed patch object|failed to convert new object|field not declared in schema"
    r"|error decoding|containerLogs"
)


@dataclass(frozen=True)
class Failure:
    """An answer of the API server with a status of 400 or more, taken apart.

    Attributes:
        status: HTTP status.
        reason: Machine-readable word of the `Status` object; empty if it has none or the body is plain text.
        message: The server's own sentence, whole.
        details: The `Status` object's details (`name`, `group`, `kind`, `causes`).
        explained: Whether the API server itself speaks (a `Status` object), not something behind or before it.
    """

    status: int
    reason: str = ""
    message: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    explained: bool = False

    @property
    def causes(self) -> list[dict[str, str]]:
        """One entry per field that the server objects to."""
        return list(self.details.get("causes") or [])

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed a moment later."""
        if self.status in {429, 502, 503, 504}:
            return True
        return self.status == 500 and not _NOT_TRANSIENT.search(self.message)


def failure(status: int, body: bytes) -> Failure:
    """Take an error response apart; plain text (as for an unknown path) is accepted too."""
    text = body.decode(errors="replace").strip()
    try:
        said = json.loads(text)
    except ValueError:
        said = None
    if not isinstance(said, dict) or said.get("kind") != "Status":
        return Failure(status, message=text)
    return failure_from_status(said, status)


def failure_from_status(said: Mapping[str, Any], status: int = 0) -> Failure:
    """Take a `Status` object apart, for example the one inside a watch's ERROR event."""
    return Failure(
        status=int(said.get("code") or status or 500),
        reason=said.get("reason") or "",
        message=said.get("message") or "",
        details=said.get("details") or {},
        explained=True,
    )


def shorten(message: str, limit: int = MAX_MESSAGE) -> str:
    """One line of at most `limit` characters, without a full stop at its end."""
    line = " ".join(message.split())
    return (line[: limit - 1].rstrip() + "…") if len(line) > limit else line.rstrip(".")


def cluster_error(failed: Failure, *, server: str, doing: str) -> ClusterError:
    """Name the cause and the fix of an error response.

    Args:
        failed: The response.
        server: Address of the API server, without credentials.
        doing: What was asked, as a verb phrase: ``list pods in namespace chat``.
    """
    match failed.status:
        case 401:
            return unauthorized(server, doing)
        case 403:
            return _forbidden(failed, server, doing)
        case 404:
            return _not_found(failed, server, doing)
        case 409 if failed.reason == "AlreadyExists":
            return _said(failed, doing, code="cluster.exists", fix="Choose another name, or apply instead of creating.")
        case 409:
            return _said(
                failed, doing, code="cluster.conflict", fix="Somebody else changed the object meanwhile: try again."
            )
        case 429:
            return _said(
                failed,
                doing,
                code="cluster.throttled",
                cause=f"The API server at {server} limits how many requests it takes.",
                fix="Try again in a minute; if it persists, look at API priority and fairness of the cluster.",
            )
        case status if status >= 500:
            return _said(
                failed,
                doing,
                code="cluster.server_error",
                cause=f"The API server at {server} has a problem of its own (HTTP {status}).",
                fix="Try again; if it persists, look at the control plane (kubectl get --raw '/readyz?verbose').",
            )
        case _:
            return _said(failed, doing, code="cluster.invalid", fix="Correct the request as the message says.")


def unauthorized(server: str, doing: str, *, anonymous: bool = False) -> ClusterError:
    """The API server does not know who asks."""
    if anonymous:
        cause, fix = "No credentials were sent.", "Give the cluster's kubeconfig a user with a token or a certificate."
    else:
        cause = "The token or certificate has expired, was revoked or belongs to another cluster."
        fix = "Renew the credentials in the cluster block."
    if ".eks." in server:  # EKS answers the same to whom it does not know
        cause = f"{cause} Or this AWS identity has no access entry in the EKS cluster."
        fix = (
            f"{fix} Name the EKS cluster in the block and its tokens renew themselves; see aws eks list-access-entries."
        )
    return ClusterError(
        f"Could not {doing}: the API server at {server} does not accept the credentials.",
        cause=cause,
        fix=fix,
        code="cluster.unauthorized",
    )


def connection_error(error: Exception, *, server: str, doing: str, timeout: float) -> ClusterError:
    """Name the cause and the fix of a connection that failed or broke.

    Args:
        error: What urllib3 or the kubernetes client raised.
        server: Address of the API server, without credentials.
        doing: What was asked, as a verb phrase.
        timeout: Seconds that were waited for an answer.
    """
    if isinstance(error, ApiException | http.SSLError):
        return _tls(str(getattr(error, "reason", "") or error), server, doing)
    if isinstance(error, http.ReadTimeoutError) and not during_handshake(error):
        return ClusterError(
            f"Could not {doing}: the API server at {server} did not answer within {timeout:g} s.",
            fix="Try again; if it persists, look at the control plane's load and health.",
            code="cluster.timeout",
        )
    if isinstance(error, http.NameResolutionError):
        found, cause = "its host name does not resolve", "The name is misspelt or known in a private network only."
        fix = "Check the server's address, and the VPN or private endpoint that leads there."
    elif isinstance(error, http.NewConnectionError):
        found, cause = "the connection was refused", "The cluster is stopped, or its address has changed."
        fix = "Check that the cluster runs and that its address in the cluster block is right."
    elif isinstance(error, http.ConnectTimeoutError) or during_handshake(error):
        found, cause = "it does not answer", "A firewall, a private endpoint or a missing VPN is in the way."
        fix = "Check that this machine may reach the cluster's endpoint (network, security group, VPN)."
    elif isinstance(error, http.ProxyError):
        found, cause = "the HTTP proxy failed", "The proxy named in the environment or kubeconfig cannot be used."
        fix = "Check HTTPS_PROXY and NO_PROXY, or the kubeconfig's proxy-url."
    elif isinstance(error, http.LocationValueError):
        found, cause = "the address is not a URL", "The kubeconfig's `server` is malformed."
        fix = "Correct the server's address: https://HOST[:PORT]."
    else:
        found, cause = "the connection broke", "The API server restarted, or something between closes connections."
        fix = "Try again."
    return ClusterError(
        f"Could not {doing}: the API server at {server} cannot be reached, {found}.",
        cause=cause,
        fix=fix,
        code="cluster.unreachable",
    )


def during_handshake(error: Exception) -> bool:
    """Whether a time-out was met before TLS was set up: urllib3 tells it as a slow answer."""
    return "handshake" in str(error.__cause__ or "")


def _tls(reason: str, server: str, doing: str) -> ClusterError:
    fix = "Put the cluster's own CA into the kubeconfig (certificate-authority-data)."
    if "hostname mismatch" in reason.lower() or "ip address mismatch" in reason.lower():
        found = "its certificate is for another host name"
        fix = "Use the name that the certificate is for, or set tls-server-name in the kubeconfig."
    elif "expired" in reason.lower():
        found = "its certificate has expired"
        fix = "Renew the API server's certificate, and check this machine's clock."
    elif "WRONG_VERSION_NUMBER" in reason or "record layer" in reason.lower():
        found = "it does not speak TLS"
        fix = "Correct the server's address: http:// instead of https://, or another port."
    elif "CERTIFICATE_VERIFY_FAILED" in reason:
        found = "its certificate is signed by an authority that this machine does not know"
    else:
        found = f"TLS failed ({shorten(reason, 120)})"
    return ClusterError(
        f"Could not {doing}: no safe connection to the API server at {server}, {found}.", fix=fix, code="cluster.tls"
    )


def _forbidden(failed: Failure, server: str, doing: str) -> ClusterError:
    if any(cause.get("reason") == "NamespaceTerminating" for cause in failed.causes):
        return _said(
            failed,
            doing,
            code="cluster.namespace_terminating",
            fix="Wait until the namespace is gone and create it again, or choose another.",
        )
    rule = _RBAC.search(failed.message)
    if rule is None:
        return _said(failed, doing, code="cluster.forbidden", fix="Ask the cluster's administrators to allow it.")
    if rule["user"] == "system:anonymous":
        return unauthorized(server, doing, anonymous=True)
    return forbidden(
        rule["verb"], rule["group"], rule["resource"], rule["namespace"] or "", user=rule["user"], doing=doing
    )


def forbidden(
    verb: str, group: str, resource: str, namespace: str, *, name: str = "", user: str = "", doing: str = ""
) -> ClusterError:
    """A missing permission, with the rule that grants it.

    Args:
        verb: For example ``patch``; several with commas between them.
        group: API group; empty for the core group.
        resource: Plural, with its subresource: ``pods/log``.
        namespace: Empty means the whole cluster.
        name: Of the one object that it is about; empty: any.
        user: Who lacks it, as the API server names them.
        doing: What was asked, as a verb phrase.
    """
    place = f"in namespace {namespace}" if namespace else "at the cluster scope"
    role = f"a Role in namespace {namespace}" if namespace else "a ClusterRole"
    verbs = ", ".join(f'"{one}"' for one in verb.split(", "))
    names = f', resourceNames: ["{name}"]' if name else ""
    rule = f'{{apiGroups: ["{group}"], resources: ["{resource}"]{names}, verbs: [{verbs}]}}'
    who = user or "these credentials"
    plural, _, subresource = resource.partition("/")
    what = (
        f"{plural}{f'.{group}' if group else ''}{f'/{subresource}' if subresource else ''}{f' {name}' if name else ''}"
    )
    return ClusterError(
        f"Could not {doing or f'{verb} {what} {place}'}: {who} may not {verb} {what} {place}.",
        fix=f"Add to {role} that is bound to {user or 'them'}: {rule}.",
        code="cluster.forbidden",
    )


def namespace_missing(namespace: str, doing: str) -> ClusterError:
    """The namespace that the request names does not exist."""
    return ClusterError(
        f"Could not {doing}: namespace {namespace} does not exist.",
        fix=f"Create it (kubectl create namespace {namespace}), or name another.",
        code="cluster.namespace_missing",
    )


def _not_found(failed: Failure, server: str, doing: str) -> ClusterError:
    if not failed.explained or failed.message == "the server could not find the requested resource":
        return ClusterError(
            f"Could not {doing}: the API server at {server} does not serve this kind.",
            cause="The operator or custom resource definition that brings it is not installed, or not in this version.",
            fix="Install it (kubectl api-resources lists what there is).",
            code="cluster.kind_missing",
        )
    if failed.details.get("kind") == "namespaces":
        return namespace_missing(str(failed.details.get("name", "")), doing)
    return _said(failed, doing, code="cluster.not_found", fix="Check the name and the namespace.")


def _said(failed: Failure, doing: str, *, code: str, cause: str = "", fix: str = "") -> ClusterError:
    said = shorten(failed.message) or f"HTTP {failed.status}"
    return ClusterError(f"Could not {doing}: {said}.", cause=cause, fix=fix, code=code)
