"""Protobuf bodies of the few kinds that kubectl sends that way (`kubectl auth can-i`, `kubectl create namespace`).

kubectl's typed commands send protobuf and nothing else; `kubectl apply`, `edit`, `label` and the rest send JSON. The
field numbers are those of the API's published `generated.proto` files. A field that is not in the tables is refused,
never dropped.
"""

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from sandbox.kubernetes.errors import bad_request, not_implemented

Manifest = dict[str, Any]
Message = Mapping[int, tuple[str, str]]

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"

_META: Message = {
    1: ("name", "string"),
    2: ("generateName", "string"),
    3: ("namespace", "string"),
    4: ("selfLink", "string"),
    5: ("uid", "string"),
    6: ("resourceVersion", "string"),
    7: ("generation", "integer"),
    8: ("creationTimestamp", "ignored"),
    11: ("labels", "strings"),
    12: ("annotations", "strings"),
    14: ("finalizers", "[string]"),
}
_MESSAGES: Mapping[str, Message] = {
    "ObjectMeta": _META,
    "SelfSubjectAccessReview": {1: ("metadata", "ObjectMeta"), 2: ("spec", "AccessSpec"), 3: ("status", "ignored")},
    "AccessSpec": {
        1: ("resourceAttributes", "ResourceAttributes"),
        2: ("nonResourceAttributes", "NonResourceAttributes"),
    },
    "ResourceAttributes": {
        number: (name, "string")
        for number, name in enumerate(("namespace", "verb", "group", "version", "resource", "subresource", "name"), 1)
    },
    "NonResourceAttributes": {1: ("path", "string"), 2: ("verb", "string")},
    "SelfSubjectRulesReview": {1: ("metadata", "ObjectMeta"), 2: ("spec", "RulesSpec"), 3: ("status", "ignored")},
    "RulesSpec": {1: ("namespace", "string")},
    "SelfSubjectReview": {1: ("metadata", "ObjectMeta"), 2: ("status", "ignored")},
    "TokenRequest": {1: ("metadata", "ObjectMeta"), 2: ("spec", "TokenSpec"), 3: ("status", "ignored")},
    "TokenSpec": {1: ("audiences", "[string]"), 4: ("expirationSeconds", "integer")},
    "Namespace": {1: ("metadata", "ObjectMeta"), 2: ("spec", "ignored"), 3: ("status", "ignored")},
    "ConfigMap": {
        1: ("metadata", "ObjectMeta"),
        2: ("data", "strings"),
        3: ("binaryData", "bytes"),
        4: ("immutable", "boolean"),
    },
    "Secret": {
        1: ("metadata", "ObjectMeta"),
        2: ("data", "bytes"),
        3: ("type", "string"),
        4: ("stringData", "strings"),
        5: ("immutable", "boolean"),
    },
    "ServiceAccount": {1: ("metadata", "ObjectMeta"), 4: ("automountServiceAccountToken", "boolean")},
    "Role": {1: ("metadata", "ObjectMeta"), 2: ("rules", "[PolicyRule]")},
    "ClusterRole": {1: ("metadata", "ObjectMeta"), 2: ("rules", "[PolicyRule]")},
    "PolicyRule": {
        number: (name, "[string]")
        for number, name in enumerate(("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs"), 1)
    },
    "RoleBinding": {1: ("metadata", "ObjectMeta"), 2: ("subjects", "[Subject]"), 3: ("roleRef", "RoleRef")},
    "ClusterRoleBinding": {1: ("metadata", "ObjectMeta"), 2: ("subjects", "[Subject]"), 3: ("roleRef", "RoleRef")},
    "Subject": {1: ("kind", "string"), 2: ("apiGroup", "string"), 3: ("name", "string"), 4: ("namespace", "string")},
    "RoleRef": {1: ("apiGroup", "string"), 2: ("kind", "string"), 3: ("name", "string")},
}
_KINDS = frozenset(name for name, fields in _MESSAGES.items() if fields.get(1) == ("metadata", "ObjectMeta"))
_BYTES, _VARINT = 2, 0


def parse(body: bytes) -> Manifest:
    """The object in a protobuf body, as JSON would have it.

    Raises:
        ApiError: 400, this is no such body; 501, the sandbox does not read this kind as protobuf.
    """
    if not body.startswith(_MAGIC):
        raise bad_request("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    envelope = dict(_fields(body[len(_MAGIC) :]))
    identity = dict(_fields(_bytes(envelope.get(1, b""))))
    api_version, kind = (_bytes(identity.get(number, b"")).decode() for number in (1, 2))
    if kind not in _KINDS:
        readable = ", ".join(sorted(_KINDS))
        raise not_implemented(
            f"protobuf bodies of {kind}: send JSON or YAML (`kubectl apply -f`); it reads protobuf of {readable}"
        )
    return {"apiVersion": api_version, "kind": kind, **_message(kind, _bytes(envelope.get(2, b"")))}


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise bad_request("proto: wrong wireType")
    return value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data):
            raise bad_request("unexpected EOF")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message in their order: numbers as integers, everything else as bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        value, at = _varint(data, at)
        if key & 7 == _VARINT:
            yield key >> 3, value
        elif key & 7 == _BYTES:
            if at + value > len(data):
                raise bad_request("unexpected EOF")
            yield key >> 3, data[at : at + value]
            at += value
        else:
            raise bad_request("proto: illegal wireType")


def _message(name: str, data: bytes) -> Manifest:
    result: Manifest = {}
    for number, value in _fields(data):
        if number not in _MESSAGES[name]:
            raise not_implemented(f"field {number} of a {name} in a protobuf body: send JSON or YAML")
        field, kind = _MESSAGES[name][number]
        if kind == "ignored":
            continue
        if kind.startswith("["):
            result.setdefault(field, []).append(_value(kind[1:-1], value))
        elif kind in ("strings", "bytes"):
            key, entry = _entry(_bytes(value), encoded=kind == "bytes")
            result.setdefault(field, {})[key] = entry
        elif (single := _value(kind, value)) not in ("", 0):
            # What is not set is written as an empty text or a zero.
            result[field] = single
    return result


def _value(kind: str, value: int | bytes) -> Any:
    if kind == "boolean":
        return bool(value)
    if kind == "integer":
        return value
    return _bytes(value).decode() if kind == "string" else _message(kind, _bytes(value))


def _entry(data: bytes, *, encoded: bool) -> tuple[str, str]:
    """One entry of a map with text keys."""
    parts = dict(_fields(data))
    key, value = (_bytes(parts.get(number, b"")) for number in (1, 2))
    return key.decode(), base64.b64encode(value).decode() if encoded else value.decode()
