"""The S3 bucket that models are staged into: how to reach it, whether it can be written, and what its errors mean."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from serving.errors import StoreError
from staging.layout import JOURNALS, Layout, base

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_s3 import S3Client

    from staging.session import CommandSession

MISSING = frozenset({"404", "NoSuchKey", "NotFound"})


@dataclass(frozen=True, kw_only=True)
class StoreAccess:
    """How to reach a bucket.

    Attributes:
        bucket: Bucket name.
        session: Where credentials come from; they refresh by themselves.
        prefix: Key prefix below which models are staged; empty for the bucket's root.
        region: Region that the bucket is expected in; empty leaves it to the session.
        endpoint_url: Address of an S3-compatible store; empty for Amazon S3.
        layout: `commit` keeps every commit beside the others; `flat` has one commit at a time.
    """

    bucket: str
    session: boto3.Session | CommandSession = field(repr=False)
    prefix: str = ""
    region: str = ""
    endpoint_url: str = ""
    layout: Layout = Layout.COMMIT

    @property
    def expected_region(self) -> str:
        """The region that requests are signed for."""
        return self.region or self.session.region_name or "us-east-1"


@lru_cache(maxsize=16)
def s3(store: StoreAccess, attempts: int = 5) -> S3Client:
    """A thread-safe client: plain bodies, since several S3-compatible stores keep the framing of signed chunks.

    Args:
        store: The bucket.
        attempts: How often one request is made at most.
    """
    from botocore.config import Config

    # Each session would read S3's model, some 1.5 MB of JSON, for itself.
    store.session._session.register_component("data_loader", _models())
    return store.session.client(
        "s3",
        region_name=store.expected_region,
        endpoint_url=store.endpoint_url or None,
        config=Config(
            signature_version="s3v4",
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if store.endpoint_url else "auto"},
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=5,
            read_timeout=60,
            max_pool_connections=64,
        ),
    )


@cache
def _models() -> object:
    """What describes AWS's services to botocore, read once for all sessions."""
    from botocore.loaders import Loader
    from botocore.session import get_session

    class Models(Loader):
        def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002
            """All of them: botocore opens some four hundred folders to see which have a file of this type, 12 ms."""
            return sorted({name for path in self.search_paths if os.path.isdir(path) for name in os.listdir(path)})

    extra: str | None = get_session().get_config_variable("data_path")
    return Models([os.path.expanduser(os.path.expandvars(path)) for path in extra.split(os.pathsep)] if extra else [])


def check_store(store: StoreAccess) -> None:
    """Prove that the bucket exists, lies where it is expected and can be written, leaving nothing behind.

    The proof of writing is a multipart upload that is created and aborted.

    Raises:
        StoreError: ``store.bucket_missing``, ``store.access_denied``, ``store.wrong_region``,
            ``store.unreachable``, ``store.no_credentials``, ``store.bad_credentials`` or
            ``store.expired_credentials``.
    """
    client = s3(store, attempts=2)
    with explained(store, "s3:ListBucket"):
        # A refused HEAD has no body and so no reason: list first, then ask for the region.
        client.list_objects_v2(Bucket=store.bucket, Prefix=base(store.prefix), MaxKeys=1)
        actual = client.head_bucket(Bucket=store.bucket).get("BucketRegion", "")
    if actual and actual != store.expected_region and not (store.endpoint_url and not store.region):
        raise wrong_region(store, actual)
    key = f"{base(store.prefix)}{JOURNALS}write-check"
    with explained(store, "s3:PutObject"):
        upload = client.create_multipart_upload(Bucket=store.bucket, Key=key)["UploadId"]
    with explained(store, "s3:AbortMultipartUpload"):
        client.abort_multipart_upload(Bucket=store.bucket, Key=key, UploadId=upload)


@contextlib.contextmanager
def explained(store: StoreAccess, action: str) -> Iterator[None]:
    """Turn what boto3 raises inside the block into a `StoreError`.

    Args:
        store: The bucket in question.
        action: IAM action that the block needs, named when access is denied.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise explain(error, store, action) from None


def error_code(error: BaseException) -> str:
    """S3's code of a `ClientError`, for example ``NoSuchKey``; the exception's name for anything else."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", ""))
    return type(error).__name__


