"""What becomes of pods whose node is lost, and of disruption budgets."""

import asyncio
from typing import Any

from cluster_harness import NAMESPACE, conditions, controlled_cluster, deployment, eventually, pod_spec

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.controllers.nodes import UNREACHABLE, seconds_to_eviction
from sandbox.kubernetes.node import NodeConfig
from sandbox.kubernetes.node.registration import report
from sandbox.kubernetes.resources import DEPLOYMENTS, NODES, PDBS

A, B = NodeConfig("node-a"), NodeConfig("node-b")
SOON = [
    {"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1},
]


def taints(cluster: Cluster, name: str) -> list[tuple[str, str]]:
    node = cluster.get(NODES, "", name)
    assert node is not None
    return [(one["key"], one["effect"]) for one in node["spec"].get("taints", [])]


def test_pods_of_a_lost_node_are_replaced_on_another_and_stay_terminating() -> None:
    async def main() -> None:
        async with controlled_cluster(nodes=[A, B]) as (harness, kubelet):
            harness.apply(deployment(spec=pod_spec(nodeSelector={}, tolerations=SOON)))
            await eventually(lambda: harness.one(DEPLOYMENTS, "chat")["status"].get("availableReplicas") == 1)
            (lost,) = harness.pods()
            kubelet.keeps_deleted = True
            report(harness.cluster, A, "10.99.1.1", ready=False)
            await eventually(lambda: conditions(harness.pods()[0])["Ready"][0] == "False")
            assert taints(harness.cluster, "node-a") == [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]
            await eventually(lambda: len(harness.pods()) == 2)
            old, new = sorted(harness.pods(), key=lambda one: "deletionTimestamp" not in one["metadata"])
            assert old["metadata"]["name"] == lost["metadata"]["name"]
            assert conditions(old)["DisruptionTarget"] == ("True", "DeletionByTaintManager")
            await eventually(lambda: harness.said("TaintManagerEviction"))
            await eventually(lambda: any(one["spec"].get("nodeName") == "node-b" for one in harness.pods()))
            assert new["metadata"]["name"] != old["metadata"]["name"]
            report(harness.cluster, A, "10.99.1.1", ready=True)
            await eventually(lambda: not taints(harness.cluster, "node-a"))

    asyncio.run(main())


def test_with_every_node_lost_nothing_is_evicted() -> None:
    async def main() -> None:
        async with controlled_cluster(nodes=[A]) as (harness, _):
            harness.apply(deployment(spec=pod_spec(tolerations=SOON)))
            await eventually(lambda: harness.one(DEPLOYMENTS, "chat")["status"].get("availableReplicas") == 1)
            report(harness.cluster, A, "10.99.1.1", ready=False)
            await eventually(lambda: harness.said("NodeNotReady"))
            await asyncio.sleep(1.2)
            assert taints(harness.cluster, "node-a") == [(UNREACHABLE, "NoSchedule")]
            assert [one["status"]["phase"] for one in harness.pods()] == ["Running"]

    asyncio.run(main())


def test_pods_of_a_removed_node_are_collected() -> None:
    async def main() -> None:
        async with controlled_cluster(nodes=[A, B]) as (harness, kubelet):
            kubelet.keeps_deleted = True
            harness.apply(deployment(replicas=2))
            await eventually(lambda: harness.one(DEPLOYMENTS, "chat")["status"].get("availableReplicas") == 2)
            harness.cluster.delete(NODES, "", "node-a")
            await eventually(lambda: {one["spec"].get("nodeName") for one in harness.pods()} == {"node-b"})
            await eventually(lambda: harness.one(DEPLOYMENTS, "chat")["status"].get("availableReplicas") == 2)

    asyncio.run(main())


def test_tolerations_decide_when_a_pod_has_to_go() -> None:
    def a_pod(*tolerations: dict[str, Any]) -> dict[str, Any]:
        return {"spec": {"tolerations": list(tolerations)}}

    taint = {"key": UNREACHABLE, "effect": "NoExecute"}
    always = {"key": UNREACHABLE, "operator": "Exists"}
    assert seconds_to_eviction(a_pod(), [taint]) == 0
    assert seconds_to_eviction(a_pod(always), [taint]) is None
    assert seconds_to_eviction(a_pod({**always, "tolerationSeconds": 30}), [taint]) == 30
    assert seconds_to_eviction(a_pod(), []) is None


def test_a_disruption_budget_counts_its_pods() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, _):
            budget = {
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": {"name": "chat", "namespace": NAMESPACE},
                "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "chat"}}},
            }
            harness.apply(budget, deployment(replicas=3))
            await eventually(lambda: harness.one(PDBS, "chat")["status"].get("disruptionsAllowed") == 1)
            status = harness.one(PDBS, "chat")["status"]
            assert (status["expectedPods"], status["currentHealthy"], status["desiredHealthy"]) == (3, 3, 2)
            harness.change(DEPLOYMENTS, "chat", lambda obj: obj["spec"].update(replicas=2))
            await eventually(lambda: harness.one(PDBS, "chat")["status"]["disruptionsAllowed"] == 0)
            assert conditions(harness.one(PDBS, "chat"))["DisruptionAllowed"] == ("False", "InsufficientPods")

    asyncio.run(main())
