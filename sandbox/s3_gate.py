"""What stands before moto: the checks that S3 and STS make of every request, in their order.

Signature, time, temporary credentials, the bucket's region, permission, the body and its checksums; only then does
moto see the request.
"""

import time
from dataclasses import replace
from urllib.parse import parse_qs

from sandbox.http_messages import Request, Response
from sandbox.s3_credentials import CredentialStore, S3Credential
from sandbox.s3_errors import S3Refusal, StsRefusal, caller_identity
from sandbox.s3_moto import Moto
from sandbox.s3_multipart import MultipartRules
from sandbox.s3_operations import Operation, operation
from sandbox.s3_payload import checked, declared_checksums
from sandbox.s3_signature import Signature, is_signed_by, read_signature

_SKEW_SECONDS = 15 * 60
_UNSIGNED_STS = frozenset({"AssumeRoleWithWebIdentity", "AssumeRoleWithSAML"})


class Gate:
    """Answers for S3 and STS.

    Args:
        moto: Where allowed requests go.
        credentials: Whose requests are allowed.
        region: The region that this address stands for.
    """

    def __init__(self, moto: Moto, credentials: CredentialStore, region: str) -> None:
        self._moto = moto
        self._credentials = credentials
        self._region = region
        self._multipart = MultipartRules(moto)

    def __call__(self, request: Request) -> Response:
        """Answer one request."""
        found = read_signature(request)
        try:
            if (found and found.service == "sts") or _sts_action(request) in _UNSIGNED_STS:
                return self._sts(request, found)
            return self._s3(request, found, operation(request))
        except (S3Refusal, StsRefusal) as refusal:
            answer = refusal.response
            return Response(answer.status, answer.headers) if request.method == "HEAD" else answer

    def _s3(self, request: Request, found: Signature | None, asked: Operation) -> Response:
        region = self._moto.region(asked.bucket) if asked.bucket else None
        if found is None and ("AWSAccessKeyId" in request.query or "Authorization" in request.headers):
            text = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
            raise S3Refusal(400, "InvalidRequest", text)
        if found is None:
            raise S3Refusal(403, "AccessDenied", "Access Denied")
        caller = self._caller(found)
        if asked.bucket and region is None and asked.name != "CreateBucket":
            text = "The specified bucket does not exist"
            raise S3Refusal(404, "NoSuchBucket", text, {"BucketName": asked.bucket})
        self._check_region(found, region or self._region, asked)
        if not is_signed_by(request, found, caller.secret_key):
            raise S3Refusal(
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided. Check your key and"
                " signing method.",
                {"AWSAccessKeyId": found.access_key},
            )
        if not caller.may(asked.action, asked.resource):
            raise S3Refusal(
                403,
                "AccessDenied",
                f"User: {caller.arn} is not authorized to perform: {asked.action} on resource:"
                f' "{asked.resource}" because no identity-based policy allows the {asked.action} action',
            )
        return self._perform(checked(request, of_object=asked.name == "CompleteMultipartUpload"), asked)

    def _caller(self, found: Signature) -> S3Credential:
        caller = self._credentials.get(found.access_key)
        if caller is None:
            text = "The AWS Access Key Id you provided does not exist in our records."
            raise S3Refusal(403, "InvalidAccessKeyId", text, {"AWSAccessKeyId": found.access_key})
        if found.token != caller.token:
            raise S3Refusal(400, "InvalidToken", "The provided token is malformed or otherwise invalid.")
        if caller.expired:
            raise S3Refusal(400, "ExpiredToken", "The provided token has expired.")
        age = time.time() - found.signed_at
        if found.presigned and age > found.valid_seconds:
            raise S3Refusal(403, "AccessDenied", "Request has expired", {"X-Amz-Expires": str(found.valid_seconds)})
        if age < -_SKEW_SECONDS or (not found.presigned and age > _SKEW_SECONDS):
            text = "The difference between the request time and the current time is too large."
            raise S3Refusal(403, "RequestTimeTooSkewed", text)
        return caller

    def _check_region(self, found: Signature, region: str, asked: Operation) -> None:
        if found.region == region:
            return
        header = {"x-amz-bucket-region": region} if asked.bucket else {}
        if found.region == self._region:  # signed for this address, but the bucket is elsewhere
            endpoint = f"{asked.bucket}.s3.{region}.amazonaws.com"
            raise S3Refusal(
                301,
                "PermanentRedirect",
                "The bucket you are attempting to access must be addressed using the specified endpoint. Please send"
                " all future requests to this endpoint.",
                {"Endpoint": endpoint, "Bucket": asked.bucket},
                header,
            )
        what = f"the region '{found.region}' is wrong; expecting '{region}'"
        if found.presigned:
            text = f"Error parsing the X-Amz-Credential parameter; {what}"
            raise S3Refusal(400, "AuthorizationQueryParametersError", text, {"Region": region}, header)
        text = f"The authorization header is malformed; {what}"
        raise S3Refusal(400, "AuthorizationHeaderMalformed", text, {"Region": region}, header)

    def _perform(self, request: Request, asked: Operation) -> Response:
        match asked.name:
            case "CreateMultipartUpload":
                self._multipart.before_create(request)
            case "UploadPart":
                self._multipart.before_part(request, asked)
            case "CompleteMultipartUpload":
                self._multipart.before_complete(request, asked)
        algorithm, value = "", ""
        if asked.name in ("PutObject", "UploadPart"):
            algorithm, value = next(iter(declared_checksums(request).items()), ("", ""))
            if algorithm:  # moto looks for the checksum only if the SDK's own header names the algorithm
                headers = {**request.headers, "X-Amz-Sdk-Checksum-Algorithm": algorithm.upper()}
                request = replace(request, headers=headers)
        response = self._moto(request)
        if response.status >= 300:
            return response
        match asked.name:
            case "CreateMultipartUpload":
                self._multipart.after_create(request, response)
            case "CompleteMultipartUpload":
                return self._multipart.after_complete(request, asked, response)
            case "HeadObject" | "GetObject":
                return self._multipart.after_read(asked, response)
            case "PutObject" if algorithm and (stored := self._moto.object(asked.bucket, asked.key)):
                stored.checksum_algorithm, stored.checksum_value = algorithm.upper(), value
                stored.checksum_type = "FULL_OBJECT"
        return response

    def _sts(self, request: Request, found: Signature | None) -> Response:
        action = _sts_action(request)
        allow: tuple[str, ...] = ("*",)
        if action not in _UNSIGNED_STS:
            caller = self._credentials.get(found.access_key) if found else None
            if found is None or caller is None or caller.token != found.token:
                raise StsRefusal(403, "InvalidClientTokenId", "The security token included in the request is invalid.")
            if caller.expired:
                text = "The security token included in the request is expired"
                raise StsRefusal(403, "ExpiredToken", text)
            if not is_signed_by(request, found, caller.secret_key):
                raise StsRefusal(
                    403,
                    "SignatureDoesNotMatch",
                    "The request signature we calculated does not match the signature you provided. Check your AWS"
                    " Secret Access Key and signing method. Consult the service documentation for details.",
                )
            if action == "GetCallerIdentity":
                return caller_identity(caller.arn, caller.access_key, self._moto.account)
            if not caller.may(f"sts:{action}", "*"):
                text = f"User: {caller.arn} is not authorized to perform: sts:{action}"
                raise StsRefusal(403, "AccessDenied", text)
            allow = caller.allow
        response = self._moto(request)
        if response.status == 200 and isinstance(response.content, bytes):
            self._credentials.learn(response.content, allow)
        return response


def _sts_action(request: Request) -> str:
    """The action of an STS request, from its query or its form; empty if it is none."""
    if request.method == "GET":
        return request.parameter("Action")
    if request.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
        return parse_qs(request.body.decode("latin-1")).get("Action", [""])[0]
    return ""
