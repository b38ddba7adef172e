"""Questions about rights: self-subject reviews, and tokens for service accounts."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from sandbox.kubernetes import errors
from sandbox.kubernetes.api.answers import JsonResponse
from sandbox.kubernetes.api.backend import Backend, Call
from sandbox.kubernetes.api.requests import manager_name, parse_object, write_parameters
from sandbox.kubernetes.authn import ADMINS
from sandbox.kubernetes.authz import DISCOVERY_PATHS, Attributes
from sandbox.kubernetes.codec import decoded
from sandbox.kubernetes.naming import now
from sandbox.kubernetes.objects import causes
from sandbox.kubernetes.objects.ownership import encode
from sandbox.kubernetes.resources import ACCESS_REVIEWS, RULES_REVIEWS, SERVICEACCOUNTS
from sandbox.kubernetes.writes import WriteOptions

Manifest = dict[str, Any]

_SHORTEST_TOKEN = 600


def review(backend: Backend, call: Call) -> Response:
    """POST of a SelfSubjectAccessReview, SelfSubjectRulesReview or SelfSubjectReview."""
    if call.resource is ACCESS_REVIEWS:
        return _access(backend, call)
    if call.resource is RULES_REVIEWS:
        return _rules(backend, call)
    info: Manifest = {"username": call.user.name, "groups": list(call.user.groups)}
    if call.user.uid:
        info["uid"] = call.user.uid
    meta = {"creationTimestamp": now()}
    return JsonResponse({**_identity(call), "metadata": meta, "status": {"userInfo": info}}, 201)


def _identity(call: Call) -> Manifest:
    return {"kind": call.resource.kind, "apiVersion": call.resource.api_version}


def _access(backend: Backend, call: Call) -> Response:
    body = decoded(call.resource, parse_object(call.body, call.content_type), [])
    spec: Mapping[str, Any] = body.get("spec", {})
    of_resource, of_path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (of_resource is None) == (of_path is None):
        detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        cause = causes.invalid("spec.resourceAttributes", None, detail)
        raise errors.invalid("authorization.k8s.io", "", "", [cause])
    if of_resource is not None:
        wanted = Attributes(
            of_resource.get("verb", ""),
            of_resource.get("group", ""),
            of_resource.get("resource", ""),
            of_resource.get("subresource", ""),
            of_resource.get("namespace", ""),
            of_resource.get("name", ""),
        )
    else:
        wanted = Attributes((of_path or {}).get("verb", ""), path=(of_path or {}).get("path", ""))
    decision = backend.authorizer.decide(call.user, wanted)
    status: Manifest = {"allowed": decision.allowed}
    if decision.reason:
        status["reason"] = decision.reason
    manager = manager_name(write_parameters("POST", call.query), call.user_agent)
    entries = backend.writer.ownership(call.resource, WriteOptions(manager)).update(
        [], {"spec": {}}, {"spec": dict(spec)}
    )
    meta = {"managedFields": encode(entries)}
    return JsonResponse({**_identity(call), "metadata": meta, "spec": dict(spec), "status": status}, 201)


def _rules(backend: Backend, call: Call) -> Response:
    namespace = (parse_object(call.body, call.content_type).get("spec") or {}).get("namespace", "")
    if not namespace:
        raise errors.bad_request("no namespace on request")
    rules = [
        {name: rule[name] for name in ("verbs", "apiGroups", "resources", "resourceNames") if rule.get(name)}
        for rule in backend.authorizer.rules(call.user, namespace)
    ]
    everything = [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
    paths = [{"verbs": ["get"], "nonResourceURLs": list(DISCOVERY_PATHS)}]
    status = {
        "resourceRules": rules,
        "nonResourceRules": everything if ADMINS in call.user.groups else paths,
        "incomplete": False,
    }
    return JsonResponse({**_identity(call), "metadata": {}, "spec": {}, "status": status}, 201)


def token(backend: Backend, call: Call) -> Response:
    """POST of a TokenRequest for a service account."""
    name, namespace = call.target.name, call.namespace
    account = backend.store.get(SERVICEACCOUNTS.key, namespace, name)
    if account is None:
        raise errors.not_found(SERVICEACCOUNTS, name)
    spec = parse_object(call.body, call.content_type).get("spec") or {}
    seconds = spec.get("expirationSeconds", 3600)
    if seconds < _SHORTEST_TOKEN:
        detail = "may not specify a duration less than 10 minutes"
        cause = causes.invalid("spec.expirationSeconds", seconds, detail)
        raise errors.invalid("authentication.k8s.io", "TokenRequest", name, [cause])
    uid = account["metadata"]["uid"]
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
    issued = backend.tokens.issue(f"system:serviceaccount:{namespace}:{name}", groups, seconds=seconds, uid=uid)
    answer = {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace, "uid": uid, "creationTimestamp": now()},
        "spec": {
            "audiences": spec.get("audiences") or ["https://kubernetes.default.svc"],
            "expirationSeconds": seconds,
            "boundObjectRef": None,
        },
        "status": {"token": issued, "expirationTimestamp": now(seconds)},
    }
    return JsonResponse(answer, 201)
