"""Ways to a cluster: a kubeconfig, the pod's own service account, or EKS by name. Each gives a `Cluster`."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit, urlunsplit

from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration
from kubernetes.config.config_exception import ConfigException
from kubernetes.config.incluster_config import InClusterConfigLoader

from kube.kubeconfig import load_kubeconfig
from serving.errors import ClusterError

if TYPE_CHECKING:
    import boto3

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its service account's token, CA and namespace."""

USER_AGENT = "inference-flows"
POOL_SIZE = 32
"""Connections kept open per cluster: a watch holds one for each kind that it follows."""


@dataclass(frozen=True, eq=False)
class Cluster:
    """A connection to one cluster, safe to share between threads. Close it, or use it in a `with` block.

    Attributes:
        api_client: The kubernetes client's transport: authentication, TLS, pooled connections.
        server: Address of the API server for messages, without credentials.
        namespace: Where namespaced objects go that name no namespace.
        name: What people call the cluster: the kubeconfig's context, the EKS cluster, ``in-cluster``.
        renew: Gets fresh credentials after the API server refused the present ones; None if there is no way.
        discovered: What `kube.discovery` found out about the API, by path.
    """

    api_client: ApiClient = field(repr=False)
    server: str
    namespace: str = "default"
    name: str = ""
    renew: Callable[[], None] | None = field(default=None, repr=False)
    discovered: dict[str, Any] = field(default_factory=dict, repr=False)

    def close(self) -> None:
        """Close all connections."""
        self.api_client.close()  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def from_kubeconfig(
    source: str | Path | Mapping[str, Any] | None = None, context: str = "", *, namespace: str = ""
) -> Cluster:
    """Connect as a kubeconfig says.

    Args:
        source: Path (several joined by ``:`` as in KUBECONFIG), the YAML text itself, or its parsed contents;
            None means KUBECONFIG, or else ``~/.kube/config``. A file is read again when its token is refused.
        context: Name of the context; empty means the current one.
        namespace: Overrides the context's default namespace.

    Raises:
        ClusterError: ``cluster.kubeconfig`` if it is missing or wrong, ``cluster.credentials`` if its credential
            command fails. Nothing of its contents but names appears in the text.
    """
    configuration = _configuration()
    loaded = load_kubeconfig(source, context, configuration)

    def read_again() -> None:
        fresh = _configuration()
        load_kubeconfig(source, context, fresh)
        configuration.api_key.update(fresh.api_key)
        configuration.refresh_api_key_hook = fresh.refresh_api_key_hook

    renew = read_again if loaded.renewable else None
    return _connected(configuration, namespace or loaded.namespace or "default", loaded.context, renew)


def in_cluster(
    *, namespace: str = "", directory: Path = SERVICE_ACCOUNT, environ: Mapping[str, str] | None = None
) -> Cluster:
    """Connect from inside a pod, as its service account. The token is read again as the kubelet rotates it.

    Args:
        namespace: Overrides the pod's own namespace.
        directory: Where the service account is mounted.
        environ: Holds KUBERNETES_SERVICE_HOST and _PORT; the process's environment by default.

    Raises:
        ClusterError: ``cluster.not_in_cluster`` if this is no pod or has no service account token.
    """
    configuration = _configuration()
    loader = InClusterConfigLoader(  # type: ignore[no-untyped-call]
        token_filename=str(directory / "token"),
        cert_filename=str(directory / "ca.crt"),
        environ=os.environ if environ is None else environ,
    )
    try:
        loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
    except ConfigException as error:
        raise ClusterError(
            f"This process cannot reach a cluster from inside: {str(error).rstrip('.')}.",
            cause="It does not run in a pod, or its pod mounts no service account token.",
            fix="Run it in a pod with a service account, or give the cluster block a kubeconfig or an EKS cluster.",
            code="cluster.not_in_cluster",
        ) from None
    own = directory / "namespace"
    pods = own.read_text().strip() if own.is_file() else ""
    return _connected(configuration, namespace or pods or "default", "in-cluster")


def eks(name: str, region: str = "", session: "boto3.Session | None" = None, *, namespace: str = "") -> Cluster:
    """Connect to an EKS cluster with AWS credentials alone: no kubeconfig, no aws command line.

    Args:
        name: Name of the EKS cluster.
        region: AWS region; empty means the session's.
        session: AWS identity; None means the default chain (Pod Identity, IRSA, profile, environment). It is asked for
            its credentials at each new token, about every ten minutes.
        namespace: Default namespace; ``default`` if empty.

    Raises:
        ClusterError: ``eks.not_found``, ``eks.denied``, ``eks.not_ready``, ``eks.credentials``, ``eks.unreachable``,
            ``eks.region_missing``.
    """
    import boto3  # takes its time, and other clusters do not need it

    from kube.eks import EksTokens, find_eks_cluster

    session = session or boto3.Session()
    found = find_eks_cluster(name, region, session)
    configuration = _configuration()
    configuration.host = found.endpoint
    configuration.ca_cert_data = found.ca
    tokens = EksTokens(name, found.region, session)
    tokens.refresh(configuration)
    configuration.refresh_api_key_hook = tokens.refresh  # type: ignore[assignment]
    return _connected(configuration, namespace or "default", name, renew=tokens.forget)


def _configuration() -> Configuration:
    configuration = Configuration(
        retries=False,  # kube.transport retries, knowing which requests may be repeated
        connection_pool_maxsize=POOL_SIZE,
    )
    configuration.keep_alive = True
    return configuration


def _connected(
    configuration: Configuration, namespace: str, name: str, renew: Callable[[], None] | None = None
) -> Cluster:
    client = ApiClient(configuration)
    client.user_agent = USER_AGENT
    return Cluster(client, server=_without_credentials(configuration.host), namespace=namespace, name=name, renew=renew)


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
