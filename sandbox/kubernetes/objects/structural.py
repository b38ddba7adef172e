"""Structural schemas of custom resources: pruning, defaulting and validating objects by them.

The schemas are those of `spec.versions[*].schema.openAPIV3Schema` in a CustomResourceDefinition. Of the validation
rules (`x-kubernetes-validations`, CEL) the two commonest forms are evaluated: `self == oldSelf` and
`self in ['a', 'b']`; `unevaluated_rules` names the others, so that whoever installs a definition can be told.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sandbox.kubernetes.objects import causes
from sandbox.kubernetes.objects.causes import Cause
from sandbox.kubernetes.trees import clone

Raw = Mapping[str, Any]

_IN_RULE = re.compile(r"self in \[(.*)\]")
_JSON_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "object": dict,
    "array": list,
}
_UNCHECKED = causes.invalid(
    "<nil>",
    None,
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation",
)
_BLOCKING = ("FieldValueRequired", "FieldValueNotSupported", "FieldValueTooLong", "FieldValueTypeInvalid")


def _keeps_unknown(raw: Raw) -> bool:
    return bool(raw.get("x-kubernetes-preserve-unknown-fields")) or raw.get("additionalProperties") is True


def _child(raw: Raw, name: str) -> Raw | None:
    found: Raw | None = raw.get("properties", {}).get(name)
    if found is not None:
        return found
    extra = raw.get("additionalProperties")
    return extra if isinstance(extra, Mapping) else None


def prune(raw: Raw, value: Any, at: str, unknown: list[str]) -> None:
    """Drop fields that the schema does not have, in place, and add their paths to `unknown`."""
    if isinstance(value, dict):
        embedded = ("apiVersion", "kind", "metadata") if raw.get("x-kubernetes-embedded-resource") else ()
        for name in list(value):
            child = _child(raw, name)
            where = f"{at}.{name}" if at else name
            if child is not None:
                prune(child, value[name], where, unknown)
            elif name not in embedded and not _keeps_unknown(raw):
                unknown.append(where)
                del value[name]
    elif isinstance(value, list) and "items" in raw:
        for index, item in enumerate(value):
            prune(raw["items"], item, f"{at}[{index}]", unknown)


def set_defaults(raw: Raw, value: Any) -> None:
    """Fill in the schema's defaults, in place; a null that may not be one counts as missing."""
    if isinstance(value, dict):
        for name, child in raw.get("properties", {}).items():
            if name in value and value[name] is None and not child.get("nullable") and "default" in child:
                del value[name]
            if name not in value and "default" in child:
                default = child["default"]
                value[name] = clone(default) if isinstance(default, dict) else default
        for name, one in value.items():
            child = _child(raw, name)
            if child is not None:
                set_defaults(child, one)
    elif isinstance(value, list) and "items" in raw:
        for item in value:
            set_defaults(raw["items"], item)


def validate(raw: Raw, value: Any, old: Any, at: str, prefix: str = "", whole: Raw | None = None) -> list[Cause]:
    """Why a value is invalid.

    Args:
        raw: The schema.
        value: The value at `at`.
        old: What it replaces; None for something new.
        at: Its path, as causes name it.
        prefix: The part of `at` that messages leave out: validation of a subresource starts below the object.
        whole: The schema of the whole object, when `raw` is a part of it.

    Returns:
        The causes, in the schema's order; the rules are looked at when nothing else is wrong.
    """
    found = list(_problems(raw, value, at, prefix))
    if any(cause["reason"] in _BLOCKING for cause in found):
        return [*found, _UNCHECKED] if any(True for _ in _rules(whole or raw)) else found
    return [*found, *_broken_rules(raw, value, old, at)]


def _problems(raw: Raw, value: Any, at: str, prefix: str) -> Iterator[Cause]:
    body = f"{at.removeprefix(prefix)} in body"
    if value is None and raw.get("nullable"):
        return
    if value is None or not _fits(raw, value):
        actual = _actual_type(value)
        yield causes.type_invalid(at, actual, f'{body} must be of type {_type_name(raw)}: "{actual}"')
        return
    if "enum" in raw and value not in raw["enum"]:
        yield causes.not_supported(at, value, raw["enum"])
    match value:
        case str():
            yield from _string_problems(raw, value, at, body)
        case bool():
            pass
        case int() | float():
            yield from _number_problems(raw, value, at, body)
        case list():
            yield from _list_problems(raw, value, at, prefix, body)
        case dict():
            yield from _object_problems(raw, value, at, prefix)


