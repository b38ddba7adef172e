"""Answers that S3 and STS give without moto: their errors, with the services' codes, statuses and texts."""

import secrets
from xml.sax.saxutils import escape

from sandbox.faults import Status
from sandbox.http_messages import Response


class S3Refusal(Exception):
    """An error answer of S3.

    Args:
        status: HTTP status.
        code: S3's error code.
        message: S3's text.
        details: Further elements of the body, for example Region.
        headers: Further headers.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.response = _answer(status, code, message, details or {}, headers or {})


def _answer(status: int, code: str, message: str, details: dict[str, str], headers: dict[str, str]) -> Response:
    request_id = secrets.token_hex(8).upper()
    elements = {"Code": code, "Message": message, **details, "RequestId": request_id, "HostId": "sandbox"}
    body = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in elements.items())
    return Response(
        status,
        {"Content-Type": "application/xml", "x-amz-request-id": request_id, "x-amz-id-2": "sandbox", **headers},
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{body}</Error>'.encode(),
    )


class StsRefusal(Exception):
    """An error answer of STS."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        body = (
            '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
            f"<Code>{code}</Code><Message>{escape(message)}</Message></Error>"
            f"<RequestId>{secrets.token_hex(8)}</RequestId></ErrorResponse>"
        )
        self.response = Response(status, {"Content-Type": "text/xml"}, body.encode())


def caller_identity(arn: str, access_key: str, account: str) -> Response:
    """STS's answer to GetCallerIdentity, which moto gives with a name of its own."""
    body = (
        '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
        f"<Arn>{escape(arn)}</Arn><UserId>AIDA{escape(access_key[4:])}</UserId><Account>{account}</Account>"
        "</GetCallerIdentityResult><ResponseMetadata>"
        f"<RequestId>{secrets.token_hex(8)}</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    )
    return Response(200, {"Content-Type": "text/xml"}, body.encode())


def _fault(status: int, code: str, message: str) -> Status:
    answer = _answer(status, code, message, {}, {})
    assert isinstance(answer.content, bytes)
    return Status(status, answer.headers, answer.content)


def slow_down() -> Status:
    """The fault that S3 answers with when a prefix gets too many requests: 503."""
    return _fault(503, "SlowDown", "Please reduce your request rate.")


def internal_error(*, status: int = 500) -> Status:
    """The fault "we encountered an internal error". With status 200 it is how Complete fails after it has begun."""
    return _fault(status, "InternalError", "We encountered an internal error. Please try again.")
