"""What an apply changes, as a unified diff of YAML: without the API server's bookkeeping, without secrets."""

import copy
import difflib
from collections.abc import Mapping
from typing import Any

import yaml

HIDDEN = "***"
_BOOKKEEPING = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_KEPT_BY_OTHERS = (_LAST_APPLIED, "deployment.kubernetes.io/revision")
"""Annotations that kubectl and controllers keep for themselves."""

Object = dict[str, Any]


class _Plain(yaml.SafeDumper):
    """Block style for long texts, as people write manifests."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Plain.add_representer(str, _text)


def content(obj: Mapping[str, Any]) -> Object:
    """An object without what the API server or its controllers keep in it: what an apply could have set."""
    kept = {key: value for key, value in obj.items() if key != "status"}
    metadata = {key: value for key, value in (obj.get("metadata") or {}).items() if key not in _BOOKKEEPING}
    annotations = metadata.pop("annotations", None) or {}
    annotations = {key: value for key, value in annotations.items() if key not in _KEPT_BY_OTHERS}
    if annotations:
        metadata["annotations"] = annotations
    return {**kept, "metadata": metadata}


def without_secrets(obj: Mapping[str, Any]) -> Object:
    """A copy with every value of a Secret hidden; other kinds are copied as they are."""
    hidden: Object = copy.deepcopy(dict(obj))
    if obj.get("kind") == "Secret":
        for section in ("data", "stringData"):
            if hidden.get(section):
                hidden[section] = dict.fromkeys(hidden[section], HIDDEN)
        (hidden.get("metadata", {}).get("annotations") or {}).pop(_LAST_APPLIED, None)
    return hidden


def unified_diff(before: Mapping[str, Any] | None, after: Mapping[str, Any], name: str) -> str:
    """Show what changes from `before` (None if it did not exist) to `after`; empty if nothing does.

    Secret values that change are shown as changed and nothing more.
    """
    old, new = content(before) if before else None, content(after)
    if old == new:
        return ""
    if new.get("kind") == "Secret":
        old, new = _mask(old, new)
    return "".join(
        difflib.unified_diff(
            _lines(old), _lines(new), fromfile=f"{name} (live)" if before else "/dev/null", tofile=f"{name} (applied)"
        )
    )


def _mask(old: Object | None, new: Object) -> tuple[Object | None, Object]:
    was, now = (old or {}).get("data") or {}, new.get("data") or {}
    changed = {key for key in was.keys() & now.keys() if was[key] != now[key]}
    hidden_old = without_secrets(old) if old else None
    hidden_new = without_secrets(new)
    for key in changed:
        if hidden_old is not None:
            hidden_old["data"][key] = f"{HIDDEN} (before)"
        hidden_new["data"][key] = f"{HIDDEN} (after)"
    return hidden_old, hidden_new


def _lines(obj: Object | None) -> list[str]:
    if obj is None:
        return []
    dumped = yaml.dump(obj, Dumper=_Plain, sort_keys=True, default_flow_style=False, allow_unicode=True, width=1000)
    return dumped.splitlines(keepends=True)
