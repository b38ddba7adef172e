"""vLLM's engine options where they do not come from a command line: Ray Serve's configuration, Triton's model.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.engine.arguments import Arguments, known_flags, parse
from sandbox.engine.errors import EngineError
from sandbox.kubernetes.node.mounts import MOUNTS_VARIABLE


def arguments_of(
    model: str, options: Mapping[str, Any], *, served_as: str, series: str, environ: Mapping[str, str]
) -> Arguments:
    """The options as the engine would read them from its command line.

    Args:
        model: Directory, prefix in S3 or repository.
        options: Engine options by their Python names.
        served_as: The model's name in the API.
        series: Release series whose options are known.
        environ: Of the process.

    Raises:
        EngineError: One is not vLLM's, or its value cannot be.
    """
    known = known_flags(series)
    argv = ["serve", container_path(model, environ), "--served-model-name", served_as]
    for name, value in options.items():
        flag = name.replace("_", "-")
        if flag not in known:
            text = f"AsyncEngineArgs.__init__() got an unexpected keyword argument '{name}'"
            raise EngineError("TypeError", text)
        if isinstance(value, bool):
            argv.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            argv += [f"--{flag}", value if isinstance(value, str) else json.dumps(value)]
    try:
        return parse(argv, series=series, environ=dict(environ))
    except SystemExit:
        raise EngineError("ValueError", f"the engine does not take these options: {dict(options)}") from None


def container_path(path: str, environ: Mapping[str, str]) -> str:
    """Where a path of the container is on this machine: nothing rewrites those that stand in files and requests."""
    for mount, folder in mounts(environ).items():
        if path == mount or path.startswith(f"{mount}/"):
            return str(folder) + path[len(mount) :]
    return path


def folders_in(path: str, environ: Mapping[str, str]) -> dict[str, Path]:
    """Folders below a path of the container, by name: those that stand there, and those that are mounted there."""
    there = Path(container_path(path, environ))
    found = {one.name: one for one in there.iterdir() if one.is_dir()} if there.is_dir() else {}
    below = path.rstrip("/") + "/"
    return found | {mount.removeprefix(below): to for mount, to in mounts(environ).items() if mount.startswith(below)}


def mounts(environ: Mapping[str, str]) -> dict[str, Path]:
    """Folder on this machine by mount path, the longest path first."""
    given = json.loads(environ.get(MOUNTS_VARIABLE) or "{}")
    return {path: Path(given[path]) for path in sorted(given, key=len, reverse=True)}
