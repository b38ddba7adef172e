"""GET: objects, lists and watches."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.responses import Response, StreamingResponse

from sandbox.kubernetes import errors
from sandbox.kubernetes.api.answers import Form, JsonResponse, accepted_form, shown_list, shown_object
from sandbox.kubernetes.api.backend import Backend, Call
from sandbox.kubernetes.api.events_view import as_new_event
from sandbox.kubernetes.api.tables import metadata_only, table
from sandbox.kubernetes.api.watch import Watch, watch_options
from sandbox.kubernetes.reading import list_objects, list_options
from sandbox.kubernetes.resources import EVENTS, NEW_EVENTS, Resource

Manifest = dict[str, Any]


def read(backend: Backend, call: Call) -> Response:
    """Answer a GET for a resource, an object or its status."""
    form = accepted_form(call.request.headers.get("accept", ""))
    watching = call.query.get("watch") in ("true", "1")
    if call.target.name:
        if watching:
            raise errors.not_implemented("watching a single object by its path: watch the list with a fieldSelector")
        return _object(backend, call, form)
    return _watch(backend, call, form) if watching else _list(backend, call, form)


def _include(call: Call) -> str:
    return call.query.get("includeObject") or "Metadata"


def _object(backend: Backend, call: Call, form: Form) -> Response:
    resource = call.resource
    key = EVENTS.key if resource is NEW_EVENTS else resource.key
    found = backend.store.get(key, call.namespace, call.target.name)
    if found is None:
        raise errors.not_found(resource, call.target.name)
    shown = as_new_event(found) if resource is NEW_EVENTS else found
    shown = _in_version(resource, shown)
    return JsonResponse(shown_object(resource, shown, form, _include(call)))


def _in_version(resource: Resource, obj: Manifest) -> Manifest:
    """A custom object in the version that was asked for: versions differ in nothing but their name."""
    return {**obj, "apiVersion": resource.api_version} if resource.custom else obj


def _list(backend: Backend, call: Call, form: Form) -> Response:
    listed = list_objects(backend.store, call.resource, call.target.namespace, list_options(call.resource, call.query))
    if call.resource is NEW_EVENTS:
        listed["items"] = [as_new_event(one) for one in listed["items"]]
    elif call.resource.custom:
        # Custom resources keep kind and apiVersion in lists.
        identity = {"apiVersion": call.resource.api_version, "kind": call.resource.kind}
        listed["items"] = [{**identity, **one} for one in listed["items"]]
    return JsonResponse(shown_list(call.resource, listed, form, _include(call)))


def _watch(backend: Backend, call: Call, form: Form) -> Response:
    resource = call.resource
    options = watch_options(list_options(resource, call.query), call.target.namespace, call.query)
    watch = Watch(
        backend.store, backend.watches, resource.key, resource, options, _renderer(resource, form, _include(call))
    )
    return StreamingResponse(_stream(watch), media_type="application/json")


async def _stream(watch: Watch) -> AsyncIterator[bytes]:
    async for line in watch.stream():
        yield line


def _renderer(resource: Resource, form: Form, include: str) -> Callable[[Manifest], Manifest]:
    if form.kind == "Table":
        first = True

        def row(obj: Manifest) -> Manifest:
            nonlocal first
            metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
            shown = table(resource, [obj], metadata, include, headers=first)
            first = False
            return shown

        return row
    if form.kind.startswith("PartialObjectMetadata"):
        return metadata_only
    return lambda obj: _in_version(resource, obj)
