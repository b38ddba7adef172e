"""HTTP answers, and what of an object a client wants to see."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.responses import PlainTextResponse, Response

from sandbox.kubernetes.api.tables import metadata_only, table
from sandbox.kubernetes.errors import ApiError
from sandbox.kubernetes.resources import Resource

Manifest = dict[str, Any]

_JSON = "application/json"
_WILDCARDS = ("*/*", "application/*")


class JsonResponse(Response):
    """A JSON answer, with warnings where there are some."""

    media_type = _JSON

    def __init__(self, content: Any, status: int = 200, warnings: Iterable[str] = ()) -> None:
        super().__init__(orjson.dumps(content), status)
        for text in warnings:
            quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
            self.headers.append("Warning", f'299 - "{quoted}"')


def error_response(error: ApiError) -> Response:
    """The answer for an error."""
    response = JsonResponse(error.status(), error.code)
    retry = (error.details or {}).get("retryAfterSeconds")
    if retry:
        response.headers["Retry-After"] = str(retry)
    return response


def not_found_page() -> Response:
    """The plain-text 404 for what no handler knows."""
    return PlainTextResponse("404 page not found\n", 404)


@dataclass(frozen=True)
class Form:
    """In which form a client wants objects.

    Attributes:
        kind: `object`, `Table`, `PartialObjectMetadata` or `PartialObjectMetadataList`.
    """

    kind: str = "object"


def accepted_form(accept: str) -> Form:
    """The first form in an Accept header that the server can give.

    Raises:
        ApiError: 406.
    """
    offered = [part.strip() for part in accept.split(",") if part.strip()] or ["*/*"]
    for part in offered:
        media, *parameters = (piece.strip() for piece in part.split(";"))
        values = dict(piece.partition("=")[::2] for piece in parameters)
        wanted = values.get("as", "")
        if media in _WILDCARDS or (media == _JSON and not wanted):
            return Form()
        if media == _JSON and wanted in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList"):
            return Form(wanted)
    message = "only the following media types are accepted: application/json"
    raise ApiError(406, "NotAcceptable", message, {})


def shown_object(resource: Resource, obj: Manifest, form: Form, include: str) -> Manifest:
    """One object in a form.

    Raises:
        ApiError: 406, the form is one for lists.
    """
    match form.kind:
        case "Table":
            return table(resource, [obj], {"resourceVersion": obj["metadata"].get("resourceVersion", "")}, include)
        case "PartialObjectMetadata":
            return metadata_only(obj)
        case "PartialObjectMetadataList":
            message = "you requested PartialObjectMetadataList, but the requested object is not a list"
            raise ApiError(406, "NotAcceptable", message, {})
    return obj


def shown_list(resource: Resource, listed: Manifest, form: Form, include: str) -> Manifest:
    """A list in a form.

    Raises:
        ApiError: 406, the form is one for single objects.
    """
    match form.kind:
        case "Table":
            return table(resource, listed["items"], listed["metadata"], include)
        case "PartialObjectMetadataList":
            items = [metadata_only(obj) for obj in listed["items"]]
            return {
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": listed["metadata"],
                "items": items,
            }
        case "PartialObjectMetadata":
            package = resource.group.partition(".")[0] or "core"
            listed_type = f"*{package}.{resource.kind}List"
            message = f"you requested PartialObjectMetadata, but the requested object is a list ({listed_type})"
            raise ApiError(406, "NotAcceptable", message)
    return listed


def success_status(resource: Resource, meta: Mapping[str, Any]) -> Manifest:
    """The Status that answers a deletion."""
    group = {"group": resource.group} if resource.group else {}
    details = {"name": meta["name"], **group, "kind": resource.plural, "uid": meta["uid"]}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