def explain(error: BaseException, store: StoreAccess, action: str) -> StoreError:
    """What a failed S3 request means and what to do about it."""
    code = error_code(error)
    response = getattr(error, "response", None)
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}) if isinstance(response, dict) else {}
    actual = headers.get("x-amz-bucket-region", "")
    if code in {"301", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"} or (
        actual and actual != store.expected_region
    ):
        return wrong_region(store, actual)
    return by_code(code, store, action, str(error))


def wrong_region(store: StoreAccess, actual: str) -> StoreError:
    """The error for a bucket that lies in another region than the configured one."""
    where = f"lies in {actual}" if actual else "lies in another region"
    return StoreError(
        f"The bucket {store.bucket} {where}, but the model store is set to {store.expected_region}.",
        cause="Pods that read across regions are slow and cost transfer fees.",
        fix=f"Set the model store's region to {actual or 'that of the bucket'}, or use a bucket in "
        f"{store.expected_region}.",
        code="store.wrong_region",
    )


def by_code(code: str, store: StoreAccess | None, action: str, detail: str = "") -> StoreError:
    """As `explain`, from S3's error code (or the name of boto3's exception) alone.

    Args:
        code: The code.
        store: The bucket; None if only a signed address is known.
        action: IAM action that the request needs.
        detail: What else is known.
    """
    if store is None:
        return _by_code(code, "the model store", "the bucket", "", "its region", action, detail)
    where, name = f"s3://{store.bucket}/{base(store.prefix)}", f"the bucket {store.bucket}"
    return _by_code(code, where, name, store.endpoint_url, store.expected_region, action, detail)


def _by_code(
    code: str, where: str, bucket: str, endpoint_url: str, region: str, action: str, detail: str
) -> StoreError:
    if code in {"NoSuchBucket", *MISSING}:
        at = f" at {endpoint_url}" if endpoint_url else ""
        return StoreError(
            f"{bucket[0].upper()}{bucket[1:]} does not exist{at}.",
            cause="The name is misspelled, or it was deleted or belongs to another account's partition.",
            fix=f"Create it in {region}, or correct the bucket in the model store.",
            code="store.bucket_missing",
        )
    if code in {"403", "AccessDenied", "AllAccessDisabled", "AccountProblem", "Forbidden"}:
        return StoreError(
            f"Access to {where} was denied ({action}).",
            cause="The credentials' IAM policy, the bucket's policy or an encryption key's policy does not allow it.",
            fix=f"Allow {action} on {where}* (s3:ListBucket on the bucket) for the role of these credentials.",
            code="store.access_denied",
        )
    if code in {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"} or (
        code in {"UnauthorizedSSOTokenError", "SSOTokenLoadError", "TokenRetrievalError"}
    ):
        return StoreError(
            f"The AWS credentials for {where} have expired.",
            cause="They were temporary and nothing renews them.",
            fix="Sign in again, or give the block a role that refreshes itself, and start the run again.",
            code="store.expired_credentials",
        )
    if code in {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}:
        return StoreError(
            f"There are no AWS credentials to write to {where}.",
            cause="Neither the block nor the environment, profile or pod identity has any.",
            fix="Set credentials in the model store's AWS credentials block, or an IAM role for this pod.",
            code="store.no_credentials",
        )
    if code in {
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidToken",
        "InvalidSecurity",
        "InvalidClientTokenId",
    }:
        return StoreError(
            f"The AWS credentials for {where} are not valid ({code}).",
            cause="The key was deleted or copied incompletely, or belongs to another store.",
            fix="Save valid credentials in the model store's AWS credentials block.",
            code="store.bad_credentials",
        )
    if code in {"SlowDown", "503", "ServiceUnavailable", "InternalError", "500", "RequestTimeout", "OperationAborted"}:
        return StoreError(
            f"S3 kept answering {code} for {where}.",
            cause="The bucket's partition is overloaded or S3 has a fault.",
            fix="Start the run again in a few minutes: it continues where this one stopped.",
            code="store.unavailable",
        )
    if code == "RequestTimeTooSkewed":
        return StoreError(
            f"S3 refuses requests to {where}: this machine's clock is wrong.",
            fix="Set the clock (NTP) and start the run again.",
            code="store.clock_skew",
        )
    return StoreError(
        f"The store of {where} cannot be used: {detail or code}".rstrip(".") + ".",
        cause=f"The request that needs {action} failed" + (f" at {endpoint_url}." if endpoint_url else "."),
        fix="Check the endpoint URL, the region and that this machine may reach it.",
        code="store.unreachable",
    )
