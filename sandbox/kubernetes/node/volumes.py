"""A pod's volumes as folders of this machine."""

import os
from pathlib import Path
from typing import Protocol

from sandbox.kubernetes.controllers.meta import Obj
from sandbox.kubernetes.disks import is_disk
from sandbox.kubernetes.node.environment import PodFacts, Sources, field_value, object_data, resource_value
from sandbox.kubernetes.node.mounts import Mounts

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


class VolumeSources(Sources, Protocol):
    """Where referenced objects come from, claims among them."""

    def volume_of_claim(self, namespace: str, claim: str) -> Obj | None:
        """The PersistentVolume that a claim is bound to, or None."""

    def token(self, pod: Obj, audience: str) -> str | None:
        """A token of the pod's service account, or None when there are none here."""


class VolumeError(Exception):
    """A volume cannot be set up; the text is a kubelet's."""


def set_up(volume: Obj, folder: Path, facts: PodFacts, sources: VolumeSources) -> Obj | None:
    """Fill one volume's folder.

    Returns:
        The PersistentVolume that a CSI driver of the node must fill it from or put in its place, or None.

    Raises:
        VolumeError: what it refers to is missing, or the sandbox has no such kind of volume.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if "emptyDir" in volume:
        return None
    try:
        if "persistentVolumeClaim" in volume:
            return _persistent(volume["persistentVolumeClaim"]["claimName"], facts, sources)
        files = _files(volume, facts, sources)
    except VolumeError as error:
        raise VolumeError(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}') from None
    for path, content in files.items():
        target = inside(folder, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_name(f".{target.name}.new")
        scratch.write_bytes(content)
        os.replace(scratch, target)
    return None


def _files(volume: Obj, facts: PodFacts, sources: VolumeSources) -> dict[str, bytes]:
    for kind in ("configMap", "secret"):
        if kind in volume:
            source = dict(volume[kind])
            source.setdefault("name", source.get("secretName"))
            return _data(kind, source, facts.namespace, sources)
    if "downwardAPI" in volume:
        return _downward(volume["downwardAPI"], facts)
    if "projected" in volume:
        return _projected(volume, facts, sources)
    kind = next((key for key in volume if key != "name"), "of no kind")
    raise VolumeError(_refused(kind))


def _refused(kind: str) -> str:
    why = " because pods are processes of this machine and its files are not theirs" if kind == "hostPath" else ""
    return f"the sandbox has no {kind} volumes{why}: use an emptyDir, a configMap or a secret"


def _data(kind: str, source: Obj, namespace: str, sources: VolumeSources) -> dict[str, bytes]:
    find = sources.secret if kind == "secret" else sources.config_map
    found = find(namespace, source["name"])
    if found is None:
        if source.get("optional"):
            return {}
        raise VolumeError(f'{kind.lower()} "{source["name"]}" not found')
    values = object_data(found)
    if not source.get("items"):
        return values
    files: dict[str, bytes] = {}
    for item in source["items"]:
        if item["key"] in values:
            files[item["path"]] = values[item["key"]]
        elif not source.get("optional"):
            title = "secret" if kind == "secret" else "config"
            raise VolumeError(f"references non-existent {title} key: {item['key']}")
    return files


def _downward(source: Obj, facts: PodFacts) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for item in source.get("items") or []:
        if "fieldRef" in item:
            text = field_value(item["fieldRef"]["fieldPath"], facts)
        else:
            text = resource_value(item["resourceFieldRef"], {}, facts)
        files[item["path"]] = text.encode()
    return files


def _projected(volume: Obj, facts: PodFacts, sources: VolumeSources) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for source in volume["projected"].get("sources") or []:
        for kind in ("configMap", "secret"):
            if kind in source:
                own = volume["name"].startswith("kube-api-access-")  # added by the server, not by the user
                files |= _data(kind, {**source[kind], **({"optional": True} if own else {})}, facts.namespace, sources)
        if "downwardAPI" in source:
            files |= _downward(source["downwardAPI"], facts)
        if "serviceAccountToken" in source:
            token = sources.token(facts.pod, source["serviceAccountToken"].get("audience", ""))
            if token is not None:
                files[source["serviceAccountToken"]["path"]] = token.encode()
    return files


def _persistent(claim: str, facts: PodFacts, sources: VolumeSources) -> Obj:
    """The PersistentVolume of a claim, if the node has its driver."""
    volume = sources.volume_of_claim(facts.namespace, claim)
    if volume is None:
        raise VolumeError(f'persistentvolumeclaim "{claim}" not found')
    driver = (volume["spec"].get("csi") or {}).get("driver")
    if driver in facts.csi_drivers or is_disk(volume):
        return volume
    if driver:
        raise VolumeError(
            "kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: "
            f"driver name {driver} not found in the list of registered CSI drivers"
        )
    kinds = set(volume["spec"]) & {"hostPath", "local", "nfs", "awsElasticBlockStore"}
    raise VolumeError(_refused(next(iter(kinds), "persistent")))


def inside(folder: Path, path: str) -> Path:
    """A path below a folder.

    Raises:
        VolumeError: it leads out of the folder.
    """
    target = folder / path
    if ".." in target.parts or not target.is_relative_to(folder):
        raise VolumeError(f"{path}: must be a relative path without '..'")
    return target


def mounts_of(container: Obj, volumes: Path, scratch: Path) -> Mounts:
    """Where a container's mount paths are, given the directory of the pod's volumes."""
    folders: dict[str, Path] = {}
    for mount in container.get("volumeMounts") or []:
        folder = volumes / mount["name"]
        if mount.get("subPath"):
            folder = inside(folder, mount["subPath"])
            if not folder.exists():
                folder.mkdir(parents=True)
        folders[mount["mountPath"]] = folder
    return Mounts(folders, scratch)
