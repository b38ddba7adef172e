"""Reading a kubeconfig through the kubernetes client, and saying what is wrong with it without quoting it.

The client's own messages can hold whole entries of the file, tokens included; none of them is passed on.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client.configuration import Configuration
from kubernetes.config.config_exception import ConfigException
from kubernetes.config.kube_config import ConfigNode, KubeConfigLoader, KubeConfigMerger

from serving.errors import ClusterError

DEFAULT_PATH = "~/.kube/config"


@dataclass(frozen=True)
class Loaded:
    """What a kubeconfig says besides how to connect.

    Attributes:
        context: Name of the context in use.
        namespace: The context's default namespace; may be empty.
        renewable: Whether reading it again may give fresh credentials: it is a file, or names a command or a file
            that gives the token.
    """

    context: str
    namespace: str
    renewable: bool


def load_kubeconfig(
    source: str | Path | Mapping[str, Any] | None, context: str, configuration: Configuration
) -> Loaded:
    """Set up a client configuration from a kubeconfig; see `kube.connect.from_kubeconfig` for the arguments."""
    contents = _read(source)
    name = context or str(_plain(contents).get("current-context") or "")
    chosen = _entry(contents, "contexts", "context", name)
    server = _entry(contents, "clusters", "cluster", str(chosen.get("cluster") or ""))
    if not server.get("server"):
        raise _wrong(f"cluster {chosen.get('cluster')} has no server address")
    user = _entry(contents, "users", "user", str(chosen["user"])) if chosen.get("user") else {}
    _check_credential_command(user)
    try:
        loader = KubeConfigLoader(contents, active_context=name, config_base_path=None)  # type: ignore[no-untyped-call]
        loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
    except ConfigException as error:
        missing = str(error).startswith("File does not exist: ")
        raise _wrong(str(error) if missing else f"context {name} cannot be used") from None
    except (ValueError, TypeError, KeyError, AttributeError, OSError):
        raise _wrong(f"the certificates, keys or tokens of context {name} cannot be read") from None
    if "exec" in user and not configuration.api_key and not configuration.cert_file:
        raise _command_failed(str(user["exec"].get("command")))
    fixed = isinstance(source, Mapping) or _is_text(source)
    renewable = not fixed or bool(user.keys() & {"exec", "tokenFile", "auth-provider"})
    return Loaded(context=name, namespace=str(chosen.get("namespace") or ""), renewable=renewable)


def _read(source: str | Path | Mapping[str, Any] | None) -> ConfigNode:
    if isinstance(source, Mapping):
        return _node(_mapping(dict(source)))
    if _is_text(source):
        return _node(_mapping(_parse(str(source))))
    paths = str(source or os.environ.get("KUBECONFIG") or DEFAULT_PATH)
    existing = [path for path in paths.split(os.pathsep) if path and Path(path).expanduser().is_file()]
    if not existing:
        raise _wrong(f"there is no file {paths}")
    for path in existing:
        _mapping(_parse(Path(path).expanduser().read_text()))
    merged: ConfigNode = KubeConfigMerger(os.pathsep.join(existing)).config  # type: ignore[no-untyped-call]
    return merged


def _node(contents: dict[str, Any]) -> ConfigNode:
    return ConfigNode("kubeconfig", contents)  # type: ignore[no-untyped-call]


def _is_text(source: object) -> bool:
    return isinstance(source, str) and "\n" in source


def _parse(text: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise _wrong(f"it is not YAML{line}") from None
    except yaml.YAMLError:
        raise _wrong("it is not YAML") from None


def _mapping(contents: object) -> dict[str, Any]:
    if not isinstance(contents, dict) or not isinstance(contents.get("clusters"), list):
        raise _wrong("it has no list of clusters")
    return contents


def _plain(node: Any) -> Any:
    return node.value if isinstance(node, ConfigNode) else node


def _entry(contents: ConfigNode, section: str, kind: str, name: str) -> dict[str, Any]:
    entries = {}
    for node in _plain(contents).get(section) or []:
        entry = _plain(node)
        if isinstance(entry, dict) and "name" in entry:
            entries[str(entry["name"])] = entry.get(kind) or {}
    if name not in entries:
        has = f"it has {', '.join(sorted(entries))}" if entries else "it has none"
        raise _wrong(f"there is no {kind} {name!r}, {has}" if name else f"no {kind} is chosen, {has}")
    if not isinstance(entries[name], dict):
        raise _wrong(f"{kind} {name!r} is malformed")
    return dict(entries[name])


def _check_credential_command(user: Mapping[str, Any]) -> None:
    command = str((user.get("exec") or {}).get("command") or "")
    if command and "/" not in command and shutil.which(command) is None:
        raise _command_failed(command, missing=True)


def _command_failed(command: str, *, missing: bool = False) -> ClusterError:
    tool = Path(command).name
    eks = " An EKS cluster needs no command: name it and its region instead." if "aws" in tool else ""
    return ClusterError(
        f"The kubeconfig gets its credentials from the command {tool}, which "
        f"{'is not installed here' if missing else 'failed'}.",
        fix=f"{'Install it' if missing else f'Run {tool} by hand to see why'}, or use a kubeconfig with a token.{eks}",
        code="cluster.credentials",
    )


def _wrong(what: str) -> ClusterError:
    return ClusterError(
        f"The kubeconfig cannot be used: {what}.",
        fix="Correct it, or name another file or context (kubectl config get-contexts lists them).",
        code="cluster.kubeconfig",
    )
