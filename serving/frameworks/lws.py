"""vLLM over several pods: a LeaderWorkerSet whose leader serves and whose workers compute along.

vLLM from 0.12 on spans nodes by itself. Older images (their Ray was dropped at 0.18) form a Ray cluster first; the
fixed scripts for that get the engine's command line as ``"$@"``, so that no argument passes through a shell.
"""

from typing import Any

from serving.combinations import require_possible
from serving.frameworks import resources
from serving.frameworks.arguments import as_written, literal
from serving.frameworks.groups import group_size
from serving.frameworks.images import engine_image
from serving.frameworks.labels import annotations, workload_labels
from serving.frameworks.pod import CONTAINER_SECURITY, engine_container, environment, pod_template
from serving.frameworks.probes import http_probes, load_seconds
from serving.frameworks.vllm import (
    command_line,
    compile_disk,
    compile_mounts,
    compile_volumes,
    default_tensor_parallel_size,
    engine_environment,
)
from serving.frameworks.weights import Weights, weights_for
from serving.frameworks.workload import Door, Manifest, disruption_budget, service
from serving.models import StagedModel
from serving.options import LwsOptions
from serving.release import Release
from serving.spec import EndpointSpec

PORT = 8080
ROLE_LABEL = "inference-flows/role"
CHART_ROLE_LABELS = ("role", "leaderworkerset.sigs.k8s.io/role")
"""What users of the chart select leaders by: its templates have the first, its documentation names the second, which
LWS' own controller sets to the same values in versions after 0.10."""
NAME_LABEL = "leaderworkerset.sigs.k8s.io/name"
DOOR = Door(select={ROLE_LABEL: "leader"}, alias="-leader", alias_ports=(("http", PORT, "http"),))
_EFA = "vpc.amazonaws.com/efa"

RAY_LEADER = r"""
set -eu
ray start --head --port=6379 --disable-usage-stats
python3 - "$LWS_GROUP_SIZE" <<'END'
import sys, time, ray
wanted = int(sys.argv[1])
ray.init(address="auto", log_to_driver=False)
while True:
    alive = sum(node["Alive"] for node in ray.nodes())
    print(f"ray: {alive} of {wanted} pods joined", flush=True)
    if alive >= wanted:
        break
    time.sleep(5)
END
exec "$@"
""".lstrip()

RAY_WORKER = r"""
set -eu
python3 - "$LWS_LEADER_ADDRESS" <<'END'
import socket, sys, time
while True:
    try:
        socket.create_connection((sys.argv[1], 6379), timeout=5).close()
        break
    except OSError as error:
        print(f"ray: waiting for the leader {sys.argv[1]}: {error}", flush=True)
        time.sleep(5)
END
exec ray start --address="$LWS_LEADER_ADDRESS:6379" --block --disable-usage-stats
""".lstrip()


def render(spec: EndpointSpec, staged: StagedModel | None, release: Release) -> list[Manifest]:
    """Returns the endpoint's manifests, in the order in which they are applied.

    Raises:
        InputError: The spec holds a combination that cannot work.
    """
    require_possible(spec)
    weights = weights_for(spec, staged, release)
    total = staged.total_bytes if staged else None
    size = group_size(spec)
    command = _command(spec, weights, release, size)
    leader, worker = _commands(spec, command)
    probes = http_probes(load_seconds(spec, total), ready="/health")
    templates = {
        role: _template(spec, staged, release, weights, total, role=role, command=line, probes=role_probes)
        for role, line, role_probes in (("leader", leader, probes), ("worker", worker, {}))
    }
    return [
        *weights.objects,
        _service(spec, release),
        _workload(spec, staged, release, size, templates),
        *disruption_budget(spec, release),
    ]


def _service(spec: EndpointSpec, release: Release) -> Manifest:
    """The release's own Service. Under the set's name its controller makes a headless one, for the pods' addresses."""
    found = service(spec, release, DOOR)
    found["metadata"]["name"] = f"{release.name}{DOOR.alias}"
    return found


