"""DELETE: objects and collections."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from sandbox.kubernetes import errors
from sandbox.kubernetes.api.answers import JsonResponse, success_status
from sandbox.kubernetes.api.backend import Backend, Call
from sandbox.kubernetes.api.protobuf import MEDIA_TYPE
from sandbox.kubernetes.api.requests import parse_yaml
from sandbox.kubernetes.deletion import DeleteOptions
from sandbox.kubernetes.errors import ApiError, invalid
from sandbox.kubernetes.objects import causes
from sandbox.kubernetes.reading import list_objects, list_options
from sandbox.kubernetes.resources import JOBS

Manifest = dict[str, Any]

_ANSWER_WITH_OBJECT = frozenset(
    {"pods", "services", "serviceaccounts", "persistentvolumeclaims", "persistentvolumes", "resourcequotas"}
)
_ORPHAN_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or "
    "set propagationPolicy=Orphan to suppress this warning"
)
_PROPAGATIONS = ("Foreground", "Background", "Orphan", "nil")


def delete(backend: Backend, call: Call) -> Response:
    """DELETE of one object, or of what a collection's selectors match."""
    options = _options(call)
    if not call.target.name:
        return _collection(backend, call, options)
    deleted = backend.deleter.delete(call.resource, call.namespace, call.target.name, options)
    warnings = [_ORPHAN_WARNING] if call.resource is JOBS and not options.propagation else []
    if deleted.gone and call.resource.qualified not in _ANSWER_WITH_OBJECT:
        return JsonResponse(success_status(call.resource, deleted.object["metadata"]), 200, warnings)
    return JsonResponse(deleted.object, 200, warnings)


def _collection(backend: Backend, call: Call, options: DeleteOptions) -> Response:
    listed = list_objects(backend.store, call.resource, call.target.namespace, list_options(call.resource, call.query))
    for obj in listed["items"]:
        meta = obj["metadata"]
        try:
            backend.deleter.delete(call.resource, meta.get("namespace", ""), meta["name"], options)
        except ApiError as error:
            if error.code != 404:
                raise
    if not options.dry_run:
        listed["metadata"]["resourceVersion"] = str(backend.store.version)
    return JsonResponse(listed)


def _options(call: Call) -> DeleteOptions:
    """The options in the body, or in the query when there is no body.

    Raises:
        ApiError: 400 or 422.
    """
    if call.content_type == MEDIA_TYPE and call.body:
        raise errors.not_implemented("protobuf bodies of DeleteOptions: send JSON")
    raw: Mapping[str, Any] = parse_yaml(call.body) if call.body.strip() else {}
    if raw and raw.get("kind", "DeleteOptions") != "DeleteOptions":
        raise errors.bad_request(f"expect DeleteOptions, got {raw['kind']}")
    propagation = raw.get("propagationPolicy") or call.query.get("propagationPolicy") or ""
    dry_run = raw.get("dryRun") or ([call.query["dryRun"]] if "dryRun" in call.query else [])
    grace = raw.get("gracePeriodSeconds", call.query.get("gracePeriodSeconds"))
    orphan = raw.get("orphanDependents", call.query.get("orphanDependents"))
    found = []
    if propagation not in ("", *_PROPAGATIONS[:3]):
        found.append(causes.not_supported("propagationPolicy", propagation, _PROPAGATIONS))
    if dry_run not in ([], ["All"]):
        found.append(causes.not_supported("dryRun", dry_run, ["All"]))
    if found:
        raise invalid("meta.k8s.io", "DeleteOptions", "", found)
    if orphan is not None and not propagation:
        propagation = "Orphan" if str(orphan).lower() == "true" else "Background"
    preconditions = raw.get("preconditions") or {}
    try:
        seconds = None if grace is None else int(grace)
    except ValueError:
        raise errors.bad_request(f'strconv.ParseInt: parsing "{grace}": invalid syntax') from None
    return DeleteOptions(
        propagation,
        seconds,
        preconditions.get("uid") or "",
        preconditions.get("resourceVersion") or "",
        bool(dry_run),
    )
