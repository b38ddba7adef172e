"""S3 and STS on this machine: moto, behind the checks of the real services.

    with serve_s3(buckets=("models",)) as s3:
        boto3.client("s3", endpoint_url=s3.url, region_name=s3.region, aws_access_key_id=s3.access_key,
                     aws_secret_access_key=s3.secret_key)

    s3.owner, s3.reader, s3.denied      credentials: everything, reading only, nothing (`S3Credential`)
    s3.access_key, s3.secret_key        the owner's
    s3.add_credential(name, allow=…)    a further one; s3.remove_credential(access_key) deletes one
    s3.expire_sessions()                every temporary credential that STS gave out is expired
    s3.faults                           faults on order (`sandbox.faults`; `slow_down()`, `internal_error()`)
    s3.requests                         what was asked (`RequestRecord`, with `operation`; never a credential)
    s3.create_bucket(name, region=…), s3.remove_bucket(name)    a removed one is gone with all that was in it
    s3.unfinished(bucket), s3.keys(bucket)    uploads that are open; keys that can be read

Checked as the services do: signature and clock, unknown and deleted keys (InvalidAccessKeyId), session tokens
(InvalidToken, ExpiredToken), expired presigned addresses, the bucket's region (301 PermanentRedirect where the request
was signed for this server's region, 400 AuthorizationHeaderMalformed otherwise), permissions with the text that names
the IAM action, Content-MD5, x-amz-content-sha256 and x-amz-checksum-* of bodies and of Complete, conditional writes.
Addresses are path-style. Everything is in memory: it is for small models.
"""

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sandbox.faults import FaultPlan
from sandbox.http_messages import RequestRecord
from sandbox.http_server import ContentServer
from sandbox.s3_credentials import CredentialStore, S3Credential
from sandbox.s3_errors import internal_error, slow_down
from sandbox.s3_gate import Gate
from sandbox.s3_moto import Moto
from sandbox.s3_operations import operation

__all__ = ["S3Credential", "S3Server", "internal_error", "serve_s3", "slow_down"]


class S3Server:
    """A running S3; see the module's text."""

    def __init__(self, *, buckets: Iterable[str] = ("models",), port: int = 0, region: str = "us-east-1") -> None:
        # moto looks into the environment for an account, and botocore, which it uses, for credentials.
        os.environ.pop("MOTO_ACCOUNT_ID", None)
        self.region = region
        self._moto = Moto()
        self._credentials = CredentialStore()
        self.owner = self.add_credential("owner", allow=("*",))
        self.reader = self.add_credential("reader", allow=("s3:Get*", "s3:List*"))
        self.denied = self.add_credential("denied", allow=())
        for bucket in buckets:
            self.create_bucket(bucket)
        gate = Gate(self._moto, self._credentials, region)
        self._server = ContentServer(
            gate, port=port, name="AmazonS3", operation=lambda request: operation(request).name
        )

    @property
    def url(self) -> str:
        """The address of both services, without a trailing slash (`AWS_ENDPOINT_URL`)."""
        return self._server.url

    @property
    def account(self) -> str:
        """Number of the account that owns the buckets."""
        return self._moto.account

    @property
    def access_key(self) -> str:
        """The owner's access key."""
        return self.owner.access_key

    @property
    def secret_key(self) -> str:
        """The owner's secret key."""
        return self.owner.secret_key

    @property
    def faults(self) -> FaultPlan:
        """Faults on order."""
        return self._server.faults

    @property
    def requests(self) -> list[RequestRecord]:
        """What was asked, in the order of the answers' ends."""
        return self._server.requests

    def add_credential(self, name: str, *, allow: Iterable[str], resources: Iterable[str] = ("*",)) -> S3Credential:
        """Make a new key pair.

        Args:
            name: Of the IAM user that errors name.
            allow: Patterns of IAM actions.
            resources: Patterns of ARNs, for example ``arn:aws:s3:::models/org/*``.
        """
        arn = f"arn:aws:iam::{self.account}:user/{name}"
        access_key = "AKIA" + "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(16))
        pair = S3Credential(
            name, arn, access_key, secrets.token_urlsafe(30), allow=tuple(allow), resources=tuple(resources)
        )
        return self._credentials.add(pair)

    def remove_credential(self, access_key: str) -> None:
        """Delete a key pair: its next request is answered InvalidAccessKeyId."""
        self._credentials.remove(access_key)

    def expire_sessions(self) -> None:
        """Let the time of every temporary credential be over."""
        self._credentials.expire_sessions()

    def create_bucket(self, name: str, *, region: str = "") -> None:
        """Make an empty bucket, in the server's region unless another is named."""
        self._moto.create_bucket(name, region or self.region)

    def remove_bucket(self, name: str) -> None:
        """Drop a bucket with all that is in it, uploads under way included."""
        self._moto.remove_bucket(name)

    def keys(self, bucket: str) -> list[str]:
        """Keys of the objects that can be read, sorted."""
        found = self._moto.bucket(bucket)
        return sorted(found.keys.keys()) if found else []

    def unfinished(self, bucket: str) -> list[str]:
        """Keys of the multipart uploads that are neither completed nor aborted."""
        found = self._moto.bucket(bucket)
        return sorted(upload.key_name for upload in found.multiparts.values()) if found else []

    def close(self) -> None:
        """Stop at once and forget everything."""
        self._server.close()
        self._moto.close()


@contextmanager
def serve_s3(buckets: Iterable[str] = ("models",), *, port: int = 0, region: str = "us-east-1") -> Iterator[S3Server]:
    """Serve S3 and STS on 127.0.0.1 while the context is open.

    Args:
        buckets: Buckets that exist from the start.
        port: 0 for any free one.
        region: The region that the address stands for, and of its buckets.
    """
    server = S3Server(buckets=buckets, port=port, region=region)
    try:
        yield server
    finally:
        server.close()
