"""Where a container's paths are on this machine: there is no mount namespace, so paths are rewritten.

Every pod has a directory, every volume a folder in it. Each place in the command, the arguments and the values of
environment variables where a mount path stands as the beginning of a path gets that folder's path instead. A path
that a program holds in itself, or reads from a file, is not rewritten; the sandbox's own stand-ins look such paths up
in `MOUNTS_VARIABLE`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MOUNTS_VARIABLE = "SANDBOX_MOUNTS"
"""Environment variable of every container: folder by mount path, as a JSON object."""

_BEFORE = r"(?:(?<=file://)|(?<![\w./@-]))"
_AFTER = r"(?=/|$|[^\w.@-])"


@dataclass(frozen=True)
class Mounts:
    """A container's mount paths and their folders.

    Attributes:
        folders: Folder on this machine by mount path.
        scratch: The container's own directory, for working directories that are no mounts.
        temporary: Where its temporary files go. Its path is short, as in a container: sockets have short names.
    """

    folders: Mapping[str, Path]
    scratch: Path
    temporary: Path = Path("/tmp")  # noqa: S108 - every pod gets its own

    def rewrite(self, text: str) -> str:
        """The text with every mount path replaced by its folder."""
        if not self.folders:
            return text
        longest_first = sorted(self.folders, key=len, reverse=True)
        pattern = _BEFORE + "(" + "|".join(re.escape(path.rstrip("/")) for path in longest_first) + ")" + _AFTER
        return re.sub(pattern, lambda match: str(self.folder(match.group(1))), text)

    def folder(self, mount_path: str) -> Path:
        """The folder that is mounted at `mount_path`."""
        for path, folder in self.folders.items():
            if path.rstrip("/") == mount_path:
                return folder
        raise KeyError(mount_path)

    def working_dir(self, path: str) -> Path:
        """Where the process starts: inside a mount, or in the container's own directory."""
        rewritten = self.rewrite(path)
        if rewritten != path:
            return Path(rewritten)
        return self.scratch.joinpath(*Path(path).parts[1:]) if path else self.scratch
