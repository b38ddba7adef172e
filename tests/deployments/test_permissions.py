"""The shipped access rules are what the flows use: nothing is missing, nothing is there for nobody."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from prefect.client.schemas.objects import State

from deployments.rules import FLOWS, Right, manifests, rights
from flows.benchmark_endpoint import LoadEngine, benchmark_endpoint
from flows.deploy_model import subflow_of
from flows.list_endpoints import list_endpoints
from flows.parameters import WorkloadOptions
from flows.remove_endpoint import remove_endpoint
from kube.access import Permission
from kube.apply import apply
from kube.connect import from_kubeconfig
from sandbox.kubernetes.authz import Attributes
from sandbox.kubernetes.controllers.operators import simulate
from serving.benchmark.job import JobOptions
from serving.models import ModelSource
from serving.spec import Framework, NimOptions
from tests.flows.conftest import (
    GPU_CAPACITY,
    NAMESPACE,
    World,
    cluster_block,
    serve_world,
)
from tests.flows.custom_kinds import DEFINITIONS, OPEN, definition

pytestmark = [pytest.mark.server, pytest.mark.long]

USER = "system:serviceaccount:{}:{}".format(*FLOWS)
MODEL = ModelSource(repo_id="Qwen/Qwen3-1.7B")
NIM_IMAGE = "nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8.3"
# What operators bring besides, without their controllers: they are looked for, and there are none.
RAY_CLUSTER = definition("ray.io", "v1", "RayCluster", {"any": OPEN})
NODE_POOL = definition("karpenter.sh", "v1", "NodePool", {"any": OPEN})
PSA = "pod-security.kubernetes.io/enforce"
GATEWAY = "envoy-gateway-system"
FORWARD = """
import http.server, os, urllib.request, urllib.error
class Handler(http.server.BaseHTTPRequestHandler):
    def forward(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
        asked = urllib.request.Request(os.environ["TARGET"] + self.path, body, {"Content-Type": "application/json"})
        try:
            answer = urllib.request.urlopen(asked, timeout=30)
        except urllib.error.HTTPError as error:
            answer = error
        content = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
    do_GET = do_POST = forward
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""


def work(**fields: Any) -> WorkloadOptions:
    return WorkloadOptions.model_validate({"pod": {"drain_seconds": 0}, "rollout": {"retire_after": 0}, **fields})


def gateway() -> list[dict[str, Any]]:
    """A gateway in front of the endpoint ``ai``: it forwards."""
    labels = {"app": "gateway"}
    container = {
        "name": "proxy",
        "image": "sandbox/python:3",
        "command": ["python3", "-c", FORWARD],
        "env": [{"name": "TARGET", "value": f"http://ai.{NAMESPACE}:8000"}],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    meta = {"name": "gateway", "namespace": GATEWAY}
    found = {**meta, "labels": {"gateway.envoyproxy.io/owning-gateway-name": "aibrix-eg"}}
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**meta, "labels": labels},
            "spec": {"containers": [container]},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": found,
            "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        },
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> Iterator[World]:
    """A cluster with the shipped rules; its block is the service account of the flow runs."""
    nodes = dict.fromkeys(("gpu_a", "gpu_b", "gpu_c"), GPU_CAPACITY)
    with serve_world(tmp_path_factory.mktemp("permissions"), **nodes) as world:
        server = world.kubernetes
        server.call(simulate)
        for one in (*DEFINITIONS, RAY_CLUSTER):
            server.install_crd(one)
        with from_kubeconfig(server.kubeconfig) as cluster:
            apply(cluster, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": GATEWAY}})
            shipped = manifests()
            for one in sorted(shipped, key=lambda one: (one["kind"] != "Namespace", "Binding" in one["kind"])):
                # The sandbox has no Pod Security admission, and refuses to pretend.
                one["metadata"].get("labels", {}).pop(PSA, None)
                applied = apply(cluster, one)
                assert not applied.warnings
            for one in gateway():
                apply(cluster, one)
        block = cluster_block(server.write_kubeconfig(server.add_token(USER), "flows"))
        yield world.with_blocks(cluster=block)


Flow = Callable[[World], Awaitable[State[Any]]]


def deploy(framework: Framework, endpoint: str, **parameters: Any) -> Flow:
    def start(place: World) -> Awaitable[State[Any]]:
        given = {"endpoint": endpoint, "model": MODEL, "workload": work(), **place.target(), **parameters}
        started: Awaitable[State[Any]] = subflow_of(framework)(**given, return_state=True)
        return started

    return start


def load_test(endpoint: str) -> Flow:
    def start(place: World) -> Awaitable[State[Any]]:
        job = JobOptions(image="example.com/inference-perf:1")
        given = {"cluster": place.cluster, "store": place.store, "engine": LoadEngine.INFERENCE_PERF, "job": job}
        started: Awaitable[State[Any]] = benchmark_endpoint(endpoint, **given, return_state=True)
        return started

    return start


def remove(endpoint: str) -> Flow:
    return lambda place: remove_endpoint(endpoint, place.cluster, place.store, return_state=True)


SCALED = {"autoscaling": {"by": "hpa", "max_replicas": 3}, "service_account": "inference-pods"}
KEDA = {"autoscaling": {"by": "keda", "max_replicas": 3, "prometheus": "http://prometheus:9090"}}
MONITOR = {"pod": {"drain_seconds": 0, "monitor": True}}
AIBRIX = {"autoscaling": {"by": "aibrix", "max_replicas": 3}}
OLD = "vllm/vllm-openai:v0.18.0"

RUNS: dict[str, tuple[Flow, str]] = {
    # name: (the run, how it ends)
    "no image": (deploy(Framework.VLLM, "none", image="example.com/none:1", workload=work(weights="sync")), "failed"),
    "first release": (deploy(Framework.VLLM, "hpa", workload=work(**SCALED)), "completed"),
    "next release": (deploy(Framework.VLLM, "hpa", workload=work(env={"A": "1"})), "completed"),
    "keda": (deploy(Framework.VLLM, "keda", workload=work(**KEDA)), "completed"),
    "monitored": (deploy(Framework.VLLM, "watched", workload=work(**MONITOR)), "completed"),
    "aibrix": (deploy(Framework.AIBRIX, "ai", workload=work(**AIBRIX)), "completed"),
    "lws": (deploy(Framework.LWS_VLLM, "lws", image=OLD, workload=work(weights="sync")), "any"),
    "ray": (deploy(Framework.RAY_VLLM, "ray"), "completed"),
    "mounted": (deploy(Framework.VLLM, "mnt", workload=work(weights="mount")), "completed"),
    "nim": (
        deploy(
            Framework.NIM,
            "nim",
            image=NIM_IMAGE,
            nim=NimOptions(operator=True),
            workload=work(weights="hub"),
            timeout_minutes=1,
        ),
        "failed",  # no disk for its cache
    ),
    "load test": (load_test("hpa"), "failed"),  # no such image
    "list": (lambda place: list_endpoints(place.cluster, place.hub, return_state=True), "completed"),
    **{f"remove {name}": (remove(name), "completed") for name in ("hpa", "keda", "watched", "ai", "ray", "mnt")},
    "remove lws": (remove("lws"), "any"),
}

AFTER_KARPENTER = "first release"


def test_the_flows_use_every_shipped_right_and_no_other(place: World) -> None:
    ended = {}
    for name, (run, _) in RUNS.items():
        if name == AFTER_KARPENTER:  # before, the other autoscaler of nodes is looked for
            place.kubernetes.install_crd(NODE_POOL)
        ended[name] = asyncio.run(run(place))
    for name, (_, wanted) in RUNS.items():
        state = ended[name]
        assert wanted == "any" or state.is_completed() == (wanted == "completed"), f"{name}: {state.message}"
        assert "may not" not in (state.message or ""), f"{name}: {state.message}"
    used = place.kubernetes.rights_used(USER)
    unused = [str(one.permission) for one in rights() if not any(covers(one.permission, asked) for asked in used)]
    assert not unused, f"rules that no flow uses: {unused}"


def covers(permission: Permission, asked: Attributes) -> bool:
    return (
        (permission.verb, permission.group, permission.resource, permission.subresource, permission.namespace)
        == (asked.verb, asked.group, asked.resource, asked.subresource, asked.namespace)
    ) and permission.name in ("", asked.name)


PROBES: dict[str, Flow] = {
    # By role: a dry run that needs it.
    "inference-flows": deploy(Framework.VLLM, "probe", workload=work(**SCALED), dry_run=True),
    "inference-flows-cluster": deploy(Framework.VLLM, "probe", dry_run=True),
    "inference-flows-autoscaler": deploy(Framework.VLLM, "probe", dry_run=True),
    "inference-flows-ray": deploy(Framework.RAY_VLLM, "probe", dry_run=True),
    "inference-flows-benchmark": load_test("watched"),
    "inference-flows-lws": deploy(Framework.LWS_VLLM, "probe", image=OLD, workload=work(weights="sync"), dry_run=True),
    "inference-flows-nim": deploy(
        Framework.NIM,
        "probe",
        image=NIM_IMAGE,
        nim=NimOptions(operator=True),
        workload=work(weights="hub"),
        dry_run=True,
    ),
    "inference-flows-keda": deploy(Framework.VLLM, "probe", workload=work(**KEDA), dry_run=True),
    "inference-flows-monitoring": deploy(Framework.VLLM, "probe", workload=work(**MONITOR), dry_run=True),
    "inference-flows-aibrix": deploy(Framework.AIBRIX, "probe", workload=work(**AIBRIX), dry_run=True),
    "inference-flows-gateway": deploy(Framework.AIBRIX, "probe", workload=work(**AIBRIX), dry_run=True),
    "inference-flows-volumes": deploy(Framework.VLLM, "probe", workload=work(weights="mount"), dry_run=True),
    "inference-flows-claims": deploy(Framework.VLLM, "probe", workload=work(weights="mount"), dry_run=True),
}


def rules() -> dict[str, list[Right]]:
    """The rights of each shipped rule, by ``file role n``."""
    found: dict[str, list[Right]] = {}
    for one in rights():
        found.setdefault(f"{one.file} {one.role} {one.rule}", []).append(one)
    return found


def without(role: dict[str, Any], gone: list[Right]) -> dict[str, Any]:
    """A role without some rights. Another role may grant the same, so all roles are looked through."""
    permissions = {one.permission for one in gone}
    taken = {
        (one.rule, one.permission.verb)
        for one in rights()
        if one.role == role["metadata"]["name"] and one.permission in permissions
    }
    rules_left = []
    for position, rule in enumerate(role["rules"]):
        if verbs := [verb for verb in rule["verbs"] if (position, verb) not in taken]:
            rules_left.append({**rule, "verbs": verbs})
    return {**role, "rules": rules_left}


class Said(logging.Handler):
    """What runs log."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += record.getMessage() + "\n"


@pytest.mark.parametrize("rule", rules())
def test_without_any_one_rule_a_run_names_it(rule: str, place: World) -> None:
    """It fails, or says that it works without looking; either way with the rule to add."""
    gone = rules()[rule][0]
    permission = gone.permission
    if (gone.role, permission.subresource) == ("inference-flows-gateway", "proxy"):
        pytest.skip("asked for only after a promotion: the release is then proved by the smoke test's own failure")
    changed = [(one, without(one, rules()[rule])) for one in manifests() if one["kind"].endswith("Role")]
    probe = PROBES[gone.role]
    if (gone.role, permission.resource) == ("inference-flows-cluster", "configmaps"):
        probe = RUNS["list"][0]
    if gone.role == "inference-flows-benchmark":
        asyncio.run(RUNS["monitored"][0](place))  # an endpoint to be put under load
    place.kubernetes.install_crd(NODE_POOL)
    said = Said()
    logging.getLogger("prefect.task_runs").addHandler(said)
    with from_kubeconfig(place.kubernetes.kubeconfig) as admin:
        for _, smaller in changed:
            apply(admin, smaller)
        try:
            state = asyncio.run(probe(place))
        finally:
            for whole, _ in changed:
                apply(admin, whole)
            logging.getLogger("prefect.task_runs").removeHandler(said)
    told = f"{state.message}\n{said.text}"
    resource = permission.resource + (f"/{permission.subresource}" if permission.subresource else "")
    assert f'resources: ["{resource}"]' in told, told
    assert "may not" in told


def test_the_rules_are_enough_for_a_dry_run_without_a_word(place: World) -> None:
    said = Said()
    logging.getLogger("prefect.task_runs").addHandler(said)
    try:
        state = asyncio.run(PROBES["inference-flows"](place))
    finally:
        logging.getLogger("prefect.task_runs").removeHandler(said)
    assert state.is_completed(), state.message
    assert "may not" not in said.text
