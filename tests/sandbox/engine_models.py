"""Directories as staging leaves them, for the engine's tests."""

import hashlib
import json
from pathlib import Path

from sandbox.engine import model


def write_manifest(directory: Path) -> None:
    files = [
        {"path": str(path.relative_to(directory)), "size": path.stat().st_size,
         "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in sorted(directory.rglob("*")) if path.is_file() and path.name != model.MANIFEST
    ]  # fmt: skip
    (directory / model.MANIFEST).write_text(json.dumps({"version": 1, "files": files}))
