"""Bearer tokens: who makes a request."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from sandbox.kubernetes.errors import ApiError

ADMINS = "system:masters"
AUTHENTICATED = "system:authenticated"
SERVICE_ACCOUNT = "system:serviceaccount:"


@dataclass(frozen=True)
class User:
    """Who a request is from.

    Attributes:
        name: `system:serviceaccount:NAMESPACE:NAME` for service accounts.
        groups: The user's groups.
        uid: Of service accounts: the account's UID.
    """

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


@dataclass(frozen=True)
class _Token:
    user: User
    expires: float | None = None


def unauthorized() -> ApiError:
    """401: the credentials are wrong or expired."""
    return ApiError(401, "Unauthorized", "Unauthorized")


@dataclass
class Tokens:
    """The bearer tokens that the server accepts; none of them is ever shown."""

    _known: dict[str, _Token] = field(default_factory=dict, repr=False)

    def issue(self, user: str, groups: Sequence[str] = (), *, seconds: float | None = None, uid: str = "") -> str:
        """A new token; one that lasts `seconds` (negative: expired already), or for ever."""
        token = secrets.token_urlsafe(32)
        everyone = tuple(dict.fromkeys([*groups, AUTHENTICATED]))
        expires = None if seconds is None else time.monotonic() + seconds
        self._known[token] = _Token(User(user, everyone, uid), expires)
        return token

    def user(self, authorization: str) -> User:
        """The user of an `Authorization` header; anonymous without one.

        Raises:
            ApiError: 401.
        """
        if not authorization:
            return ANONYMOUS
        scheme, _, token = authorization.partition(" ")
        found = self._known.get(token.strip()) if scheme.lower() == "bearer" else None
        if found is None or (found.expires is not None and found.expires <= time.monotonic()):
            raise unauthorized()
        return found.user
