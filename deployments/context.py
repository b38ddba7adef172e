"""One context of a kubeconfig: all that a block needs, and nothing of the other clusters in the file."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kube.connect import from_kubeconfig

Config = dict[str, Any]


@dataclass(frozen=True)
class EksName:
    """An EKS cluster, as ``aws eks update-kubeconfig`` writes it down."""

    name: str
    region: str


def chosen_context(path: Path, context: str = "") -> tuple[Config, str]:
    """Reads a kubeconfig and leaves out what its context does not use.

    Args:
        path: The file.
        context: The context; by default the current one.

    Returns:
        The smaller kubeconfig and the context's name.

    Raises:
        ClusterError: ``cluster.kubeconfig``: the file or the context is missing or wrong.
    """
    config = _read(path)
    name = context or str(config.get("current-context") or "")
    found = _only(config, name)
    if eks_of(found) is None:
        with from_kubeconfig(path, context):  # says what is wrong with it, if anything is
            pass
    return _with_contents(found, path.parent), name


def _read(path: Path) -> Config:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return config if isinstance(config, dict) else {}


def _only(config: Config, name: str) -> Config:
    contexts = [one for one in config.get("contexts") or [] if one.get("name") == name]
    used = (contexts[0].get("context") or {}) if contexts else {}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [one for one in config.get("clusters") or [] if one.get("name") == used.get("cluster")],
        "users": [one for one in config.get("users") or [] if one.get("name") == used.get("user")],
        "contexts": contexts,
        "current-context": name,
    }


def _with_contents(config: Config, folder: Path) -> Config:
    """The same with certificates and keys in place of the files that hold them, which no worker has."""
    entries = [one["cluster"] for one in config["clusters"]] + [one["user"] for one in config["users"]]
    for entry in entries:
        for name in ("certificate-authority", "client-certificate", "client-key"):
            if entry.get(name):
                content = (folder / Path(entry.pop(name)).expanduser()).read_bytes()
                entry[f"{name}-data"] = base64.b64encode(content).decode()
    return config


def eks_of(config: Config) -> EksName | None:
    """The EKS cluster whose token a kubeconfig gets from the ``aws`` command; None if it gets it otherwise."""
    users = config.get("users") or [{}]
    command = (users[0].get("user") or {}).get("exec") or {}
    arguments = [str(one) for one in command.get("args") or []]
    if Path(str(command.get("command", ""))).name != "aws" or "get-token" not in arguments:
        return None
    name = _after(arguments, "--cluster-name") or _after(arguments, "--cluster-id")
    return EksName(name, _after(arguments, "--region")) if name else None


def _after(arguments: list[str], option: str) -> str:
    for position, argument in enumerate(arguments):
        if argument == option and position + 1 < len(arguments):
            return arguments[position + 1]
        if argument.startswith(f"{option}="):
            return argument.partition("=")[2]
    return ""
