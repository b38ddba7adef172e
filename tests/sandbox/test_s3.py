"""The sandbox's S3 and STS, asked by the real boto3: what the services refuse, and how."""

import base64
import gc
import hashlib
import http.client
import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

from sandbox.faults import LoseAnswer, Reset, Status
from sandbox.s3 import S3Credential, S3Server, internal_error, serve_s3, slow_down


@pytest.fixture(scope="module")
def shared() -> Iterator[S3Server]:
    with serve_s3(("models",), region="eu-west-1") as server:
        yield server


@pytest.fixture
def s3(shared: S3Server) -> Iterator[S3Server]:
    yield shared
    shared.faults.clear()
    shared.requests.clear()
    shared.remove_bucket("models")
    shared.create_bucket("models")


def client(s3: S3Server, who: S3Credential | None = None, service: str = "s3", region: str = "", **config: Any) -> Any:
    who = who or s3.owner
    made: BaseClient = boto3.client(
        service,  # type: ignore[call-overload]
        endpoint_url=s3.url,
        region_name=region or s3.region,
        aws_access_key_id=who.access_key,
        aws_secret_access_key=who.secret_key,
        aws_session_token=who.token or None,
        config=Config(
            retries={"max_attempts": 0}, **({"signature_version": "s3v4"} if service == "s3" else {}), **config
        ),
    )
    return made


