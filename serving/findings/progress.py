"""A rollout that ran out of time although nothing is known to be broken."""

from collections.abc import Iterator

from serving.diagnosis import Category, Diagnosis, Evidence
from serving.findings.wording import one_line
from serving.readiness.model import Phase
from serving.readiness.pods import pod_phase
from serving.snapshot import Snapshot, being_deleted, condition, name_of, namespace_of


def find(snapshot: Snapshot) -> Iterator[Diagnosis]:
    """Yields workloads whose time was over, and those that somebody paused, suspended or scaled to zero."""
    yield from _held_back(snapshot)
    for deployment in snapshot.kind("deployments"):
        progressing = condition(deployment, "Progressing")
        if progressing.get("reason") != "ProgressDeadlineExceeded":
            continue
        name, namespace = name_of(deployment), namespace_of(deployment) or "default"
        deadline = (deployment.get("spec") or {}).get("progressDeadlineSeconds", 600)
        phases = [pod_phase(pod) for pod in snapshot.pods if not being_deleted(pod)]
        unready = [detail for phase, detail in phases if phase is not Phase.READY]
        doing = f"; {unready[0]}" if unready else ""
        yield Diagnosis(
            Category.ROLLOUT,
            "progress-deadline",
            f"Deployment {name} made no progress for {deadline} s{doing}.",
            (Evidence(f"Deployment {namespace}/{name} Progressing", one_line(str(progressing.get("message")))),),
            (
                f"If the model is only slow to load, raise startup_seconds: the deadline of {name} follows it.",
                f"See what it does: kubectl logs -n {namespace} deployment/{name} --all-containers --tail=50",
            ),
            is_deadline=True,
        )
    for service in snapshot.kind("rayservices"):
        ready = condition(service, "Ready")
        if ready.get("reason") != "InitializingTimeout":
            continue
        name, namespace = name_of(service), namespace_of(service) or "default"
        yield Diagnosis(
            Category.RAY_SERVE,
            "initializing-timeout",
            f"RayService {name} did not become ready in the time that KubeRay gives it.",
            (Evidence(f"RayService {namespace}/{name} Ready=False", one_line(str(ready.get("message")))),),
            (
                f"If the model is only slow to load, raise the annotation ray.io/initializing-timeout of {name}.",
                f"See what it does: kubectl describe rayservice -n {namespace} {name}, and the head's log.",
            ),
            is_deadline=True,
        )


def _held_back(snapshot: Snapshot) -> Iterator[Diagnosis]:
    """Workloads that somebody keeps from having pods of their present template: nothing is broken."""
    for deployment in snapshot.kind("deployments"):
        spec, status = deployment.get("spec") or {}, deployment.get("status") or {}
        if spec.get("paused") and int(status.get("updatedReplicas") or 0) < int(spec.get("replicas", 1)):
            name, namespace = name_of(deployment), snapshot.namespace(deployment)
            cause = f"The rollout of Deployment {name} is paused: pods of its present template are not made."
            fix = f"Let it go on: kubectl rollout resume -n {namespace} deployment/{name}"
            yield _held("paused", cause, Evidence(f"Deployment {namespace}/{name} spec.paused", "true"), fix)
    for service in snapshot.kind("rayservices"):
        if (service.get("spec") or {}).get("suspend") and not being_deleted(service):
            name, namespace = name_of(service), snapshot.namespace(service)
            cause = f"RayService {name} is suspended: KubeRay deletes its Ray clusters, and no pod of it answers."
            patch = '{"spec":{"suspend":false}}'
            fix = f"Resume it: kubectl patch rayservice -n {namespace} {name} --type merge -p '{patch}'"
            yield _held("suspended", cause, Evidence(f"RayService {namespace}/{name} spec.suspend", "true"), fix)
    if all(being_deleted(pod) for pod in snapshot.pods):
        for kind, plural in (("Deployment", "deployments"), ("LeaderWorkerSet", "leaderworkersets")):
            for workload in snapshot.kind(plural):
                if (workload.get("spec") or {}).get("replicas", 1) == 0 and not being_deleted(workload):
                    yield _at_zero(kind, name_of(workload), snapshot.namespace(workload))


def _at_zero(kind: str, name: str, namespace: str) -> Diagnosis:
    return _held(
        "scaled-to-zero",
        f"{kind} {name} is scaled to 0: no pod of it answers.",
        Evidence(f"{kind} {namespace}/{name} spec.replicas", "0"),
        f"Scale it up: kubectl scale -n {namespace} {kind.lower()}/{name} --replicas=1",
        f"If an autoscaler (KEDA, HPA) took it to 0, see what wakes it: kubectl get scaledobject,hpa -n {namespace}",
    )


def _held(reason: str, cause: str, evidence: Evidence, *fixes: str) -> Diagnosis:
    return Diagnosis(Category.ROLLOUT, reason, cause, (evidence,), fixes, final=False)
