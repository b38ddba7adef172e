"""Work pools: who runs the deployments' runs, and with what."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.utilities.importtools import import_object

from deployments.outcomes import Done, Outcome
from deployments.prefect_yaml import Pool
from serving.errors import InputError

HEARTBEAT_SECONDS = 30
"""Pause between a run's heartbeats; Prefect allows no shorter one."""

HEARTBEAT_VARIABLE = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"

FLOWS_UID = 1000
"""User that the worker image runs as (deployments/worker/Dockerfile)."""

_WORKERS = {
    "process": "prefect.workers.process.ProcessWorker",
    "kubernetes": "prefect_kubernetes.worker.KubernetesWorker",
}
"""Who runs a pool's runs, by its type; imported when it is needed: seconds."""

_WRITABLE = {"home": "/home/flows", "tmp": "/tmp"}  # noqa: S108 - inside the container

Template = dict[str, Any]

_PLACES: dict[str, tuple[str, dict[str, Any]]] = {
    "node_selector": (
        "nodeSelector",
        {
            "title": "Node Selector",
            "description": "Labels of the node that the run needs; an instance type is one of them: "
            '{"node.kubernetes.io/instance-type": "c7gn.4xlarge"}',
            "type": "object",
            "additionalProperties": {"type": "string"},
        },
    ),
    "tolerations": (
        "tolerations",
        {
            "title": "Tolerations",
            "description": "Taints that the run's pod tolerates, as Kubernetes writes them",
            "type": "array",
            "items": {"type": "object"},
        },
    ),
}
"""Job variables that say where a run's pod may be, which the worker's own template lacks: field of the pod, schema."""


@dataclass(frozen=True)
class PodSettings:
    """What runs of a Kubernetes pool have in common; empty fields leave the pool as it is.

    Attributes:
        image: Image with this project (deployments/worker/Dockerfile).
        namespace: Namespace of the runs' Jobs.
        service_account: Who the runs are: rules in deployments/rbac, IAM policy in deployments/iam.
    """

    image: str = ""
    namespace: str = ""
    service_account: str = ""


async def ensure_pool(client: PrefectClient, pool: Pool, pods: PodSettings) -> Done:
    """Creates the pool, or brings its job template up to date. What a person added to the template stays.

    Raises:
        InputError: There is a pool of this name and another type, or a new Kubernetes pool is to run no image.
    """
    try:
        there = await client.read_work_pool(pool.name)
    except ObjectNotFound:
        if pool.type == "kubernetes" and not pods.image:
            raise InputError(
                f"Work pool {pool.name} is to be created, and runs in pods need an image.",
                fix="Build deployments/worker/Dockerfile, push it, and name it with --image.",
            ) from None
        template = job_template(pool, {}, pods)
        try:
            await client.create_work_pool(WorkPoolCreate(name=pool.name, type=pool.type, base_job_template=template))
        except ObjectAlreadyExists:  # a worker that started meanwhile has created it, with Prefect's own template
            return await ensure_pool(client, pool, pods)
        return Done("work pool", pool.name, Outcome.CREATED, f"type {pool.type}")
    if there.type != pool.type:
        raise InputError(
            f"Work pool {pool.name} is of type {there.type}, not {pool.type}.",
            fix=f"Delete it (prefect work-pool delete {pool.name}) and run this again.",
        )
    template = job_template(pool, there.base_job_template, pods)
    if template == there.base_job_template:
        return Done("work pool", pool.name, Outcome.UNCHANGED)
    await client.update_work_pool(pool.name, WorkPoolUpdate(base_job_template=template))
    changed = _changed_defaults(there.base_job_template, template) or ["job template"]
    return Done("work pool", pool.name, Outcome.UPDATED, ", ".join(changed))


def job_template(pool: Pool, present: Template, pods: PodSettings) -> Template:
    """The pool's job template: the present one, or else the worker's own, with what our runs need.

    Args:
        pool: The pool.
        present: Its template now; empty for a new pool.
        pods: Settings of a Kubernetes pool.
    """
    template = deepcopy(present) or import_object(_WORKERS[pool.type]).get_default_base_job_template()
    properties = template["variables"]["properties"]
    env = properties["env"].get("default") or {}
    properties["env"]["default"] = {**env, HEARTBEAT_VARIABLE: env.get(HEARTBEAT_VARIABLE, str(HEARTBEAT_SECONDS))}
    if pool.type == "kubernetes":
        _in_pods(template, pods, new=not present)
    return template


def _in_pods(template: Template, pods: PodSettings, *, new: bool) -> None:
    properties = template["variables"]["properties"]
    given = {
        "image": pods.image,
        "namespace": pods.namespace,
        "service_account_name": pods.service_account,
    }
    for name, value in given.items():
        if value:
            properties[name]["default"] = value
    pod = template["job_configuration"]["job_manifest"]["spec"]["template"]
    for name, (field, schema) in _PLACES.items():
        if name not in properties and field not in pod["spec"]:
            properties[name] = deepcopy(schema)
            pod["spec"][field] = f"{{{{ {name} }}}}"
    if not new:
        return
    # A node may have to come before the pod starts; finished Jobs go after a day.
    properties["pod_watch_timeout_seconds"]["default"] = 600
    properties["finished_job_ttl"]["default"] = 86_400
    # Karpenter leaves the node of a running transfer alone.
    pod["metadata"] = {"annotations": {"karpenter.sh/do-not-disrupt": "true"}}
    pod["spec"] |= {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": FLOWS_UID,
            "runAsGroup": FLOWS_UID,
            "fsGroup": FLOWS_UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [{"name": name, "emptyDir": {}} for name in _WRITABLE],
    }
    pod["spec"]["containers"][0] |= {
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": name, "mountPath": path} for name, path in _WRITABLE.items()],
    }


def _changed_defaults(before: Template, after: Template) -> list[str]:
    old, new = (one.get("variables", {}).get("properties", {}) for one in (before, after))
    return [name for name in new if old.get(name, {}).get("default") != new[name].get("default")]
