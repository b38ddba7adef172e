"""How a RayService is suspended and resumed, as KubeRay 1.7 does it: a pure state machine over its status.

Once a suspension has begun it is carried through, whatever the spec says meanwhile; what belongs to the RayService goes
only after its status says so.
"""

from sandbox.kubernetes.controllers.meta import Obj, timestamp
from sandbox.kubernetes.controllers.operators.ray.status import set_conditions

SUSPENDING, SUSPENDED = "Suspending", "Suspended"
_IN_PROGRESS, _COMPLETE = "SuspendInProgress", "SuspendComplete"
_GONE = "All owned resources have been deleted."
_WAITING = "Waiting for all Kubernetes resources owned by this RayService to be deleted."
_REQUESTED = "Spec.Suspend is true; will delete all Kubernetes resources owned by this RayService."


def drives(service: Obj) -> bool:
    """Whether the RayService is suspended, on the way there, or on the way back: nothing else is done with it then."""
    return bool(service["spec"].get("suspend")) or any(is_true(service, one) for one in (SUSPENDING, SUSPENDED))


def is_true(service: Obj, kind: str) -> bool:
    """Whether a condition holds."""
    found = (service.get("status") or {}).get("conditions") or []
    return any(one["type"] == kind and one["status"] == "True" for one in found)


def next_status(service: Obj, *, left: bool) -> Obj:
    """The status after one step.

    Args:
        service: The RayService.
        left: Whether anything that belongs to it is still there.
    """
    if is_true(service, SUSPENDED):
        return service["status"] if service["spec"].get("suspend") else _resumed(service)
    if not is_true(service, SUSPENDING):
        wanted = [(SUSPENDING, True, "SuspendRequested", _REQUESTED), *_idle(_IN_PROGRESS, "RayService is suspending.")]
        return _with(service, wanted, service["metadata"]["generation"])
    if left:
        return _with(service, [(SUSPENDING, True, _IN_PROGRESS, _WAITING)], service["status"]["observedGeneration"])
    done = [(SUSPENDING, False, _COMPLETE, _GONE), (SUSPENDED, True, _COMPLETE, _GONE)]
    wanted = [*done, *_idle(_COMPLETE, "RayService is suspended.")]
    return _with(service, wanted, service["status"]["observedGeneration"])


def _idle(reason: str, about_ready: str) -> list[tuple[str, bool, str, str]]:
    return [
        ("Ready", False, reason, about_ready),
        ("UpgradeInProgress", False, reason, "No upgrade in progress."),
        ("RollbackInProgress", False, reason, "No rollback in progress."),
    ]


def _resumed(service: Obj) -> Obj:
    text = "RayService is initializing after resuming from suspend."
    wanted = [
        (SUSPENDED, False, "RayServiceResumed", "Spec.Suspend is false; RayService has resumed."),
        ("Ready", False, "Initializing", text),
        ("UpgradeInProgress", False, "Initializing", text),
    ]
    return _with(service, wanted, service["metadata"]["generation"])


def _with(service: Obj, wanted: list[tuple[str, bool, str, str]], generation: int) -> Obj:
    """The status with these conditions and without a cluster."""
    before = service.get("status") or {}
    conditions = set_conditions(before, wanted, generation)
    status = {"conditions": conditions, "observedGeneration": generation}
    same = {key: value for key, value in before.items() if key != "lastUpdateTime"} == status
    return {**status, "lastUpdateTime": before["lastUpdateTime"] if same else timestamp()}
