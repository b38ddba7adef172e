"""An upload's body: undone from its chunked framing, and held against every length and checksum sent with it."""

import base64
import binascii
import hashlib
import re
from dataclasses import replace

from sandbox.http_messages import Request
from sandbox.s3_checksums import ALGORITHMS, checksum
from sandbox.s3_errors import S3Refusal

_HEX = re.compile(r"[0-9a-f]{64}")


def checked(request: Request, *, of_object: bool) -> Request:
    """The request with its plain body.

    Args:
        request: As it came.
        of_object: The checksum headers speak of the whole object (Complete) and not of this body.

    Raises:
        S3Refusal: IncompleteBody, BadDigest and their like; nothing is stored then.
    """
    declared = int(request.headers.get("Content-Length") or 0)
    if len(request.body) < declared:
        raise S3Refusal(
            400, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header"
        )
    _check_payload_hash(request)
    request = _without_chunks(request)
    _check_md5(request)
    for algorithm, value in () if of_object else declared_checksums(request).items():
        _check_checksum(request.body, algorithm, value)
    return request


def declared_checksums(request: Request) -> dict[str, str]:
    """Checksums of the body that came with it, by algorithm."""
    found = {
        algorithm: request.headers[name]
        for algorithm in ALGORITHMS
        if (name := f"X-Amz-Checksum-{algorithm.title()}") in request.headers
    }
    if len(found) > 1:
        raise S3Refusal(
            400,
            "InvalidRequest",
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        )
    return found


def _check_payload_hash(request: Request) -> None:
    expected = request.headers.get("X-Amz-Content-Sha256", "")
    if _HEX.fullmatch(expected) and hashlib.sha256(request.body).hexdigest() != expected:
        raise S3Refusal(
            400,
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        )


def _check_md5(request: Request) -> None:
    expected = request.headers.get("Content-Md5")
    if expected is None:
        return
    try:
        digest = base64.b64decode(expected, validate=True)
    except binascii.Error:
        digest = b""
    if len(digest) != 16:
        raise S3Refusal(400, "InvalidDigest", "The Content-MD5 you specified was invalid.")
    if digest != hashlib.md5(request.body, usedforsecurity=False).digest():
        raise S3Refusal(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")


def _check_checksum(body: bytes, algorithm: str, value: str) -> None:
    try:
        size = len(base64.b64decode(value, validate=True))
    except binascii.Error:
        size = 0
    if size != len(ALGORITHMS[algorithm](b"")):
        raise S3Refusal(400, "InvalidRequest", f"Value for x-amz-checksum-{algorithm} header is invalid.")
    if checksum(algorithm, body) != value:
        raise bad_digest(algorithm)


def bad_digest(algorithm: str) -> S3Refusal:
    """The refusal of a checksum that is not that of the content."""
    return S3Refusal(400, "BadDigest", f"The {algorithm.upper()} you specified did not match the calculated checksum.")


def _without_chunks(request: Request) -> Request:
    if not request.headers.get("X-Amz-Content-Sha256", "").startswith("STREAMING-"):
        return request
    body, trailer = _decode_chunks(request.body)
    expected = request.headers.get("X-Amz-Decoded-Content-Length", "")
    if expected.isdigit() and int(expected) != len(body):
        raise S3Refusal(
            400, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header"
        )
    encodings = [part.strip() for part in request.headers.get("Content-Encoding", "").split(",")]
    kept = ",".join(part for part in encodings if part not in ("", "aws-chunked"))
    headers = {**request.headers, **trailer, "Content-Length": str(len(body))}
    for name in ("X-Amz-Content-Sha256", "X-Amz-Trailer", "X-Amz-Decoded-Content-Length", "Content-Encoding"):
        headers.pop(name, None)
    return replace(request, body=body, headers=headers | ({"Content-Encoding": kept} if kept else {}))


def _decode_chunks(body: bytes) -> tuple[bytes, dict[str, str]]:
    """Content and trailer of an ``aws-chunked`` body. The chunks' own signatures are not checked."""
    content, position = bytearray(), 0
    while True:
        end = body.find(b"\r\n", position)
        size_text = body[position:end].partition(b";")[0] if end >= 0 else b""
        try:
            size = int(size_text, 16)
        except ValueError:
            raise S3Refusal(
                400, "InvalidRequest", "The body of the request is not valid aws-chunked content."
            ) from None
        position = end + 2
        if size == 0:
            break
        content += body[position : position + size]
        position += size + 2
    lines = body[position:].decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if ":" in line)
    return bytes(content), {name.strip().title(): value.strip() for name, _, value in pairs}
