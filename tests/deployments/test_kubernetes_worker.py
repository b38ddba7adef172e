"""A real Kubernetes worker with its shipped rules: a run of a deployment becomes a Job, whose pod runs the flow."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import LogFilter
from prefect.client.schemas.objects import FlowRun, State

from deployments.pools import FLOWS_UID, HEARTBEAT_VARIABLE, PodSettings, ensure_pool
from deployments.prefect_yaml import KUBERNETES
from deployments.register import read, register
from deployments.rules import FLOWS, WORKER, manifests, rights
from kube.access import Permission
from kube.apply import apply
from kube.connect import from_kubeconfig
from kube.delete import delete
from kube.read import list_
from sandbox.kubernetes.node.config import ImageConfig
from sandbox.kubernetes.server import KubernetesServer
from sandbox.prefect_server import PrefectServer, serve_prefect, wait_until_healthy
from sandbox.processes import child, log_tail
from tests.conftest import reporting_to
from tests.deployments.test_automations import ask
from tests.deployments.test_permissions import GATEWAY, PSA, covers
from tests.flows.conftest import GPU_CAPACITY, World, cluster_block, serve_world

pytestmark = [pytest.mark.server, pytest.mark.long, pytest.mark.timeout(900)]

PROJECT = Path(__file__).parents[2]
IMAGE = "example.com/inference-flows:1"
NAMESPACE = WORKER[0]
WAIT_SECONDS = 300.0
KILLS = Permission("delete", "batch", "jobs", NAMESPACE)
"""Asked for only if a run is cancelled in the moment in which the worker submits it (Prefect 3.8.8)."""
PROGRAMS = {
    # The worker image's `prefect`: this project, as it stands, in the Python that runs the tests. Their paths are in
    # the program: in the environment the sandbox's node would take them for paths in the pod, /tmp for example.
    "inference-flows": f'PYTHONPATH={quote(str(PROJECT))} exec {quote(sys.executable)} -m prefect "$@"',
    "broken-flows": "echo 'ModuleNotFoundError: No module named flows' >&2; exit 3",
}


def images(home: Path) -> Iterator[ImageConfig]:
    """Images with a `prefect`."""
    for name, program in PROGRAMS.items():
        command = home / name / "prefect"
        command.parent.mkdir(parents=True)
        command.write_text(f"#!/bin/sh\n{program}\n")
        command.chmod(0o755)
        yield ImageConfig(f"example.com/{name}:*", path=command.parent, env={"DO_NOT_TRACK": "1"})


def user(account: tuple[str, str]) -> str:
    return "system:serviceaccount:{}:{}".format(*account)


@dataclass(frozen=True)
class Installation:
    """A worker in a cluster, and the Prefect server that it works for."""

    prefect: PrefectServer
    kubernetes: KubernetesServer
    log: Path

    def objects(self, version: str, kind: str) -> list[dict[str, Any]]:
        with from_kubeconfig(self.kubernetes.kubeconfig) as cluster:
            return list_(cluster, version, kind, NAMESPACE)


def apply_rules(kubernetes: KubernetesServer) -> None:
    with from_kubeconfig(kubernetes.kubeconfig) as cluster:
        apply(cluster, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": GATEWAY}})
        for one in sorted(manifests(), key=lambda one: (one["kind"] != "Namespace", "Binding" in one["kind"])):
            # The sandbox has no Pod Security admission, and refuses to pretend.
            one["metadata"].get("labels", {}).pop(PSA, None)
            assert not apply(cluster, one).warnings


def of_the_chart() -> dict[str, str]:
    """What the chart gives the worker of the shipped values."""
    values = yaml.safe_load((PROJECT / "deployments" / "helm" / "prefect-worker-values.yaml").read_text())["worker"]
    given = {one["name"]: one["value"] for one in values["extraEnvVars"]}
    return given | {"PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES": values["config"]["jobNamespace"]}


def set_up(world: World) -> None:
    """Blocks, pool and deployments, as the bootstrap makes them."""
    account = world.kubernetes.write_kubeconfig(world.kubernetes.add_token(user(FLOWS)), "flows")
    for block in (world.hub, world.store, cluster_block(account)):
        block.save("default", overwrite=True)

    async def registered(client: PrefectClient) -> None:
        await ensure_pool(client, KUBERNETES, PodSettings(IMAGE, NAMESPACE, FLOWS[1]))
        only = {"list-endpoints", "stage-model"}
        await register([one for one in read(KUBERNETES) if one["name"] in only], client=client)

    ask(registered)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    home = tmp_path_factory.mktemp("worker")
    with ExitStack() as stack:
        prefect = stack.enter_context(serve_prefect(home / "prefect"))
        shipped = tuple(images(home / "images"))
        world = stack.enter_context(serve_world(home / "world", images=shipped, node_a=GPU_CAPACITY))
        apply_rules(world.kubernetes)
        wait_until_healthy(prefect)
        stack.enter_context(reporting_to(prefect))
        set_up(world)
        account = world.kubernetes.write_kubeconfig(world.kubernetes.add_token(user(WORKER)), "worker")
        env = {
            **prefect.env,
            **of_the_chart(),
            "KUBECONFIG": str(account),
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "PREFECT_HOME": str(home / "worker"),
        }
        del env["PREFECT_API_SSL_CERT_FILE"]  # a worker hands its settings on, and its pods have no such file
        command = ["-m", "prefect", "worker", "start", "--pool", KUBERNETES.name, "--type", "kubernetes"]
        log = home / "worker.log"
        stack.enter_context(
            child([sys.executable, *command, "--install-policy", "never"], env=env, log=log, cwd=PROJECT)
        )
        yield Installation(prefect, world.kubernetes, log)


def start(deployment: str, image: str = IMAGE) -> FlowRun:
    """Starts a run as `prefect deployment run` does."""

    async def started(client: PrefectClient) -> FlowRun:
        there = await client.read_deployment_by_name(deployment)
        return await client.create_flow_run_from_deployment(there.id, job_variables={"image": image})

    return ask(started)


def wait_for_end(place: Installation, run: FlowRun) -> State[Any]:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        found = ask(lambda client: client.read_flow_run(run.id))
        if found.state is not None and found.state.is_final():
            return found.state
        assert time.monotonic() < deadline, f"{found.state_name}\n{log_tail(place.log)}"
        time.sleep(1)


def wait_for_job(place: Installation, run: FlowRun) -> dict[str, Any]:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        for job in place.objects("batch/v1", "Job"):
            if job["metadata"]["labels"]["prefect.io/flow-run-id"] == str(run.id):
                return job
        assert time.monotonic() < deadline, log_tail(place.log)
        time.sleep(1)


def test_a_run_becomes_a_job_whose_pod_runs_the_flow(place: Installation) -> None:
    run = start("list-endpoints/list-endpoints")
    state = wait_for_end(place, run)
    job = wait_for_job(place, run)
    assert state.is_completed(), f"{state.message}\n{log_tail(place.log)}"
    # The pod's process ran it, as the service account of the flow runs, and asked the cluster for its records.
    asked = place.kubernetes.rights_used(user(FLOWS))
    assert any((one.verb, one.resource) == ("list", "configmaps") for one in asked)

    assert job["spec"]["ttlSecondsAfterFinished"] == 86_400
    template = job["spec"]["template"]
    pod, container = template["spec"], template["spec"]["containers"][0]
    assert template["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"] == "true"
    assert pod["serviceAccountName"] == FLOWS[1]
    assert pod["securityContext"]["runAsUser"] == FLOWS_UID
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["image"] == IMAGE
    requests, limits = {"cpu": "250m", "memory": "512Mi"}, {"memory": "1Gi"}
    assert container["resources"] == {"requests": requests, "limits": limits}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    env = {one["name"]: one.get("value") for one in container["env"]}
    assert env[HEARTBEAT_VARIABLE] == "30"
    # The API knows every field of the template: a strict server drops none.
    sent = {"metadata": {"annotations": template["metadata"]["annotations"]}, "spec": pod}
    copy = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "copy", "namespace": NAMESPACE}}
    with from_kubeconfig(place.kubernetes.kubeconfig) as cluster:
        assert not apply(cluster, {**copy, "spec": {"template": sent}}, dry_run=True).warnings


def test_the_worker_follows_runs_that_never_start_with_all_its_rights_and_no_other(place: Installation) -> None:
    """One crashes before it reaches Prefect, one loses its Job while it waits for its image."""
    broken = start("list-endpoints/list-endpoints", "example.com/broken-flows:1")
    lost = start("list-endpoints/list-endpoints", "example.com/none:1")
    for run in (broken, lost):
        wait_for_job(place, run)
    with from_kubeconfig(place.kubernetes.kubeconfig) as cluster:
        delete(cluster, "batch/v1", "Job", wait_for_job(place, lost)["metadata"]["name"], namespace=NAMESPACE)
    assert wait_for_end(place, broken).is_crashed()
    assert wait_for_end(place, lost).is_crashed()
    deadline = time.monotonic() + WAIT_SECONDS
    while not any("No module named flows" in line for line in ask(lambda client: logs_of(client, broken))):
        assert time.monotonic() < deadline, log_tail(place.log)
        time.sleep(1)

    asked = place.kubernetes.rights_used(user(WORKER))
    unused = {one.permission for one in rights(WORKER) if not any(covers(one.permission, use) for use in asked)}
    assert unused == {KILLS}, "rules that the worker does not use"
    assert "forbidden" not in place.log.read_text().lower()


async def logs_of(client: PrefectClient, run: FlowRun) -> list[str]:
    chosen = LogFilter.model_validate({"flow_run_id": {"any_": [run.id]}})
    return [one.message for one in await client.read_logs(chosen)]
