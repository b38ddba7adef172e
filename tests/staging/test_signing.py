"""Addresses signed here are the ones that boto3 signs."""

from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from staging.signing import sign
from staging.store import StoreAccess, s3

SESSIONS = [boto3.Session("AKID", "secret", token, region_name="eu-west-1") for token in (None, "a/token=with+signs")]
KEYS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20).map(lambda text: f"org/{text}x")


def facts(url: str) -> tuple[tuple[str, ...], Mapping[str, list[str]]]:
    """What an address says, apart from the order of its parameters."""
    parts = urlsplit(url)
    return parts[:3], parse_qs(parts.query)


def assert_same(store: StoreAccess, key: str, upload: str) -> None:
    part = {"Bucket": store.bucket, "Key": key, "UploadId": upload, "PartNumber": 7}
    put = {"Bucket": store.bucket, "Key": key, "Metadata": {"sha256": "ab", "git-blob": "cd"}, "ChecksumCRC32": "AA=="}
    headers = {"x-amz-meta-sha256": "ab", "x-amz-meta-git-blob": "cd", "x-amz-checksum-crc32": "AA=="}
    while True:
        ours = [
            sign("PUT", key, store, query={"partNumber": "7", "uploadId": upload}),
            sign("PUT", key, store, headers=headers),
        ]
        theirs = [
            s3(store).generate_presigned_url("upload_part", Params=part, ExpiresIn=3600),
            s3(store).generate_presigned_url("put_object", Params=put, ExpiresIn=3600),
        ]
        if len({facts(str(url))[1]["X-Amz-Date"][0] for url in ours + theirs}) == 1:
            break
    assert [facts(str(url)) for url in ours] == [facts(url) for url in theirs]


@pytest.mark.parametrize("session", SESSIONS, ids=["keys", "token"])
@pytest.mark.parametrize("bucket", ["models", "with.dots"])
@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:9000", "https://minio.example:443", "https://host/base"])
def test_the_same_address_on_every_kind_of_store(session: boto3.Session, bucket: str, endpoint: str) -> None:
    store = StoreAccess(bucket=bucket, session=session, endpoint_url=endpoint)
    assert_same(store, "staged/org/model/a b+c~é'(1).safetensors", "up/load=id+~")


@given(key=KEYS, upload=st.text("abcXYZ019-_.~/+= ", min_size=1, max_size=10))
def test_the_same_address_for_every_key(key: str, upload: str) -> None:
    assert_same(StoreAccess(bucket="models", session=SESSIONS[1], endpoint_url="http://127.0.0.1:9000"), key, upload)
