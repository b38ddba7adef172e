"""The API server as an ASGI application: who asks, may they, and which handler answers."""

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sandbox.kubernetes import errors
from sandbox.kubernetes.api import deletes, discovery, logs, mutations, openapi, reads, reviews, scale
from sandbox.kubernetes.api.answers import JsonResponse, error_response, not_found_page
from sandbox.kubernetes.api.backend import Backend, Call
from sandbox.kubernetes.api.requests import Target, attributes, parse_path
from sandbox.kubernetes.authn import AUTHENTICATED, SERVICE_ACCOUNT, User
from sandbox.kubernetes.authz import Attributes
from sandbox.kubernetes.errors import ApiError
from sandbox.kubernetes.resources import (
    ACCESS_REVIEWS,
    ENDPOINTS,
    RULES_REVIEWS,
    STATEFULSETS,
    SUBJECT_REVIEWS,
    refused,
)

_LOGGED_REQUESTS = 50_000
_LOG = logging.getLogger(__name__)
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_REVIEWS = (ACCESS_REVIEWS, RULES_REVIEWS, SUBJECT_REVIEWS)
_ENDPOINTS_WARNING = '299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"'
_REFUSED_SUBRESOURCES = frozenset(
    {
        "attach",
        "binding",
        "ephemeralcontainers",
        "eviction",
        "exec",
        "finalize",
        "portforward",
        "resize",
        "approval",
    }
)


@dataclass(frozen=True)
class LoggedRequest:
    """One request for a resource, as it was authorized.

    Attributes:
        user: Who made it.
        verb: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
        group: API group, empty for the core group.
        resource: Plural, with the subresource (`pods/log`).
        namespace: Empty for the cluster's scope.
        name: Empty for collections.
    """

    user: str
    verb: str
    group: str
    resource: str
    namespace: str
    name: str


@dataclass
class Fault:
    """Answers that are to fail, for tests of clients."""

    status: int
    left: int
    path_prefix: str


