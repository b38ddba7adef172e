"""POST, PUT, PATCH: creating, replacing and patching objects."""

from typing import Any

import orjson
from starlette.responses import Response

from sandbox.kubernetes import errors
from sandbox.kubernetes.api.answers import JsonResponse, accepted_form, shown_object
from sandbox.kubernetes.api.backend import Backend, Call
from sandbox.kubernetes.api.patches import json_patch, merge_patch, strategic_merge_patch
from sandbox.kubernetes.api.protobuf import MEDIA_TYPE
from sandbox.kubernetes.api.requests import (
    WriteParameters,
    manager_name,
    parse_json,
    parse_object,
    parse_yaml,
    unsupported_media_type,
    write_parameters,
)
from sandbox.kubernetes.authz import Attributes
from sandbox.kubernetes.codec import decoded, schema_of
from sandbox.kubernetes.errors import ApiError
from sandbox.kubernetes.objects import causes
from sandbox.kubernetes.objects.custom import warnings as definition_warnings
from sandbox.kubernetes.objects.decoding import DecodeError
from sandbox.kubernetes.objects.ownership import decode
from sandbox.kubernetes.objects.typecheck import go_value, problems
from sandbox.kubernetes.resources import CRDS, Resource
from sandbox.kubernetes.trees import clone
from sandbox.kubernetes.writes import WriteOptions

Manifest = dict[str, Any]

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
_BODIES = ("application/json", "application/yaml", MEDIA_TYPE)


def create(backend: Backend, call: Call) -> Response:
    """POST to a collection."""
    parameters = write_parameters("POST", call.query)
    body, unknown = _decoded_body(call, parameters)
    _match_namespace(call, body)
    created = backend.writer.create(call.resource, call.namespace, body, _options(call, parameters))
    return _answer(call, created, 201, _warnings(call.resource, created, parameters, unknown))


def replace(backend: Backend, call: Call) -> Response:
    """PUT of an object or its status."""
    parameters = write_parameters("PUT", call.query)
    body, unknown = _decoded_body(call, parameters)
    _match_namespace(call, body)
    _match_name(call, body)
    current = _existing(backend, call)
    if call.resource.custom and not body["metadata"].get("resourceVersion"):
        cause = causes.invalid("metadata.resourceVersion", 0, "must be specified for an update")
        raise errors.invalid(call.resource.group, call.resource.kind, call.target.name, [cause])
    updated = backend.writer.update(call.resource, current, body, _options(call, parameters))
    return _answer(call, updated, 200, _warnings(call.resource, updated, parameters, unknown))


def patch(backend: Backend, call: Call) -> Response:
    """PATCH of an object or its status, in any of the four forms."""
    accepted = [JSON_PATCH, MERGE, *([] if call.resource.custom else [STRATEGIC]), APPLY]
    if call.content_type == STRATEGIC and call.resource.custom:
        raise unsupported_media_type(", ".join(accepted))
    if call.content_type not in accepted:
        raise unsupported_media_type()
    if call.content_type == APPLY:
        return _apply(backend, call)
    parameters = write_parameters("PATCH", call.query)
    change = parse_json(call.body)
    current = _existing(backend, call)
    patched = _patched(call, current, change)
    unknown: list[str] = []
    try:
        changed = decoded(call.resource, patched, unknown)
    except DecodeError as error:
        raise _bad_patch(call, change, str(error)) from None
    if unknown and parameters.validation == "Strict":
        raise _bad_patch(call, change, f"strict decoding error: {_listed(unknown)}")
    _match_namespace(call, changed)
    _match_name(call, changed)
    updated = backend.writer.update(call.resource, current, changed, _options(call, parameters))
    return _answer(call, updated, 200, _warnings(call.resource, updated, parameters, unknown))


def _patched(call: Call, current: Manifest, change: Any) -> Manifest:
    if call.content_type == JSON_PATCH:
        return json_patch(current, change)
    if not isinstance(change, dict):
        raise errors.bad_request("json: cannot unmarshal array into Go value of type map[string]interface {}")
    if call.content_type == MERGE:
        merged: Manifest = merge_patch(current, change)
    else:
        merged = strategic_merge_patch(schema_of(call.resource), current, change)
    return clone(merged)


def _bad_patch(call: Call, change: Any, why: str) -> ApiError:
    shown = go_value(change) if call.content_type == STRATEGIC else orjson.dumps(change).decode()
    return errors.invalid("", "", "", [causes.invalid("patch", shown, why)])


