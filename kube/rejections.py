"""Why the API server rejects a manifest, in words: error responses to an apply become `ApplyError`s.

Codes: ``apply.unknown_field``, ``apply.invalid``, ``apply.immutable``, ``apply.conflict``, ``apply.quota``,
``apply.denied`` (an admission policy), ``apply.webhook`` (an admission webhook that is down), ``apply.no_dry_run``
(one that cannot be asked beforehand). What is not about the manifest stays a `ClusterError` of `kube.errors`. Schema
errors of an apply come as 500 without a reason (recorded from Kubernetes 1.36); only semantic ones are 422.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from kube.errors import Failure, cluster_error, shorten
from serving.errors import ApplyError, ClusterError

_UNKNOWN_FIELD = re.compile(r'(\.\S+?): field not declared in schema|unknown field "([^"]+)"')
_SCHEMA = re.compile(r"failed to create typed patch object \([^)]*\): ?(.*)", re.DOTALL)
_CONVERSION = re.compile(r"failed to convert new object .*Kind=\w+: (.*)", re.DOTALL)
_GO_VALUE = re.compile(r"&value\.value\w+\{Value:(.*?)\}")
_IMMUTABLE = re.compile(r"immutable|may not change once set|may not be changed")
_LONG_VALUE = re.compile(r"(Invalid value: )(.{80,}?)(: [^:]*)$", re.DOTALL)
_MANAGER = re.compile(r'"([^"]*)"(?: with subresource "([^"]+)")?')
_WEBHOOK_DENIED = re.compile(r'admission webhook "([^"]+)" denied the request:? ?(.*)', re.DOTALL)
_WEBHOOK_DOWN = re.compile(r'failed calling webhook "([^"]+)"')


def rejection(failed: Failure, manifest: Mapping[str, Any], *, server: str, doing: str) -> ClusterError:
    """Name the cause and the fix of a rejected apply.

    Args:
        failed: The API server's answer.
        manifest: What was applied; the values of a Secret never appear in the text.
        server: Address of the API server, without credentials.
        doing: What was asked, as a verb phrase: ``apply Deployment chat/llama``.
    """
    if manifest.get("kind") == "Secret":
        failed = _without_values(failed, manifest)
    error = _explain(failed, _name(manifest), manifest, doing)
    if error is None:
        error = cluster_error(failed, server=server, doing=doing)
        if error.code == "cluster.forbidden":
            error.fix += " To apply takes get, patch and create."
    return error


def conflicting_managers(failed: Failure) -> frozenset[str]:
    """Who owns the fields over which an apply failed; empty strings for owners that the server does not name."""
    causes = [cause for cause in failed.causes if cause.get("reason") == "FieldManagerConflict"]
    owners = [_MANAGER.search(cause.get("message", "")) for cause in causes]
    return frozenset(owner[1] if owner else "" for owner in owners) or frozenset({""})


def _explain(failed: Failure, name: str, manifest: Mapping[str, Any], doing: str) -> ClusterError | None:
    message = failed.message
    if any(cause.get("reason") == "FieldManagerConflict" for cause in failed.causes):
        return _conflict(failed, name)
    if unknown := _unknown_fields(message):
        return _unknown(unknown, name, manifest)
    if schema := _SCHEMA.search(message) or _CONVERSION.search(message):
        return _invalid(name, _readable(schema[1]))
    if down := _WEBHOOK_DOWN.search(message):
        return ApplyError(
            f"Could not {doing}: the admission webhook {down[1]} does not answer.",
            cause="The operator that checks this kind is not running, or not ready yet.",
            fix="Look at the operator's pods (kubectl get pods --all-namespaces) and try again when they are ready.",
            code="apply.webhook",
        )
    if "does not support dry run" in message:
        return ApplyError(
            f"{name} cannot be tried without applying it: {shorten(message)}.",
            fix="Apply it without a dry run.",
            code="apply.no_dry_run",
        )
    if denied := _WEBHOOK_DENIED.search(message):
        return _denied(name, f"the admission webhook {denied[1]} says: {shorten(denied[2])}")
    if failed.status == 403 and "exceeded quota" in message:
        return ApplyError(
            f"{name} was not applied: {shorten(message.partition('forbidden: ')[2] or message)}.",
            fix="Raise the ResourceQuota of the namespace, ask for less, or remove what is no longer needed.",
            code="apply.quota",
        )
    if failed.status == 403 and ("violates PodSecurity" in message or "ValidatingAdmissionPolicy" in message):
        return _denied(name, shorten(message.partition("forbidden: ")[2] or message))
    if failed.status == 422:
        return _unprocessable(failed, name)
    if failed.status in {400, 413, 415}:
        return _invalid(name, shorten(message))
    return None


def _conflict(failed: Failure, name: str) -> ApplyError:
    owners: dict[str, list[str]] = {}
    for cause in failed.causes:
        if owner := _MANAGER.search(cause.get("message", "")):
            manager = f"{owner[1]} (subresource {owner[2]})" if owner[2] else owner[1]
            owners.setdefault(manager, []).append(cause.get("field", "").removeprefix("."))
    listed = "; ".join(f"{manager} owns {', '.join(fields)}" for manager, fields in sorted(owners.items()))
    number = sum(map(len, owners.values()))
    return ApplyError(
        f"{name} was not applied: {number} of its fields {'is' if number == 1 else 'are'} managed by somebody else: "
        f"{listed}.",
        cause="They were changed from outside since, by hand, by an autoscaler or by another tool.",
        fix="Leave these fields out of what is applied, or take them over (force).",
        code="apply.conflict",
    )


def _unknown_fields(message: str) -> list[str]:
    return [(path or name).removeprefix(".") for path, name in _UNKNOWN_FIELD.findall(message)]


def _unknown(fields: list[str], name: str, manifest: Mapping[str, Any]) -> ApplyError:
    api_version, kind = manifest.get("apiVersion", ""), str(manifest.get("kind", ""))
    return ApplyError(
        f"{name} was not applied: the cluster's {api_version} {kind} has no field {', '.join(fields)}.",
        cause="It is misspelt, stands in the wrong place, or the cluster's definition of this kind is older.",
        fix=f"Correct or drop it; `kubectl explain {kind.lower()} --api-version={api_version} --recursive` lists all.",
        code="apply.unknown_field",
    )


def _unprocessable(failed: Failure, name: str) -> ApplyError:
    problems = [f"{cause.get('field')}: {_readable(cause.get('message', ''))}" for cause in failed.causes]
    said = "; ".join(dict.fromkeys(problems)) or shorten(failed.message)
    if _IMMUTABLE.search(" ".join(cause.get("message", "") for cause in failed.causes) or failed.message):
        return ApplyError(
            f"{name} was not applied: {shorten(said)}.",
            cause="These fields cannot change once the object exists.",
            fix="Delete the object and apply it anew, or give the new one another name.",
            code="apply.immutable",
        )
    return _invalid(name, shorten(said))


def _invalid(name: str, said: str) -> ApplyError:
    return ApplyError(
        f"{name} was not applied: {said}.", fix="Correct the value that the message names.", code="apply.invalid"
    )


def _denied(name: str, said: str) -> ApplyError:
    return ApplyError(
        f"{name} was not applied: {said}.",
        cause="A policy of this cluster forbids it.",
        fix="Change what the policy objects to, or ask the cluster's administrators for an exception.",
        code="apply.denied",
    )


def _readable(message: str) -> str:
    """A server's words without Go's notation and without long values, which may hold whole pod templates."""
    text = _GO_VALUE.sub(r"\1", message.partition("\n@@")[0])
    return shorten(_LONG_VALUE.sub(r"\1…\3", text)).removeprefix(".")


def _name(manifest: Mapping[str, Any]) -> str:
    metadata = manifest.get("metadata") or {}
    place = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    return f"{manifest.get('kind')} {place}{metadata.get('name')}"


def _without_values(failed: Failure, manifest: Mapping[str, Any]) -> Failure:
    """Take a Secret's values out of what the server said, however they are written there."""
    given = [*(manifest.get("data") or {}).values(), *(manifest.get("stringData") or {}).values()]
    forms = sorted({form for value in given for form in _forms(str(value))}, key=len, reverse=True)

    def clean(text: str) -> str:
        text = re.sub(r"(expected \w+(?: \([^)]*\))?), got .*", r"\1", text, flags=re.DOTALL)
        text = re.sub(r"Invalid value: .*", "invalid value", text, flags=re.DOTALL)
        for form in forms:
            text = text.replace(form, "***")
        return text

    causes = [{**cause, "message": clean(cause.get("message", ""))} for cause in failed.causes]
    return replace(failed, message=clean(failed.message), details={**failed.details, "causes": causes})


def _forms(value: str) -> list[str]:
    forms = [value, json.dumps(value)[1:-1]]
    with suppress(binascii.Error, UnicodeDecodeError):
        forms.append(base64.b64decode(value, validate=True).decode())
    return [form for form in forms if len(form) > 3]
