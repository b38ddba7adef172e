"""Disks: a folder of this machine for each volume that the sandbox has provisioned, which pods see as their own.

The provisioner of a StorageClass is `PROVISIONER`. Any number of pods on any nodes can use a disk at the same time,
whatever its access modes say; what it holds stays until the cluster ends.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROVISIONER = "disks.sandbox"


def is_disk(volume: Mapping[str, Any]) -> bool:
    """Whether the sandbox has provisioned a PersistentVolume."""
    return (volume["spec"].get("csi") or {}).get("driver") == PROVISIONER


def attach(volume: Mapping[str, Any], folder: Path, disks: Path) -> None:
    """Makes a pod's folder that of the volume.

    Args:
        volume: The PersistentVolume.
        folder: The folder of the pod's volume.
        disks: Where all disks are.
    """
    disk = disks / volume["spec"]["csi"]["volumeHandle"]
    disk.mkdir(parents=True, exist_ok=True)
    if not folder.is_symlink():
        folder.rmdir()
        folder.symlink_to(disk, target_is_directory=True)
