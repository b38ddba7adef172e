"""The manifest object of a staged model: written last and conditionally. No manifest, no model."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from serving.errors import StagingError
from serving.models import MANIFEST_NAME, PinnedModel, StagedFile, StagedModel
from staging.layout import manifest_key, staged_prefix
from staging.selection import Selection
from staging.store import MISSING, StoreAccess, error_code, explain, explained, s3


class ManifestFile(StagedFile):
    """One file of the manifest.

    Attributes:
        blob_id: Git's SHA-1 as the Hub lists it: recognizes an unchanged file of a later commit.
    """

    blob_id: str


class Manifest(BaseModel):
    """What the manifest object says.

    Attributes:
        version: Version of this format.
        allow: Patterns that the files were selected with, see `Selection`.
        ignore: See `Selection`.
        duplicates: See `Selection`.
        total_bytes: Bytes of all files.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    repo_id: str
    revision: str
    commit: str
    total_bytes: int
    staged_at: datetime
    allow: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    duplicates: bool = False
    files: tuple[ManifestFile, ...]

    @property
    def selection(self) -> Selection:
        """The selection that these files are."""
        return Selection(self.allow, self.ignore, self.duplicates)


def read_manifest(key: str, store: StoreAccess) -> tuple[Manifest, str] | None:
    """Read a manifest object with one request.

    Returns:
        The manifest and the object's ETag; None if there is none.

    Raises:
        StoreError: The bucket cannot be read.
        StagingError: ``staging.manifest_unreadable``.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer = s3(store).get_object(Bucket=store.bucket, Key=key)
        text = answer["Body"].read()
    except (BotoCoreError, ClientError) as error:
        if error_code(error) in MISSING:
            return None
        raise explain(error, store, "s3:GetObject") from None
    try:
        return Manifest.model_validate_json(text), answer["ETag"]
    except ValidationError:
        raise StagingError(
            f"s3://{store.bucket}/{key} is not a manifest of a staged model.",
            cause="Another program wrote it, or a newer version of this one.",
            fix="Remove it, or stage with another prefix.",
            code="staging.manifest_unreadable",
        ) from None


def find_staged(model: PinnedModel, store: StoreAccess) -> StagedModel | None:
    """The staged model of this commit, if its manifest is there: one request.

    Raises:
        StoreError: The bucket cannot be read.
        StagingError: ``staging.manifest_unreadable``.
    """
    found = read_manifest(manifest_key(store.prefix, model, store.layout), store)
    if found is None or found[0].commit != model.commit:
        return None
    return staged_model(found[0], model, store)


def staged_model(manifest: Manifest, model: PinnedModel, store: StoreAccess) -> StagedModel:
    """What a manifest describes, as the other rooms know it."""
    return StagedModel(
        model=model,
        uri=f"s3://{store.bucket}/{staged_prefix(store.prefix, model, store.layout)}",
        files=tuple(StagedFile(path=file.path, size=file.size, sha256=file.sha256) for file in manifest.files),
        region=store.expected_region,
        endpoint_url=store.endpoint_url,
    )


def new_manifest(model: PinnedModel, selection: Selection, files: list[ManifestFile]) -> Manifest:
    """The manifest of files that were all verified."""
    return Manifest(
        repo_id=model.repo_id,
        revision=model.revision,
        commit=model.commit,
        total_bytes=sum(file.size for file in files),
        staged_at=datetime.now(UTC),
        allow=selection.allow,
        ignore=selection.ignore,
        duplicates=selection.duplicates,
        files=tuple(sorted(files, key=lambda file: file.path)),
    )


def publish(manifest: Manifest, model: PinnedModel, store: StoreAccess, replaces: str = "") -> bool:
    """Write the manifest, if what is there has not changed meanwhile.

    Args:
        manifest: What to publish.
        model: Whose prefix it goes to.
        store: Where.
        replaces: ETag of the manifest that this one replaces; empty if there must be none.

    Returns:
        False if somebody else published first.

    Raises:
        StoreError: The bucket cannot be written.
    """
    from botocore.exceptions import ClientError

    key = manifest_key(store.prefix, model, store.layout)
    body = manifest.model_dump_json(indent=1).encode()
    try:
        with explained(store, "s3:PutObject"):
            try:
                if replaces:
                    s3(store).put_object(
                        Bucket=store.bucket, Key=key, Body=body, ContentType="application/json", IfMatch=replaces
                    )
                else:
                    s3(store).put_object(
                        Bucket=store.bucket, Key=key, Body=body, ContentType="application/json", IfNoneMatch="*"
                    )
            except ClientError as error:
                if error_code(error) in {"PreconditionFailed", "412", "ConditionalRequestConflict"}:
                    return False
                raise
    finally:
        del body
    return True


__all__ = [
    "MANIFEST_NAME",
    "Manifest",
    "ManifestFile",
    "find_staged",
    "new_manifest",
    "publish",
    "read_manifest",
    "staged_model",
]
