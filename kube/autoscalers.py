"""Whether something adds nodes to a cluster for pods that wait."""

from kube.connect import Cluster
from kube.discovery import has_kind
from kube.read import get
from serving.errors import ClusterError


def adds_nodes(cluster: Cluster) -> bool:
    """Whether Karpenter (EKS Auto Mode too) or the cluster autoscaler does, as far as these credentials can see."""
    try:
        if has_kind(cluster, "karpenter.sh/v1", "NodePool"):
            return True
        return get(cluster, "v1", "ConfigMap", "cluster-autoscaler-status", "kube-system") is not None
    except ClusterError:
        return False  # not there, or not ours to see
