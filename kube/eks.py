"""EKS by name: endpoint and CA from DescribeCluster, and bearer tokens that are presigned STS requests.

A token is ``k8s-aws-v1.`` and the unpadded base64url of a presigned GetCallerIdentity URL whose signature covers the
header ``x-k8s-aws-id`` (the cluster's name). EKS accepts it for 15 minutes (aws-iam-authenticator, "API Authorization
from Outside a Cluster").
"""

import base64
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
)
from botocore.exceptions import (
    ConnectionError as AwsConnectionError,
)

from serving.errors import ClusterError

if TYPE_CHECKING:
    from kubernetes.client.configuration import Configuration

TOKEN_SECONDS = 600
"""Age at which a token is replaced; EKS would accept it for 900 s."""

_CONFIG = Config(connect_timeout=5, read_timeout=15, retries={"mode": "standard", "total_max_attempts": 2})


@dataclass(frozen=True)
class EksCluster:
    """Where an EKS cluster's API is.

    Attributes:
        endpoint: URL of the API server.
        ca: Its certificate authority, PEM.
        region: AWS region that was used.
    """

    endpoint: str
    ca: str
    region: str


class EksTokens:
    """Bearer tokens for one EKS cluster, made when needed. Its repr shows none.

    Args:
        name: Name of the EKS cluster.
        region: AWS region of the cluster.
        session: AWS identity. It is asked for its credentials at each new token, so refreshable ones stay fresh.
    """

    def __init__(self, name: str, region: str, session: boto3.Session) -> None:
        self._name = name
        self._region = region
        self._session = session
        self._lock = threading.Lock()
        self._token = ""
        self._made_at = 0.0

    def refresh(self, configuration: "Configuration") -> None:
        """Put a valid token into the client's configuration: its `refresh_api_key_hook`.

        Raises:
            ClusterError: ``eks.credentials`` if AWS credentials cannot be found or refreshed.
        """
        with self._lock:
            if not self._token or time.monotonic() - self._made_at > TOKEN_SECONDS:
                self._token = self._make()
                self._made_at = time.monotonic()
            configuration.api_key["BearerToken"] = f"Bearer {self._token}"

    def forget(self) -> None:
        """Make the next request get a new token: the API server refused this one."""
        with self._lock:
            self._token = ""

    def _make(self) -> str:
        try:
            client = self._session.client("sts", region_name=self._region, config=_CONFIG)
            client.meta.events.register("before-sign.sts.GetCallerIdentity", self._name_cluster)
            url = client.generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
        except (BotoCoreError, ClientError) as error:
            raise aws_error(error, f"sign in to EKS cluster {self._name}", self._name, self._region) from None
        return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")

    def _name_cluster(self, request: Any, **_: object) -> None:
        request.headers.add_header("x-k8s-aws-id", self._name)


def find_eks_cluster(name: str, region: str, session: boto3.Session) -> EksCluster:
    """Ask EKS where a cluster's API is; see `kube.connect.eks` for arguments and errors."""
    doing = f"look up EKS cluster {name}"
    place = region or session.region_name
    if not place:
        raise ClusterError(
            f"Could not {doing}: no AWS region is given.",
            fix="Name the cluster's region in the cluster block, or set AWS_REGION.",
            code="eks.region_missing",
        )
    try:
        client = session.client("eks", region_name=place, config=_CONFIG)  # type: ignore[call-overload,unused-ignore]
        found = client.describe_cluster(name=name)["cluster"]
    except (BotoCoreError, ClientError) as error:
        raise aws_error(error, doing, name, place) from None
    ca = (found.get("certificateAuthority") or {}).get("data")
    if not found.get("endpoint") or not ca:
        raise ClusterError(
            f"EKS cluster {name} in {place} has no API endpoint yet: its status is {found.get('status', 'unknown')}.",
            fix="Wait until it is ACTIVE (aws eks wait cluster-active), then try again.",
            code="eks.not_ready",
        )
    return EksCluster(endpoint=found["endpoint"], ca=base64.b64decode(ca).decode(), region=place)


def aws_error(error: Exception, doing: str, name: str, region: str) -> ClusterError:
    """Name the cause and the fix of what boto3 raised.

    Args:
        error: A `BotoCoreError` or `ClientError`.
        doing: What was tried, as a verb phrase.
        name: Name of the EKS cluster.
        region: AWS region; may be empty.
    """
    place = f" in {region}" if region else ""
    code = str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""
    if code == "ResourceNotFoundException":
        return ClusterError(
            f"There is no EKS cluster {name}{place} in this AWS account.",
            fix="Check the name, the region and the account (aws eks list-clusters, aws sts get-caller-identity).",
            code="eks.not_found",
        )
    if code.startswith("AccessDenied"):
        return ClusterError(
            f"Could not {doing}{place}: AWS denies it.",
            fix=f"Allow eks:DescribeCluster on cluster/{name} in the IAM policy of this identity.",
            code="eks.denied",
        )
    if isinstance(error, EndpointConnectionError | AwsConnectionError | HTTPClientError):
        return ClusterError(
            f"Could not {doing}{place}: AWS cannot be reached.",
            cause="The region does not exist, or this machine has no way to AWS's endpoints.",
            fix="Check the region's spelling, and the network or VPC endpoints for eks and sts.",
            code="eks.unreachable",
        )
    reason = code or type(error).__name__
    return ClusterError(
        f"Could not {doing}{place}: AWS does not accept the credentials, or there are none ({reason}).",
        fix="Give the cluster block AWS credentials, or set them up for this machine (profile, role, SSO login).",
        code="eks.credentials",
    )
