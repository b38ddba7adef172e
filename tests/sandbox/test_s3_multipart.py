"""Multipart uploads on the sandbox's S3: parts, their checksums, and what Complete refuses."""

import base64
import functools
import hashlib
import zlib
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from sandbox import s3_checksums
from sandbox.s3 import S3Server, serve_s3
from sandbox.s3_checksums import ALGORITHMS

BODIES = (bytes(range(256)) * (5 << 12), b"tail")
WHOLE = b"".join(BODIES)
checksum = functools.cache(s3_checksums.checksum)


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with serve_s3() as server:
        yield server


@pytest.fixture(scope="module")
def client(s3: S3Server) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=s3.url,
        region_name=s3.region,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
        config=Config(retries={"max_attempts": 0}, request_checksum_calculation="when_required"),
    )


def upload(client: Any, key: str, algorithm: str = "", **create: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if algorithm:
        create["ChecksumAlgorithm"] = algorithm
    made = client.create_multipart_upload(Bucket="models", Key=key, **create)
    target = {"Bucket": "models", "Key": key, "UploadId": made["UploadId"]}
    parts = []
    for number, body in enumerate(BODIES, 1):
        sums = {f"Checksum{algorithm}": checksum(algorithm.lower(), body)} if algorithm else {}
        answer = client.upload_part(PartNumber=number, Body=body, **target, **sums)
        parts.append({"PartNumber": number, "ETag": answer["ETag"], **sums})
    return target, parts


def refused(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response["Error"]
    return f"{error['Code']}: {error['Message']}"


@pytest.mark.parametrize("algorithm", ["", "CRC32", "CRC32C", "SHA1", "SHA256"])
def test_part_by_part(client: Any, algorithm: str) -> None:
    target, parts = upload(client, f"composite-{algorithm}", algorithm)
    answer = client.complete_multipart_upload(MultipartUpload={"Parts": parts}, **target)
    key = {"Bucket": "models", "Key": target["Key"]}
    assert client.get_object(**key)["Body"].read() == WHOLE
    if algorithm:
        digests = b"".join(ALGORITHMS[algorithm.lower()](body) for body in BODIES)
        expected = checksum(algorithm.lower(), digests) + "-2"
        assert answer[f"Checksum{algorithm}"] == expected
        assert client.head_object(ChecksumMode="ENABLED", **key)[f"Checksum{algorithm}"] == expected


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME"])
def test_the_whole_object(client: Any, algorithm: str) -> None:
    target, parts = upload(client, f"whole-{algorithm}", algorithm, ChecksumType="FULL_OBJECT")
    name, value = f"Checksum{algorithm}", checksum(algorithm.lower(), WHOLE)
    wrong = {name: checksum(algorithm.lower(), b"something else")}
    done = {"MultipartUpload": {"Parts": parts}, **target}
    assert refused(client.complete_multipart_upload, **done, **wrong).startswith("BadDigest")
    assert refused(client.complete_multipart_upload, **done, MpuObjectSize=5).startswith("InvalidRequest")
    assert client.complete_multipart_upload(**done, **{name: value}, MpuObjectSize=len(WHOLE))[name] == value
    found = client.head_object(Bucket="models", Key=target["Key"], ChecksumMode="ENABLED")
    assert (found[name], found["ChecksumType"]) == (value, "FULL_OBJECT")


def test_a_part_has_to_bring_the_uploads_checksum(client: Any) -> None:
    target, _ = upload(client, "declared", "SHA256")
    part = {"PartNumber": 3, "Body": b"x", **target}
    other = {"ChecksumSHA1": checksum("sha1", b"x")}
    assert "expected checksum Type: sha256, actual checksum Type: null" in refused(client.upload_part, **part)
    assert "actual checksum Type: sha1" in refused(client.upload_part, **part, **other)
    undeclared, _ = upload(client, "undeclared")
    assert "expected checksum Type: null, actual checksum Type: sha1" in refused(
        client.upload_part, **{**part, **undeclared}, **other
    )
    assert refused(client.upload_part, **part, ChecksumSHA256=checksum("sha256", b"y")).startswith("BadDigest")


def test_kinds_that_do_not_exist(client: Any) -> None:
    create = {"Bucket": "models", "Key": "k"}
    for algorithm, kind in (("SHA256", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE")):
        answer = refused(client.create_multipart_upload, ChecksumAlgorithm=algorithm, ChecksumType=kind, **create)
        assert f"The {kind} checksum type cannot be used with the {algorithm.lower()} checksum algorithm" in answer


def test_complete_refuses_a_list_that_is_not_what_was_uploaded(client: Any, s3: S3Server) -> None:
    target, parts = upload(client, "refused", "SHA256")

    def answer(listed: list[dict[str, Any]]) -> str:
        return refused(client.complete_multipart_upload, MultipartUpload={"Parts": listed}, **target)

    bare = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in parts]
    assert "It was missing for part 1" in answer(bare)
    assert answer([{**parts[0], "ChecksumSHA256": parts[1]["ChecksumSHA256"]}, parts[1]]).startswith("InvalidPart:")
    assert answer([{**parts[0], "ETag": parts[1]["ETag"]}, parts[1]]).startswith("InvalidPart:")
    assert answer(parts[::-1]).startswith("InvalidPartOrder")
    assert answer([]).startswith("MalformedXML")
    assert "refused" not in s3.keys("models")
    assert "refused" in s3.unfinished("models")
    client.abort_multipart_upload(**target)
    assert answer(parts).startswith("NoSuchUpload")


def test_parts_that_are_too_small(client: Any) -> None:
    made = client.create_multipart_upload(Bucket="models", Key="small")
    target = {"Bucket": "models", "Key": "small", "UploadId": made["UploadId"]}
    etags = [client.upload_part(PartNumber=number, Body=b"x", **target)["ETag"] for number in (1, 2)]
    parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
    answer = refused(client.complete_multipart_upload, MultipartUpload={"Parts": parts}, **target)
    assert answer.startswith("EntityTooSmall")


def test_completing_is_conditional_and_can_be_repeated(client: Any) -> None:
    target, parts = upload(client, "conditional")
    client.put_object(Bucket="models", Key="conditional", Body=b"already there")
    done = {"MultipartUpload": {"Parts": parts}, **target}
    assert refused(client.complete_multipart_upload, IfNoneMatch="*", **done).startswith("PreconditionFailed")
    client.delete_object(Bucket="models", Key="conditional")
    first = client.complete_multipart_upload(IfNoneMatch="*", **done)
    assert client.complete_multipart_upload(**done)["ETag"] == first["ETag"]


def test_uploads_and_their_parts_can_be_found_again(client: Any) -> None:
    target, parts = upload(client, "found/again")
    uploads = client.list_multipart_uploads(Bucket="models", Prefix="found/")["Uploads"]
    assert [one["UploadId"] for one in uploads] == [target["UploadId"]]
    listed = client.list_parts(**target)["Parts"]
    assert [(part["ETag"], part["Size"]) for part in listed] == [
        (part["ETag"], len(body)) for part, body in zip(parts, BODIES, strict=True)
    ]


@given(st.binary(max_size=9000))
def test_crc32_by_lanes_is_crc32(data: bytes) -> None:
    crc32 = s3_checksums.Crc(32, 0xEDB88320)
    assert s3_checksums.digest(crc32, data) == zlib.crc32(data).to_bytes(4, "big")


def test_check_values_of_the_algorithms() -> None:
    data = b"123456789"
    assert base64.b64decode(checksum("crc32c", data)).hex() == "e3069283"
    assert base64.b64decode(checksum("crc64nvme", data)).hex() == "ae8b14860a799888"
    assert base64.b64decode(checksum("sha256", data)) == hashlib.sha256(data).digest()
