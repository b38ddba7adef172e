"""Where staged models live, saved as a Prefect block."""

from typing import Any

from prefect.blocks.core import Block
from prefect_aws import AwsCredentials
from pydantic import ConfigDict, Field, SerializationInfo, SerializerFunctionWrapHandler, field_serializer

from blocks.aws import session_of
from blocks.references import Referable, described_once
from staging.store import StoreAccess

MASK = "********"


class ModelStore(Referable, Block):
    """S3 bucket that holds staged models.

    Attributes:
        bucket: Bucket name.
        prefix: Key prefix of all staged models; empty for the bucket's root.
        region: Region of the bucket; by default that of the credentials.
        endpoint_url: Only for an S3-compatible store; the pods get it too.
        credentials: Who stages. Empty fields mean boto3's default chain (Pod Identity, IRSA, profile, environment).
    """

    _required_in_schema = "bucket"
    _secret_in_schema = ("credentials.aws_session_token",)
    _block_type_name = "Model Store"
    _block_type_slug = "model-store"
    _description = "S3 bucket and prefix that hold staged models, and the identity that writes them."

    model_config = ConfigDict(json_schema_extra=described_once)

    bucket: str = Field(
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", title="Bucket", description="Name alone, without s3://"
    )
    prefix: str = Field(
        default="", pattern=r"^[^/\s]*(/[^/\s]+)*/?$", title="Prefix", description="Key prefix, for example models"
    )
    region: str = Field(default="", title="Region", description="Region of the bucket; by default the credentials'")
    endpoint_url: str = Field(
        default="",
        pattern=r"^(https?://\S+)?$",
        title="Endpoint URL",
        description="Only for an S3-compatible store; leave empty on AWS.",
    )
    credentials: AwsCredentials = Field(
        default_factory=AwsCredentials,
        title="AWS credentials",
        description="Who stages; secrets are not shown again. All empty: Pod Identity, IRSA, profile or environment.",
    )

    @field_serializer("credentials", mode="wrap")
    def _mask_session_token(
        self, credentials: AwsCredentials, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> Any:
        # prefect-aws keeps the session token as plain text, and a block that is passed to a subflow is written
        # into that run's parameters.
        dumped = handler(credentials)
        secrets_wanted = bool(info.context and info.context.get("include_secrets"))
        if isinstance(dumped, dict) and dumped.get("aws_session_token") and not secrets_wanted:
            dumped["aws_session_token"] = MASK
        return dumped

    def access(self) -> StoreAccess:
        """Returns the access that staging takes."""
        client_endpoint = str(self.credentials.aws_client_parameters.endpoint_url or "")
        return StoreAccess(
            bucket=self.bucket,
            prefix=self.prefix.strip("/"),
            session=session_of(self.credentials, self.region),
            region=self.region or self.credentials.region_name or "",
            endpoint_url=self.endpoint_url or client_endpoint,
        )
