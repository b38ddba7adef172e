from collections.abc import Callable
from typing import Any

import pytest

from serving.catalog import Overrides, get_preset, resolve
from serving.errors import PreflightError
from serving.models import StagedModel
from serving.preflight import Finding, capacity_findings, needed_permissions, plural, require, room_findings
from serving.release import release_of
from serving.rendering import render
from serving.spec import EndpointSpec


def node(
    name: str = "node-a",
    *,
    gpus: int = 0,
    instance_type: str = "g5.2xlarge",
    taints: tuple[dict[str, str], ...] = (),
    memory: str = "32Gi",
) -> dict[str, Any]:
    allocatable = {"cpu": "8", "memory": memory} | ({"nvidia.com/gpu": str(gpus)} if gpus else {})
    return {
        "metadata": {"name": name, "labels": {"node.kubernetes.io/instance-type": instance_type}},
        "spec": {"taints": list(taints)},
        "status": {"allocatable": allocatable, "capacity": allocatable},
    }


def spec(**overrides: Any) -> EndpointSpec:
    return resolve(get_preset("qwen3-1.7b-vllm"), Overrides.read(overrides))


def test_a_node_that_offers_enough_is_fine_with_the_usual_taint() -> None:
    taint = {"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}
    assert capacity_findings(spec(), [node(), node("gpu", gpus=1, taints=(taint,))]) == []


@pytest.mark.parametrize(
    ("asked", "nodes", "code", "words"),
    [
        ({}, [], "nodes.none", "no nodes"),
        ({}, [node()], "nodes.no-accelerator", "needs 1 nvidia.com/gpu and no node offers"),
        (
            {"resources": {"accelerators": 8}},
            [node(gpus=4)],
            "nodes.too-few-accelerators",
            "needs 8 nvidia.com/gpu in one pod, the largest node offers 4",
        ),
        (
            {"instance_type": "g6e.2xlarge"},
            [node(gpus=1)],
            "nodes.instance-type",
            "No node has instance type g6e.2xlarge: the cluster's 1 nodes have g5.2xlarge",
        ),
        (
            {},
            [node(gpus=1, taints=({"key": "team", "value": "a", "effect": "NoSchedule"},))],
            "nodes.tainted",
            "team=a:NoSchedule",
        ),
        ({"resources": {"memory": "64Gi"}}, [node(gpus=1)], "nodes.too-little-memory", "asks for 64Gi memory"),
    ],
)
def test_a_cluster_that_cannot_take_the_pods_says_why(
    asked: dict[str, Any], nodes: list[dict[str, Any]], code: str, words: str
) -> None:
    (finding,) = capacity_findings(spec(**asked), nodes)
    assert (finding.fatal, finding.code) == (True, code)
    assert words in finding.message
    assert finding.fix
    with pytest.raises(PreflightError) as caught:
        require([finding])
    assert caught.value.problems[0].code == code


def test_where_nodes_can_be_added_it_is_a_note() -> None:
    found = capacity_findings(spec(), [node()], node_autoscaler=True)
    assert [finding.fatal for finding in found] == [False]
    require(found)


def test_a_model_that_no_nodes_disk_holds_is_refused_before_it_travels(
    make_staged: Callable[..., StagedModel],
) -> None:
    def found(gigabytes: int, disk: str, may_come: bool = False, **parameters: Any) -> list[Finding]:
        endpoint = spec(weights="sync", **parameters)
        staged = make_staged(total_bytes=gigabytes * 10**9)
        manifests = render(endpoint, staged, release_of(endpoint, staged.model, staged))
        there = node(gpus=1)
        there["status"]["allocatable"] |= {"ephemeral-storage": disk} if disk else {}
        return room_findings(endpoint, manifests, [there], may_come=may_come)

    assert found(16, "80Gi") == []
    assert found(160, "") == []  # nodes that do not say
    (finding,) = found(160, "80Gi")
    assert (finding.fatal, finding.code) == (True, "nodes.too-little-ephemeral-storage")
    assert "needs" not in finding.fix
    assert "weights=stream" in finding.fix
    assert [one.fatal for one in found(160, "80Gi", may_come=True)] == [False]


def test_every_problem_is_raised_at_once() -> None:
    findings = [Finding(True, "a", "First."), Finding(False, "b", "Note."), Finding(True, "c", "Second.")]
    with pytest.raises(PreflightError, match=r"2 problems: \(1\) First\. \(2\) Second\."):
        require(findings)


def test_the_rights_follow_from_what_is_rendered(make_staged: Callable[..., StagedModel]) -> None:
    endpoint = spec(weights="mount", replicas=2, namespace="team")
    staged = make_staged()
    manifests = render(endpoint, staged, release_of(endpoint, staged.model, staged))
    rights = {(p.verb, p.group, p.resource, p.namespace) for p in needed_permissions(manifests, "team")}
    assert ("create", "apps", "deployments", "team") in rights
    assert ("patch", "apps", "deployments", "team") in rights
    assert ("patch", "", "persistentvolumes", "") in rights
    assert ("patch", "policy", "poddisruptionbudgets", "team") in rights
    assert ("watch", "", "pods", "team") in rights
    assert ("get", "", "pods/log", "team") in rights


def test_plural_names() -> None:
    assert [plural(kind) for kind in ("Service", "Ingress", "NetworkPolicy", "RayService")] == [
        "services",
        "ingresses",
        "networkpolicies",
        "rayservices",
    ]
