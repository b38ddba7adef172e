"""Signature Version 4, read from a request and checked, as the services do before anything else.

Source: the SigV4 description in the S3 API reference (authenticating requests: Authorization header and query
parameters).
"""

import calendar
import hashlib
import hmac
import re
import time
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote

from sandbox.http_messages import Request

_HEADER = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/,]+)/(?P<date>\d{8})/(?P<region>[^/,]*)/(?P<service>[^/,]+)/aws4_request,"
    r"\s*SignedHeaders=(?P<headers>[^,]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)
_SCOPE = re.compile(r"(?P<key>[^/]+)/(?P<date>\d{8})/(?P<region>[^/]*)/(?P<service>[^/]+)/aws4_request")


@dataclass(frozen=True)
class Signature:
    """What a signed request says of itself.

    Attributes:
        signed_at: Seconds since the epoch.
        valid_seconds: How long a presigned address is good for; 0 if the signature is in a header.
        token: Session token of temporary credentials; empty if none.
    """

    access_key: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str = field(repr=False)
    moment: str
    signed_at: float
    valid_seconds: int
    token: str = field(repr=False)

    @property
    def presigned(self) -> bool:
        """Whether it stands in the query."""
        return self.valid_seconds > 0


def read_signature(request: Request) -> Signature | None:
    """The request's signature; None if it has none that can be read."""
    query = {name: values[0] for name, values in request.query.items()}
    if query.get("X-Amz-Algorithm") == "AWS4-HMAC-SHA256":
        scope = _SCOPE.fullmatch(query.get("X-Amz-Credential", ""))
        moment, headers, signature = query.get("X-Amz-Date", ""), query.get("X-Amz-SignedHeaders", ""), ""
        signature, valid = query.get("X-Amz-Signature", ""), query.get("X-Amz-Expires", "0")
        token = query.get("X-Amz-Security-Token", "")
    else:
        scope = _HEADER.fullmatch(request.headers.get("Authorization", "").strip())
        headers, signature = (scope["headers"], scope["signature"]) if scope else ("", "")
        moment, valid, token = (
            request.headers.get("X-Amz-Date", ""),
            "0",
            request.headers.get("X-Amz-Security-Token", ""),
        )
    if scope is None or not re.fullmatch(r"\d{8}T\d{6}Z", moment) or not valid.isdigit():
        return None
    return Signature(
        access_key=scope["key"],
        date=scope["date"],
        region=scope["region"],
        service=scope["service"],
        signed_headers=tuple(headers.split(";")),
        signature=signature,
        moment=moment,
        signed_at=calendar.timegm(time.strptime(moment, "%Y%m%dT%H%M%SZ")),
        valid_seconds=int(valid),
        token=token,
    )


def is_signed_by(request: Request, found: Signature, secret_key: str) -> bool:
    """Whether the signature is the one that this secret makes for this request."""
    scope = f"{found.date}/{found.region}/{found.service}/aws4_request"
    canonical = "\n".join(
        [
            request.method,
            request.path or "/",
            _canonical_query(request.raw_query),
            *(f"{name}:{' '.join(request.headers.get(name.title(), '').split())}" for name in found.signed_headers),
            "",
            ";".join(found.signed_headers),
            _payload_hash(request, found),
        ]
    )
    text = f"AWS4-HMAC-SHA256\n{found.moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{secret_key}".encode()
    for part in (found.date, found.region, found.service, "aws4_request", text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.compare_digest(key.hex(), found.signature)


def _payload_hash(request: Request, found: Signature) -> str:
    if found.service != "s3":
        return hashlib.sha256(request.body).hexdigest()
    return request.headers.get("X-Amz-Content-Sha256") or "UNSIGNED-PAYLOAD"


def _canonical_query(raw: str) -> str:
    pairs = parse_qsl(raw, keep_blank_values=True)
    encoded = [(quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in pairs]
    return "&".join(f"{name}={value}" for name, value in sorted(encoded) if name != "X-Amz-Signature")
