"""What all handlers work with, and one request to them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from sandbox.kubernetes.api.requests import Target
from sandbox.kubernetes.api.watch import Watches
from sandbox.kubernetes.authn import Tokens, User
from sandbox.kubernetes.authz import Authorizer
from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.deletion import Deleter
from sandbox.kubernetes.resources import Registry, Resource
from sandbox.kubernetes.runtime import NodeRuntime
from sandbox.kubernetes.store import Store
from sandbox.kubernetes.writes import Writer

if TYPE_CHECKING:
    import aiohttp

Manifest = dict[str, Any]


@dataclass
class Backend:
    """The state of one API server.

    Attributes:
        store: Its objects.
        registry: The resources that it serves.
        tokens: Who it knows.
        runtime: The machine that runs its pods; None when nothing does.
        address: Where it listens (`127.0.0.1:6443`).
    """

    store: Store
    registry: Registry
    tokens: Tokens
    runtime: NodeRuntime | None = None
    address: str = ""
    watches: Watches = field(default_factory=Watches)

    def __post_init__(self) -> None:
        self.cluster = Cluster(self.store)
        self.writer = Writer(self.store)
        self.deleter = Deleter(self.store)
        self.authorizer = Authorizer(self.store)
        self._session: aiohttp.ClientSession | None = None

    def session(self) -> "aiohttp.ClientSession":
        """The client with which requests go on to pods; opened when first needed."""
        if self._session is None:
            import aiohttp

            # The backend's answer passes through as it is: no decompression, no redirects followed.
            self._session = aiohttp.ClientSession(
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            )
        return self._session

    async def close(self) -> None:
        """Close connections to pods."""
        if self._session is not None:
            await self._session.close()


@dataclass(frozen=True)
class Call:
    """One authorized request for a served resource.

    Attributes:
        request: The HTTP request.
        target: What its path names.
        resource: The resource that this is.
        user: Who makes it.
        query: Its query parameters.
        body: Its body.
    """

    request: Request
    target: Target
    resource: Resource
    user: User
    query: Mapping[str, str]
    body: bytes

    @property
    def namespace(self) -> str:
        """The namespace in the path; empty for cluster-scoped objects."""
        return self.target.namespace or ""

    @property
    def content_type(self) -> str:
        """The media type of the body, without parameters."""
        return self.request.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def user_agent(self) -> str:
        """What the client calls itself."""
        return self.request.headers.get("user-agent", "")
