"""Mountpoint for S3 (the CSI driver `s3.csi.aws.com`): a bucket's prefix as a read-only directory.

There are no mounts here: the objects are fetched once, as the pod starts. That is what read-only pods see of a prefix
that nobody writes to any more.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.kubernetes.controllers.meta import Obj
from sandbox.kubernetes.node.volumes import VolumeError

DRIVER = "s3.csi.aws.com"
_FLAGS = frozenset({"read-only", "allow-other", "force-path-style", "allow-delete", "allow-overwrite"})


def mount_bucket(volume: Obj, folder: Path, environ: Mapping[str, str]) -> None:
    """Fill a folder with what the volume's prefix holds.

    Args:
        volume: The PersistentVolume.
        folder: Where it is to appear.
        environ: Of the node: credentials among them.

    Raises:
        VolumeError: The store refuses, or the volume is not described as the driver wants it.
    """
    import botocore.session
    from botocore.exceptions import BotoCoreError, ClientError

    spec = volume["spec"]
    bucket = (spec["csi"].get("volumeAttributes") or {}).get("bucketName")
    if not bucket:
        raise VolumeError(_failed(volume, "Bucket name not provided"))
    options = _options(volume, spec.get("mountOptions") or [])
    prefix = options.get("prefix", "")
    session = botocore.session.get_session()
    session.set_credentials(environ.get("AWS_ACCESS_KEY_ID", ""), environ.get("AWS_SECRET_ACCESS_KEY", ""))
    client: Any = session.create_client(
        "s3",
        region_name=options.get("region") or environ.get("AWS_REGION") or "us-east-1",
        endpoint_url=options.get("endpoint-url"),
    )
    try:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for entry in page.get("Contents", []):
                target = folder / entry["Key"].removeprefix(prefix)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read())
    except (ClientError, BotoCoreError) as error:
        raise VolumeError(_failed(volume, f"Failed to create mount process: {error}")) from None


def _options(volume: Obj, given: list[str]) -> dict[str, str]:
    """The mount options by name, as `mount-s3` knows them."""
    found: dict[str, str] = {}
    for one in given:
        name, _, value = one.removeprefix("--").replace("=", " ").partition(" ")
        if name not in _FLAGS and name not in ("region", "prefix", "endpoint-url"):
            raise VolumeError(_failed(volume, f"error: unexpected argument '--{name}' found"))
        found[name] = value
    if "prefix" in found and not found["prefix"].endswith("/"):
        raise VolumeError(_failed(volume, f"invalid value '{found['prefix']}' for '--prefix': it must end in '/'"))
    return found


def _failed(volume: Obj, why: str) -> str:
    name = volume["metadata"]["name"]
    return f'MountVolume.SetUp failed for volume "{name}" : rpc error: code = Internal desc = Could not mount: {why}'
