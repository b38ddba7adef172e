"""Who has a token of the sandbox's Hub."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class HubUser:
    """Someone with a token.

    Attributes:
        grants: Gated repositories that the user was granted; ``*`` for all.
        namespaces: Organizations whose private repositories the user sees.
        expired: The token was valid once.
    """

    name: str
    token: str = field(repr=False)
    grants: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    expired: bool = False


READER = HubUser("sandbox-reader", "hf_sandboxReaderTokenWithAccess", frozenset({"*"}), frozenset({"sandbox"}))
"""Was granted every gated repository, and sees the private ones of the organization `sandbox`."""
STRANGER = HubUser("sandbox-stranger", "hf_sandboxTokenWithoutAccess")
"""Has a valid token, and nothing was granted."""
EXPIRED = HubUser("sandbox-expired", "hf_sandboxTokenThatHasExpired", expired=True)
