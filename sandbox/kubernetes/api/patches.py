"""The three patches that are not apply: JSON merge patch, strategic merge patch and JSON patch."""

from typing import Any

import jsonpatch
import jsonpointer

from sandbox.kubernetes.errors import ApiError, bad_request
from sandbox.kubernetes.objects.schemas import ANYTHING, Schema
from sandbox.kubernetes.trees import clone

Manifest = dict[str, Any]

_DIRECTIVES = ("$patch", "$retainKeys", "$setElementOrder/", "$deleteFromPrimitiveList/")


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


def json_patch(target: Manifest, operations: Any) -> Manifest:
    """RFC 6902.

    Raises:
        ApiError: 422, an operation cannot be done; 400, this is no JSON patch.
    """
    if not isinstance(operations, list):
        raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    try:
        patched: Manifest = jsonpatch.JsonPatch(operations).apply(clone(target))
    except jsonpatch.JsonPatchTestFailed as error:
        raise _failed(f"testing value failed: {error}") from None
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException) as error:
        raise _failed(str(error)) from None
    return patched


def _failed(why: str) -> ApiError:
    return ApiError(422, "Invalid", f"the server rejected our request due to an error in our request: {why}", {})


def strategic_merge_patch(schema: Schema, target: Any, patch: Any) -> Any:
    """Merge by the lists' patch strategies; understands `$patch`, `$retainKeys`, `$setElementOrder`.

    Raises:
        ApiError: 400 for a directive that does not exist, or a list item without its merge key.
    """
    if not isinstance(patch, dict):
        return patch
    directive = patch.get("$patch")
    if directive == "replace":
        return _plain(patch)
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"unknown patch type: {directive}")
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if name.startswith("$deleteFromPrimitiveList/"):
            field = name.partition("/")[2]
            result[field] = [one for one in result.get(field) or () if one not in value]
        if name.startswith(_DIRECTIVES):
            continue
        child = schema.child(name) or ANYTHING
        if value is None:
            result.pop(name, None)
        elif isinstance(value, list) and child.kind == "list" and child.merges:
            order = patch.get(f"$setElementOrder/{name}")
            result[name] = _merge_list(child, result.get(name) or [], value, order)
        elif isinstance(value, dict) and child.atomic and child.kind == "struct":
            result[name] = merge_patch(result.get(name), value)
        else:
            result[name] = strategic_merge_patch(child, result.get(name), value)
    if "$retainKeys" in patch:
        result = {name: value for name, value in result.items() if name in patch["$retainKeys"]}
    return result


def _plain(patch: Manifest) -> Manifest:
    return {name: value for name, value in patch.items() if not name.startswith(_DIRECTIVES)}


def _merge_list(schema: Schema, target: list[Any], patch: list[Any], order: list[Any] | None) -> list[Any]:
    if not schema.merge_key:
        return target + [one for one in patch if one not in target]
    if any(isinstance(one, dict) and one.get("$patch") == "replace" for one in patch):
        return [one for one in patch if "$patch" not in one]
    result = list(target)
    items = schema.items or ANYTHING
    for item in patch:
        key = item.get(schema.merge_key)
        if key is None:
            raise bad_request(f"map: {item} does not contain declared merge key: {schema.merge_key}")
        at = next((index for index, one in enumerate(result) if one.get(schema.merge_key) == key), None)
        if item.get("$patch") == "delete":
            if at is not None:
                del result[at]
        elif at is None:
            result.append(_plain(item))
        else:
            result[at] = strategic_merge_patch(items, result[at], item)
    if order:
        place = {one.get(schema.merge_key): index for index, one in enumerate(order)}
        result.sort(key=lambda one: place.get(one.get(schema.merge_key), len(place)))
    return result
