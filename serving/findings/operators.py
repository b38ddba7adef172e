"""What operators run: RayService, LeaderWorkerSet, NIM. Their own status, and operators that do not run at all."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from serving.diagnosis import Category, Diagnosis, Evidence
from serving.findings import signatures
from serving.findings.creation import judge_refusal
from serving.findings.wording import one_line, tail
from serving.snapshot import Object, Snapshot, condition, name_of

OPERATOR_SECONDS = 60
"""An operator that runs writes a status within seconds."""

NOTICED_SECONDS = 15
"""Seconds without a status after which it is worth saying."""

_NO_POD = re.compile(r"FailedToCreate(?:Head|Worker|)Pod|FailedCreate(?:Head|Worker|)Pod")
"""KubeRay's event where a cluster's status does not have it."""

_OPERATORS = {
    "rayservices": ("RayService", "KubeRay operator", "kuberay-operator"),
    "leaderworkersets": ("LeaderWorkerSet", "LeaderWorkerSet controller", "lws-controller-manager"),
    "nimservices": ("NIMService", "NIM operator", "k8s-nim-operator"),
    "nimcaches": ("NIMCache", "NIM operator", "k8s-nim-operator"),
}


def find(snapshot: Snapshot) -> Iterator[Diagnosis]:
    """Yields what the status of an operator's object tells."""
    for plural, (kind, operator, deployment) in _OPERATORS.items():
        for workload in snapshot.kind(plural):
            if not workload.get("status"):
                yield from _silent(snapshot, workload, kind, operator, deployment)
    for service in snapshot.kind("rayservices"):
        yield from _ray(snapshot, service)
    for plural in ("nimcaches", "nimservices"):  # a cache is why its service fails
        for workload in snapshot.kind(plural):
            yield from _nim(snapshot, workload, _OPERATORS[plural][0])


def _silent(snapshot: Snapshot, workload: Object, kind: str, operator: str, deployment: str) -> Iterator[Diagnosis]:
    age = snapshot.age(workload)
    if age < NOTICED_SECONDS and snapshot.taken is not None:
        return
    namespace, name = snapshot.namespace(workload), name_of(workload)
    yield Diagnosis(
        Category.OPERATOR,
        "not-running",
        f"{kind} {name} has had no status for {age:.0f} s: the {operator} does not run or does not watch namespace "
        f"{namespace}.",
        (Evidence(f"{kind} {namespace}/{name}", "no status"),),
        (
            f"Install or start the {operator}: kubectl get pods -A | grep {deployment}",
            f"Check that it watches namespace {namespace} and read its log.",
        ),
        final=age >= OPERATOR_SECONDS,
    )


def _ray(snapshot: Snapshot, service: Object) -> Iterator[Diagnosis]:
    status = service.get("status") or {}
    namespace, name = snapshot.namespace(service), name_of(service)
    invalid = condition(service, "Ready")
    if invalid.get("reason") == "ValidationFailed":
        said = one_line(str(invalid.get("message") or "no message"))
        evidence = (Evidence(f"RayService {namespace}/{name} Ready=False", said),)
        fixes = (f"Correct what the message names in the spec of RayService {namespace}/{name}.",)
        cause = f"KubeRay refuses the spec of RayService {name}: {said}"
        yield Diagnosis(Category.RAY_SERVE, "invalid-spec", cause, evidence, fixes)
    for part in ("pendingServiceStatus", "activeServiceStatus"):
        state = status.get(part) or {}
        where = f"RayService {namespace}/{name} {part}"
        for application, entry in (state.get("applicationStatuses") or {}).items():
            yield from _application(where, name, application, entry or {})
        yield from _cluster(snapshot, where, service, state.get("rayClusterStatus") or {})
    for cluster in snapshot.kind("rayclusters"):
        where = f"RayCluster {snapshot.namespace(cluster)}/{name_of(cluster)}"
        yield from _cluster(snapshot, where, cluster, cluster.get("status") or {})


def _application(where: str, name: str, application: str, entry: Mapping[str, Any]) -> Iterator[Diagnosis]:
    state = str(entry.get("status") or "")
    deployments: Mapping[str, Mapping[str, Any]] = entry.get("serveDeploymentStatuses") or {}
    messages = [str(entry.get("message") or "")]
    messages += [str(part.get("message") or "") for part in deployments.values()]
    text = "\n".join(message for message in messages if message)
    at = f"{where}.applicationStatuses.{application}"
    if state == "DEPLOY_FAILED" or any(part.get("status") == "DEPLOY_FAILED" for part in deployments.values()):
        yield _deploy_failed(at, name, application, text)
    elif state == "UNHEALTHY":
        reading = signatures.read(text)
        cause = f"Ray Serve application {application} is unhealthy. {reading.cause if reading else one_line(text, 200)}"
        fixes = reading.fixes if reading else ("Read the replicas' logs: kubectl logs -l ray.io/cluster --tail=100",)
        yield Diagnosis(
            Category.RAY_SERVE, "unhealthy", cause.strip(), (Evidence(at, tail(text) or state),), fixes, final=False
        )
    elif match := re.search(r"Resources required for each replica: (.+?), total resources available: (.+)", text):
        cause = (
            f"A replica of Ray Serve application {application} waits for resources: it needs "
            f"{one_line(match[1], 100)}, the Ray cluster has {one_line(match[2], 100)} free."
        )
        fixes = (
            "Wait if workers are still starting.",
            "Give workers what a replica needs (resources.accelerators against engine.tensor_parallel_size), or allow "
            "more workers (ray.max_workers).",
        )
        yield Diagnosis(Category.RAY_SERVE, "no-resources", cause, (Evidence(at, tail(text)),), fixes, final=False)


