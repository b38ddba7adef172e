"""The scale subresource: replicas of a workload, without the rest of it."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from sandbox.kubernetes import errors
from sandbox.kubernetes.api.answers import JsonResponse
from sandbox.kubernetes.api.backend import Backend, Call
from sandbox.kubernetes.api.mutations import APPLY, JSON_PATCH, MERGE, STRATEGIC
from sandbox.kubernetes.api.patches import json_patch, merge_patch
from sandbox.kubernetes.api.printing import selector_text
from sandbox.kubernetes.api.requests import manager_name, parse_json, unsupported_media_type, write_parameters
from sandbox.kubernetes.codec import decoded
from sandbox.kubernetes.objects import causes
from sandbox.kubernetes.trees import clone
from sandbox.kubernetes.writes import WriteOptions

Manifest = dict[str, Any]


def scale(backend: Backend, call: Call) -> Response:
    """GET, PUT or PATCH of a scale."""
    current = backend.store.get(call.resource.key, call.namespace, call.target.name)
    if current is None:
        raise errors.not_found(call.resource, call.target.name)
    shown = _scale(call, current)
    method = call.request.method
    if method in ("GET", "HEAD"):
        return JsonResponse(shown)
    parameters = write_parameters(method, call.query)
    wanted = _wanted(call, shown)
    replicas = wanted.get("spec", {}).get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise errors.bad_request(
            "json: cannot unmarshal string into Go struct field ScaleSpec.spec.replicas of type int32"
        )
    if replicas < 0:
        cause = causes.invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise errors.invalid("autoscaling", "Scale", call.target.name, [cause])
    version = wanted.get("metadata", {}).get("resourceVersion")
    if version and version != current["metadata"]["resourceVersion"]:
        raise errors.stale(call.resource, call.target.name)
    changed = clone(current)
    _put(changed, _paths(call)[0], replicas)
    options = WriteOptions(manager_name(parameters, call.user_agent), "scale", parameters.dry_run)
    updated = backend.writer.update(call.resource, current, decoded(call.resource, changed, []), options)
    return JsonResponse(_scale(call, updated))


def _wanted(call: Call, shown: Manifest) -> Manifest:
    if call.request.method == "PUT":
        return dict(parse_json(call.body))
    match call.content_type:
        case content_type if content_type in (MERGE, STRATEGIC):
            return dict(merge_patch(shown, parse_json(call.body)))
        case content_type if content_type == JSON_PATCH:
            return json_patch(shown, parse_json(call.body))
        case content_type if content_type == APPLY:
            raise errors.not_implemented("server-side apply of the scale subresource")
    raise unsupported_media_type()


def _paths(call: Call) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Where the object keeps its wanted and its present replicas."""
    if call.resource.custom_type and call.resource.custom_type.scale:
        return call.resource.custom_type.scale.spec, call.resource.custom_type.scale.status
    return ("spec", "replicas"), ("status", "replicas")


def _scale(call: Call, obj: Manifest) -> Manifest:
    meta = {
        name: obj["metadata"][name]
        for name in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        if name in obj["metadata"]
    }
    wanted, present = _paths(call)
    replicas = _get(obj, wanted)
    status: Manifest = {"replicas": _get(obj, present) or 0}
    if call.resource.custom_type and call.resource.custom_type.scale:
        selector = _get(obj, call.resource.custom_type.scale.selector)
    else:
        selector = selector_text(obj["spec"]["selector"])
    if selector:
        status["selector"] = selector
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": meta,
        "spec": {"replicas": replicas} if replicas else {},
        "status": status,
    }


def _get(obj: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = obj
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if path else None


def _put(obj: Manifest, path: tuple[str, ...], value: int) -> None:
    for name in path[:-1]:
        obj = obj.setdefault(name, {})
    obj[path[-1]] = value
