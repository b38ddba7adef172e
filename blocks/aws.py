"""A boto3 session whose assumed-role credentials refresh by themselves.

prefect-aws assumes a role once and keeps the result, so a long transfer outlives its credentials (one hour by
default). Identity still comes from its block; only the assumed role is made refreshable here.
"""

import uuid
from datetime import datetime
from typing import Any

import boto3
from botocore.credentials import DeferredRefreshableCredentials
from botocore.session import get_session
from prefect_aws import AwsCredentials


def session_of(credentials: AwsCredentials, region: str = "") -> boto3.Session:
    """Returns a session for the block's identity.

    Args:
        credentials: Keys, profile or, if all are empty, boto3's default chain (Pod Identity, IRSA, instance role).
        region: Region of the session; by default the block's.
    """
    region_name = region or credentials.region_name or None
    if not credentials.assume_role_arn:
        return credentials.model_copy(update={"region_name": region_name}).get_boto3_session()
    return _assumed(credentials, region_name)


def _assumed(credentials: AwsCredentials, region_name: str | None) -> boto3.Session:
    base = credentials.model_copy(update={"assume_role_arn": None})
    request: dict[str, Any] = {
        "RoleSessionName": f"inference-flows-{uuid.uuid4().hex[:8]}",
        **credentials.assume_role_kwargs.get_params_override(),
        "RoleArn": credentials.assume_role_arn,
    }
    overrides = credentials.aws_client_parameters.get_params_override()

    def refresh() -> dict[str, str]:
        endpoint = overrides.get("endpoint_url")
        sts = base.get_boto3_session().client("sts", region_name=region_name, endpoint_url=endpoint)
        fresh = sts.assume_role(**request)["Credentials"]
        expiry: datetime = fresh["Expiration"]
        return {
            "access_key": fresh["AccessKeyId"],
            "secret_key": fresh["SecretAccessKey"],
            "token": fresh["SessionToken"],
            "expiry_time": expiry.isoformat(),
        }

    session = get_session()
    session._credentials = DeferredRefreshableCredentials(refresh_using=refresh, method="assume-role")  # type: ignore[attr-defined]
    return boto3.Session(botocore_session=session, region_name=region_name)