def _workload(
    spec: EndpointSpec, staged: StagedModel | None, release: Release, size: int, templates: dict[str, Any]
) -> Manifest:
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {
            "name": release.name,
            "namespace": spec.namespace,
            "labels": workload_labels(spec, release),
            "annotations": annotations(release, staged),
        },
        "spec": {
            "replicas": spec.replicas,
            "startupPolicy": "LeaderCreated",
            "rolloutStrategy": {
                "type": "RollingUpdate",
                "rollingUpdateConfiguration": {"maxSurge": 0, "maxUnavailable": 1},
            },
            "leaderWorkerTemplate": {
                "size": size,
                "restartPolicy": "RecreateGroupOnPodRestart",
                "leaderTemplate": templates["leader"],
                "workerTemplate": templates["worker"],
            },
        },
    }


def _command(spec: EndpointSpec, weights: Weights, release: Release, size: int) -> list[str]:
    pipeline = spec.engine.pipeline_parallel_size or size
    tensor = spec.engine.tensor_parallel_size or default_tensor_parallel_size(spec, size)
    engine = spec.engine.model_copy(update={"pipeline_parallel_size": pipeline, "tensor_parallel_size": tensor})
    return command_line(spec.model_copy(update={"engine": engine}), weights, release, port=PORT)


def _commands(spec: EndpointSpec, command: list[str]) -> tuple[list[str], list[str]]:
    """Returns the command lines of leader and workers. ``$(…)`` here is meant for Kubernetes to fill in."""
    if _over_ray(spec):
        serve = as_written([*command, "--distributed-executor-backend", "ray"])
        leader = ["/bin/sh", "-c", literal(RAY_LEADER), "leader", *serve]
        return leader, ["/bin/sh", "-c", literal(RAY_WORKER), "worker"]
    group = ["--nnodes", "$(LWS_GROUP_SIZE)", "--node-rank", "$(LWS_WORKER_INDEX)"]
    group += ["--master-addr", "$(LWS_LEADER_ADDRESS)"]
    leader = [*as_written(command), *group]
    return leader, [*leader, "--headless"]


def _over_ray(spec: EndpointSpec) -> bool:
    chosen = (spec.lws or LwsOptions()).multi_node
    return chosen == "ray" or (chosen == "auto" and not engine_image(spec.image).spans_nodes)


def _template(
    spec: EndpointSpec,
    staged: StagedModel | None,
    release: Release,
    weights: Weights,
    total: int | None,
    *,
    role: str,
    command: list[str],
    probes: dict[str, Any],
) -> dict[str, Any]:
    leads = role == "leader"
    container = engine_container(
        spec,
        weights,
        name=f"vllm-{role}",
        command=command,
        env=environment(engine_environment(spec), weights.env, spec.env),
        probes=probes,
        total_bytes=total,
        extra_disk=compile_disk(spec, total),
        mounts=compile_mounts(spec),
        ports=(("http", PORT),) if leads else (),
        lifecycle=None if leads else {},
    )
    _add_fabric(spec, container)
    return pod_template(
        spec,
        staged,
        release,
        weights,
        [container],
        volumes=compile_volumes(spec),
        metrics=("/metrics", PORT) if leads else None,
        labels=dict.fromkeys((ROLE_LABEL, *CHART_ROLE_LABELS), role),
        affinity=resources.near({NAME_LABEL: release.name}),
    )


def _add_fabric(spec: EndpointSpec, container: dict[str, Any]) -> None:
    """Adds Elastic Fabric Adapters, which need huge pages and locked memory."""
    adapters = spec.lws.efa if spec.lws else 0
    if not adapters:
        return
    wanted = {_EFA: str(adapters), "hugepages-2Mi": "5120Mi"}
    container["resources"]["requests"] |= wanted
    container["resources"].setdefault("limits", {}).update(wanted)
    container["securityContext"] = {
        **CONTAINER_SECURITY,
        "capabilities": {"drop": ["ALL"], "add": ["IPC_LOCK"]},
    }
