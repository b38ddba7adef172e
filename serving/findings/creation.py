"""Pods that are never created: quota, service account, Pod Security, webhooks. There is no pod to look at."""

import re
from collections.abc import Iterator

from serving.diagnosis import Category, Diagnosis, Evidence
from serving.findings.volumes import MADE_BY_KUBERNETES
from serving.findings.wording import one_line
from serving.quantities import parse
from serving.snapshot import Object, Snapshot, condition, name_of

_PASSES = re.compile(r"not yet|try again|retry|time(?:d )?out|unavailable|leader changed", re.IGNORECASE)
"""What an API server says that is not ready itself."""


def find(snapshot: Snapshot) -> Iterator[Diagnosis]:
    """Yields why a controller cannot create pods."""
    for plural, kind in (("replicasets", "ReplicaSet"), ("statefulsets", "StatefulSet"), ("jobs", "Job")):
        for owner in snapshot.kind(plural):
            yield from _of(snapshot, kind, owner)
    if not snapshot.kind("replicasets"):
        for owner in snapshot.kind("deployments"):
            message = condition(owner, "ReplicaFailure").get("message")
            if message:
                yield judge_refusal("Deployment", owner, snapshot.namespace(owner), str(message))


def _of(snapshot: Snapshot, kind: str, owner: Object) -> Iterator[Diagnosis]:
    spec, status = owner.get("spec") or {}, owner.get("status") or {}
    wanted = spec.get("replicas", spec.get("parallelism", 1))
    if int(status.get("replicas") or status.get("active") or 0) >= int(wanted or 0):
        return
    message = str(condition(owner, "ReplicaFailure").get("message") or "")
    failed = [event for event in snapshot.events_of(kind, name_of(owner)) if event.get("reason") == "FailedCreate"]
    if not message and failed:
        message = str(failed[-1].get("message") or "")
    if message:
        yield judge_refusal(kind, owner, snapshot.namespace(owner), message)


def judge_refusal(kind: str, owner: Object, namespace: str, message: str) -> Diagnosis:
    """Returns what the API server's refusal of a pod means.

    Args:
        kind: Kind of the controller whose pod it is.
        owner: That controller.
        namespace: Its namespace.
        message: What the API server said.
    """
    evidence = (Evidence(f"{kind} {namespace}/{name_of(owner)} FailedCreate", one_line(message)),)
    if of_quota := _quota(namespace, message, evidence):
        return of_quota
    if match := re.search(r"service ?account \"?([^\s\"]+)\"? (?:was )?not found", message) or re.search(
        r"serviceaccount \"([^\"]+)\" not found", message
    ):
        account = match[1].split("/")[-1]
        return Diagnosis(
            Category.SERVICE_ACCOUNT,
            "missing",
            f"Service account {account} does not exist in namespace {namespace}.",
            evidence,
            (
                f"Create it: kubectl create serviceaccount -n {namespace} {account}, and give it its S3 role "
                "(Pod Identity association or IRSA annotation).",
                "Or set service_account to one that exists.",
            ),
            final=account not in MADE_BY_KUBERNETES,
        )
    if "violates PodSecurity" in message:
        return Diagnosis(
            Category.ADMISSION,
            "pod-security",
            f"Pod Security in namespace {namespace} forbids the pod: {one_line(message.split('violates', 1)[1], 200)}.",
            evidence,
            (
                f"Relax the level: kubectl label namespace {namespace} pod-security.kubernetes.io/enforce=baseline "
                "--overwrite, or deploy to another namespace.",
            ),
        )
    if "is being terminated" in message:
        return Diagnosis(
            Category.ADMISSION,
            "namespace-terminating",
            f"Namespace {namespace} is being deleted.",
            evidence,
            (f"Wait until namespace {namespace} is gone and create it again, or deploy to another one.",),
        )
    if match := re.search(r"failed calling webhook \"([^\"]+)\"", message):
        service = found[1] if (found := re.search(r"https://([\w.-]+?)\.svc", message)) else ""
        where = f" (its Service: {service})" if service else ""
        return Diagnosis(
            Category.ADMISSION,
            "webhook-down",
            f"Admission webhook {match[1]} does not answer{where}, and no pod is created without it.",
            evidence,
            (f"Bring the pods behind webhook {match[1]}{where} back; Kubernetes tries again by itself.",),
            final=False,
        )
    if match := re.search(r"admission webhook \"([^\"]+)\"", message):
        said = message.rsplit("denied the request:", maxsplit=1)[-1].strip()
        return Diagnosis(
            Category.ADMISSION,
            "webhook",
            f"Admission webhook {match[1]} refuses the pod: {one_line(said, 200)}.",
            evidence,
            (f"Do what webhook {match[1]} asks, or have its policy exempt namespace {namespace}.",),
        )
    if match := re.search(r"ValidatingAdmissionPolicy '([^']+)'", message):
        said = message.rsplit("denied request:", maxsplit=1)[-1].strip()
        return Diagnosis(
            Category.ADMISSION,
            "policy",
            f"ValidatingAdmissionPolicy {match[1]} refuses the pod: {one_line(said, 200)}.",
            evidence,
            (f"Do what policy {match[1]} asks, or have it exempt namespace {namespace}.",),
        )
    if match := re.search(r"no PriorityClass with name (\S+) was found", message):
        return Diagnosis(
            Category.ADMISSION,
            "priority-class",
            f"PriorityClass {match[1]} does not exist.",
            evidence,
            (f"Create PriorityClass {match[1]}, or name one that exists (pod.priority_class).",),
        )
    if match := re.search(r"RuntimeClass \"([^\"]+)\" not found", message):
        return Diagnosis(
            Category.ADMISSION,
            "runtime-class",
            f"RuntimeClass {match[1]} does not exist.",
            evidence,
            (f"Create RuntimeClass {match[1]} (the GPU operator brings it), or leave runtimeClassName out.",),
        )
    if re.search(r"(maximum|minimum) (cpu|memory|\S+) usage per|max limit to request ratio", message):
        return Diagnosis(
            Category.QUOTA,
            "limit-range",
            f"A LimitRange in namespace {namespace} forbids these resources: {one_line(message, 200)}.",
            evidence,
            (
                "Set resources (cpu, memory and their limits) within the LimitRange.",
                f"See it: kubectl describe limitrange -n {namespace}",
            ),
        )
    return Diagnosis(
        Category.ADMISSION,
        "refused",
        f"The API server refuses the pods of {kind} {name_of(owner)}: {one_line(message, 250)}.",
        evidence,
        (f"Correct what the message names in the pod template of {kind} {namespace}/{name_of(owner)}.",),
        final=bool(re.search(r"is forbidden|is invalid|Invalid value|denied|not found", message))
        and not _PASSES.search(message),
    )


