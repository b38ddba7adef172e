"""Checksum rules of multipart uploads, which moto does not hold.

An upload has the checksum algorithm that it was created with, or none. Each part has to bring just that one; Complete
has to agree part by part (COMPOSITE), or with the checksum of the whole object (FULL_OBJECT: parts may then have none).
"""

import threading
from dataclasses import dataclass, field
from xml.etree import ElementTree

from sandbox.http_messages import Request, Response
from sandbox.s3_checksums import ALGORITHMS, checksum, composite
from sandbox.s3_errors import S3Refusal
from sandbox.s3_moto import Moto
from sandbox.s3_operations import Operation
from sandbox.s3_payload import bad_digest, declared_checksums

_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


@dataclass
class _Upload:
    algorithm: str
    full_object: bool
    parts: dict[int, str] = field(default_factory=dict)
    verified: str = ""


@dataclass(frozen=True)
class _Part:
    number: int
    etag: str
    checksums: dict[str, str]


class MultipartRules:
    """What has been declared of the uploads of one server."""

    def __init__(self, moto: Moto) -> None:
        self._moto = moto
        self._uploads: dict[str, _Upload] = {}
        self._lock = threading.Lock()

    def before_create(self, request: Request) -> None:
        """Refuse a combination of algorithm and type that S3 does not have."""
        algorithm = request.headers.get("X-Amz-Checksum-Algorithm", "").lower()
        kind = request.headers.get("X-Amz-Checksum-Type", "").upper()
        if algorithm and algorithm not in ALGORITHMS:
            raise S3Refusal(400, "InvalidRequest", "Checksum algorithm provided is unsupported.")
        impossible = {"FULL_OBJECT": ("sha1", "sha256"), "COMPOSITE": ("crc64nvme",)}.get(kind, ())
        if algorithm in impossible:
            text = f"The {kind} checksum type cannot be used with the {algorithm} checksum algorithm."
            raise S3Refusal(400, "InvalidRequest", text)

    def after_create(self, request: Request, response: Response) -> None:
        """Remember a new upload."""
        assert isinstance(response.content, bytes)
        root = ElementTree.fromstring(response.content)  # noqa: S314  (moto's own answer)
        upload_id = root.findtext(f"{_NAMESPACE}UploadId")
        algorithm = request.headers.get("X-Amz-Checksum-Algorithm", "").lower()
        kind = request.headers.get("X-Amz-Checksum-Type", "").upper()
        full_object = kind == "FULL_OBJECT" or (algorithm == "crc64nvme" and not kind)
        with self._lock:
            self._uploads[str(upload_id)] = _Upload(algorithm, full_object)

    def before_part(self, request: Request, operation: Operation) -> None:
        """Refuse a part whose checksum is of another kind than the upload's; remember it otherwise."""
        upload_id = request.parameter("uploadId")
        upload = self._uploads.get(upload_id)
        if upload is None or self._moto.upload(operation.bucket, upload_id) is None:
            raise _no_such_upload(upload_id)
        algorithm, value = next(iter(declared_checksums(request).items()), ("", ""))
        # The SDKs' own default comes unasked, and a whole object's checksum needs none of its parts.
        unasked = (algorithm == "crc32" and not upload.algorithm) or (upload.full_object and not algorithm)
        if algorithm != upload.algorithm and not unasked:
            wanted, given = upload.algorithm or "null", algorithm or "null"
            text = f"Checksum Type mismatch occurred, expected checksum Type: {wanted}, actual checksum Type: {given}"
            raise S3Refusal(400, "InvalidRequest", text)
        with self._lock:
            upload.parts[int(request.parameter("partNumber", "0"))] = value

    def before_complete(self, request: Request, operation: Operation) -> None:
        """Hold the list of parts, the object's size and its checksum against what was uploaded."""
        upload_id = request.parameter("uploadId")
        stored, upload = self._moto.upload(operation.bucket, upload_id), self._uploads.get(upload_id)
        if stored is None or stored.key_name != operation.key or upload is None:
            existing = self._moto.object(operation.bucket, operation.key)
            if existing is not None and existing.multipart is not None and existing.multipart.id == upload_id:
                return  # completing twice is allowed
            raise _no_such_upload(upload_id)
        listed = _parts(request.body)
        numbers = [part.number for part in listed]
        if numbers != sorted(set(numbers)):
            text = "The list of parts was not in ascending order. Parts must be ordered by part number."
            raise S3Refusal(400, "InvalidPartOrder", text)
        self._check_parts(upload, listed)
        values = [stored.parts[number].value for number in numbers if number in stored.parts]
        _check_size(request, sum(map(len, values)))
        given = declared_checksums(request).get(upload.algorithm, "") if upload.full_object else ""
        if given and given != checksum(upload.algorithm, b"".join(values)):
            raise bad_digest(upload.algorithm)
        upload.verified = given

    def _check_parts(self, upload: _Upload, listed: list[_Part]) -> None:
        for part in listed:
            given = part.checksums.get(upload.algorithm, "")
            if upload.algorithm and not upload.full_object and not given:
                raise S3Refusal(
                    400,
                    "InvalidRequest",
                    f"The upload was created using a {upload.algorithm} checksum. The complete request must include the"
                    f" checksum for each part. It was missing for part {part.number} in the request.",
                )
            if given and given != upload.parts.get(part.number):
                raise S3Refusal(
                    400,
                    "InvalidPart",
                    "One or more of the specified parts could not be found.  The part may not have been uploaded, or"
                    " the specified entity tag may not match the part's entity tag.",
                    {"PartNumber": str(part.number), "ETag": part.etag},
                )

    def after_complete(self, request: Request, operation: Operation, response: Response) -> Response:
        """Give the object its true checksum, in moto (which knows not all algorithms) and in the answer."""
        with self._lock:
            upload = self._uploads.pop(request.parameter("uploadId"), None)
        stored = self._moto.object(operation.bucket, operation.key)
        if upload is None or stored is None or not upload.algorithm:
            return response
        parts = _parts(request.body)
        if upload.full_object:
            value, kind = upload.verified or checksum(upload.algorithm, stored.value), "FULL_OBJECT"
        else:
            joined = composite(upload.algorithm, [upload.parts[part.number] for part in parts])
            value, kind = joined, "COMPOSITE"
        stored.checksum_algorithm, stored.checksum_value = upload.algorithm.upper(), value
        stored.checksum_type, stored.checksum_parts = kind, len(parts)
        shown = value if upload.full_object else f"{value}-{len(parts)}"
        name = f"Checksum{upload.algorithm.upper()}"
        assert isinstance(response.content, bytes)
        body = response.content.replace(
            b"</CompleteMultipartUploadResult>",
            f"<{name}>{shown}</{name}><ChecksumType>{kind}</ChecksumType></CompleteMultipartUploadResult>".encode(),
        )
        headers = {name: value for name, value in response.headers.items() if name != "Content-Length"}
        return Response(response.status, headers, body)

    def after_read(self, operation: Operation, response: Response) -> Response:
        """Write a COMPOSITE checksum with its number of parts, and its type, as S3 does on HEAD too."""
        stored = self._moto.object(operation.bucket, operation.key)
        if stored is None or stored.checksum_type is None or not stored.checksum_algorithm:
            return response
        name = f"x-amz-checksum-{stored.checksum_algorithm.lower()}"
        if name not in response.headers:
            return response
        suffix = f"-{stored.checksum_parts}" if stored.checksum_type == "COMPOSITE" else ""
        shown = {name: f"{stored.checksum_value}{suffix}", "x-amz-checksum-type": stored.checksum_type}
        return Response(response.status, {**response.headers, **shown}, response.content)


def _no_such_upload(upload_id: str) -> S3Refusal:
    return S3Refusal(
        404,
        "NoSuchUpload",
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or"
        " completed.",
        {"UploadId": upload_id},
    )


def _check_size(request: Request, computed: int) -> None:
    given = request.headers.get("X-Amz-Mp-Object-Size", "")
    if given and given != str(computed):
        text = f"The provided 'x-amz-mp-object-size' header value {given} does not match what was computed: {computed}"
        raise S3Refusal(400, "InvalidRequest", text)


def _parts(body: bytes) -> list[_Part]:
    try:
        root = ElementTree.fromstring(body)  # noqa: S314  (from this machine's own clients)
    except ElementTree.ParseError:
        root = ElementTree.Element("none")
    parts = []
    for element in root:
        values = {child.tag.rpartition("}")[2]: (child.text or "").strip() for child in element}
        checksums = {name[8:].lower(): value for name, value in values.items() if name.startswith("Checksum")}
        if not values.get("PartNumber", "").isdigit():
            continue
        parts.append(_Part(int(values["PartNumber"]), values.get("ETag", ""), checksums))
    if not parts:
        text = "The XML you provided was not well-formed or did not validate against our published schema"
        raise S3Refusal(400, "MalformedXML", text)
    return parts
