"""Is the cluster ready for this endpoint? Looked at before anything is changed; all problems are told at once."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from kube.access import Permission, denied, missing_rights
from kube.apply import apply_all
from kube.autoscalers import adds_nodes
from kube.connect import Cluster
from kube.read import get
from serving.errors import ClusterError, InferenceError, PreflightError
from serving.frameworks.vllm import gateway_labels
from serving.frameworks.workload import Manifest
from serving.models import PinnedModel
from serving.preflight import Finding, capacity_findings, needed_permissions
from serving.release import release_of
from serving.rendering import render_outline
from serving.spec import EndpointSpec, Framework
from tasks.kinds import kinds_of
from tasks.release import removal_right
from tasks.rollout import nodes_if_allowed
from tasks.smoke import GATEWAY_NAMESPACE
from tasks.targets import made_by_controllers


@dataclass(frozen=True)
class Notes:
    """What is worth knowing and no reason to stop."""

    notes: tuple[str, ...]


@task(name="preflight", task_run_name="preflight", cache_policy=NO_CACHE)
async def preflight(spec: EndpointSpec, cluster: Cluster) -> Notes:
    """Looks at namespace, permissions, kinds, accelerators, service account; tries the manifests as a dry run.

    Raises:
        ClusterError: The API cannot be reached or does not accept the credentials.
        PreflightError: Everything that keeps this endpoint from this cluster.
    """
    notes = await asyncio.to_thread(look, spec, cluster)
    for note in notes.notes:
        get_run_logger().warning(note)
    return notes


def look(spec: EndpointSpec, cluster: Cluster) -> Notes:
    """The checks of `preflight`, in an order in which the first failure explains the later ones."""
    manifests = sketch(spec)
    wanted = list(permissions(spec, manifests))
    missing = denied(cluster, wanted)  # also proves that the API is there and takes the credentials
    if missing:
        raise PreflightError(missing_rights(missing))
    findings = [*_capacity(spec, cluster), *_out_of_sight(spec, cluster)]
    problems: list[InferenceError] = list(_missing_objects(spec, cluster))
    problems += [InferenceError(f.message, fix=f.fix, code=f.code) for f in findings if f.fatal]
    if not problems:
        try:
            apply_all(cluster, manifests, dry_run=True)
        except ClusterError as error:
            problems.append(error)
    if problems:
        raise PreflightError(problems)
    return Notes(tuple(f"{f.message} {f.fix}".strip() for f in findings if not f.fatal))


def sketch(spec: EndpointSpec) -> list[Manifest]:
    """The endpoint's manifests before its model was staged: the same kinds and names, other weights."""
    pinned = PinnedModel(repo_id=spec.model.repo_id, revision=spec.model.revision, commit="0" * 40)
    return render_outline(spec, release_of(spec, pinned, None))


def permissions(spec: EndpointSpec, manifests: Sequence[Manifest]) -> Iterator[Permission]:
    """What a deploy asks of the API: the release's objects, the token's Secret, the record, the smoke test.

    A release that is replaced or cannot be proved is taken away, which takes the right to list and delete.
    """
    for one in needed_permissions(manifests, spec.namespace):
        resource, _, subresource = one.resource.partition("/")
        yield Permission(one.verb, one.group, resource, one.namespace, subresource)
    for verb in ("get", "create", "patch"):
        yield Permission(verb, "", "configmaps", spec.namespace)
        # A rule cannot bound what may be created by its name.
        yield Permission(verb, "", "secrets", spec.namespace, name="" if verb == "create" else spec.token_secret)
    for verb in ("get", "create"):
        yield Permission(verb, "", "services", spec.namespace, "proxy")
    for verb in ("get", "create", "update"):
        yield Permission(verb, "coordination.k8s.io", "leases", spec.namespace)
    if gateway_labels(spec):
        yield Permission("patch", "", "pods", spec.namespace)
    for kind in kinds_of(spec):
        for verb in ("list", "watch", "delete"):
            yield removal_right(verb, kind, spec.namespace)
    for kind in made_by_controllers(spec):
        for verb in ("list", "watch"):
            yield removal_right(verb, kind, spec.namespace)


def _capacity(spec: EndpointSpec, cluster: Cluster) -> Iterator[Finding]:
    nodes = nodes_if_allowed(cluster)
    if nodes is None:
        message = "These credentials may not list nodes: whether the accelerator is there was not checked."
        yield Finding(False, "nodes.unknown", message, Permission("list", "", "nodes", "").error().fix)
        return
    yield from capacity_findings(spec, nodes, node_autoscaler=adds_nodes(cluster))


def wishes(spec: EndpointSpec) -> Iterator[Permission]:
    """What a run looks at if it may: without, it works and explains failures less well."""
    yield Permission("get", "", "namespaces", spec.namespace, name=spec.namespace)
    if spec.service_account:
        yield Permission("get", "", "serviceaccounts", spec.namespace, name=spec.service_account)
    for group, resource in (
        ("", "resourcequotas"),
        ("", "persistentvolumeclaims"),
        ("discovery.k8s.io", "endpointslices"),
        ("apps", "statefulsets"),
        ("batch", "jobs"),
    ):
        yield Permission("list", group, resource, spec.namespace)
    yield Permission("get", "", "configmaps", "kube-system", name="cluster-autoscaler-status")


def _out_of_sight(spec: EndpointSpec, cluster: Cluster) -> Iterator[Finding]:
    wanted = list(wishes(spec))
    if spec.framework is Framework.AIBRIX:
        wanted.append(Permission("list", "", "services", GATEWAY_NAMESPACE))
    for error in missing_rights(denied(cluster, wanted)):
        may_not = error.what.partition(": ")[2]
        message = f"{may_not[:1].upper()}{may_not[1:]} The run goes on, and explains failures less well."
        yield Finding(False, "preflight.out_of_sight", message, error.fix)


def _missing_objects(spec: EndpointSpec, cluster: Cluster) -> Iterator[ClusterError]:
    try:
        if get(cluster, "v1", "Namespace", spec.namespace) is None:
            yield ClusterError(
                f"Namespace {spec.namespace} does not exist in {cluster.name or cluster.server}.",
                fix=f"Create it (kubectl create namespace {spec.namespace}), or name another one.",
                code="cluster.namespace_missing",
            )
            return
    except ClusterError as error:
        if error.code != "cluster.forbidden":
            raise
    account = spec.service_account
    try:
        if account and get(cluster, "v1", "ServiceAccount", account, spec.namespace) is None:
            yield ClusterError(
                f"ServiceAccount {spec.namespace}/{account} does not exist.",
                cause="Pods that name it are never created.",
                fix=f"Create it and give it read access to the model store, or leave service_account empty "
                f"(kubectl create serviceaccount -n {spec.namespace} {account}).",
                code="cluster.service_account_missing",
            )
    except ClusterError as error:
        if error.code != "cluster.forbidden":
            raise