def _deploy_failed(at: str, name: str, application: str, text: str) -> Diagnosis:
    evidence = (Evidence(at, tail(text, lines=6) or "DEPLOY_FAILED"),)
    beginning = f"Ray Serve application {application} of RayService {name} cannot be deployed"
    if match := re.search(
        r"(?:ModuleNotFoundError: No module named '([^']+)'|ImportError: (.+)|AttributeError: (module .+))", text
    ):
        module = match[1] or match[2] or match[3]
        if re.search(r"import_attr|import_module|build_serve_application", text):
            return Diagnosis(
                Category.RAY_SERVE,
                "import",
                f"{beginning}: import_path needs {module}, which cannot be imported.",
                evidence,
                (
                    f"Put {module} into the image or into runtime_env (working_dir, pip), or correct import_path.",
                    "For ray.serve.llm use an image with it (rayproject/ray-llm), or set ray.vllm_version.",
                ),
            )
    reading = signatures.read(text)
    if reading is not None:
        return Diagnosis(
            Category.RAY_SERVE, reading.signature.reason, f"{beginning}: {reading.cause}", evidence, reading.fixes
        )
    if "runtime_env" in text or "RuntimeEnvSetupError" in text:
        fixes = ("Check that workers reach PyPI, and the names in runtime_env; better use an image that brings them.",)
        return Diagnosis(
            Category.RAY_SERVE, "runtime-env", f"{beginning}: its runtime environment cannot be made.", evidence, fixes
        )
    last = one_line(tail(text, lines=1), 200) or "no message"
    fixes = ("Read the controller's and replicas' logs: kubectl logs -l ray.io/node-type=head --tail=200",)
    return Diagnosis(Category.RAY_SERVE, "deploy-failed", f"{beginning}: {last}.", evidence, fixes)


def _cluster(snapshot: Snapshot, where: str, owner: Object, status: Mapping[str, Any]) -> Iterator[Diagnosis]:
    """A Ray cluster whose pods KubeRay cannot create, or that it gave up."""
    failure = condition({"status": status}, "ReplicaFailure")
    if failure.get("status") == "True":
        message = str(failure.get("message") or failure.get("reason"))
        yield judge_refusal("RayCluster", owner, snapshot.namespace(owner), message)
    elif not any(_belongs(pod, name_of(owner)) for pod in snapshot.pods):
        for event in snapshot.events_of("RayCluster", name_of(owner))[-1:]:
            if _NO_POD.fullmatch(str(event.get("reason"))):
                yield judge_refusal("RayCluster", owner, snapshot.namespace(owner), str(event.get("message")))
    if status.get("state") == "failed" or status.get("state") == "suspended":
        said = one_line(str(status.get("reason") or status["state"]))
        cause = f"The Ray cluster is {status['state']}: {said}."
        fixes = ("Read the operator's log: kubectl logs -n kuberay-system deploy/kuberay-operator",)
        yield Diagnosis(Category.RAY_CLUSTER, str(status["state"]), cause, (Evidence(where, said),), fixes)


def _belongs(pod: Object, cluster: str) -> bool:
    """Whether a pod belongs to a Ray cluster."""
    return str(((pod.get("metadata") or {}).get("labels") or {}).get("ray.io/cluster")) == cluster


def _nim(snapshot: Snapshot, workload: Object, kind: str) -> Iterator[Diagnosis]:
    """What a NIMService or NIMCache says of itself.

    A cache counts as failed from the first pod of its Job that failed, and the Job starts five more; a service is
    failed while its cache is not there or failed, and no longer. Both may heal.
    """
    status = workload.get("status") or {}
    failed, stopped = condition(workload, "Failed"), condition(workload, "NIM_CACHE_RECONCILE_FAILED")
    is_failed = str(status.get("state")) == "Failed" or failed.get("status") == "True"
    if not is_failed and stopped.get("status") != "True":
        return
    told = (failed, stopped, condition(workload, "NIM_CACHE_JOB_COMPLETED"), condition(workload, "Ready"))
    message = next((str(one["message"]) for one in told if one.get("message")), str(status.get("state")))
    reading = signatures.read(message)
    name, namespace = name_of(workload), snapshot.namespace(workload)
    cause = f"{kind} {name} failed: {reading.cause if reading else one_line(message, 200)}"
    evidence = (Evidence(f"{kind} {namespace}/{name} Failed", one_line(message)),)
    if reading:
        yield Diagnosis(Category.NIM, reading.signature.reason, cause, evidence, reading.fixes)
        return
    fixes = [f"See kubectl describe {kind.lower()} -n {namespace} {name}"]
    if kind == "NIMCache":
        fixes.insert(0, f"Read what its Job says: kubectl logs -n {namespace} job/{name}-job")
    heals = kind == "NIMCache" or str(failed.get("reason")).startswith("NIMCache")
    yield Diagnosis(Category.NIM, "failed", cause, evidence, tuple(fixes), final=not heals)