def _quota(namespace: str, message: str, evidence: tuple[Evidence, ...]) -> Diagnosis | None:
    if match := re.search(r"exceeded quota: ([^,\s]+)(?:, (.*))?", message):
        quota, detail = match[1], one_line(match[2] or "")
        too_much = _above(detail)
        return Diagnosis(
            Category.QUOTA,
            "resource-quota",
            f"ResourceQuota {quota} in namespace {namespace} leaves no room for the pod: {detail}.",
            evidence,
            (
                f"Ask for less (resources.accelerators, cpu, memory), or raise ResourceQuota {namespace}/{quota}.",
                f"See what uses it up: kubectl describe resourcequota -n {namespace} {quota}",
            ),
            final=too_much,
        )
    if match := re.search(r"failed quota: ([^:\s]+): must specify ([^\s]+)", message):
        return Diagnosis(
            Category.QUOTA,
            "quota-needs-resources",
            f"ResourceQuota {match[1]} in namespace {namespace} wants every pod to say its {match[2]}.",
            evidence,
            (f"Set {match[2]} in the endpoint's resources.",),
        )
    if match := re.search(r"status unknown for quota: ([^,\s]+)", message):
        return Diagnosis(
            Category.QUOTA,
            "quota-unknown",
            f"ResourceQuota {match[1]} in namespace {namespace} has not been counted yet, and lets no pod pass.",
            evidence,
            (
                f"Wait: it is counted within seconds. If not, see whether it counts a kind that does not exist: "
                f"kubectl get resourcequota -n {namespace} {match[1]} -o yaml",
            ),
            final=False,
        )
    if match := re.search(r"insufficient quota to match these scopes: \[?(.*?)\]?$", message):
        return Diagnosis(
            Category.QUOTA,
            "resource-quota",
            f"No ResourceQuota in namespace {namespace} allows pods of this scope: {one_line(match[1], 150)}.",
            evidence,
            (
                f"Make a ResourceQuota in namespace {namespace} with this scope, or use another priority class "
                "(pod.priority_class).",
            ),
        )
    return None


def _above(detail: str) -> bool:
    """Whether what is asked for is more than the quota would ever give, rather than than what is left of it."""
    amounts: dict[str, dict[str, str]] = {}
    for kind in ("requested", "limited"):
        listed = match[1] if (match := re.search(rf"{kind}: (\S+?)(?:, (?:used|limited): |$)", detail)) else ""
        amounts[kind] = dict(entry.split("=", 1) for entry in listed.split(",") if "=" in entry)
    return any(
        resource in amounts["limited"] and parse(asked) > parse(amounts["limited"][resource])
        for resource, asked in amounts["requested"].items()
    )
