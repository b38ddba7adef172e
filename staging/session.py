"""AWS credentials of the command line, without boto3: importing it takes as long as a second run of a staging."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.session import Session

if TYPE_CHECKING:
    from botocore.credentials import Credentials


class CommandSession:
    """What staging needs of a `boto3.Session`.

    Args:
        profile: Name of an AWS profile; None for the default chain.

    Raises:
        ProfileNotFound: There is none of this name.
    """

    def __init__(self, profile: str | None = None) -> None:
        self._session = Session(profile=profile)
        self._session.get_scoped_config()

    @property
    def region_name(self) -> str | None:
        """Region of the environment or the profile."""
        region: str | None = self._session.get_config_variable("region")
        return region

    def get_credentials(self) -> Credentials | None:
        """Credentials that refresh by themselves; None if there are none."""
        found: Credentials | None = self._session.get_credentials()
        return found

    def client(self, service_name: str, **settings: Any) -> Any:
        """A client, as `boto3.Session.client` makes it."""
        return self._session.create_client(service_name, **settings)
