"""Getting and listing: resource versions, selectors, pages."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sandbox.kubernetes import errors
from sandbox.kubernetes.errors import ApiError
from sandbox.kubernetes.resources import EVENTS, NEW_EVENTS, Resource
from sandbox.kubernetes.selectors import Match, field_selector, label_selector
from sandbox.kubernetes.store import Store

Manifest = dict[str, Any]


@dataclass(frozen=True)
class ListOptions:
    """What to list or watch.

    Attributes:
        labels: Test by labels, None for all.
        fields: Test by fields, None for all.
        limit: Objects in a page; 0 for all.
        token: Where the next page begins.
        version: `resourceVersion`.
        match: `resourceVersionMatch`.
    """

    labels: Match | None = None
    fields: Match | None = None
    limit: int = 0
    token: str = ""
    version: str = ""
    match: str = ""

    def selects(self, obj: Mapping[str, Any]) -> bool:
        """Whether an object is wanted."""
        return (self.labels is None or self.labels(obj)) and (self.fields is None or self.fields(obj))


def list_options(resource: Resource, query: Mapping[str, str]) -> ListOptions:
    """The options in a query string.

    Raises:
        ApiError: 400.
    """
    try:
        limit = int(query.get("limit") or 0)
    except ValueError:
        raise errors.bad_request(f'strconv.ParseInt: parsing "{query["limit"]}": invalid syntax') from None
    return ListOptions(
        label_selector(query.get("labelSelector", "")),
        field_selector(EVENTS if resource is NEW_EVENTS else resource, query.get("fieldSelector", "")),
        limit,
        query.get("continue", ""),
        query.get("resourceVersion", ""),
        query.get("resourceVersionMatch", ""),
    )


def too_large(wanted: int, current: int) -> ApiError:
    """504 for a version that this server has not reached."""
    details = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    message = f"Timeout: Too large resource version: {wanted}, current: {current}"
    return ApiError(504, "Timeout", message, details)


def parse_version(text: str) -> int:
    """A resourceVersion as a number.

    Raises:
        ApiError: it is none; a 500 without a reason, as the real server answers.
    """
    if text.isdigit():
        return int(text)
    message = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
    raise ApiError(500, "", message)


def list_objects(store: Store, resource: Resource, namespace: str | None, options: ListOptions) -> Manifest:
    """A list object; its items carry neither kind nor apiVersion.

    Raises:
        ApiError: 400, 410 or 504.
    """
    key = EVENTS.key if resource is NEW_EVENTS else resource.key
    version, start = store.version, ""
    if options.token:
        version, start = _decode_token(options.token)
        if version < store.compacted:
            raise _expired_token(store, start)
        found = store.at(version, key, namespace)
    elif options.version and options.version != "0":
        version, found = _at_version(store, key, namespace, options)
    else:
        found = store.select(key, namespace)
    selected = [one for one in found if options.selects(one)]
    if start:
        selected = [one for one in selected if _position(one, namespace) >= start]
    meta: Manifest = {"resourceVersion": str(version)}
    unlimited = options.version == "0" and options.match != "Exact"
    if options.limit and len(selected) > options.limit and not unlimited:
        rest = len(selected) - options.limit
        selected = selected[: options.limit]
        meta["continue"] = _encode_token(version, _position(selected[-1], namespace) + "\0")
        if options.labels is None and options.fields is None:
            meta["remainingItemCount"] = rest
    return {
        "kind": f"{resource.kind}List",
        "apiVersion": resource.api_version,
        "metadata": meta,
        "items": [{name: one[name] for name in one if name not in ("kind", "apiVersion")} for one in selected],
    }


def _at_version(
    store: Store, key: tuple[str, str], namespace: str | None, options: ListOptions
) -> tuple[int, list[Manifest]]:
    wanted = parse_version(options.version)
    if wanted > store.version:
        raise too_large(wanted, store.version)
    if options.match != "Exact":
        return store.version, store.select(key, namespace)
    if wanted < store.compacted:
        raise errors.expired("The resourceVersion for the provided list is too old.")
    return wanted, store.at(wanted, key, namespace)


def _position(obj: Mapping[str, Any], namespace: str | None) -> str:
    """Where an object stands in a list: its key below the listed prefix."""
    meta = obj["metadata"]
    if namespace is None and meta.get("namespace"):
        return f"{meta['namespace']}/{meta['name']}"
    return str(meta["name"])


def _encode_token(version: int, start: str) -> str:
    raw = orjson.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": start})
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode_token(token: str) -> tuple[int, str]:
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        raise errors.bad_request("invalid continue token: continue key is not valid: illegal base64 data") from None
    try:
        decoded = orjson.loads(raw)
        return int(decoded["rv"]), str(decoded["start"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        first = raw[:1].decode("latin-1") or " "
        message = (
            f"invalid continue token: continue key is not valid: invalid character '{first}' looking for beginning "
            "of value"
        )
        raise errors.bad_request(message) from None


def _expired_token(store: Store, start: str) -> ApiError:
    """410 with a token to go on from the present state, at the price of consistency."""
    error = errors.expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
        "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
        "modified, or deleted between the time the first chunk was returned and now may show up in the list."
    )
    error.continue_token = _encode_token(store.version, start)
    return error
