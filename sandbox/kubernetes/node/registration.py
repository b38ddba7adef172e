"""A node's own object: how it registers, and what its status says."""

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.controllers.meta import Obj, timestamp
from sandbox.kubernetes.controllers.recorder import Recorder
from sandbox.kubernetes.node.config import NodeConfig
from sandbox.kubernetes.node.network import KUBELET_PORT
from sandbox.kubernetes.resources import NODES

VERSION = "v1.36.2"
HEALTHY = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)
LOST = ("NodeStatusUnknown", "Kubelet stopped posting node status.")


def register(cluster: Cluster, config: NodeConfig, address: str) -> None:
    """Create the node's object, or bring one that exists up to date, and report it ready or lost."""
    node: Obj = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": config.name, "labels": node_labels(config)},
        "spec": {"taints": [dict(taint) for taint in config.taints]} if config.taints else {},
    }
    if cluster.get(NODES, "", config.name) is None:
        cluster.create(NODES, node, manager="kubelet")
    report(cluster, config, address, ready=config.ready)


def report(cluster: Cluster, config: NodeConfig, address: str, *, ready: bool) -> None:
    """Write the node's status: by its kubelet when it is ready, by the control plane when it is lost."""

    def change(one: Obj) -> None:
        one["status"] = node_status(config, address, one.get("status", {}), ready=ready)

    manager = "kubelet" if ready else "kube-controller-manager"
    before = cluster.get(NODES, "", config.name)
    after = cluster.update(NODES, "", config.name, change, manager=manager, subresource="status")
    if ready and after and before and not _is_ready(before):
        text = f"Node {config.name} status is now: NodeReady"
        Recorder(cluster, "kubelet", config.name).normal(after, "NodeReady", text)


def node_labels(config: NodeConfig) -> dict[str, str]:
    """The labels that every node carries, and the node's own."""
    return {
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": config.name,
        "kubernetes.io/os": "linux",
        **config.labels,
    }


def node_status(config: NodeConfig, address: str, before: Obj, *, ready: bool) -> Obj:
    """The node's status; conditions that stay as they were keep the time of their last turn."""
    old = {one["type"]: one for one in before.get("conditions") or []}
    capacity = {"pods": "110", **config.capacity}
    return {
        **before,
        "capacity": capacity,
        "allocatable": capacity,
        "addresses": [
            {"type": "InternalIP", "address": address},
            {"type": "Hostname", "address": config.name},
        ],
        "conditions": [_condition(kind, good, old.get(kind), ready=ready) for kind, *good in HEALTHY],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": KUBELET_PORT}},
        "nodeInfo": {
            "machineID": "",
            "systemUUID": "",
            "bootID": "",
            "kernelVersion": "",
            "osImage": "inference-flows sandbox",
            "containerRuntimeVersion": "processes://1",
            "kubeletVersion": VERSION,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": "amd64",
        },
    }


def _condition(kind: str, good: list[str], old: Obj | None, *, ready: bool) -> Obj:
    status, reason, message = good if ready else ("Unknown", *LOST)
    moment = timestamp()
    turned = moment if old is None or old["status"] != status else old["lastTransitionTime"]
    beat = moment if ready or old is None else old["lastHeartbeatTime"]
    return {
        "type": kind,
        "status": status,
        "lastHeartbeatTime": beat,
        "lastTransitionTime": turned,
        "reason": reason,
        "message": message,
    }


def _is_ready(node: Obj) -> bool:
    conditions = node.get("status", {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
