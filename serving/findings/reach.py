"""Pods that are ready and an endpoint that does not answer: wrong port, wrong selector, wrong model name."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from serving.diagnosis import Category, Diagnosis, Evidence
from serving.findings.wording import last_match, one_line
from serving.snapshot import Snapshot, being_deleted, is_true, name_of

_LISTENS = re.compile(
    r"(?:on|running on|listening (?:on|at)) (?:https?://)?(?:\[?[\w.:*]*\]?):(\d{2,5})\b", re.IGNORECASE
)
_UNKNOWN_MODEL = re.compile(
    r"model [`'\"]?([^\s`'\"]+?)[`'\"]? (?:does not exist|not found|is not found)|model with id [`'\"]?([^\s`'\"]+)|"
    r"unknown model: '([^']+)'",
    re.IGNORECASE,
)
_SERVICE = re.compile(r"/namespaces/([^/]+)/services/(?:https?:)?([^/:]+)(?::([^/]+))?/proxy(/\S*)?")


def find(snapshot: Snapshot) -> Iterator[Diagnosis]:
    """Yields why requests to ready pods fail."""
    ready = [pod for pod in snapshot.pods if is_true(pod, "Ready") and not being_deleted(pod)]
    if not ready:
        return
    for entry in snapshot.requests:
        text = _text(entry.get("response"))
        if "error trying to reach service" in text and re.search(r"refused|no route|reset", text):
            yield _refused(snapshot, entry, text)
        elif "error trying to reach service" in text and re.search(r"i/o timeout|deadline exceeded|awaiting", text):
            yield _silent(entry, text)
        elif "error trying to reach service" in text and re.search(r"tls|HTTP response to HTTPS", text):
            yield _other_protocol(entry, text)
        elif match := re.search(r"no service port \"?([^\s\"]+)\"? found", text):
            yield _no_such_port(entry, text, match[1])
        elif match := re.search(r"services \"([^\"]+)\" not found", text):
            yield _no_service(entry, text, match[1])
        elif "no endpoints available for service" in text and _none_selected(snapshot):
            yield _no_endpoints(entry, text)
    yield from _model_name(snapshot)
    yield from _refusing(snapshot)


def _refused(snapshot: Snapshot, entry: Mapping[str, Any], text: str) -> Diagnosis:
    namespace, service = _target(entry)
    asked = match[1] if (match := re.search(r"dial tcp \S*:(\d+)", text)) else ""
    said = [
        match[1]
        for pod in snapshot.pods
        for container in (pod.get("spec") or {}).get("containers") or ()
        if (match := last_match(_LISTENS, snapshot.log(name_of(pod), str(container.get("name")))))
    ]
    evidence = [Evidence(f"request {entry.get('method')} {entry.get('path')}", one_line(text))]
    listens = said[-1] if said else ""
    if listens and listens != asked:
        evidence.append(Evidence("engine's log", f"listens on port {listens}"))
        cause = f"The engine listens on port {listens}, Service {namespace}/{service} sends requests to port {asked}."
        fixes = (
            f"Make them agree: containerPort and targetPort of Service {service} to {listens}, or the engine's --port "
            f"to {asked}.",
        )
        return Diagnosis(Category.NETWORK, "port-mismatch", cause, tuple(evidence), fixes)
    cause = f"Nothing listens on port {asked} of the ready pods behind Service {namespace}/{service}."
    return Diagnosis(
        Category.NETWORK,
        "port-mismatch",
        cause,
        tuple(evidence),
        (
            f"Make the engine's --port, containerPort and targetPort of Service {service} agree.",
            "Check that the engine listens on 0.0.0.0, not on 127.0.0.1.",
            "Give the pod a readiness probe: without one it counts as ready before it listens.",
        ),
    )


def _silent(entry: Mapping[str, Any], text: str) -> Diagnosis:
    namespace, service = _target(entry)
    return Diagnosis(
        Category.NETWORK,
        "no-answer",
        f"The pods behind Service {namespace}/{service} are ready, and requests to them get no answer.",
        _asked(entry, text),
        (
            f"Check network policies and security groups between the API server and the pods of Service {service}.",
            "See whether the engine hangs: its log, and its own /health from inside the pod.",
        ),
        final=False,
    )


def _other_protocol(entry: Mapping[str, Any], text: str) -> Diagnosis:
    namespace, service = _target(entry)
    return Diagnosis(
        Category.NETWORK,
        "protocol",
        f"Requests to Service {namespace}/{service} speak HTTPS where the engine speaks HTTP, or the other way round.",
        _asked(entry, text),
        (f"Ask http:{service} instead of https:{service} (or the reverse), and set the probes' scheme alike.",),
    )


def _no_such_port(entry: Mapping[str, Any], text: str, port: str) -> Diagnosis:
    namespace, service = _target(entry)
    return Diagnosis(
        Category.NETWORK,
        "port-name",
        f"Service {namespace}/{service} has no port {port}.",
        _asked(entry, text),
        (f"Name a port that Service {service} has: kubectl get service -n {namespace} {service} -o yaml",),
    )


def _no_service(entry: Mapping[str, Any], text: str, service: str) -> Diagnosis:
    namespace, _ = _target(entry)
    return Diagnosis(
        Category.NETWORK,
        "service-missing",
        f"Pods are ready, and Service {service} does not exist in namespace {namespace}.",
        _asked(entry, text),
        (f"Create Service {service} in namespace {namespace}, or correct the name (kubectl get services).",),
    )


def _asked(entry: Mapping[str, Any], text: str) -> tuple[Evidence, ...]:
    return (Evidence(f"request {entry.get('method')} {entry.get('path')}", one_line(text)),)


def _none_selected(snapshot: Snapshot) -> bool:
    """Whether the Service's selector finds no pod at all; endpoints that are not ready yet do not count."""
    return bool(snapshot.kind("endpointslices")) and not any(
        entry.get("endpoints") for entry in snapshot.kind("endpointslices")
    )


