"""What cannot work ends within seconds with one paragraph: cause and fix, nothing published, nothing changed."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State
from pydantic import SecretStr

from blocks.hub import HuggingFaceHub
from flows.deploy_model import deploy_model
from kube.apply import apply
from kube.connect import from_kubeconfig
from serving.catalog import Overrides
from tests.flows.conftest import NAMESPACE, World, cluster_block, store_block

pytestmark = pytest.mark.server

Case = Callable[[World, Path], dict[str, Any]]
GATED = {"overrides": Overrides(model="meta-llama/Llama-3.1-8B-Instruct")}


def unknown_preset(world: World, tmp: Path) -> dict[str, Any]:
    return {"preset": "qwen3-1.7-vllm"}


def unknown_repository(world: World, tmp: Path) -> dict[str, Any]:
    return {"overrides": Overrides(model="Qwen/Qwen3-1.7Bee")}


def unknown_revision(world: World, tmp: Path) -> dict[str, Any]:
    return {"overrides": Overrides(revision="v99")}


def gated_without_token(world: World, tmp: Path) -> dict[str, Any]:
    return GATED | {"hub": HuggingFaceHub(endpoint=world.hub_server.url)}


def gated_without_access(world: World, tmp: Path) -> dict[str, Any]:
    token = SecretStr(world.hub_server.token_without_access)
    return GATED | {"hub": HuggingFaceHub(token=token, endpoint=world.hub_server.url)}


def wrong_token(world: World, tmp: Path) -> dict[str, Any]:
    return {"hub": HuggingFaceHub(token=SecretStr("hf_marked_wrong"), endpoint=world.hub_server.url)}


def hub_token_expired(world: World, tmp: Path) -> dict[str, Any]:
    return {"hub": HuggingFaceHub(token=SecretStr(world.hub_server.token_expired), endpoint=world.hub_server.url)}


def bucket_missing(world: World, tmp: Path) -> dict[str, Any]:
    return {"store": store_block(world.s3, bucket="no-such-bucket")}


def access_denied(world: World, tmp: Path) -> dict[str, Any]:
    pair = world.s3.denied
    return {"store": store_block(world.s3, access_key=pair.access_key, secret_key=pair.secret_key)}


def read_only(world: World, tmp: Path) -> dict[str, Any]:
    pair = world.s3.reader
    return {"store": store_block(world.s3, access_key=pair.access_key, secret_key=pair.secret_key)}


def wrong_region(world: World, tmp: Path) -> dict[str, Any]:
    return {"store": store_block(world.s3, region="eu-central-1")}


def cluster_unreachable(world: World, tmp: Path) -> dict[str, Any]:
    gone = tmp / "kubeconfig"
    gone.write_text(world.kubernetes.kubeconfig.read_text().replace(world.kubernetes.url, "https://127.0.0.1:1"))
    return {"cluster": cluster_block(gone)}


def token_expired(world: World, tmp: Path) -> dict[str, Any]:
    token = world.kubernetes.add_token("late", expired=True)
    return {"cluster": cluster_block(world.kubernetes.write_kubeconfig(token, "expired"))}


def namespace_missing(world: World, tmp: Path) -> dict[str, Any]:
    return {"cluster": cluster_block(world.kubernetes.kubeconfig, namespace="no-such-namespace")}


def permission_missing(world: World, tmp: Path) -> dict[str, Any]:
    """Everything but Deployments."""
    rules = [
        {"apiGroups": ["", "policy"], "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list", "watch", "delete"]},
    ]
    role: dict[str, Any] = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "almost", "namespace": NAMESPACE},
        "rules": rules,
    }
    binding: dict[str, Any] = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "almost", "namespace": NAMESPACE},
        "subjects": [{"kind": "User", "name": "almost", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "Role", "name": "almost", "apiGroup": "rbac.authorization.k8s.io"},
    }
    with from_kubeconfig(world.kubernetes.kubeconfig) as cluster:
        for manifest in (role, binding):
            apply(cluster, manifest)
    token = world.kubernetes.add_token("almost")
    return {"cluster": cluster_block(world.kubernetes.write_kubeconfig(token, "almost"))}


def no_accelerator(world: World, tmp: Path) -> dict[str, Any]:
    return {"preset": "deepseek-r1-distill-llama-8b-vllm-neuron"}


def too_few_accelerators(world: World, tmp: Path) -> dict[str, Any]:
    return {"preset": "llama-4-scout-17b-vllm"}


def heads_do_not_divide(world: World, tmp: Path) -> dict[str, Any]:
    return {"overrides": Overrides.read({"engine": {"tensor_parallel_size": 3}, "resources": {"accelerators": 3}})}


def no_prometheus_operator(world: World, tmp: Path) -> dict[str, Any]:
    return {"overrides": Overrides.read({"pod": {"monitor": True}})}


def impossible_combination(world: World, tmp: Path) -> dict[str, Any]:
    return {"overrides": Overrides(accelerator="neuron")}


CASES: dict[Case, tuple[str, str]] = {
    # what the message names, and what it says to do
    unknown_preset: ("qwen3-1.7-vllm", "qwen3-1.7b-vllm"),
    unknown_repository: ("Qwen/Qwen3-1.7Bee", "check the name"),
    unknown_revision: ("v99", "refs"),
    gated_without_token: ("no Hub token is set", "Accept the licence at"),
    gated_without_access: ("meta-llama/Llama-3.1-8B-Instruct", "Accept the licence at"),
    wrong_token: ("token", "settings/tokens"),
    hub_token_expired: ("has expired", "settings/tokens"),
    bucket_missing: ("no-such-bucket", "Create"),
    access_denied: ("denied", "s3:"),
    read_only: ("s3:PutObject", "Allow s3:PutObject"),
    wrong_region: ("us-east-1", "region"),
    cluster_unreachable: ("127.0.0.1:1", "Check"),
    token_expired: ("expired", "Renew the credentials in the cluster block"),
    namespace_missing: ("no-such-namespace", "kubectl create namespace"),
    permission_missing: ("may not create, patch deployments.apps", 'verbs: ["create", "patch"]'),
    no_accelerator: ("aws.amazon.com/neuron", "device plugin"),
    too_few_accelerators: ("nvidia.com/gpu", "tensor_parallel_size"),
    heads_do_not_divide: ("8 attention heads do not divide", "to one of 1, 2"),
    no_prometheus_operator: ("PodMonitor", "Prometheus operator"),
    impossible_combination: ("neuron", "accelerator"),
}


OFTEN = {unknown_preset, gated_without_token, bucket_missing, wrong_region, permission_missing, no_accelerator}
"""One of each kind; the others run with the long proofs."""


def cases() -> Iterator[Any]:
    for case in CASES:
        yield pytest.param(case, id=case.__name__, marks=() if case in OFTEN else pytest.mark.long)


@pytest.mark.parametrize("case", list(cases()))
def test_a_deploy_that_cannot_work_changes_nothing(case: Case, world: World, tmp_path: Path) -> None:
    parameters = {"preset": "qwen3-1.7b-vllm", **world.target(), **case(world, tmp_path)}
    before = world.objects(), world.staged_keys(), world.s3.unfinished("models")
    state: State[Any] = asyncio.run(deploy_model(**parameters, return_state=True))
    assert state.is_failed()
    message = state.message or ""
    for part in CASES[case]:
        assert part.lower() in message.lower(), message
    assert "Traceback" not in message
    assert "\n" not in message
    assert (world.objects(), world.staged_keys(), world.s3.unfinished("models")) == before
    for secret in (
        "hf_marked_wrong",
        world.hub_server.token_expired,
        world.hub_server.token_without_access,
        world.s3.denied.secret_key,
    ):
        assert secret not in message