def refusal(call: Any, **arguments: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"].get("Message", "")


def b64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def raw(method: str, url: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    connection.request(method, f"{parts.path}?{parts.query}", body, headers)
    answer = connection.getresponse()
    result = answer.status, answer.read()
    connection.close()
    return result


def test_objects_come_back_under_any_name(s3: S3Server) -> None:
    key = "org/a model/ü+&=~.txt"
    client(s3).put_object(Bucket="models", Key=key, Body=b"hello", Metadata={"commit": "abc"})
    found = client(s3).get_object(Bucket="models", Key=key, Range="bytes=1-3")
    assert found["Body"].read() == b"ell"
    assert client(s3).head_object(Bucket="models", Key=key)["Metadata"] == {"commit": "abc"}
    assert client(s3).list_objects_v2(Bucket="models", Prefix="org/")["Contents"][0]["Key"] == key
    assert s3.keys("models") == [key]


def test_servers_side_by_side_share_nothing(s3: S3Server) -> None:
    client(s3).put_object(Bucket="models", Key="mine", Body=b"1")
    with serve_s3(("models",)) as other:
        assert client(other).list_objects_v2(Bucket="models")["KeyCount"] == 0
        assert refusal(client(other, s3.owner).list_objects_v2, Bucket="models")[1] == "InvalidAccessKeyId"
    assert s3.keys("models") == ["mine"]


def test_reading_only(s3: S3Server) -> None:
    client(s3).put_object(Bucket="models", Key="k", Body=b"1")
    assert client(s3, s3.reader).get_object(Bucket="models", Key="k")["Body"].read() == b"1"
    status, code, message = refusal(client(s3, s3.reader).put_object, Bucket="models", Key="org/k", Body=b"")
    assert (status, code) == (403, "AccessDenied")
    assert '/reader is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::models/org/k"' in message
    assert refusal(client(s3, s3.reader).create_multipart_upload, Bucket="models", Key="k")[1] == "AccessDenied"


def test_nothing_allowed(s3: S3Server) -> None:
    denied = client(s3, s3.denied)
    assert refusal(denied.head_bucket, Bucket="models")[:2] == (403, "403")
    assert refusal(denied.list_objects_v2, Bucket="models")[:2] == (403, "AccessDenied")
    assert refusal(denied.list_objects_v2, Bucket="nothing")[:2] == (404, "NoSuchBucket")
    assert client(s3, s3.denied, "sts").get_caller_identity()["Arn"] == s3.denied.arn


def test_a_policy_on_a_prefix(s3: S3Server) -> None:
    stager = s3.add_credential("stager", allow=("s3:PutObject",), resources=("arn:aws:s3:::models/org/*",))
    client(s3, stager).put_object(Bucket="models", Key="org/k", Body=b"")
    assert refusal(client(s3, stager).put_object, Bucket="models", Key="other/k", Body=b"")[1] == "AccessDenied"
    s3.remove_credential(stager.access_key)
    assert refusal(client(s3, stager).put_object, Bucket="models", Key="org/k", Body=b"")[1] == "InvalidAccessKeyId"


def test_signatures_are_checked(s3: S3Server) -> None:
    forged = replace(s3.owner, secret_key="guessed")
    assert refusal(client(s3, forged).list_objects_v2, Bucket="models")[:2] == (403, "SignatureDoesNotMatch")
    assert refusal(client(s3, forged, "sts").get_caller_identity)[:2] == (403, "SignatureDoesNotMatch")
    assert raw("GET", f"{s3.url}/models")[0] == 403
    status, body = raw("GET", f"{s3.url}/models", Authorization=f"AWS {s3.access_key}:c2lnbmF0dXJl")
    assert (status, b"InvalidRequest" in body) == (400, True)


def test_presigned_parts_need_no_credentials_and_end(s3: S3Server) -> None:
    owner = client(s3)
    upload = owner.create_multipart_upload(Bucket="models", Key="k")["UploadId"]
    part = {"Bucket": "models", "Key": "k", "UploadId": upload, "PartNumber": 1}
    url = owner.generate_presigned_url("upload_part", Params=part, ExpiresIn=60)
    assert raw("PUT", url, b"content")[0] == 200
    assert [one["Size"] for one in owner.list_parts(Bucket="models", Key="k", UploadId=upload)["Parts"]] == [7]
    assert b"SignatureDoesNotMatch" in raw("PUT", url.replace("partNumber=1", "partNumber=2"), b"x")[1]
    old = url.replace("X-Amz-Expires=60", "X-Amz-Expires=1").replace("X-Amz-Date=2026", "X-Amz-Date=2025")
    status, body = raw("PUT", old, b"x")
    assert (status, b"Request has expired" in body) == (403, True)


def test_wrong_region_is_named_as_s3_names_it(s3: S3Server) -> None:
    s3.create_bucket("faraway", region="ap-south-1")
    assert client(s3, region="us-west-2").list_objects_v2(Bucket="models")["KeyCount"] == 0  # boto3 corrects itself
    assert [request.status for request in s3.requests] == [400, 200]
    assert client(s3).list_objects_v2(Bucket="faraway")["KeyCount"] == 0
    assert [request.status for request in s3.requests] == [400, 200, 301, 200]
    assert client(s3, region="us-west-2").head_bucket(Bucket="models")["BucketRegion"] == "eu-west-1"
    for bucket, region, status, word in (
        ("models", "us-west-2", 400, b"AuthorizationQueryParametersError"),
        ("faraway", "eu-west-1", 301, b"PermanentRedirect"),
    ):
        url = client(s3, region=region).generate_presigned_url("list_objects_v2", Params={"Bucket": bucket})
        answer = raw("GET", url)
        assert (answer[0], word in answer[1]) == (status, True)


def test_sessions_from_sts_work_until_they_expire(s3: S3Server) -> None:
    sts = client(s3, service="sts")
    role = sts.assume_role(RoleArn="arn:aws:iam::123456789012:role/stager", RoleSessionName="test")["Credentials"]
    session = S3Credential("", "", role["AccessKeyId"], role["SecretAccessKey"], role["SessionToken"])
    client(s3, session).put_object(Bucket="models", Key="k", Body=b"1")
    assert ":assumed-role/stager/test" in client(s3, session, "sts").get_caller_identity()["Arn"]
    assert (
        refusal(client(s3, replace(session, token="other")).get_object, Bucket="models", Key="k")[1] == "InvalidToken"
    )
    s3.expire_sessions()
    assert refusal(client(s3, session).get_object, Bucket="models", Key="k")[:2] == (400, "ExpiredToken")
    assert refusal(client(s3, session, "sts").get_caller_identity)[:2] == (403, "ExpiredToken")
    assert refusal(client(s3, replace(s3.owner, access_key="AKIAUNKNOWN"), "sts").get_caller_identity)[1] == (
        "InvalidClientTokenId"
    )


def test_a_body_that_is_not_what_it_says_is_refused(s3: S3Server) -> None:
    put = {"Bucket": "models", "Key": "k", "Body": b"right"}
    wrong = hashlib.sha256(b"wrong").digest()
    assert refusal(client(s3).put_object, ChecksumSHA256=b64(wrong), **put)[:2] == (400, "BadDigest")
    md5 = b64(hashlib.md5(b"wrong").digest())
    assert refusal(client(s3).put_object, ContentMD5=md5, **put)[:2] == (400, "BadDigest")
    assert refusal(client(s3).put_object, ContentMD5="bm8=", **put)[:2] == (400, "InvalidDigest")
    url = client(s3).generate_presigned_url("put_object", Params={"Bucket": "models", "Key": "k"})
    for headers, word in (
        ({"x-amz-checksum-crc32": "AAAAAA=="}, b"BadDigest"),
        ({"x-amz-checksum-crc32": "AAAA"}, b"InvalidRequest"),
        ({"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-sha256": b64(wrong)}, b"Multiple checksum"),
    ):
        status, body = raw("PUT", url, b"right", **headers)
        assert (status, word in body) == (400, True)
    assert s3.keys("models") == []


def test_conditional_writes(s3: S3Server) -> None:
    put = {"Bucket": "models", "Key": "k", "Body": b"1", "IfNoneMatch": "*"}
    client(s3).put_object(**put)
    assert refusal(client(s3).put_object, **put)[:2] == (412, "PreconditionFailed")


def test_a_bucket_can_vanish_and_be_made(s3: S3Server) -> None:
    owner = client(s3)
    upload = owner.create_multipart_upload(Bucket="models", Key="k")["UploadId"]
    assert s3.unfinished("models") == ["k"]
    s3.remove_bucket("models")
    part = {"Bucket": "models", "Key": "k", "UploadId": upload, "PartNumber": 1, "Body": b"x"}
    assert refusal(owner.upload_part, **part)[:2] == (404, "NoSuchBucket")
    assert refusal(owner.head_bucket, Bucket="models")[0] == 404
    owner.create_bucket(Bucket="models", CreateBucketConfiguration={"LocationConstraint": s3.region})
    assert refusal(owner.upload_part, **part)[:2] == (404, "NoSuchUpload")


def test_faults(s3: S3Server) -> None:
    owner = client(s3)
    s3.faults.add(slow_down(), operation="PutObject")
    assert refusal(owner.put_object, Bucket="models", Key="k", Body=b"1")[:2] == (503, "SlowDown")
    owner.put_object(Bucket="models", Key="k", Body=b"1")
    s3.faults.add(Reset(), path="/models/k", method="GET")
    with pytest.raises(ConnectionClosedError):
        owner.get_object(Bucket="models", Key="k")
    s3.faults.add(Status(418), operation="HeadBucket", times=2)
    assert [refusal(owner.head_bucket, Bucket="models")[0] for _ in range(2)] == [418, 418]
    owner.head_bucket(Bucket="models")


def test_a_lost_answer_leaves_the_object(s3: S3Server) -> None:
    s3.faults.add(LoseAnswer(), operation="PutObject")
    with pytest.raises(ConnectionClosedError):
        client(s3).put_object(Bucket="models", Key="k", Body=b"1")
    assert s3.keys("models") == ["k"]


def test_complete_can_fail_with_status_200(s3: S3Server) -> None:
    owner = client(s3)
    upload = owner.create_multipart_upload(Bucket="models", Key="k")["UploadId"]
    etag = owner.upload_part(Bucket="models", Key="k", UploadId=upload, PartNumber=1, Body=b"1")["ETag"]
    complete = {"Bucket": "models", "Key": "k", "UploadId": upload}
    complete["MultipartUpload"] = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    s3.faults.add(internal_error(status=200), operation="CompleteMultipartUpload")
    assert refusal(owner.complete_multipart_upload, **complete)[1] == "InternalError"
    assert s3.keys("models") == []
    owner.complete_multipart_upload(**complete)
    assert s3.keys("models") == ["k"]


def test_the_log_holds_no_credential(s3: S3Server) -> None:
    client(s3).list_objects_v2(Bucket="models", Prefix="org/")
    url = client(s3).generate_presigned_url("get_object", Params={"Bucket": "models", "Key": "k"})
    raw("GET", url)
    assert [(request.operation, request.query) for request in s3.requests] == [
        ("ListObjectsV2", "list-type=2&prefix=org/"),
        ("GetObject", ""),
    ]
    assert s3.secret_key not in repr(s3.requests) + repr(s3.owner)
    assert "Signature" not in repr(s3.requests)


def test_what_nobody_can_read_any_more_takes_no_memory(s3: S3Server) -> None:
    asked = client(s3)
    upload = asked.create_multipart_upload(Bucket="models", Key="parts")["UploadId"]
    asked.upload_part(Bucket="models", Key="parts", UploadId=upload, PartNumber=1, Body=b"part")
    asked.put_object(Bucket="models", Key="whole", Body=b"first")
    kept = [weakref.ref(one) for one in (s3._moto.upload("models", upload), s3._moto.object("models", "whole")) if one]
    assert len(kept) == 2
    asked.abort_multipart_upload(Bucket="models", Key="parts", UploadId=upload)
    asked.put_object(Bucket="models", Key="whole", Body=b"second")
    gc.collect()
    assert [one() for one in kept] == [None, None]