def _no_endpoints(entry: Mapping[str, Any], text: str) -> Diagnosis:
    namespace, service = _target(entry)
    return Diagnosis(
        Category.NETWORK,
        "selector-mismatch",
        f"Pods are ready, and the selector of Service {namespace}/{service} finds none of them.",
        (Evidence(f"request {entry.get('method')} {entry.get('path')}", one_line(text)),),
        (
            f"Make the selector of Service {service} equal labels of the pods: kubectl get endpointslices "
            f"-n {namespace} -l kubernetes.io/service-name={service}",
        ),
    )


def _model_name(snapshot: Snapshot) -> Iterator[Diagnosis]:
    served: list[str] = []
    for entry in snapshot.requests:
        document = _document(entry.get("response"))
        if str(entry.get("path", "")).endswith("/v1/models") and entry.get("status") == 200:
            served += [str(model.get("id")) for model in document.get("data") or () if isinstance(model, dict)]
    for entry in snapshot.requests:
        asked = str((_document(entry.get("body"))).get("model") or "")
        text = _text(entry.get("response"))
        unknown = next((g for g in match.groups() if g), "") if (match := _UNKNOWN_MODEL.search(text)) else ""
        asked = asked or unknown
        if entry.get("status") in (400, 404) and asked and unknown and asked not in served:
            listed = ", ".join(served) or "none"
            yield Diagnosis(
                Category.MODEL_NAME,
                "other-name",
                f"The endpoint serves {listed}, requests ask for {asked}.",
                (Evidence(f"request {entry.get('method')} {entry.get('path')}", one_line(text)),),
                (f"Ask for {listed}, or set served_model_name (--served-model-name) to {asked}.",),
            )
            return


def _refusing(snapshot: Snapshot) -> Iterator[Diagnosis]:
    """An engine that has the model and answers no question: chat without a template, errors of its own."""
    asked = [entry for entry in snapshot.requests if entry.get("method") == "POST"]
    if not asked or any(entry.get("status") == 200 for entry in asked):
        return
    last = asked[-1]
    text = _text(last.get("response"))
    if last.get("status") == 400 and re.search(r"chat template", text, re.IGNORECASE):
        yield Diagnosis(
            Category.ENGINE,
            "chat-template",
            "The model has no chat template, and the engine answers no chat without one.",
            _asked(last, text),
            (
                "Ask /v1/completions: a base model continues text.",
                "Or give the engine a template (extra_args --chat-template), or use the model's instruct variant.",
            ),
        )
    elif last.get("status") == 500 and _document(last.get("response")).get("kind") != "Status":
        yield Diagnosis(
            Category.ENGINE,
            "answers-errors",
            f"The engine is ready and answers with status 500: {one_line(text, 200).rstrip('.')}.",
            _asked(last, text),
            (f"Read the engine's log: kubectl logs -n {_target(last)[0]} --tail=200, of the pods behind the Service.",),
            final=False,
        )


def _target(entry: Mapping[str, Any]) -> tuple[str, str]:
    match = _SERVICE.search(str(entry.get("path")))
    return (match[1], match[2]) if match else ("default", "of the endpoint")


def _document(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    try:
        parsed = json.loads(value) if isinstance(value, str) else {}
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _text(value: Any) -> str:
    if isinstance(value, dict):
        error = value.get("error")
        inner = error.get("message") if isinstance(error, dict) else error
        return str(value.get("message") or inner or json.dumps(value))
    return str(value or "")
