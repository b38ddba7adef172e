"""A Hugging Face Hub on this machine, which the real `huggingface_hub` client accepts.

    with serve_hub(tiny_models.hub_content(cache)) as hub:
        HfApi(endpoint=hub.url, token=hub.token).model_info("Qwen/Qwen3-1.7B")

Metadata comes from `hub.url`; an LFS file's content from a file host on another port, by a signed address that
expires. Small files are redirected within the Hub and compressed on request, as the real one does. Further:

    hub.token, hub.token_without_access, hub.token_expired   the sandbox's users' tokens
    hub.content                     the repositories: `commit`, `move_revision`, `add`, `remove`
    hub.faults, hub.file_faults     faults of the API and of the file host (`sandbox.faults`, `rate_limited()`)
    hub.requests, hub.file_requests what was asked (`RequestRecord`; never a credential)
    hub.expire_urls()               every signed address given out so far answers 403
    hub.url_seconds                 how long addresses given out from now on are valid
"""

import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import quote, urlencode

from sandbox.faults import FaultPlan, Status
from sandbox.http_messages import Request, RequestRecord, Response
from sandbox.http_server import ContentServer
from sandbox.hub_api import HubApi
from sandbox.hub_content import HubContent, HubFile
from sandbox.hub_users import EXPIRED, READER, STRANGER, HubUser


def rate_limited(*, seconds: int = 1) -> Status:
    """The fault that the Hub answers with when a client asks too much.

    Args:
        seconds: After which the client may ask again.
    """
    headers = {
        "Retry-After": str(seconds),
        "RateLimit": f'"resolvers";r=0;t={seconds}',
        "RateLimit-Policy": '"fixed window";"resolvers";q=3000;w=300',
        "Content-Type": "application/json; charset=utf-8",
    }
    text = "We had to rate limit you. To continue using our service, create a HF account or login to your account."
    return Status(429, headers, json.dumps({"error": text}).encode())


class HubServer:
    """A running Hub; see the module's text."""

    def __init__(
        self,
        content: HubContent,
        *,
        port: int = 0,
        users: tuple[HubUser, ...] = (READER, STRANGER, EXPIRED),
        page_size: int = 1000,
    ) -> None:
        self.content = content
        self.url_seconds = 3600.0
        self._blobs: dict[str, bytes | Path] = {}
        self._key = secrets.token_bytes(32)
        self._files = ContentServer(self._serve_file, name="sandbox-files")
        self.api = HubApi(content, users, self._sign, page_size=page_size)
        try:
            self._hub = ContentServer(self.api, port=port, name="sandbox-hub")
        except OSError:
            self._files.close()
            raise

    @property
    def url(self) -> str:
        """The Hub's address, without a trailing slash (`HF_ENDPOINT`)."""
        return self._hub.url

    @property
    def file_url(self) -> str:
        """The file host's address."""
        return self._files.url

    @property
    def token(self) -> str:
        """A token that may read everything."""
        return READER.token

    @property
    def token_without_access(self) -> str:
        """A valid token that was granted no gated repository."""
        return STRANGER.token

    @property
    def token_expired(self) -> str:
        """A token that was valid once."""
        return EXPIRED.token

    @property
    def faults(self) -> FaultPlan:
        """Faults of the API; small files' content too."""
        return self._hub.faults

    @property
    def file_faults(self) -> FaultPlan:
        """Faults of the file host; paths there end with the file's name."""
        return self._files.faults

    @property
    def requests(self) -> list[RequestRecord]:
        """What the API was asked, in the order of the answers' ends."""
        return self._hub.requests

    @property
    def file_requests(self) -> list[RequestRecord]:
        """What the file host was asked."""
        return self._files.requests

    def expire_urls(self) -> None:
        """Make every signed address that was given out so far invalid."""
        self._key = secrets.token_bytes(32)

    def close(self) -> None:
        """Stop both servers at once."""
        self._hub.close()
        self._files.close()

    def _signature(self, path: str, expires: str) -> str:
        return hmac.new(self._key, f"{path}?{expires}".encode(), hashlib.sha256).hexdigest()

    def _sign(self, file: HubFile) -> str:
        # The storage keeps what it once gave an address for, even if the repository goes.
        self._blobs[file.sha256] = file.content
        path = f"/repos/{file.sha256[:2]}/{file.sha256[2:4]}/{file.sha256}/{quote(PurePosixPath(file.path).name)}"
        expires = f"{time.time() + self.url_seconds:.3f}"
        query = {"Expires": expires, "Signature": self._signature(path, expires), "Key-Pair-Id": "SANDBOX"}
        return f"{self._files.url}{path}?{urlencode(query)}"

    def _serve_file(self, request: Request) -> Response:
        found = re.fullmatch(r"/repos/../../([0-9a-f]{64})/([^/]+)", request.path)
        expires = request.parameter("Expires", "0")
        valid = hmac.compare_digest(request.parameter("Signature"), self._signature(request.path, expires))
        if not found or not valid or float(expires) < time.time():
            body = b"<Error><Code>AccessDenied</Code><Message>Access denied</Message></Error>"
            return Response(403, {"Content-Type": "text/xml"}, b'<?xml version="1.0" encoding="UTF-8"?>' + body)
        sha256 = found.group(1)
        headers = {"ETag": f'"{sha256[:32]}-2"', "Content-Type": "application/octet-stream"}
        return Response(200, headers, self._blobs[sha256], ranged=True)


@contextmanager
def serve_hub(content: HubContent, *, port: int = 0, page_size: int = 1000) -> Iterator[HubServer]:
    """Serve a Hub on 127.0.0.1 while the context is open.

    Args:
        content: The repositories; may be changed while it is served.
        port: The API's port; 0 for any free one. The file host always takes a free one.
        page_size: Entries on one page of a tree listing.
    """
    server = HubServer(content, port=port, page_size=page_size)
    try:
        yield server
    finally:
        server.close()
