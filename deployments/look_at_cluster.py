"""The doctor's look at the cluster, with what its block holds."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from blocks.cluster import InferenceCluster
from deployments.findings import Check, failed, guarded, ok, warning
from deployments.rules import NAMESPACE, rights
from kube.access import denied, missing_rights, whoami
from kube.connect import Cluster
from kube.discovery import OPERATORS, has_kind, server_version
from kube.read import ALL_NAMESPACES, get, list_
from serving import nodes as node_rules
from serving.errors import ClusterError
from serving.spec import Accelerator
from tasks.kinds import LEADER_WORKER_SET, NIM_SERVICE, POD_MONITOR, RAY_SERVICE, SCALERS

OPTIONAL = {
    "ray.yaml": RAY_SERVICE,
    "lws.yaml": LEADER_WORKER_SET,
    "nim.yaml": NIM_SERVICE,
    "keda.yaml": SCALERS["keda"],
    "aibrix.yaml": SCALERS["aibrix"],
    "monitoring.yaml": POD_MONITOR,
}
"""Shipped rules that count only where the kind is installed that they are for."""

FOR_WHAT = {
    "ray.yaml": "ray-vllm",
    "lws.yaml": "lws-vllm",
    "nim.yaml": "nim run by its operator",
    "keda.yaml": "autoscaling by KEDA",
    "aibrix.yaml": "autoscaling by AIBrix",
    "monitoring.yaml": "PodMonitors",
}
MOUNTPOINT = "s3.csi.aws.com"
CSI_DRIVER = ("storage.k8s.io/v1", "CSIDriver")


async def cluster_side(block: InferenceCluster) -> list[Check]:
    """Connects as runs do, and looks at what they need."""

    async def look() -> list[Check]:
        return await asyncio.to_thread(_look, block)

    return await guarded("cluster", look)


def _look(block: InferenceCluster) -> list[Check]:
    with block.connect() as cluster:
        version = server_version(cluster)
        who = whoami(cluster) or "these credentials"
        checks = [
            ok("cluster", f"Kubernetes {version.git_version or f'{version.major}.{version.minor}'} answers {who}.")
        ]
        checks += _namespace(cluster, block.namespace)
        installed = {file: has_kind(cluster, *kind) for file, kind in OPTIONAL.items()}
        checks += _permissions(cluster, block.namespace, installed)
        checks += _operators(installed)
        checks += _machines(cluster)
        return [*checks, *_mountpoint(cluster)]


def _namespace(cluster: Cluster, namespace: str) -> list[Check]:
    try:
        if get(cluster, "v1", "Namespace", namespace) is None:
            return [failed("namespace", f"{namespace} does not exist.", f"kubectl create namespace {namespace}")]
    except ClusterError as error:
        if error.code != "cluster.forbidden":
            raise
        return []  # told among the permissions
    return [ok("namespace", f"{namespace} exists.")]


def _permissions(cluster: Cluster, namespace: str, installed: dict[str, bool]) -> list[Check]:
    wanted = [
        replace(one.permission, namespace=namespace) if one.permission.namespace == NAMESPACE else one.permission
        for one in rights()
        if installed.get(one.file, True)
    ]
    missing = denied(cluster, wanted)
    if not missing:
        return [ok("permissions", f"All {len(set(wanted))} rights of deployments/rbac are granted.")]
    return [
        failed("permissions", f"{may_not(error)}", f"{error.fix} Or: kubectl apply -k deployments/rbac")
        for error in missing_rights(missing)
    ]


def may_not(error: ClusterError) -> str:
    """What a refused right means, as a sentence."""
    said = error.what.partition(": ")[2]
    return f"{said[:1].upper()}{said[1:]}"


def _operators(installed: dict[str, bool]) -> Iterator[Check]:
    for file, there in installed.items():
        group = OPTIONAL[file][0].partition("/")[0]
        name, how = OPERATORS[group]
        if there:
            yield ok("operator", f"{name} is installed.")
        else:
            yield warning("operator", f"{name} is not installed: no {FOR_WHAT[file]}.", f"If wanted: {how}")


def _machines(cluster: Cluster) -> Iterator[Check]:
    try:
        nodes: list[dict[str, Any]] = list_(cluster, "v1", "Node", ALL_NAMESPACES)
    except ClusterError as error:
        if error.code != "cluster.forbidden":
            raise
        yield warning("nodes", "Nodes may not be listed: accelerators were not looked for.", error.fix)
        return
    found = {
        accelerator: sum(int(node_rules.allocatable(node, accelerator.resource)) for node in nodes)
        for accelerator in (Accelerator.GPU, Accelerator.NEURON)
    }
    if any(found.values()):
        counted = ", ".join(f"{count} {one.resource}" for one, count in found.items() if count)
        yield ok("accelerators", f"{counted} on {len(nodes)} nodes.")
    elif has_kind(cluster, "karpenter.sh/v1", "NodePool"):
        yield warning("accelerators", "No node has one now; Karpenter may add nodes that have.")
    else:
        fix = "Add GPU or Neuron nodes, and the NVIDIA or Neuron device plugin where they are (docs/eks.md)."
        yield warning(
            "accelerators", f"None of {len(nodes)} nodes offers nvidia.com/gpu or aws.amazon.com/neuron.", fix
        )


def _mountpoint(cluster: Cluster) -> Iterator[Check]:
    fix = "If weights=mount is wanted: the EKS add-on aws-mountpoint-s3-csi-driver."
    if not has_kind(cluster, *CSI_DRIVER):
        yield warning("mountpoint", "CSI drivers cannot be looked for here.", fix)
        return
    try:
        there = get(cluster, *CSI_DRIVER, MOUNTPOINT)
    except ClusterError as error:
        if error.code != "cluster.forbidden":
            raise
        yield warning("mountpoint", "CSI drivers may not be read: Mountpoint for S3 was not looked for.", fix)
        return
    if there is None:
        yield warning("mountpoint", "Mountpoint for S3 is not installed: no weights=mount.", fix)
    else:
        yield ok("mountpoint", "The driver of Mountpoint for S3 is installed.")
