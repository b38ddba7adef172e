"""The status of a RayService and of the clusters in it: pure functions."""

from dataclasses import dataclass, field
from typing import Any

from sandbox.kubernetes.controllers.amounts import Amounts, pod_requests, total
from sandbox.kubernetes.controllers.meta import Obj, timestamp
from sandbox.kubernetes.controllers.operators.ray.nodes import NODE_TYPE
from sandbox.kubernetes.controllers.pods import is_ready
from sandbox.kubernetes.quantities import canonical


@dataclass
class ClusterView:
    """One Ray cluster as the operator sees it.

    Attributes:
        name: Its name.
        pods: Its pods.
        workers: How many workers it should have.
        applications: What its head says of the applications; None when it says nothing.
        serving: Names of the pods whose Serve proxy is healthy.
    """

    name: str
    pods: list[Obj]
    workers: int
    applications: dict[str, Obj] | None = None
    serving: set[str] = field(default_factory=set)

    @property
    def head(self) -> Obj | None:
        """The head pod."""
        return next((pod for pod in self.pods if pod["metadata"]["labels"][NODE_TYPE] == "head"), None)

    @property
    def is_provisioned(self) -> bool:
        """Whether every pod is there and ready."""
        return len(self.pods) == self.workers + 1 and all(is_ready(pod) for pod in self.pods)

    @property
    def is_serving(self) -> bool:
        """Whether every application runs."""
        found = self.applications or {}
        return bool(found) and all(one["status"] == "RUNNING" for one in found.values())


def cluster_status(view: ClusterView, generation: int, before: Obj) -> Obj:
    """What a RayCluster's status would be."""
    head, ready = view.head, sum(is_ready(pod) for pod in view.pods)
    head_ready = head is not None and is_ready(head)
    amounts = total(pod_requests(pod["spec"]) for pod in view.pods)
    status: Obj = {
        "conditions": set_conditions(before, _cluster_conditions(view, head_ready=head_ready), generation),
        "desiredCPU": _amount(amounts, "cpu"),
        "desiredGPU": _amount(amounts, "nvidia.com/gpu"),
        "desiredMemory": _amount(amounts, "memory"),
        "desiredTPU": "0",
        "head": {},
        "observedGeneration": generation,
    }
    if view.workers:
        status["desiredWorkerReplicas"] = view.workers
        available = ready - head_ready
        status |= {"availableWorkerReplicas": available, "readyWorkerReplicas": available} if available else {}
    if head is not None and head_ready:
        address = head["status"]["podIP"]
        status["head"] = {
            "podIP": address,
            "podName": head["metadata"]["name"],
            "serviceIP": address,
            "serviceName": f"{view.name}-head-svc",
        }
    if view.is_provisioned:
        status["state"] = "ready"
    return status


def _cluster_conditions(view: ClusterView, *, head_ready: bool) -> list[tuple[str, bool, str, str]]:
    head = view.head
    if head_ready:
        about_head = ("HeadPodReady", True, "HeadPodRunningAndReady", "")
    else:
        about_head = ("HeadPodReady", False, *_why_not_ready(head))
    if view.is_provisioned:
        text = "All Ray Pods are ready for the first time"
        whole = ("RayClusterProvisioned", True, "AllPodRunningAndReadyFirstTime", text)
    else:
        text = "RayCluster Pods are being provisioned for first time"
        whole = ("RayClusterProvisioned", False, "RayClusterPodsProvisioning", text)
    return [about_head, whole]


def _why_not_ready(head: Obj | None) -> tuple[str, str]:
    statuses = (head or {}).get("status", {}).get("containerStatuses") or []
    if head is None or not statuses:
        return "HeadPodNotFound" if head is None else "ContainerCreating", ""
    first = statuses[0]
    waiting = first.get("state", {}).get("waiting") or {}
    names = " ".join(one["name"] for one in statuses if not one["ready"])
    reason = waiting.get("reason", "ContainersNotReady")
    return reason, f"containers with unready status: [{names}]; {first['name']}: {waiting.get('message', '')}"


def _amount(amounts: Amounts, name: str) -> str:
    found = amounts.get(name)
    if not found:
        return "0"
    if name == "memory" and found.denominator == 1 and found.numerator % 2**20 == 0:
        return canonical(f"{found.numerator // 2**20}Mi")
    return canonical(f"{int(found * 1000)}m")


def service_status(service: Obj, active: ClusterView | None, pending: ClusterView | None, endpoints: int) -> Obj:
    """The RayService's status."""
    before, generation = service.get("status") or {}, service["metadata"]["generation"]
    if active is None:
        text = "RayService is initializing"
        wanted = [("Ready", False, "Initializing", text), ("UpgradeInProgress", False, "Initializing", text)]
    else:
        ready = ("Ready", True, "NonZeroServeEndpoints", "Number of serve endpoints is greater than 0")
        if not endpoints:
            ready = ("Ready", False, "ZeroServeEndpoints", "The number of Serve endpoints dropped to 0")
        text = "Active Ray cluster exists and no pending Ray cluster"
        upgrade = ("UpgradeInProgress", False, "NoPendingCluster", text)
        if pending:
            text = "Both active and pending Ray clusters exist"
            upgrade = ("UpgradeInProgress", True, "BothActivePendingClustersExist", text)
        wanted = [ready, upgrade]
    status: Obj = {"conditions": set_conditions(before, wanted, generation), "observedGeneration": generation}
    for name, view in (("activeServiceStatus", active), ("pendingServiceStatus", pending)):
        if view:
            status[name] = _view_status(view, generation, before.get(name) or {})
    if active and endpoints:
        status |= {"numServeEndpoints": endpoints, "serviceStatus": "Running"}
    same = {key: value for key, value in before.items() if key != "lastUpdateTime"} == status
    return {**status, "lastUpdateTime": before["lastUpdateTime"] if same else timestamp()}


def _view_status(view: ClusterView, generation: int, before: Obj) -> Obj:
    known: Obj = before if before.get("rayClusterName") == view.name else {}
    status: Obj = {"rayClusterName": view.name}
    applications = view.applications if view.applications is not None else known.get("applicationStatuses")
    if applications:
        status["applicationStatuses"] = applications
    status["rayClusterStatus"] = cluster_status(view, generation, known.get("rayClusterStatus") or {})
    return status


def set_conditions(before: Obj, wanted: list[tuple[str, bool, str, str]], generation: int) -> list[Obj]:
    """Conditions (type, value, reason, message) as they are now; those that are not named stay as they were."""
    old: dict[str, Any] = {one["type"]: one for one in before.get("conditions") or []}
    conditions = []
    for kind, value, reason, message in wanted:
        same = old.get(kind, {}).get("status") == str(value)
        conditions.append(
            {
                "lastTransitionTime": old[kind]["lastTransitionTime"] if same else timestamp(),
                "message": message,
                "observedGeneration": generation,
                "reason": reason,
                "status": str(value),
                "type": kind,
            }
        )
    named = {kind for kind, *_ in wanted}
    return [*conditions, *(one for kind, one in old.items() if kind not in named)]