class ApiServer:
    """Serves one backend."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.request_log: deque[LoggedRequest] = deque(maxlen=_LOGGED_REQUESTS)
        self.faults: list[Fault] = []
        self.app = Starlette(routes=[Route("/{path:path}", self._respond, methods=_METHODS)])

    async def _respond(self, request: Request) -> Response:
        try:
            self._fail_when_told(request)
            user = self._impersonated(request, self.backend.tokens.user(request.headers.get("authorization", "")))
            return await self._dispatch(request, user)
        except ApiError as error:
            return error_response(error)
        except Exception:
            _LOG.exception("the sandbox's API server failed on %s %s", request.method, request.url.path)
            raise

    def _impersonated(self, request: Request, user: User) -> User:
        """Whom the request is to be made as (`kubectl --as`), when the user may do that."""
        name, groups = request.headers.get("impersonate-user"), request.headers.getlist("impersonate-group")
        if not name:
            if groups:
                raise errors.bad_request("requested groups without impersonating a user")
            return user
        account = name.removeprefix(SERVICE_ACCOUNT).split(":") if name.startswith(SERVICE_ACCOUNT) else []
        if len(account) == 2:
            wanted = Attributes("impersonate", "", "serviceaccounts", "", account[0], account[1])
            groups = groups or ["system:serviceaccounts", f"system:serviceaccounts:{account[0]}"]
        else:
            wanted = Attributes("impersonate", "", "users", "", "", name)
        self.backend.authorizer.require(user, wanted)
        for group in request.headers.getlist("impersonate-group"):
            self.backend.authorizer.require(user, Attributes("impersonate", "", "groups", "", "", group))
        return User(name, tuple(dict.fromkeys([*groups, AUTHENTICATED])))

    def _fail_when_told(self, request: Request) -> None:
        for fault in self.faults:
            if fault.left and request.url.path.startswith(fault.path_prefix):
                fault.left -= 1
                reasons = {429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout"}
                details: dict[str, Any] = {"retryAfterSeconds": 1} if fault.status in (429, 503) else {}
                raise ApiError(fault.status, reasons.get(fault.status, ""), "a fault that was asked for", details)

    async def _dispatch(self, request: Request, user: User) -> Response:
        target = parse_path(request.scope["path"])
        if target is None:
            return self._answer_path(request, user)
        wanted = attributes(request.method, target, request.query_params)
        logged = LoggedRequest(
            user.name, wanted.verb, wanted.group, wanted.full_resource, target.namespace or "", wanted.name
        )
        self.request_log.append(logged)
        self.backend.authorizer.require(user, wanted)
        resource = self.backend.registry.find(target.group, target.version, target.plural)
        if resource is None:
            return self._unserved(target)
        call = Call(request, target, resource, user, dict(request.query_params), await request.body())
        if target.subresource:
            return await self._subresource(call)
        return self._resource(call)

    def _unserved(self, target: Target) -> Response:
        if refused(target.group, target.version, target.plural):
            group_version = f"{target.group}/{target.version}" if target.group else target.version
            raise errors.not_implemented(f"{target.plural} of {group_version}")
        if any((one.group, one.version) == (target.group, target.version) for one in self.backend.registry):
            raise errors.unknown_resource()
        return not_found_page()

    def _resource(self, call: Call) -> Response:
        backend, method = self.backend, call.request.method
        if call.resource in _REVIEWS:
            if method != "POST":
                raise _not_allowed()
            return reviews.review(backend, call)
        if call.resource.namespaced and call.target.namespace is None and (call.target.name or method != "GET"):
            raise (
                errors.bad_request("an empty namespace may not be set during creation")
                if (method == "POST")
                else errors.unknown_resource()
            )
        on_object: dict[str, Callable[[Backend, Call], Response]] = {
            "GET": reads.read,
            "HEAD": reads.read,
            "PUT": mutations.replace,
            "PATCH": mutations.patch,
            "DELETE": deletes.delete,
        }
        on_collection = {
            "GET": reads.read,
            "HEAD": reads.read,
            "POST": mutations.create,
            "DELETE": deletes.delete,
        }
        handler = (on_object if call.target.name else on_collection).get(method)
        verb = attributes(method, call.target, call.query).verb
        if handler is not None and verb not in call.resource.verbs and call.resource is STATEFULSETS:
            raise errors.not_implemented("making statefulsets of apps/v1")
        if handler is None or verb not in call.resource.verbs:
            raise _not_allowed()
        response = handler(backend, call)
        if call.resource is ENDPOINTS:
            response.headers.append("Warning", _ENDPOINTS_WARNING)
        return response

    async def _subresource(self, call: Call) -> Response:
        name, method = call.target.subresource, call.request.method
        if name not in call.resource.subresources:
            if name in _REFUSED_SUBRESOURCES and not call.resource.custom:
                raise errors.not_implemented(f"{call.resource.plural}/{name}")
            raise errors.unknown_resource()
        if name == "proxy":
            from sandbox.kubernetes.api.proxy import proxy  # an HTTP client that is slow to load

            return await proxy(self.backend, call)
        handlers: dict[tuple[str, str], Callable[[Backend, Call], Response]] = {
            ("status", "GET"): reads.read,
            ("status", "PUT"): mutations.replace,
            ("status", "PATCH"): mutations.patch,
            ("scale", "GET"): scale.scale,
            ("scale", "PUT"): scale.scale,
            ("scale", "PATCH"): scale.scale,
            ("token", "POST"): reviews.token,
        }
        if (name, method) == ("log", "GET"):
            slow: Callable[[Backend, Call], Awaitable[Response]] = logs.logs
            return await slow(self.backend, call)
        handler = handlers.get((name, method))
        if handler is None:
            raise _not_allowed()
        return handler(self.backend, call)

    def _answer_path(self, request: Request, user: User) -> Response:
        """Discovery, health, version, OpenAPI."""
        path = request.scope["path"]
        self.backend.authorizer.require(user, Attributes(request.method.lower(), path=path))
        if request.method != "GET":
            return not_found_page()
        match path.strip("/").split("/"):
            case ["healthz" | "livez" | "readyz" as check]:
                verbose = "verbose" in request.query_params
                return PlainTextResponse(f"[+]ping ok\n{check} check passed\n" if verbose else "ok")
            case ["version"]:
                return JsonResponse(discovery.VERSION)
            case ["openapi", "v2"]:
                raise errors.not_implemented("OpenAPI v2: ask for /openapi/v3")
            case ["openapi", "v3"]:
                return JsonResponse(openapi.index(self.backend.registry))
            case ["openapi", "v3", *rest]:
                document = openapi.document(self.backend.registry, "/".join(rest))
                return JsonResponse(document) if document else not_found_page()
            case ["api" | "apis", *rest]:
                return self._discover(request, path.strip("/").split("/")[0], rest)
        return not_found_page()

    def _discover(self, request: Request, root: str, rest: list[str]) -> Response:
        registry, core = self.backend.registry, root == "api"
        found: dict[str, Any] | None = None
        match rest:
            case [] if _wants_aggregated(request):
                response = JsonResponse(discovery.aggregated(registry, core=core))
                response.headers["content-type"] = discovery.AGGREGATED
                return response
            case []:
                address = self.backend.address
                found = discovery.core_versions(address) if core else discovery.group_list(registry)
            case [version] if core:
                found = discovery.resource_list(registry, "", version)
            case [group]:
                found = discovery.group(registry, group)
            case [group, version]:
                found = discovery.resource_list(registry, group, version)
                if found is None and refused(group, version):
                    raise errors.not_implemented(f"{group}/{version}")
        return JsonResponse(found) if found else not_found_page()


def _wants_aggregated(request: Request) -> bool:
    """Whether the first acceptable form is the aggregated one."""
    first = request.headers.get("accept", "").split(",")[0].replace(" ", "")
    return "g=apidiscovery.k8s.io" in first and "v=v2" in first.split(";")


def _not_allowed() -> ApiError:
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message, {})
