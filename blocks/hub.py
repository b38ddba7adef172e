"""Access to the Hugging Face Hub, saved as a Prefect block."""

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, SecretStr

from blocks.references import Referable, described_once
from staging.hub import HubAccess

DEFAULT_ENDPOINT = "https://huggingface.co"


class HuggingFaceHub(Referable, Block):
    """Token and address of the Hugging Face Hub.

    Attributes:
        token: User access token; only gated and private repositories need one.
        endpoint: Address of the Hub; another one for a mirror.
    """

    _required_in_schema = "endpoint"
    _block_type_name = "Hugging Face Hub"
    _block_type_slug = "hugging-face-hub"
    _description = "Token and address of the Hugging Face Hub: staging reads models with it, pods get it as a Secret."

    model_config = ConfigDict(json_schema_extra=described_once)

    token: SecretStr | None = Field(
        default=None,
        title="Access token",
        description="A token with read access. Only gated and private models need one.",
    )
    endpoint: str = Field(
        default=DEFAULT_ENDPOINT,
        pattern=r"^https?://[^\s/]+(/\S*)?$",
        title="Endpoint",
        description="Address of the Hub, for a mirror or an enterprise Hub.",
    )

    def access(self) -> HubAccess:
        """Returns the access that staging takes."""
        return HubAccess(endpoint=self.endpoint.rstrip("/"), token=self.token)
