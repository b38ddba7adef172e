"""A pod's status as a kubelet reports it: pure functions over the states of its containers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sandbox.kubernetes.controllers.amounts import container_requests, pod_requests
from sandbox.kubernetes.controllers.meta import Obj, timestamp
from sandbox.kubernetes.objects.strategies import qos_class

Role = Literal["init", "sidecar", "main"]

KUBELET_CONDITIONS = (
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
)


@dataclass
class ContainerState:
    """Where one container is; its runner changes it.

    Attributes:
        spec: The container of the pod's spec.
        role: Init container, side-car (an init container that stays) or main container.
        state: `waiting`, `running` or `terminated`, as the status carries it.
        last: The terminated state of the run before, if there was one.
        ready: Whether it takes requests.
        started: Whether its startup probe has passed.
        restarts: Runs after the first.
        container_id: Identifier of the latest run.
        image_id: Identifier of the image, once there is a run.
    """

    spec: Obj
    role: Role
    state: Obj = field(default_factory=dict)
    last: Obj = field(default_factory=dict)
    ready: bool = False
    started: bool = False
    restarts: int = 0
    container_id: str = ""
    image_id: str = ""

    @property
    def name(self) -> str:
        """The container's name."""
        name: str = self.spec["name"]
        return name

    @property
    def exit_code(self) -> int | None:
        """Exit code, when it has ended."""
        ended = self.state.get("terminated")
        return ended["exitCode"] if ended else None

    @property
    def is_running(self) -> bool:
        """Whether it runs now."""
        return "running" in self.state

    def as_status(self) -> Obj:
        """The entry in `containerStatuses`."""
        status: Obj = {
            "name": self.name,
            "state": self.state,
            "lastState": self.last,
            "ready": self.exit_code == 0 if self.role == "init" else self.ready,
            "restartCount": self.restarts,
            "image": self.spec["image"],
            "imageID": self.image_id,
        }
        if self.container_id:
            status["containerID"] = f"containerd://{self.container_id}"
        status["started"] = self.started
        requests = container_requests(self.spec)
        if self.container_id:
            limits = (self.spec.get("resources") or {}).get("limits") or {}
            if requests:
                status["allocatedResources"] = requests
            status["resources"] = _resources(limits, requests)
        mounts = [_mount(one) for one in self.spec.get("volumeMounts") or []]
        if mounts:
            status["volumeMounts"] = mounts
        return status


@dataclass(frozen=True)
class PodView:
    """What a pod's status is made of, beside its containers.

    Attributes:
        pod: The pod.
        host_ip: The node's address.
        start_time: When the kubelet first saw the pod.
        pod_ip: The pod's address; empty until its containers may start.
        sandbox_ready: Whether volumes and network are there.
        ending: Whether it is being deleted: nothing restarts.
        verdict: Phase, reason and message that the kubelet decided on, e.g. after a deadline.
    """

    pod: Obj
    host_ip: str
    start_time: str
    pod_ip: str = ""
    sandbox_ready: bool = False
    ending: bool = False
    verdict: Obj | None = None


def pod_status(view: PodView, containers: Sequence[ContainerState], before: Obj) -> Obj:
    """The whole status; `before` is the present one, whose times and foreign conditions stay."""
    spec, generation = view.pod["spec"], view.pod["metadata"].get("generation", 1)
    phase = (view.verdict or {}).get("phase") or pod_phase(spec, containers, ending=view.ending)
    status: dict[str, Any] = {"observedGeneration": generation, "phase": phase}
    status["conditions"] = _conditions(view, containers, before, phase, generation)
    status |= {key: value for key, value in (view.verdict or {}).items() if key != "phase"}
    status |= {"hostIP": view.host_ip, "hostIPs": [{"ip": view.host_ip}]}
    if view.pod_ip:
        status |= {"podIP": view.pod_ip, "podIPs": [{"ip": view.pod_ip}]}
    status["startTime"] = view.start_time
    inits = [one.as_status() for one in containers if one.role != "main"]
    if inits:
        status["initContainerStatuses"] = inits
    status["containerStatuses"] = [one.as_status() for one in containers if one.role == "main"]
    status["qosClass"] = before.get("qosClass") or qos_class(spec)
    return status | _pod_resources(spec)


