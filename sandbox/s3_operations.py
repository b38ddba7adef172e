"""Which S3 operation a request is, on what, and which permission it needs."""

from dataclasses import dataclass
from urllib.parse import unquote

from sandbox.http_messages import Request

_OBJECT = {
    "GET": (("uploadId", "ListParts"), ("tagging", "GetObjectTagging"), ("", "GetObject")),
    "HEAD": (("", "HeadObject"),),
    "PUT": (("partNumber", "UploadPart"), ("tagging", "PutObjectTagging"), ("", "PutObject")),
    "POST": (("uploads", "CreateMultipartUpload"), ("uploadId", "CompleteMultipartUpload"), ("", "PostObject")),
    "DELETE": (("uploadId", "AbortMultipartUpload"), ("tagging", "DeleteObjectTagging"), ("", "DeleteObject")),
}
_BUCKET = {
    "GET": (
        ("location", "GetBucketLocation"),
        ("uploads", "ListMultipartUploads"),
        ("versioning", "GetBucketVersioning"),
        ("versions", "ListObjectVersions"),
        ("lifecycle", "GetBucketLifecycleConfiguration"),
        ("policy", "GetBucketPolicy"),
        ("list-type", "ListObjectsV2"),
        ("", "ListObjects"),
    ),
    "HEAD": (("", "HeadBucket"),),
    "PUT": (
        ("versioning", "PutBucketVersioning"),
        ("lifecycle", "PutBucketLifecycleConfiguration"),
        ("policy", "PutBucketPolicy"),
        ("", "CreateBucket"),
    ),
    "POST": (("delete", "DeleteObjects"), ("", "PostObject")),
    "DELETE": (("", "DeleteBucket"),),
}
_PERMISSION = {
    "HeadObject": "GetObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "PostObject": "PutObject",
    "DeleteObjects": "DeleteObject",
    "HeadBucket": "ListBucket",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListObjectVersions": "ListBucketVersions",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListParts": "ListMultipartUploadParts",
    "ListBuckets": "ListAllMyBuckets",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
}


@dataclass(frozen=True)
class Operation:
    """One S3 operation. `bucket` and `key` are decoded; empty if it has none."""

    name: str
    bucket: str = ""
    key: str = ""

    @property
    def action(self) -> str:
        """The IAM action that allows it."""
        return "s3:" + _PERMISSION.get(self.name, self.name)

    @property
    def resource(self) -> str:
        """The ARN that a policy names."""
        return f"arn:aws:s3:::{self.bucket or '*'}" + (f"/{self.key}" if self.key else "")


def operation(request: Request) -> Operation:
    """The operation behind a path-style request."""
    bucket, _, key = unquote(request.path).lstrip("/").partition("/")
    if not bucket:
        return Operation("ListBuckets")
    choices = (_OBJECT if key else _BUCKET).get(request.method, (("", request.method),))
    name = next(name for marker, name in choices if not marker or marker in request.query)
    if name == "PutObject" and "X-Amz-Copy-Source" in request.headers:
        name = "CopyObject"
    return Operation(name, bucket, key)
