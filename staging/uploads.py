"""Uploads into the bucket: created, signed for whoever sends the bytes, completed or aborted."""

from __future__ import annotations

from collections.abc import Mapping

from serving.errors import StagingError
from staging.hub import HubFile
from staging.plan import SHA256_KEY, PlannedFile, object_metadata, verified_digest
from staging.store import StoreAccess, error_code, explain, explained, s3

URL_SECONDS = 3600
"""How long a signed address is good; one that has expired is signed again."""


class UploadGone(Exception):
    """The multipart upload does not exist any more: somebody aborted it."""


def create(planned: PlannedFile, store: StoreAccess) -> str:
    """Begin a multipart upload; returns its id.

    Raises:
        StoreError: The bucket cannot be written.
    """
    metadata = object_metadata(planned.file, planned.sha256)
    if not planned.sha256:
        del metadata[SHA256_KEY]
    with explained(store, "s3:PutObject"):
        answer = s3(store).create_multipart_upload(Bucket=store.bucket, Key=planned.key, Metadata=metadata)
    return answer["UploadId"]


def sign_part(key: str, upload_id: str, number: int, store: StoreAccess) -> str:
    """An address that takes part `number` (from 1) by PUT, without any AWS key.

    Raises:
        StoreError: There are no valid credentials to sign with.
    """
    with explained(store, "s3:PutObject"):
        return s3(store).generate_presigned_url(
            "upload_part",
            Params={"Bucket": store.bucket, "Key": key, "UploadId": upload_id, "PartNumber": number},
            ExpiresIn=URL_SECONDS,
        )


def sign_put(key: str, file: HubFile, sha256: str, store: StoreAccess) -> tuple[str, dict[str, str]]:
    """An address that takes a whole verified file by PUT, and the headers to send with it.

    Raises:
        StoreError: There are no valid credentials to sign with.
    """
    metadata = object_metadata(file, sha256)
    with explained(store, "s3:PutObject"):
        url = s3(store).generate_presigned_url(
            "put_object", Params={"Bucket": store.bucket, "Key": key, "Metadata": metadata}, ExpiresIn=URL_SECONDS
        )
    return url, {f"x-amz-meta-{name}": value for name, value in metadata.items()}


def complete(planned: PlannedFile, upload_id: str, etags: Mapping[int, str], store: StoreAccess) -> None:
    """Make the object of a verified upload visible.

    Args:
        planned: The file.
        upload_id: Its upload.
        etags: ETag of each part by its number, from 1.
        store: Where.

    Raises:
        UploadGone: It was aborted.
        StoreError: S3 refused.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    parts = [{"PartNumber": number, "ETag": etags[number]} for number in sorted(etags)]
    try:
        s3(store).complete_multipart_upload(
            Bucket=store.bucket,
            Key=planned.key,
            UploadId=upload_id,
            MultipartUpload={"Parts": parts},  # type: ignore[typeddict-item]
        )
    except (BotoCoreError, ClientError) as error:
        # An earlier attempt may have succeeded though its answer was lost.
        if planned.sha256 and verified_digest(store, planned.key, planned.file):
            return
        if error_code(error) in {"NoSuchUpload", "InvalidPart", "InvalidPartOrder"}:
            raise UploadGone from None
        raise explain(error, store, "s3:PutObject") from None


def abort(key: str, upload_id: str, store: StoreAccess) -> None:
    """Throw away an upload and its parts, as far as the store allows it."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        s3(store).abort_multipart_upload(Bucket=store.bucket, Key=key, UploadId=upload_id)
    except (BotoCoreError, ClientError):
        return


def copy(planned: PlannedFile, store: StoreAccess) -> bool:
    """Copy a file inside S3 from an earlier staged commit.

    Returns:
        False if the object to copy is not there any more.

    Raises:
        StoreError: The bucket cannot be read or written.
        StagingError: ``staging.copy_differs``.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        s3(store).copy(
            {"Bucket": store.bucket, "Key": planned.copy_from},
            store.bucket,
            planned.key,
            ExtraArgs={
                "Metadata": object_metadata(planned.file, planned.sha256),
                "MetadataDirective": "REPLACE",
            },
        )
    except (BotoCoreError, ClientError) as error:
        if error_code(error) in {"404", "NoSuchKey", "NotFound"}:
            return False
        raise explain(error, store, "s3:GetObject") from None
    if verified_digest(store, planned.key, planned.file) != planned.sha256:
        raise StagingError(
            f"S3 copied {planned.copy_from} to {planned.key}, but the copy is another object.",
            cause="Another program writes to the same keys.",
            fix="Give staged models a prefix of their own and start the run again.",
            code="staging.copy_differs",
        )
    return True
