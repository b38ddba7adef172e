"""Hiding secrets in what is written down of a cluster: plain environment values, arguments, log lines."""

import re
from collections.abc import Iterator
from typing import Any

HIDDEN = "***"

_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY", re.IGNORECASE)
_OPTION = re.compile(r"^--?[\w-]*(?:token|secret|password|api[-_]key)[\w-]*$", re.IGNORECASE)
_NOT_SECRET = re.compile(r"tokenizer|max.*tokens|tokens$|token[-_]?(?:ids?|limit)", re.IGNORECASE)
_VALUES = re.compile(
    r"\bhf_[A-Za-z0-9]{20,}|\bnvapi-[\w-]{20,}|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]+|k8s-aws-v1\.[\w-]+"
    r"|(?<=X-Amz-Signature=)[0-9a-f]{64}|(?<=X-Amz-Security-Token=)[\w%.-]+"
)
_ASSIGNED = re.compile(
    r"((?:SECRET_?ACCESS_?KEY|SECRET_?KEY|SESSION_?TOKEN|SECURITY_?TOKEN|(?:HF|HUB|NGC|API|ACCESS|AUTH)_?TOKEN"
    r"|API_?KEY|PRIVATE_?KEY|PASSWORD|PASSWD)[\"']?\s*[:=]\s*[\"']?)[^\s\"',;}\])]{6,}",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(\bBearer\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
_KUBECTL = "kubectl.kubernetes.io/last-applied-configuration"

Object = dict[str, Any]


def redact_text(text: str) -> str:
    """Hide tokens of known forms (Hub, NGC, JWT, presigned URLs), and what stands behind a name of a secret."""
    hidden = _VALUES.sub(HIDDEN, text)
    return _BEARER.sub(rf"\1{HIDDEN}", _ASSIGNED.sub(rf"\1{HIDDEN}", hidden))


def redact_object(obj: Object) -> Object:
    """Hide, in place, what a Pod or a template holds as plain text under a name that speaks of a secret."""
    metadata = obj.get("metadata") or {}
    metadata.pop("managedFields", None)
    # It repeats the whole object as a text.
    (metadata.get("annotations") or {}).pop(_KUBECTL, None)
    for container in _containers(obj):
        for entry in container.get("env") or []:
            if "value" in entry and _speaks_of_a_secret(str(entry.get("name"))):
                entry["value"] = HIDDEN
        for section in ("command", "args"):
            if container.get(section):
                container[section] = list(_arguments(container[section]))
    return obj


def _speaks_of_a_secret(name: str) -> bool:
    return bool(_NAMES.search(name)) and not _NOT_SECRET.search(name)


def _arguments(arguments: list[Any]) -> Iterator[str]:
    hide_next = False
    for argument in map(str, arguments):
        option, equals, _ = argument.partition("=")
        secret = bool(_OPTION.match(option)) and not _NOT_SECRET.search(option)
        if hide_next and not argument.startswith("-"):
            yield HIDDEN
        elif secret and equals:
            yield f"{option}={HIDDEN}"
        else:
            yield redact_text(argument)
        hide_next = secret and not equals


def _containers(value: Any) -> Iterator[Object]:
    """Every container in an object, however deep: custom resources hold pod templates of their own."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in {"containers", "initContainers"} and isinstance(inner, list):
                yield from (one for one in inner if isinstance(one, dict))
            else:
                yield from _containers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _containers(inner)
