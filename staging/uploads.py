"""Uploads into the bucket: created, signed for whoever sends the bytes, completed or aborted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from serving.errors import StagingError
from staging.checksum import Checksum, best_checksum
from staging.hub import HubFile
from staging.plan import SHA256_KEY, PlannedFile, object_metadata, verified_digest
from staging.signing import URL_SECONDS, sign
from staging.store import MISSING, StoreAccess, error_code, explain, explained, s3

SETTLE_SECONDS = 3.0
"""How long the object of an upload that is gone is looked for: a store may show it a little after the upload's end."""
UNKNOWN_CHECKSUM = frozenset({"NotImplemented", "InvalidArgument", "InvalidRequest", "MalformedXML", "501"})
"""Answers of stores that do not know the checksum that an upload declares."""
_UNCHECKED: set[StoreAccess] = set()


class UploadGone(Exception):
    """The multipart upload does not exist any more: somebody aborted it."""


class ContentDiffers(Exception):
    """The store found another checksum of the whole object than ours."""


@dataclass(frozen=True)
class HeldPart:
    """A part that an unfinished upload holds.

    Attributes:
        size: Bytes.
        etag: Its ETag.
        checksum: As S3 lists it; empty if it does not.
    """

    size: int
    etag: str
    checksum: str = ""


@dataclass(frozen=True)
class OpenUpload:
    """A multipart upload under way.

    Attributes:
        key: Key of the object that it becomes.
        upload_id: S3's name of it.
        checked: Whether the store checks the whole object's checksum when it is completed.
    """

    key: str
    upload_id: str
    checked: bool = True


def create(planned: PlannedFile, store: StoreAccess, checksum: Checksum) -> OpenUpload:
    """Begin a multipart upload.

    Raises:
        StoreError: The bucket cannot be written.
    """
    from botocore.exceptions import ClientError

    metadata = object_metadata(planned.file, planned.sha256)
    if not planned.sha256:
        del metadata[SHA256_KEY]
    with explained(store, "s3:PutObject"):
        if store not in _UNCHECKED:
            try:
                answer = s3(store).create_multipart_upload(
                    Bucket=store.bucket,
                    Key=planned.key,
                    Metadata=metadata,
                    ChecksumAlgorithm=checksum.name,
                    ChecksumType="FULL_OBJECT",
                )
                return OpenUpload(planned.key, answer["UploadId"], answer.get("ChecksumAlgorithm") == checksum.name)
            except ClientError as error:
                if error_code(error) not in UNKNOWN_CHECKSUM:
                    raise
                _UNCHECKED.add(store)
        answer = s3(store).create_multipart_upload(Bucket=store.bucket, Key=planned.key, Metadata=metadata)
    return OpenUpload(planned.key, answer["UploadId"], checked=False)


def sign_part(upload: OpenUpload, number: int, store: StoreAccess) -> str:
    """An address that takes part `number` (from 1) by PUT, without any AWS key.

    Raises:
        StoreError: There are no valid credentials to sign with.
    """
    with explained(store, "s3:PutObject"):
        query = {"partNumber": str(number), "uploadId": upload.upload_id}
        return sign("PUT", upload.key, store, query=query) or s3(store).generate_presigned_url(
            "upload_part",
            Params={"Bucket": store.bucket, "Key": upload.key, "UploadId": upload.upload_id, "PartNumber": number},
            ExpiresIn=URL_SECONDS,
        )


def sign_put(
    key: str, file: HubFile, sha256: str, store: StoreAccess, checksum: tuple[Checksum, str]
) -> tuple[str, dict[str, str]]:
    """An address that takes a whole verified file by PUT, and the headers to send with it.

    Raises:
        StoreError: There are no valid credentials to sign with.
    """
    metadata = object_metadata(file, sha256)
    parameters: dict[str, Any] = {"Bucket": store.bucket, "Key": key, "Metadata": metadata}
    parameters[checksum[0].parameter] = checksum[1]
    headers = {f"x-amz-meta-{name}": value for name, value in metadata.items()} | {checksum[0].header: checksum[1]}
    with explained(store, "s3:PutObject"):
        url = sign("PUT", key, store, headers=headers) or s3(store).generate_presigned_url(
            "put_object", Params=parameters, ExpiresIn=URL_SECONDS
        )
    return url, headers


def complete(
    planned: PlannedFile, upload: OpenUpload, etags: Mapping[int, str], whole: str, store: StoreAccess
) -> None:
    """Make the object of a verified upload visible.

    Args:
        planned: The file.
        upload: Its upload.
        etags: ETag of each part by its number, from 1.
        whole: Checksum of the whole file as S3 writes it.
        store: Where.

    Raises:
        UploadGone: It was aborted.
        ContentDiffers: The store has other bytes than were sent.
        StoreError: S3 refused.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    parameter = best_checksum().parameter
    request: dict[str, Any] = {
        "Bucket": store.bucket,
        "Key": upload.key,
        "UploadId": upload.upload_id,
        "MultipartUpload": {"Parts": [{"PartNumber": number, "ETag": etags[number]} for number in sorted(etags)]},
    }
    if upload.checked:
        request |= {parameter: whole, "ChecksumType": "FULL_OBJECT"}
    try:
        s3(store).complete_multipart_upload(**request)
    except (BotoCoreError, ClientError) as error:
        # An earlier attempt, or the run before this one, may have succeeded though its answer was lost.
        gone = error_code(error) in {"NoSuchUpload", "InvalidPart", "InvalidPartOrder"}
        if planned.sha256 and completed_digest(planned, store, SETTLE_SECONDS if gone else 0.0):
            return
        if gone:
            raise UploadGone from None
        if error_code(error) in {"BadDigest", "XAmzContentChecksumMismatch"}:
            raise ContentDiffers from None
        raise explain(error, store, "s3:PutObject") from None


def completed_digest(planned: PlannedFile, store: StoreAccess, seconds: float = SETTLE_SECONDS) -> str:
    """SHA-256 of the verified object that an upload has become; empty if there is none after `seconds`.

    Raises:
        StoreError: The bucket cannot be read.
    """
    until = time.monotonic() + seconds
    while not (digest := verified_digest(store, planned.key, planned.file)) and time.monotonic() < until:
        time.sleep(0.2)
    return digest


def abort(upload: OpenUpload, store: StoreAccess) -> None:
    """Throw away an upload and its parts, as far as the store allows it."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        s3(store).abort_multipart_upload(Bucket=store.bucket, Key=upload.key, UploadId=upload.upload_id)
    except (BotoCoreError, ClientError):
        return


def held_parts(upload: OpenUpload, store: StoreAccess, checksum: Checksum) -> dict[int, HeldPart] | None:
    """The parts that an upload holds by their index, from 0; None if there is no such upload.

    Raises:
        StoreError: The bucket cannot be read.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    held: dict[int, HeldPart] = {}
    try:
        pages = s3(store).get_paginator("list_parts")
        for page in pages.paginate(Bucket=store.bucket, Key=upload.key, UploadId=upload.upload_id):
            for part in page.get("Parts", []):
                listed = cast("dict[str, Any]", part)
                held[part["PartNumber"] - 1] = HeldPart(
                    part["Size"], part["ETag"], str(listed.get(checksum.parameter, ""))
                )
    except (BotoCoreError, ClientError) as error:
        if error_code(error) in {"NoSuchUpload", *MISSING}:
            return None
        raise explain(error, store, "s3:ListMultipartUploadParts") from None
    return held


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
