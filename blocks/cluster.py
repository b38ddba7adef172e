"""Access to a Kubernetes cluster, saved as a Prefect block."""

import os
from typing import Any, Self

from botocore.exceptions import BotoCoreError
from prefect.blocks.core import Block
from prefect_aws import AwsCredentials
from prefect_kubernetes.credentials import KubernetesClusterConfig, KubernetesCredentials
from pydantic import (
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    field_serializer,
    field_validator,
    model_validator,
)

from blocks.aws import session_of
from blocks.references import Referable, described_once
from kube.connect import Cluster, eks, from_kubeconfig, in_cluster
from kube.eks import aws_error
from serving.spec import DnsLabel

MASK = "********"
_WAYS = "a kubeconfig, an EKS cluster by name, or from inside the cluster"


class InferenceCluster(Referable, Block):
    """Cluster and namespace that endpoints are deployed to.

    Exactly one way to the cluster is chosen: `kubeconfig`, `eks_cluster` or `in_cluster`.

    Attributes:
        kubeconfig: Kubernetes credentials; a bare `KubernetesClusterConfig` is taken too.
        eks_cluster: Name of an EKS cluster; its tokens are made from AWS credentials and renew themselves.
        region: AWS region of the EKS cluster; by default that of the credentials.
        aws_credentials: Who signs in to EKS; by default boto3's chain (Pod Identity, IRSA, profile, environment).
        in_cluster: Whether to connect as the service account of the pod that the flow runs in.
        context: Context of the kubeconfig; by default the one that its block names.
        namespace: Where workloads go that name no namespace.
    """

    _required_in_schema = "namespace"
    _secret_in_schema = ("kubeconfig.cluster_config.config.users", "aws_credentials.aws_session_token")
    _block_type_name = "Inference Cluster"
    _block_type_slug = "inference-cluster"
    _description = (
        "Kubernetes cluster and namespace that endpoints are deployed to: by kubeconfig, as an EKS cluster by name "
        "(AWS credentials alone, tokens renew themselves), or from inside the cluster."
    )

    # A validation error must not quote the kubeconfig.
    model_config = ConfigDict(hide_input_in_errors=True, json_schema_extra=described_once)

    kubeconfig: KubernetesCredentials | None = Field(
        default=None,
        repr=False,
        title="Kubeconfig",
        description="Way 1: saved Kubernetes credentials; its users are not shown again.",
    )
    eks_cluster: str = Field(
        default="",
        pattern=r"^([A-Za-z0-9][A-Za-z0-9_-]{0,99})?$",
        title="EKS cluster",
        description="Way 2: name of an EKS cluster. AWS credentials suffice: no kubeconfig, no aws command.",
    )
    region: str = Field(
        default="",
        pattern=r"^([a-z]{2}(-[a-z]+)+-[0-9])?$",
        title="AWS region",
        description="Region of the EKS cluster, for example us-west-2; by default that of the AWS credentials.",
    )
    aws_credentials: AwsCredentials | None = Field(
        default=None,
        repr=False,
        title="AWS credentials",
        description="Who signs in to EKS; by default Pod Identity, IRSA, profile or environment.",
    )
    in_cluster: bool = Field(
        default=False,
        title="Inside the cluster",
        description="Way 3: the flow runs in a pod of this cluster; its service account is used.",
    )
    context: str = Field(
        default="", title="Context", description="Context of the kubeconfig; by default the one that its block names."
    )
    namespace: DnsLabel = Field(
        default="default", title="Namespace", description="Where workloads go that name no namespace of their own."
    )

    @field_validator("kubeconfig", mode="before")
    @classmethod
    def _wrap_cluster_config(cls, value: object) -> object:
        return KubernetesCredentials(cluster_config=value) if isinstance(value, KubernetesClusterConfig) else value

    @model_validator(mode="after")
    def _exactly_one_way(self) -> Self:
        chosen = [
            name
            for name, given in (
                ("Kubeconfig", self.kubeconfig is not None),
                ("EKS cluster", bool(self.eks_cluster)),
                ("Inside the cluster", self.in_cluster),
            )
            if given
        ]
        if not chosen:
            raise ValueError(f"Choose a way to the cluster: {_WAYS}.")
        if len(chosen) > 1:
            raise ValueError(f"Choose one way to the cluster ({_WAYS}), not {' and '.join(chosen)}.")
        if self.context and self.kubeconfig is None:
            raise ValueError("A context belongs to a kubeconfig: leave it empty, or choose Kubeconfig.")
        if (self.region or self.aws_credentials is not None) and not self.eks_cluster:
            raise ValueError("AWS region and credentials are for an EKS cluster: leave them out, or name the cluster.")
        return self

    @field_serializer("kubeconfig", "aws_credentials", mode="wrap")
    def _mask(self, value: Any, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
        # These blocks keep tokens as plain text, and a block that is passed to a subflow is written into that run's
        # parameters.
        dumped = handler(value)
        return dumped if (info.context or {}).get("include_secrets") else _masked(dumped)

    def connect(self) -> Cluster:
        """Connects; close the result, or use it in a `with` block.

        Raises:
            ClusterError: The kubeconfig, the pod or AWS does not give what is needed. The API server is not asked yet.
        """
        if self.in_cluster:
            return in_cluster(namespace=self.namespace)
        if self.eks_cluster:
            return self._connect_eks()
        config = self.kubeconfig.cluster_config if self.kubeconfig else None
        if config is not None:
            return from_kubeconfig(config.config, self.context or config.context_name, namespace=self.namespace)
        # Kubernetes credentials without a cluster config mean the pod's own, else the default kubeconfig.
        if "KUBERNETES_SERVICE_HOST" in os.environ and not self.context:
            return in_cluster(namespace=self.namespace)
        return from_kubeconfig(None, self.context, namespace=self.namespace)

    def _connect_eks(self) -> Cluster:
        try:
            session = session_of(self.aws_credentials or AwsCredentials(), self.region)
        except BotoCoreError as error:
            raise aws_error(
                error, f"sign in to EKS cluster {self.eks_cluster}", self.eks_cluster, self.region
            ) from None
        return eks(self.eks_cluster, self.region, session, namespace=self.namespace)


def _masked(dumped: Any) -> Any:
    """A serialized credentials block with its plain-text secrets hidden."""
    if not isinstance(dumped, dict):
        return dumped
    masked = dict(dumped)
    if masked.get("aws_session_token"):
        masked["aws_session_token"] = MASK
    cluster = masked.get("cluster_config")
    if isinstance(cluster, dict) and isinstance(cluster.get("config"), dict):
        users = [
            {**user, "user": MASK} if isinstance(user, dict) else MASK for user in cluster["config"].get("users") or []
        ]
        masked["cluster_config"] = {**cluster, "config": {**cluster["config"], "users": users}}
    return masked
