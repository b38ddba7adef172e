"""Which names, labels and quantities are valid, and how the server says so."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from sandbox.kubernetes.objects import causes
from sandbox.kubernetes.objects.causes import Cause

_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_CONFIG_KEY = r"[-._a-zA-Z0-9]+"

_BAD_SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    f"and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
)
_BAD_LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    f"with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
)
_BAD_LABEL_VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation "
    f"is '{_VALUE}')"
)
_BAD_NAME_PART = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    f"'{_QUALIFIED}')"
)
_BAD_CONFIG_KEY = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  "
    f"or 'key-name', regex used for validation is '{_CONFIG_KEY}')"
)


def subdomain(field: str, value: str) -> list[Cause]:
    """A lowercase RFC 1123 subdomain of at most 253 characters: most names."""
    if len(value) > 253:
        return [causes.invalid(field, value, "must be no more than 253 bytes")]
    return [] if re.fullmatch(_SUBDOMAIN, value) else [causes.invalid(field, value, _BAD_SUBDOMAIN)]


def dns_label(field: str, value: str) -> list[Cause]:
    """A lowercase RFC 1123 label of at most 63 characters: containers, volumes, namespaces, Services."""
    found = []
    if len(value) > 63:
        found.append(causes.invalid(field, value, "must be no more than 63 bytes"))
    return found if re.fullmatch(_LABEL, value) else [*found, causes.invalid(field, value, _BAD_LABEL)]


def path_segment(field: str, value: str) -> list[Cause]:
    """Anything that can stand in a URL: RBAC objects."""
    if value in (".", ".."):
        return [causes.invalid(field, value, f"may not be '{value}'")]
    bad = next((char for char in "/%" if char in value), "")
    return [causes.invalid(field, value, f"may not contain '{bad}'")] if bad else []


def qualified_name(field: str, value: str) -> list[Cause]:
    """A label or annotation key: an optional DNS prefix, `/`, and a name of at most 63 characters."""
    prefix, slash, name = value.rpartition("/")
    if slash and not re.fullmatch(_SUBDOMAIN, prefix):
        return [causes.invalid(field, value, "prefix part " + _BAD_SUBDOMAIN)]
    if not name:
        return [causes.invalid(field, value, "name part must be non-empty")]
    if len(name) > 63:
        return [causes.invalid(field, value, "name part must be no more than 63 bytes")]
    return [] if re.fullmatch(_QUALIFIED, name) else [causes.invalid(field, value, _BAD_NAME_PART)]


def labels(field: str, values: Mapping[str, str]) -> list[Cause]:
    """Label keys and values."""
    found: list[Cause] = []
    for key, value in values.items():
        found += qualified_name(field, key)
        if len(value) > 63:
            found.append(causes.invalid(field, value, "must be no more than 63 bytes"))
        if not re.fullmatch(_VALUE, value):
            found.append(causes.invalid(field, value, _BAD_LABEL_VALUE))
    return found


def annotations(field: str, values: Mapping[str, str]) -> list[Cause]:
    """Annotation keys, and the size of all of them."""
    found = [cause for key in values for cause in qualified_name(field, key.lower())]
    size = sum(len(key.encode()) + len(value.encode()) for key, value in values.items())
    if size > 256 * 1024:
        found.append(causes.too_long(field, 256 * 1024))
    return found


def data_keys(field: str, keys: Iterable[str]) -> list[Cause]:
    """Keys of a ConfigMap or a Secret."""
    found = []
    for key in keys:
        if len(key) > 253:
            found.append(causes.invalid(f"{field}[{key}]", key, "must be no more than 253 bytes"))
        elif not re.fullmatch(_CONFIG_KEY, key) or key in (".", ".."):
            found.append(causes.invalid(f"{field}[{key}]", key, _BAD_CONFIG_KEY))
    return found


def metadata(meta: Mapping[str, Any], kind: str, *, custom: bool) -> list[Cause]:
    """An object's metadata."""
    check = subdomain
    if not custom:
        if kind in ("Namespace", "Service"):
            check = dns_label
        elif kind in ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"):
            check = path_segment
    found = check("metadata.name", meta.get("name", ""))
    found += labels("metadata.labels", meta.get("labels") or {})
    return found + annotations("metadata.annotations", meta.get("annotations") or {})
