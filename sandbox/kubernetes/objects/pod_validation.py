"""What makes a pod spec invalid."""

import re
from collections.abc import Mapping
from typing import Any

from sandbox.kubernetes.objects import causes, names
from sandbox.kubernetes.objects.causes import Cause
from sandbox.kubernetes.quantities import parse

Manifest = dict[str, Any]

_PORT_RANGE = "must be between 1 and 65535, inclusive"
_STANDARD = ("cpu", "memory", "ephemeral-storage", "storage")
_ENV_NAME = re.compile(r"[ -<>-~]+")


def pod_spec(spec: Mapping[str, Any], at: str, *, restart: tuple[str, ...] = ()) -> list[Cause]:
    """The causes why a pod spec at the path `at` is invalid; `restart` are the restart policies allowed there."""
    volumes = [volume.get("name", "") for volume in spec.get("volumes", ())]
    found: list[Cause] = []
    for index, name in enumerate(volumes):
        where = f"{at}.volumes[{index}].name"
        found += names.dns_label(where, name) if name else [causes.required(where)]
        if name in volumes[:index]:
            found.append(causes.duplicate(where, name))
    containers = spec.get("containers") or []
    if not containers:
        found.append(causes.required(f"{at}.containers"))
    seen: set[str] = set()
    for kind in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(kind) or ()):
            where = f"{at}.{kind}[{index}]"
            found += _container(container, where, volumes)
            if container.get("name") in seen:
                found.append(causes.duplicate(f"{where}.name", container["name"]))
            seen.add(container.get("name", ""))
    if restart and spec.get("restartPolicy") not in restart:
        found.append(causes.not_supported(f"{at}.restartPolicy", spec.get("restartPolicy"), restart))
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        value = spec["terminationGracePeriodSeconds"]
        found.append(causes.invalid(f"{at}.terminationGracePeriodSeconds", value, "must be greater than or equal to 0"))
    if "serviceAccountName" in spec:
        found += names.subdomain(f"{at}.serviceAccountName", spec["serviceAccountName"])
    return found + names.labels(f"{at}.nodeSelector", spec.get("nodeSelector", {}))


def _container(container: Mapping[str, Any], at: str, volumes: list[str]) -> list[Cause]:
    name, image = container.get("name", ""), container.get("image", "")
    found = names.dns_label(f"{at}.name", name) if name else [causes.required(f"{at}.name")]
    if not image:
        found.append(causes.required(f"{at}.image"))
    elif image != image.strip():
        found.append(causes.invalid(f"{at}.image", image, "must not have leading or trailing whitespace"))
    policy = container.get("imagePullPolicy")
    if policy not in ("Always", "IfNotPresent", "Never"):
        found.append(causes.not_supported(f"{at}.imagePullPolicy", policy, ("Always", "IfNotPresent", "Never")))
    found += _ports(container.get("ports", ()), f"{at}.ports")
    for index, variable in enumerate(container.get("env", ())):
        found += _variable(variable, f"{at}.env[{index}]")
    found += _mounts(container.get("volumeMounts", ()), f"{at}.volumeMounts", volumes)
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe in container:
            found += _probe(container[probe], f"{at}.{probe}", must_succeed_once=probe != "readinessProbe")
    return found + _resources(container.get("resources", {}), f"{at}.resources")


def _ports(ports: Any, at: str) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        number = port.get("containerPort", 0)
        if not number:
            found.append(causes.required(f"{at}[{index}].containerPort"))
        elif not 1 <= number <= 65535:
            found.append(causes.invalid(f"{at}[{index}].containerPort", number, _PORT_RANGE))
        name = port.get("name")
        if name:
            if len(name) > 15:
                found.append(causes.invalid(f"{at}[{index}].name", name, "must be no more than 15 characters"))
            if name in seen:
                found.append(causes.duplicate(f"{at}[{index}].name", name))
            seen.add(name)
    return found


