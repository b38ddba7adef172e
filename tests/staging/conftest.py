"""A Hub and an S3 for the staging tests, and one model that is large enough for several parts."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import boto3
import pytest
from pydantic import SecretStr

from sandbox.hub import HubServer, serve_hub
from sandbox.hub_content import HubContent
from sandbox.s3 import S3Credential, S3Server, serve_s3
from serving.models import ModelSource, PinnedModel
from staging.hub import HubAccess, pin
from staging.retry import Patience
from staging.store import StoreAccess, s3

MIB = 1 << 20
REPO = "org/model"
QUICK = Patience(seconds=3.0, first_wait_seconds=0.02, longest_wait_seconds=0.1, stall_seconds=1.0)
"""Patience for tests: the same behaviour, shorter waits."""


def noise(size: int, seed: int) -> bytes:
    """Bytes that no compression shortens and no two places share, made in half the time of random.randbytes."""
    return hashlib.shake_128(seed.to_bytes(4, "big")).digest(size)


FILES = {
    "config.json": b'{"model_type": "llama"}',
    "empty.txt": b"",
    "nested/deep file.json": b"{}",
    "tokenizer.json": noise(200_000, 3),
    "model-00001-of-00002.safetensors": noise(8 * MIB + 12_345, 1),
    "model-00002-of-00002.safetensors": noise(500_000, 2),
}


@dataclass
class Place:
    """One test's Hub and bucket."""

    hub_server: HubServer
    s3_server: S3Server

    @property
    def hub(self) -> HubAccess:
        return HubAccess(self.hub_server.url, SecretStr(self.hub_server.token))

    @cached_property
    def store(self) -> StoreAccess:
        return self.store_as(self.s3_server.owner)

    def store_as(self, credential: S3Credential, **changes: object) -> StoreAccess:
        session = boto3.Session(
            aws_access_key_id=credential.access_key,
            aws_secret_access_key=credential.secret_key,
            region_name="us-east-1",
        )
        settings: dict[str, object] = {
            "bucket": "models",
            "prefix": "staged",
            "session": session,
            "region": "us-east-1",
            "endpoint_url": self.s3_server.url,
        }
        return StoreAccess(**{**settings, **changes})  # type: ignore[arg-type]

    def pin(self, repo: str = REPO, revision: str = "main") -> PinnedModel:
        return pin(ModelSource(repo_id=repo, revision=revision), self.hub)

    def objects(self) -> list[str]:
        return self.s3_server.keys("models")

    def read(self, key: str) -> bytes:
        body: bytes = s3(self.store).get_object(Bucket="models", Key=key)["Body"].read()
        return body

    def operations(self, since: int = 0) -> list[str]:
        return [record.operation for record in self.s3_server.requests[since:]]

    def assert_clean(self) -> None:
        """Nothing published, nothing unfinished."""
        assert self.objects() == []
        assert self.s3_server.unfinished("models") == []


@pytest.fixture
def place() -> Iterator[Place]:
    content = HubContent()
    content.commit(REPO, FILES)
    with serve_hub(content) as hub, serve_s3() as s3_server:
        yield Place(hub, s3_server)