def pod_phase(spec: Obj, containers: Sequence[ContainerState], *, ending: bool) -> str:
    """The phase that the containers' states add up to."""
    inits = [one for one in containers if one.role != "main"]
    mains = [one for one in containers if one.role == "main"]
    never = spec.get("restartPolicy") == "Never"
    if never and any(one.role == "init" and one.exit_code for one in inits):
        return "Failed"
    ended = [one for one in mains if one.exit_code is not None or (not one.is_running and one.last)]
    if ending and len(ended) == len(mains) and not any(one.is_running for one in inits):
        codes = [one.exit_code if one.exit_code is not None else one.last["terminated"]["exitCode"] for one in mains]
        return "Failed" if any(codes) else "Succeeded"
    if any(not initialized(one) for one in inits) or len(ended) + sum(one.is_running for one in mains) < len(mains):
        return "Failed" if ending and not any(one.is_running for one in containers) else "Pending"
    if any(one.is_running for one in containers) or spec.get("restartPolicy", "Always") == "Always":
        return "Running"
    if all(one.exit_code == 0 for one in mains):
        return "Succeeded"
    return "Failed" if never else "Running"


def initialized(one: ContainerState) -> bool:
    """Whether an init container lets the next one start."""
    if one.role == "sidecar":
        return one.started or bool(one.last) or one.exit_code is not None
    return one.exit_code == 0


def _conditions(
    view: PodView, containers: Sequence[ContainerState], before: Obj, phase: str, generation: int
) -> list[Obj]:
    finished = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase)
    waiting = [one.name for one in containers if one.role != "main" and not initialized(one)]
    served = [one for one in containers if one.role != "init"]
    unready = [one.name for one in served if not one.ready]
    succeeded = phase == "Succeeded"
    init_ok: Obj = {"status": "True", **({"reason": "PodCompleted"} if succeeded else {})}
    if waiting and not succeeded:
        text = f"containers with incomplete status: [{' '.join(waiting)}]"
        init_ok = {"status": "False", "reason": "ContainersNotInitialized", "message": text}
    ready: Obj = {"status": "True"}
    if finished:
        ready = {"status": "False", "reason": finished}
    elif unready:
        text = f"containers with unready status: [{' '.join(unready)}]"
        ready = {"status": "False", "reason": "ContainersNotReady", "message": text}
    now: dict[str, Obj] = {
        "PodReadyToStartContainers": {"status": str(view.sandbox_ready and not finished)},
        "Initialized": init_ok,
        "Ready": ready,
        "ContainersReady": ready,
        "PodScheduled": {"status": "True"},
    }
    old = {one["type"]: one for one in before.get("conditions") or []}
    conditions = [_condition(kind, now[kind], old.get(kind), generation) for kind in KUBELET_CONDITIONS]
    return conditions + [one for kind, one in old.items() if kind not in KUBELET_CONDITIONS]


def _condition(kind: str, new: Obj, old: Obj | None, generation: int) -> Obj:
    same = old is not None and old["status"] == new["status"]
    return {
        "type": kind,
        "observedGeneration": generation,
        "status": new["status"],
        "lastProbeTime": None,
        "lastTransitionTime": old["lastTransitionTime"] if old and same else timestamp(),
        **{key: new[key] for key in ("reason", "message") if key in new},
    }


def _mount(mount: Obj) -> Obj:
    status = {"name": mount["name"], "mountPath": mount["mountPath"]}
    if mount.get("readOnly"):
        status |= {"readOnly": True, "recursiveReadOnly": "Disabled"}
    return status


def _resources(limits: Obj, requests: Obj) -> Obj:
    parts = {"limits": limits, "requests": requests}
    return {kind: amounts for kind, amounts in parts.items() if amounts}


def _pod_resources(spec: Obj) -> Obj:
    """Requests and limits of the whole pod, when it is one container's (a sum is not written out)."""
    if len(spec["containers"]) != 1 or spec.get("initContainers"):
        return {"resources": {}} if not pod_requests(spec) else {}
    requests = container_requests(spec["containers"][0])
    limits = (spec["containers"][0].get("resources") or {}).get("limits") or {}
    return {**({"allocatedResources": requests} if requests else {}), "resources": _resources(limits, requests)}


def waiting(reason: str, message: str = "") -> Obj:
    """A waiting state."""
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def terminated(code: int, started_at: str, container_id: str, *, reason: str = "", message: str = "") -> Obj:
    """A terminated state that began now."""
    state: Obj = {"exitCode": code, "reason": reason or ("Error" if code else "Completed")}
    if message:
        state["message"] = message
    state |= {"startedAt": started_at, "finishedAt": timestamp(), "containerID": f"containerd://{container_id}"}
    return {"terminated": state}
