"""A container's command and environment, as a kubelet makes them of the pod's spec."""

import base64
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sandbox.kubernetes.controllers.meta import Obj
from sandbox.kubernetes.node.config import ImageConfig
from sandbox.kubernetes.node.mounts import MOUNTS_VARIABLE, Mounts
from sandbox.kubernetes.node.network import PODSITE
from sandbox.kubernetes.quantities import parse

SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_REFERENCE = re.compile(r"\$(\$|\(([^()]*)\))")
_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


class ConfigError(Exception):
    """The container's configuration refers to something that is not there; the text is a kubelet's."""


class Sources(Protocol):
    """Where referenced objects come from."""

    def secret(self, namespace: str, name: str) -> Obj | None:
        """A Secret, or None."""

    def config_map(self, namespace: str, name: str) -> Obj | None:
        """A ConfigMap, or None."""

    def services(self, namespace: str) -> list[Obj]:
        """The Services of a namespace."""


@dataclass(frozen=True)
class PodFacts:
    """What a pod knows about itself when a container starts.

    Attributes:
        pod: The pod.
        pod_ip: Its address.
        host_ip: The node's address.
        node_capacity: What the node offers, for limits that the container does not set.
        ports: Directory in which the pod's processes note the ports they listen on.
        names: File with the cluster's names and Service addresses.
        node_env: Environment that the node gives every container.
        csi_drivers: CSI drivers that run on the node.
    """

    pod: Obj
    pod_ip: str
    host_ip: str
    node_capacity: Mapping[str, str] = field(default_factory=dict)
    ports: Path = Path()
    names: Path = Path()
    node_env: Mapping[str, str] = field(default_factory=dict, repr=False)
    csi_drivers: tuple[str, ...] = ()

    @property
    def namespace(self) -> str:
        """The pod's namespace."""
        name: str = self.pod["metadata"]["namespace"]
        return name


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by its value; `$$` stands for one `$`, an unknown name stays as it is."""

    def value(match: re.Match[str]) -> str:
        if match.group(1) == "$":
            return "$"
        return values.get(match.group(2), match.group(0))

    return _REFERENCE.sub(value, text)


def container_env(container: Obj, facts: PodFacts, sources: Sources) -> dict[str, str]:
    """The variables that the pod's spec gives the container.

    Raises:
        ConfigError: a Secret, a ConfigMap or a key in one is missing.
    """
    result: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        result |= _env_from(source, facts.namespace, sources)
    links = (
        service_links(sources.services(facts.namespace)) if facts.pod["spec"].get("enableServiceLinks", True) else {}
    )
    known = {**links, **result}
    for variable in container.get("env") or []:
        value = _value(variable, container, facts, sources, known)
        if value is not None:
            result[variable["name"]] = known[variable["name"]] = value
    return {**links, **result}


def _value(variable: Obj, container: Obj, facts: PodFacts, sources: Sources, known: Mapping[str, str]) -> str | None:
    source = variable.get("valueFrom")
    if not source:
        return expand(variable.get("value", ""), known)
    if "fieldRef" in source:
        return field_value(source["fieldRef"]["fieldPath"], facts)
    if "resourceFieldRef" in source:
        return resource_value(source["resourceFieldRef"], container, facts)
    for kind, title, find in (
        ("secretKeyRef", "Secret", sources.secret),
        ("configMapKeyRef", "ConfigMap", sources.config_map),
    ):
        if kind in source:
            reference = source[kind]
            found = find(facts.namespace, reference["name"])
            if found is None:
                if reference.get("optional"):
                    return None
                raise ConfigError(f'{title.lower()} "{reference["name"]}" not found')
            values = object_data(found)
            if reference["key"] not in values:
                if reference.get("optional"):
                    return None
                where = f"{facts.namespace}/{reference['name']}"
                raise ConfigError(f"couldn't find key {reference['key']} in {title} {where}")
            return values[reference["key"]].decode(errors="replace")
    raise ConfigError(f"environment variable {variable['name']}: the sandbox does not know this source of a value")


def _env_from(source: Obj, namespace: str, sources: Sources) -> dict[str, str]:
    prefix = source.get("prefix", "")
    for kind, title, find in (
        ("secretRef", "secret", sources.secret),
        ("configMapRef", "configmap", sources.config_map),
    ):
        if kind in source:
            found = find(namespace, source[kind]["name"])
            if found is None:
                if source[kind].get("optional"):
                    return {}
                raise ConfigError(f'{title} "{source[kind]["name"]}" not found')
            values = object_data(found)
            return {
                prefix + key: values[key].decode(errors="replace")
                for key in sorted(values)
                if _NAME.fullmatch(prefix + key)
            }
    return {}


def object_data(obj: Obj) -> dict[str, bytes]:
    """The data of a Secret or ConfigMap as bytes."""
    if obj["kind"] == "Secret":
        return {key: base64.b64decode(value) for key, value in (obj.get("data") or {}).items()}
    text = {key: value.encode() for key, value in (obj.get("data") or {}).items()}
    return text | {key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}


def field_value(path: str, facts: PodFacts) -> str:
    """A field of the pod, as `fieldRef` names it.

    Raises:
        ConfigError: pods have no such field.
    """
    meta, spec = facts.pod["metadata"], facts.pod["spec"]
    subscript = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
    if subscript:
        value: str = (meta.get(subscript[1]) or {}).get(subscript[2], "")
        return value
    if path in ("metadata.labels", "metadata.annotations"):
        pairs = (meta.get(path.partition(".")[2]) or {}).items()
        return "\n".join(f'{key}="{value}"' for key, value in sorted(pairs))
    simple = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta["namespace"],
        "metadata.uid": meta["uid"],
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.hostIP": facts.host_ip,
        "status.hostIPs": facts.host_ip,
        "status.podIP": facts.pod_ip,
        "status.podIPs": facts.pod_ip,
    }
    if path not in simple:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return str(simple[path])


def resource_value(reference: Obj, container: Obj, facts: PodFacts) -> str:
    """A request or limit of a container in units of the divisor, rounded up.

    Raises:
        ConfigError: it is about another container that the pod does not have.
    """
    name = reference.get("containerName") or container["name"]
    spec = facts.pod["spec"]
    every = [*(spec.get("initContainers") or []), *spec["containers"]]
    owner = next((one for one in every if one["name"] == name), None)
    if owner is None:
        raise ConfigError(f"container {name} not found")
    kind, _, resource = reference["resource"].partition(".")
    amounts = (owner.get("resources") or {}).get(kind) or {}
    fallback = facts.node_capacity.get(resource, "0") if kind == "limits" else "0"
    divisor = parse(reference.get("divisor") or 1) or 1
    return str(math.ceil(parse(amounts.get(resource, fallback)) / divisor))


def service_links(services: Sequence[Obj]) -> dict[str, str]:
    """The variables that tell a pod of every Service of its namespace (`CHAT_SERVICE_HOST`, `CHAT_PORT`, …)."""
    result: dict[str, str] = {}
    for service in services:
        address, ports = service["spec"].get("clusterIP"), service["spec"].get("ports") or []
        if address in (None, "", "None") or not ports:
            continue
        prefix = service["metadata"]["name"].upper().replace("-", "_")
        result[f"{prefix}_SERVICE_HOST"] = address
        result[f"{prefix}_SERVICE_PORT"] = str(ports[0]["port"])
        first = ports[0]
        result[f"{prefix}_PORT"] = f"{first.get('protocol', 'TCP').lower()}://{address}:{first['port']}"
        for port in ports:
            protocol = port.get("protocol", "TCP")
            if port.get("name"):
                result[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
            name = f"{prefix}_PORT_{port['port']}_{protocol}"
            result[name] = f"{protocol.lower()}://{address}:{port['port']}"
            result |= {f"{name}_PROTO": protocol.lower(), f"{name}_PORT": str(port["port"]), f"{name}_ADDR": address}
    return result


def process_env(image: ImageConfig, given: Mapping[str, str], facts: PodFacts, mounts: Mounts) -> dict[str, str]:
    """The whole environment of a container's process; nothing of this server's own environment gets into it."""
    home = str(mounts.scratch)
    base = {
        "HOME": home,
        "TMPDIR": str(mounts.temporary),
        "LANG": "C.UTF-8",
        "HOSTNAME": facts.pod["spec"].get("hostname") or facts.pod["metadata"]["name"],
    }
    merged = {**base, **facts.node_env, **image.env, **given}
    result = {name: mounts.rewrite(value) for name, value in merged.items()}
    programs = [str(image.path)] if image.path else []
    chosen = merged.get("PATH", "").split(":") if "PATH" in merged else []
    result["PATH"] = ":".join(dict.fromkeys([*programs, *chosen, str(Path(sys.executable).parent), *SYSTEM_PATH]))
    result["PYTHONPATH"] = ":".join(filter(None, [str(PODSITE), result.get("PYTHONPATH", "")]))
    result["SANDBOX_POD_IP"], result["SANDBOX_POD_NAMESPACE"] = facts.pod_ip, facts.namespace
    result[MOUNTS_VARIABLE] = json.dumps({path.rstrip("/"): str(folder) for path, folder in mounts.folders.items()})
    result["SANDBOX_POD_PORTS"], result["SANDBOX_NAMES"] = str(facts.ports), str(facts.names)
    return result


def argv(container: Obj, image: ImageConfig, given: Mapping[str, str], mounts: Mounts) -> list[str]:
    """Program and arguments: the container's, or where it names none the image's."""
    command, args = container.get("command") or [], container.get("args") or []
    if not command:
        command = list(image.entrypoint)
        args = args or list(image.cmd)
    words = [mounts.rewrite(expand(word, given)) for word in [*command, *args]]
    if words and image.path and Path(words[0]).is_absolute() and not Path(words[0]).exists():
        own = image.path / Path(words[0]).name
        words[0] = str(own) if own.exists() else words[0]
    return words