def _variable(variable: Mapping[str, Any], at: str) -> list[Cause]:
    name = variable.get("name", "")
    found = []
    if not name:
        found.append(causes.required(f"{at}.name"))
    elif not _ENV_NAME.fullmatch(name):
        detail = "a valid environment variable name must consist only of printable ASCII characters other than '='"
        found.append(causes.invalid(f"{at}.name", name, detail))
    if variable.get("value") and "valueFrom" in variable:
        found.append(causes.invalid(f"{at}.valueFrom", "", "may not be specified when `value` is not empty"))
    source = variable.get("valueFrom", {})
    if "valueFrom" in variable and not source:
        detail = (
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        )
        found.append(causes.invalid(f"{at}.valueFrom", "", detail))
    for kind in ("secretKeyRef", "configMapKeyRef"):
        if kind in source:
            where = f"{at}.valueFrom.{kind}"
            if not source[kind].get("name"):
                found.append(causes.required(f"{where}.name"))
            if not source[kind].get("key"):
                found.append(causes.required(f"{where}.key"))
    return found


def _mounts(mounts: Any, at: str, volumes: list[str]) -> list[Cause]:
    found: list[Cause] = []
    paths: set[str] = set()
    for index, mount in enumerate(mounts):
        name, path = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            found.append(causes.required(f"{at}[{index}].name"))
        elif name not in volumes:
            found.append(causes.not_found(f"{at}[{index}].name", name))
        if not path:
            found.append(causes.required(f"{at}[{index}].mountPath"))
        elif path in paths:
            found.append(causes.invalid(f"{at}[{index}].mountPath", path, "must be unique"))
        paths.add(path)
    return found


def _probe(probe: Mapping[str, Any], at: str, *, must_succeed_once: bool) -> list[Cause]:
    handlers = [name for name in ("exec", "httpGet", "tcpSocket", "grpc") if name in probe]
    found: list[Cause] = []
    if not handlers:
        found.append(causes.required(at, "must specify a handler type"))
    for extra in handlers[1:]:
        found.append(causes.forbidden(f"{at}.{extra}", "may not specify more than 1 handler type"))
    for name in handlers[:1]:
        port = probe[name].get("port")
        if isinstance(port, int) and not 1 <= port <= 65535:
            found.append(causes.invalid(f"{at}.{name}.port", port, _PORT_RANGE))
    for name in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        if probe.get(name, 0) < 0:
            found.append(causes.invalid(f"{at}.{name}", probe[name], "must be greater than or equal to 0"))
    if must_succeed_once and probe.get("successThreshold", 1) != 1:
        found.append(causes.invalid(f"{at}.successThreshold", probe["successThreshold"], "must be 1"))
    return found


def _extended(name: str) -> bool:
    return "/" in name and not name.startswith("kubernetes.io/")


def _resources(resources: Mapping[str, Any], at: str) -> list[Cause]:
    limits, requests = resources.get("limits", {}), resources.get("requests", {})
    found: list[Cause] = []
    for kind, quantities in (("limits", limits), ("requests", requests)):
        for name, quantity in quantities.items():
            where = f"{at}.{kind}[{name}]"
            if "/" not in name and name not in _STANDARD and not name.startswith("hugepages-"):
                found.append(causes.invalid(where, name, "must be a standard resource type or fully qualified"))
                found.append(causes.invalid(where, name, "must be a standard resource for containers"))
            elif parse(quantity) < 0:
                found.append(causes.invalid(where, quantity, "must be greater than or equal to 0"))
            elif _extended(name) and parse(quantity).denominator != 1:
                found.append(causes.invalid(where, quantity, "must be an integer"))
    for name, quantity in requests.items():
        where = f"{at}.requests"
        limit = limits.get(name)
        if limit is None and _extended(name):
            found.append(causes.required(f"{at}.limits", "Limit must be set for non overcommitable resources"))
        elif limit is not None and _extended(name) and parse(quantity) != parse(limit):
            found.append(causes.invalid(where, quantity, f"must be equal to {name} limit of {limit}"))
        elif limit is not None and parse(quantity) > parse(limit):
            found.append(causes.invalid(where, quantity, f"must be less than or equal to {name} limit of {limit}"))
    return found
