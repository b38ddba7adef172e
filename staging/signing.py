"""Signed addresses of objects, made from few of boto3's: signing thousands of parts through it costs more than sending.

boto3 makes one address for each store: it knows how buckets are addressed and where. The address of any other object
differs in its path and query alone, and is signed here with the same credentials (AWS Signature Version 4).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

from staging.store import StoreAccess, s3

if TYPE_CHECKING:
    from botocore.credentials import Credentials

URL_SECONDS = 3600
"""How long a signed address is good; one that has expired is signed again."""
ALGORITHM = "AWS4-HMAC-SHA256"
_SAMPLE = "sample"


@dataclass(frozen=True)
class _Place:
    """Where a store's objects are.

    Attributes:
        root: Address up to and with the slash before the key.
        host: Host and port, as they are signed.
        path: Path part of `root`.
        scope: Region and service that requests are signed for.
    """

    root: str
    host: str
    path: str
    scope: str


def sign(
    method: str,
    key: str,
    store: StoreAccess,
    *,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> str | None:
    """An address that allows one kind of request for an object, without any AWS key.

    Args:
        method: HTTP method.
        key: The object's key.
        store: Where.
        query: Parameters of the request.
        headers: Headers that must come with it, names in lower case.

    Returns:
        None where boto3 has to sign itself: a kind of bucket with another signature, or no credentials.
    """
    place, credentials = _place(store), store.session.get_credentials()
    if place is None or credentials is None:
        return None
    return _signed(method, key, place, credentials, query or {}, {"host": place.host, **(headers or {})})


def _signed(
    method: str,
    key: str,
    place: _Place,
    credentials: Credentials,
    query: Mapping[str, str],
    headers: Mapping[str, str],
) -> str:
    frozen = credentials.get_frozen_credentials()
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{now[:8]}/{place.scope}/aws4_request"
    names = ";".join(sorted(headers))
    parameters = {
        **query,
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": f"{frozen.access_key}/{scope}",
        "X-Amz-Date": now,
        "X-Amz-Expires": str(URL_SECONDS),
        "X-Amz-SignedHeaders": names,
    }
    if frozen.token:
        parameters["X-Amz-Security-Token"] = frozen.token
    asked = "&".join(f"{_encoded(name)}={_encoded(parameters[name])}" for name in sorted(parameters))
    path = quote(key, safe="/~")
    lines = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in sorted(headers))
    request = f"{method}\n{place.path}{path}\n{asked}\n{lines}\n{names}\nUNSIGNED-PAYLOAD"
    text = f"{ALGORITHM}\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.digest(_day_key(frozen.secret_key, now[:8], place.scope), text.encode(), "sha256").hex()
    return f"{place.root}{path}?{asked}&X-Amz-Signature={signature}"


def _encoded(text: str) -> str:
    return quote(text, safe="-_.~")


@lru_cache(maxsize=16)
def _day_key(secret: str, day: str, scope: str) -> bytes:
    """The key that all requests of a day are signed with."""
    found = f"AWS4{secret}".encode()
    for step in (day, *scope.split("/"), "aws4_request"):
        found = hmac.digest(found, step.encode(), "sha256")
    return found


@lru_cache(maxsize=16)
def _place(store: StoreAccess) -> _Place | None:
    """Found out from an address of boto3's; None if that is signed in another way than here."""
    if store.session.get_credentials() is None:
        return None
    url = s3(store).generate_presigned_url("get_object", Params={"Bucket": store.bucket, "Key": _SAMPLE})
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    known = {"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders"}
    ours = {*known, "X-Amz-Signature", "X-Amz-Security-Token"}
    scope = query.get("X-Amz-Credential", "").split("/")[2:4]
    plain = known <= query.keys() <= ours and query["X-Amz-SignedHeaders"] == "host"
    if not plain or query["X-Amz-Algorithm"] != ALGORITHM or len(scope) != 2 or not parts.path.endswith(_SAMPLE):
        return None
    path = parts.path.removesuffix(_SAMPLE)
    # The Host header leaves the scheme's own port out.
    host = parts.netloc.removesuffix(":443" if parts.scheme == "https" else ":80")
    return _Place(f"{parts.scheme}://{parts.netloc}{path}", host, path, "/".join(scope))
