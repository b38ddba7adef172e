"""What a request is about: its path, query and headers in the API's terms."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import yaml

from sandbox.kubernetes.api import protobuf
from sandbox.kubernetes.authz import Attributes
from sandbox.kubernetes.errors import ApiError, bad_request, invalid
from sandbox.kubernetes.objects import causes

Manifest = dict[str, Any]

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


@dataclass(frozen=True)
class Target:
    """Where a path below `/api` or `/apis` leads.

    Attributes:
        group: Empty for the core group.
        version: API version.
        plural: Of the resource.
        namespace: None for all namespaces, or for a cluster-scoped resource.
        name: Of the object; empty for the collection.
        subresource: Empty for the object itself.
        rest: What follows the subresource: the path to proxy; None when nothing does, not even a slash.
    """

    group: str
    version: str
    plural: str
    namespace: str | None = None
    name: str = ""
    subresource: str = ""
    rest: str | None = None


def parse_path(path: str) -> Target | None:
    """The resource that a path names; None for other paths (discovery, health, …)."""
    parts = path.split("/")[1:]
    if parts[0] == "api" and len(parts) > 2:
        group, version, parts = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, parts = parts[1], parts[2], parts[3:]
    else:
        return None
    if not parts[-1] and len(parts) > 1 and "proxy" not in parts:
        parts = parts[:-1]
    namespace = None
    if parts[0] == "namespaces" and len(parts) > 2 and parts[2] not in ("status", "finalize"):
        namespace, parts = parts[1], parts[2:]
    if not parts[0]:
        return None
    plural, name, subresource = (*parts, "", "", "")[:3]
    rest = "/".join(parts[3:]) if len(parts) > 3 else None
    return Target(group, version, plural, namespace, name, subresource, rest)


def attributes(method: str, target: Target, query: Mapping[str, str]) -> Attributes:
    """What the request wants to do, for the authorizer."""
    if method in ("GET", "HEAD"):
        if target.name and target.subresource:
            verb = "get"
        elif query.get("watch") in ("true", "1"):
            verb = "watch"
        else:
            verb = "get" if target.name else "list"
    elif method == "DELETE":
        verb = "delete" if target.name else "deletecollection"
    else:
        verb = _VERBS.get(method, method.lower())
    namespace = target.namespace or ""
    if target.plural == "namespaces" and not target.group and target.name:
        namespace = target.name
    return Attributes(verb, target.group, target.plural, target.subresource, namespace, target.name)


@dataclass(frozen=True)
class WriteParameters:
    """The query parameters of a write.

    Attributes:
        dry_run: Nothing is stored.
        field_manager: Who writes; empty when the client does not say.
        validation: `Strict`, `Warn` or `Ignore` for fields that are not known.
        force: Apply takes over fields of others.
    """

    dry_run: bool
    field_manager: str
    validation: str
    force: bool


def write_parameters(method: str, query: Mapping[str, str], *, applies: bool = False) -> WriteParameters:
    """The parameters of a write request.

    Raises:
        ApiError: 422, one of them has a value that does not exist, or apply has no field manager.
    """
    kind = {"POST": "CreateOptions", "PUT": "UpdateOptions"}.get(method, "PatchOptions")
    found = []
    dry_run, validation = query.get("dryRun"), query.get("fieldValidation", "")
    manager = query.get("fieldManager", "")
    if applies and not manager:
        found.append(causes.required("fieldManager", "is required for apply patch"))
    if query.get("force") and not applies:
        found.append(causes.forbidden("force", "may not be specified for non-apply patch"))
    if dry_run not in (None, "All"):
        found.append(causes.not_supported("dryRun", [dry_run], ["All"]))
    if validation not in ("", "Ignore", "Strict", "Warn"):
        found.append(causes.not_supported("fieldValidation", validation, ["", "Ignore", "Strict", "Warn"]))
    if len(manager) > 128:
        found.append(causes.too_long("fieldManager", 128))
    if found:
        raise invalid("meta.k8s.io", kind, "", found)
    return WriteParameters(dry_run == "All", manager, validation or "Warn", query.get("force") in ("true", "1"))


def manager_name(parameters: WriteParameters, user_agent: str) -> str:
    """The field manager: the one named, or the first word of the user agent."""
    return parameters.field_manager or user_agent.partition("/")[0][:128] or "unknown"


def parse_json(body: bytes) -> Any:
    """A JSON request body.

    Raises:
        ApiError: 400.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        first = body.lstrip()[:1].decode("latin-1")
        if not first:
            raise bad_request("unexpected end of JSON input") from None
        raise bad_request(f"invalid character '{first}' looking for beginning of value") from None


def parse_yaml(body: bytes) -> Manifest:
    """The body of an apply patch: YAML or JSON.

    Raises:
        ApiError: 400.
    """
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = _yaml(body)
    return parsed if isinstance(parsed, dict) else {}


def parse_object(body: bytes, content_type: str) -> Manifest:
    """The object in a request body of any kind that the server reads.

    Raises:
        ApiError: 400.
    """
    if content_type == protobuf.MEDIA_TYPE:
        return protobuf.parse(body)
    parsed = parse_yaml(body) if content_type == "application/yaml" else parse_json(body)
    if not isinstance(parsed, dict):
        raise bad_request("json: cannot unmarshal array into Go value of type map[string]interface {}")
    return parsed


def _yaml(body: bytes) -> Any:
    try:
        return yaml.load(body, _Loader)  # noqa: S506 - a safe loader without timestamps
    except yaml.YAMLError as error:
        problem = str(getattr(error, "problem", None) or error)
        marks = [getattr(error, name, None) for name in ("context_mark", "problem_mark")]
        # As the server's own parser counts: from 0, and not at all for the first line; scanner errors from 1.
        number = next((mark.line for mark in marks if mark is not None and mark.line), 0)
        number += isinstance(error, yaml.scanner.ScannerError) and number > 0
        line = f"line {number}: " if number else ""
        if "expected the node content" in problem:
            problem = "did not find expected node content"
        message = f"error decoding YAML: error converting YAML to JSON: yaml: {line}{problem}"
        raise bad_request(message) from None


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as the server reads it: JSON's types only, so a date stays a string."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def unsupported_media_type(accepted: str = "") -> ApiError:
    """415 for a content type that the endpoint does not read."""
    if accepted:
        message = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        return ApiError(415, "UnsupportedMediaType", message)
    return ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})
