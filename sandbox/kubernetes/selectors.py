"""Label and field selectors."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.kubernetes import errors
from sandbox.kubernetes.errors import ApiError
from sandbox.kubernetes.resources import Resource

Manifest = Mapping[str, Any]
Match = Callable[[Manifest], bool]

_TOKEN = re.compile(r"\s*(==|!=|=|!|\(|\)|,|<|>|[^\s=!(),<>]+)")
_SYMBOLS = frozenset({"==", "!=", "=", "!", "(", ")", ",", "<", ">", ""})


@dataclass
class _Tokens:
    items: list[str]
    at: int = 0

    def peek(self) -> str:
        return self.items[self.at] if self.at < len(self.items) else ""

    def take(self) -> str:
        token = self.peek()
        self.at += 1
        return token


def label_selector(text: str) -> Match | None:
    """A test for objects by a `labelSelector`; None when it selects everything.

    Raises:
        ApiError: 400, it cannot be parsed.
    """
    if not text.strip():
        return None
    tokens = _Tokens(_TOKEN.findall(text))
    tests: list[Callable[[Mapping[str, str]], bool]] = []
    while True:
        tests.append(_requirement(tokens))
        separator = tokens.take()
        if not separator:
            break
        if separator != ",":
            raise _unparsable(separator, "',' or 'end of string'")
    return lambda obj: all(test(obj["metadata"].get("labels") or {}) for test in tests)


def _unparsable(found: str, expected: str) -> ApiError:
    return errors.bad_request(f"unable to parse requirement: found '{found}', expected: {expected}")


def _requirement(tokens: _Tokens) -> Callable[[Mapping[str, str]], bool]:
    negated = tokens.peek() == "!"
    if negated:
        tokens.take()
    key = tokens.take()
    if key in _SYMBOLS:
        raise _unparsable(key, "!, identifier, or 'end of string'" if not negated else "identifier")
    if negated:
        return lambda labels: key not in labels
    operator = tokens.peek()
    if operator in ("", ","):
        return lambda labels: key in labels
    tokens.take()
    if operator in ("=", "==", "!="):
        value = "" if tokens.peek() in ("", ",") else tokens.take()
        if value in _SYMBOLS and value:
            raise _unparsable(value, "identifier")
        if operator == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if operator in ("in", "notin"):
        values = _values(tokens)
        if operator == "in":
            return lambda labels: key in labels and labels[key] in values
        return lambda labels: labels.get(key) not in values
    if operator in ("<", ">"):
        limit = int(tokens.take())
        above = operator == ">"
        return lambda labels: (
            labels.get(key, "").isdigit() and (int(labels[key]) > limit if above else int(labels[key]) < limit)
        )
    raise _unparsable(operator, "in, notin, =, ==, !=, gt, lt")


def _values(tokens: _Tokens) -> set[str]:
    if tokens.take() != "(":
        raise _unparsable(tokens.items[tokens.at - 1] if tokens.at <= len(tokens.items) else "", "'('")
    values: set[str] = set()
    while True:
        token = tokens.take()
        if token not in _SYMBOLS:
            values.add(token)
            token = tokens.take()
        if token == ")":
            return values
        if token != ",":
            raise _unparsable(token, "',', ')' or identifier")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _path(*names: str) -> Callable[[Manifest], str]:
    def read(obj: Manifest) -> str:
        value: Any = obj
        for name in names:
            value = value.get(name) if isinstance(value, Mapping) else None
        return _text(value)

    return read


_EVERYWHERE = ("metadata.name", "metadata.namespace")
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "pods": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    "events": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    "nodes": ("spec.unschedulable",),
    "namespaces": ("status.phase",),
    "secrets": ("type",),
    "replicasets.apps": ("status.replicas",),
    "jobs.batch": ("status.successful",),
    "services": ("spec.clusterIP", "spec.type"),
}
_DERIVED: Mapping[tuple[str, str], Callable[[Manifest], str]] = {
    ("pods", "spec.hostNetwork"): lambda pod: _text(bool(pod["spec"].get("hostNetwork"))),
    ("nodes", "spec.unschedulable"): lambda node: _text(bool(node["spec"].get("unschedulable"))),
    ("events", "source"): lambda event: (
        _text((event.get("source") or {}).get("component")) or _text(event.get("reportingComponent"))
    ),
    ("jobs.batch", "status.successful"): lambda job: _text(job["status"].get("succeeded", 0)),
}
_NOT_SUPPORTED = frozenset({"pods", "events", "nodes", "namespaces", "secrets", "replicasets.apps", "jobs.batch"})
"""Kinds with selectable fields of their own, whose refusal reads differently."""


def field_selector(resource: Resource, text: str) -> Match | None:
    """A test for objects by a `fieldSelector`; None when it selects everything.

    Raises:
        ApiError: 400, it cannot be parsed, or the resource has no such selectable field.
    """
    tests: list[Match] = []
    for term in (part for part in text.split(",") if part):
        match = re.fullmatch(r"([^=!]+)(==|!=|=)(.*)", term)
        if match is None:
            raise errors.bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        name, operator, value = match.groups()
        read = _reader(resource, name)
        wanted = operator != "!="
        tests.append(lambda obj, read=read, value=value, wanted=wanted: (read(obj) == value) is wanted)  # type: ignore[misc]
    return (lambda obj: all(test(obj) for test in tests)) if tests else None


def _reader(resource: Resource, name: str) -> Callable[[Manifest], str]:
    known = (*_EVERYWHERE, *_FIELDS.get(resource.qualified, ()))
    if name == "metadata.namespace" and not resource.namespaced:
        known = tuple(one for one in known if one != name)
    if name not in known:
        if resource.qualified in _NOT_SUPPORTED:
            raise errors.bad_request(f"field label not supported: {name}")
        if resource.custom:
            raise errors.bad_request(f"field label not supported: {name}")
        raise errors.bad_request(f'"{name}" is not a known field selector: only "metadata.name", "metadata.namespace"')
    return _DERIVED.get((resource.qualified, name)) or _path(*name.split("."))