def _number_problems(raw: Raw, value: float, at: str, body: str) -> Iterator[Cause]:
    if "minimum" in raw and value < raw["minimum"]:
        yield causes.invalid(at, value, f"{body} should be greater than or equal to {raw['minimum']:g}")
    if "maximum" in raw and value > raw["maximum"]:
        yield causes.invalid(at, value, f"{body} should be less than or equal to {raw['maximum']:g}")


def _list_problems(raw: Raw, value: list[Any], at: str, prefix: str, body: str) -> Iterator[Cause]:
    if len(value) < raw.get("minItems", 0):
        yield causes.invalid(at, len(value), f"{body} should have at least {raw['minItems']} items")
    for index, item in enumerate(value):
        yield from _problems(raw.get("items", {}), item, f"{at}[{index}]", prefix)


def _object_problems(raw: Raw, value: Mapping[str, Any], at: str, prefix: str) -> Iterator[Cause]:
    for name in raw.get("required", ()):
        if name not in value:
            yield causes.required(f"{at}.{name}" if at else name)
    for name, one in value.items():
        child = _child(raw, name)
        if child is not None:
            yield from _problems(child, one, f"{at}.{name}" if at else name, prefix)


def _string_problems(raw: Raw, value: str, at: str, body: str) -> Iterator[Cause]:
    if len(value) < raw.get("minLength", 0):
        yield causes.invalid(at, value, f"{body} should be at least {raw['minLength']} chars long")
    if "maxLength" in raw and len(value) > raw["maxLength"]:
        yield causes.too_long(at, raw["maxLength"])
    if "pattern" in raw and not re.search(raw["pattern"], value):
        yield causes.invalid(at, value, f"{body} should match '{raw['pattern']}'")


def _fits(raw: Raw, value: object) -> bool:
    if raw.get("x-kubernetes-int-or-string"):
        return isinstance(value, int | str) and not isinstance(value, bool)
    wanted = raw.get("type")
    if wanted is None:
        return True
    if isinstance(value, bool):
        return bool(wanted == "boolean")
    return isinstance(value, _JSON_TYPES[wanted])


def _type_name(raw: Raw) -> str:
    return "integer,string" if raw.get("x-kubernetes-int-or-string") else str(raw.get("type", ""))


def _actual_type(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    return next((name for name, kind in _JSON_TYPES.items() if isinstance(value, kind)), "null")


def _rules(raw: Raw) -> Iterator[Raw]:
    yield from raw.get("x-kubernetes-validations", ())
    for child in raw.get("properties", {}).values():
        yield from _rules(child)
    for name in ("items", "additionalProperties"):
        if isinstance(raw.get(name), Mapping):
            yield from _rules(raw[name])


def unevaluated_rules(raw: Raw) -> list[str]:
    """The rules of a schema that this server does not evaluate."""
    texts = [one["rule"] for one in _rules(raw)]
    return [text for text in texts if text != "self == oldSelf" and not _IN_RULE.fullmatch(text)]


def _broken_rules(raw: Raw, value: Any, old: Any, at: str) -> Iterator[Cause]:
    for rule in raw.get("x-kubernetes-validations", ()):
        listed = _IN_RULE.fullmatch(rule["rule"])
        broken = listed is not None and value not in re.findall(r"'([^']*)'", listed.group(1))
        broken = broken or (rule["rule"] == "self == oldSelf" and old is not None and old != value)
        if broken:
            yield causes.invalid(at, value, rule.get("message") or f"failed rule: {rule['rule']}")
    if isinstance(value, dict):
        before = old if isinstance(old, dict) else {}
        for name, one in value.items():
            child = _child(raw, name)
            if child is not None:
                yield from _broken_rules(child, one, before.get(name), f"{at}.{name}" if at else name)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _broken_rules(raw.get("items", {}), item, None, f"{at}[{index}]")