def _apply(backend: Backend, call: Call) -> Response:
    resource = call.resource
    parameters = write_parameters("PATCH", call.query, applies=True)
    config = parse_yaml(call.body)
    group_version, kind = config.get("apiVersion") or "", config.get("kind") or ""
    if (group_version, kind) != (resource.api_version, resource.kind):
        shown = group_version if "/" in group_version else f"/{group_version}"
        raise errors.bad_request(f"invalid object type: {shown}, Kind={kind}")
    meta = config.setdefault("metadata", {}) or {}
    if meta.get("managedFields"):
        raise errors.bad_request("metadata.managedFields must be nil")
    current = backend.store.get(resource.key, call.namespace, call.target.name)
    if current is None:
        wanted = Attributes("create", resource.group, resource.plural, "", call.namespace, call.target.name)
        backend.authorizer.require(call.user, wanted)
        if call.target.subresource:
            raise errors.not_found(resource, call.target.name)
    subject = f"({meta.get('namespace') or call.namespace}/{meta.get('name', '')}; {_kind_text(resource)})"
    wrong = problems(schema_of(resource), config)
    if wrong:
        listed = wrong[0] if len(wrong) == 1 else "errors:\n" + "\n".join(f"  {one}" for one in wrong)
        raise ApiError(500, "", f"failed to create typed patch object {subject}: {listed}")
    options = _options(call, parameters)
    ownership = backend.writer.ownership(resource, options, "Apply")
    live = current or {}
    owned = decode(current) if current else []
    merged, entries = ownership.apply(owned, live, config, force=parameters.force)
    try:
        changed = decoded(resource, merged, [])
    except DecodeError as error:
        raise ApiError(
            500,
            "",
            f"failed to convert new object {subject} to proper version: unable to convert unstructured object to "
            f"{_kind_text(resource)}: {error}",
        ) from None
    _match_namespace(call, config)
    _match_name(call, config)
    if current is None:
        result, status = backend.writer.create(resource, call.namespace, changed, options, entries), 201
    else:
        result, status = backend.writer.update(resource, current, changed, options, entries), 200
    return _answer(call, result, status, _warnings(resource, result, parameters, []))


def _kind_text(resource: Resource) -> str:
    return f"{resource.group}/{resource.version}, Kind={resource.kind}"


def _decoded_body(call: Call, parameters: WriteParameters) -> tuple[Manifest, list[str]]:
    """The body as a decoded object, and the fields that nobody knows."""
    resource = call.resource
    body = _body(call)
    if body.get("kind", resource.kind) != resource.kind or body.get("apiVersion") not in (None, resource.api_version):
        given, wanted = body.get("apiVersion", ""), resource.api_version
        message = (
            f"{resource.kind} in version {orjson.dumps(resource.version).decode()} cannot be handled as a "
            f"{body.get('kind', resource.kind)}: the API version in the data ({given}) does not match the expected "
            f"API version ({wanted})"
        )
        if body.get("kind", resource.kind) == resource.kind:
            message = f"the API version in the data ({given}) does not match the expected API version ({wanted})"
        raise errors.bad_request(message)
    unknown: list[str] = []
    subject = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
    try:
        result = decoded(resource, body, unknown)
    except DecodeError as error:
        raise errors.bad_request(f"{subject}: {error}") from None
    if unknown and parameters.validation == "Strict":
        raise errors.bad_request(f"{subject}: strict decoding error: {_listed(unknown)}")
    return result, unknown


def _body(call: Call) -> Manifest:
    if call.content_type not in ("", *_BODIES):
        raise unsupported_media_type(", ".join(_BODIES))
    return parse_object(call.body, call.content_type)


def _listed(unknown: list[str]) -> str:
    return ", ".join(f'unknown field "{path}"' for path in unknown)


def _options(call: Call, parameters: WriteParameters) -> WriteOptions:
    return WriteOptions(manager_name(parameters, call.user_agent), call.target.subresource, parameters.dry_run)


def _existing(backend: Backend, call: Call) -> Manifest:
    found = backend.store.get(call.resource.key, call.namespace, call.target.name)
    if found is None:
        raise errors.not_found(call.resource, call.target.name)
    return found


def _match_name(call: Call, body: Manifest) -> None:
    name = body["metadata"].get("name")
    if name and name != call.target.name:
        message = f"the name of the object ({name}) does not match the name on the URL ({call.target.name})"
        raise errors.bad_request(message)
    body["metadata"]["name"] = call.target.name


def _match_namespace(call: Call, body: Manifest) -> None:
    namespace = body["metadata"].get("namespace")
    if namespace and call.resource.namespaced and namespace != call.namespace:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )


def _warnings(resource: Resource, obj: Manifest, parameters: WriteParameters, unknown: list[str]) -> list[str]:
    found = [f'unknown field "{path}"' for path in unknown] if parameters.validation == "Warn" else []
    return found + (definition_warnings(obj) if resource is CRDS else [])


def _answer(call: Call, obj: Manifest, status: int, warnings: list[str]) -> Response:
    form = accepted_form(call.request.headers.get("accept", ""))
    shown = shown_object(call.resource, obj, form, call.query.get("includeObject") or "Metadata")
    return JsonResponse(shown, status, warnings)
