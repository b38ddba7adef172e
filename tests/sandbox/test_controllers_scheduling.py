"""Which node a pod goes to, and what is said when none takes it."""

import asyncio
from typing import Any

import pytest
from cluster_harness import (
    GPU_NODE,
    NAMESPACE,
    Harness,
    conditions,
    container,
    controlled_cluster,
    eventually,
    pod,
    pod_spec,
)
from hypothesis import given
from hypothesis import strategies as st

from sandbox.kubernetes.controllers.amounts import pod_requests
from sandbox.kubernetes.controllers.scheduling.filters import refusal, situation, tolerates
from sandbox.kubernetes.controllers.scheduling.messages import no_fit
from sandbox.kubernetes.node import NodeConfig
from sandbox.kubernetes.node.registration import node_labels, node_status, register
from sandbox.kubernetes.resources import NODES, PODS, PVCS, PVS

ZONE = "topology.kubernetes.io/zone"


def a_node(name: str = "node-a", *, taints: Any = (), labels: Any = None, **capacity: str) -> dict[str, Any]:
    config = NodeConfig(name, labels=labels or {}, capacity={"cpu": "4", "memory": "8Gi", **capacity})
    spec = {"taints": list(taints)} if taints else {}
    meta = {"name": name, "labels": node_labels(config)}
    return {"metadata": meta, "spec": spec, "status": node_status(config, "10.0.0.1", {}, ready=True)}


def a_pod(name: str = "chat", node: str = "", labels: Any = None, **spec: Any) -> dict[str, Any]:
    made = pod(name, pod_spec(**spec), labels=labels or {})
    if node:
        made["spec"]["nodeName"] = node
    return made


def why_not(candidate: dict[str, Any], nodes: list[dict[str, Any]], pods: Any = ()) -> str:
    state = situation(candidate, nodes, pods, [])
    refusals = {node["metadata"]["name"]: found for node in nodes if (found := refusal(state, node))}
    return no_fit(refusals) if len(refusals) == len(nodes) else ""


def test_the_reasons_of_several_nodes_are_counted() -> None:
    nodes = [
        a_node("a", taints=[{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]),
        a_node("b", **{"nvidia.com/gpu": "1"}),
        a_node("c"),
    ]
    taken = a_pod("other", "b")
    taken["spec"]["containers"] = [container(resources={"limits": {"nvidia.com/gpu": "1"}})]
    wanted = a_pod()
    wanted["spec"]["containers"] = [container(resources={"limits": {"nvidia.com/gpu": "1"}})]
    assert why_not(wanted, nodes, [taken]) == (
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient nvidia.com/gpu. "
        "no new claims to deallocate, preemption: 0/3 nodes are available: "
        "1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
    )


def test_no_nodes_at_all() -> None:
    assert no_fit({}) == "no nodes available to schedule pods"


@pytest.mark.parametrize(
    ("toleration", "covered"),
    [
        ({"key": "gpu", "operator": "Exists"}, True),
        ({"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}, True),
        ({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "gpu", "value": "yes"}, True),
        ({"key": "gpu", "value": "no"}, False),
        ({"operator": "Exists"}, True),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_tolerations(toleration: dict[str, str], covered: bool) -> None:
    assert tolerates([toleration], {"key": "gpu", "value": "yes", "effect": "NoSchedule"}) is covered


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ({"key": ZONE, "operator": "In", "values": ["eu-1a", "eu-1b"]}, True),
        ({"key": ZONE, "operator": "NotIn", "values": ["eu-1a"]}, False),
        ({"key": ZONE, "operator": "Exists"}, True),
        ({"key": "spot", "operator": "DoesNotExist"}, True),
        ({"key": "gpus", "operator": "Gt", "values": ["3"]}, True),
        ({"key": "gpus", "operator": "Lt", "values": ["4"]}, False),
    ],
)
def test_required_node_affinity(expression: dict[str, Any], fits: bool) -> None:
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    text = why_not(a_pod(affinity=affinity), [a_node(labels={ZONE: "eu-1a", "gpus": "4"})])
    assert (text == "") is fits
    assert fits or "node(s) didn't match Pod's node affinity/selector" in text


def affinity(kind: str, key: str = ZONE) -> dict[str, Any]:
    term = {"labelSelector": {"matchLabels": {"app": "cache"}}, "topologyKey": key}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def test_pod_affinity_follows_the_topology() -> None:
    nodes = [a_node("a", labels={ZONE: "1"}), a_node("b", labels={ZONE: "1"}), a_node("c", labels={ZONE: "2"})]
    cache = a_pod("cache", "a", {"app": "cache"})
    near = a_pod(affinity=affinity("podAffinity"))
    apart = a_pod(affinity=affinity("podAntiAffinity"))
    for node, is_near in zip(nodes, (True, True, False), strict=True):
        assert (refusal(situation(near, nodes, [cache], []), node) is None) is is_near
        assert (refusal(situation(apart, nodes, [cache], []), node) is None) is not is_near
    first = a_pod(labels={"app": "cache"}, affinity=affinity("podAffinity"))
    assert why_not(first, nodes) == ""  # the first of a group may start anywhere


def test_an_existing_pod_keeps_others_away() -> None:
    hermit = a_pod("hermit", "node-a", affinity=affinity("podAntiAffinity", "kubernetes.io/hostname"))
    text = why_not(a_pod(labels={"app": "cache"}), [a_node()], [hermit])
    assert "1 node(s) didn't satisfy existing pods anti-affinity rules" in text


def test_spreading_over_zones() -> None:
    constraint = {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule"}
    constraint["labelSelector"] = {"matchLabels": {"app": "chat"}}
    nodes = [a_node("a", labels={ZONE: "1"}), a_node("b", labels={ZONE: "2"})]
    one = a_pod("one", "a", {"app": "chat"})
    two = a_pod("two", labels={"app": "chat"}, topologySpreadConstraints=[constraint])
    state = situation(two, nodes, [one], [])
    assert refusal(state, nodes[0]) is not None
    assert refusal(state, nodes[1]) is None


def test_a_cordoned_node_takes_nothing() -> None:
    node = a_node()
    node["spec"]["unschedulable"] = True
    assert "1 node(s) were unschedulable" in why_not(a_pod(), [node])


@given(st.lists(st.integers(0, 8), max_size=4), st.lists(st.integers(0, 8), min_size=1, max_size=3), st.integers(0, 4))
def test_a_pod_asks_for_its_containers_or_its_largest_init_container(
    inits: list[int], mains: list[int], sidecar: int
) -> None:
    def asks(number: int, **more: Any) -> dict[str, Any]:
        return {"name": "c", "resources": {"requests": {"cpu": f"{number}"}}, **more}

    spec = {
        "initContainers": [asks(sidecar, restartPolicy="Always"), *(asks(number) for number in inits)],
        "containers": [asks(number) for number in mains],
    }
    needed = max([sum(mains) + sidecar, sidecar, *(number + sidecar for number in inits)])
    assert pod_requests(spec)["cpu"] == needed


def node_of(harness: Harness, name: str) -> str:
    found: str = harness.one(PODS, name)["spec"].get("nodeName", "")
    return found


def test_pods_wait_for_room_and_take_it_when_it_comes() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, _):
            four = pod_spec(container(resources={"limits": {"nvidia.com/gpu": "4"}}))
            harness.apply(pod("first", four))
            await eventually(lambda: node_of(harness, "first") == "node-a")
            harness.apply(pod("second", four))
            await eventually(lambda: harness.said("FailedScheduling", "second"))
            harness.cluster.delete(PODS, NAMESPACE, "first")
            await eventually(lambda: node_of(harness, "second") == "node-a")
            assert conditions(harness.one(PODS, "second"))["PodScheduled"] == ("True", None)

    asyncio.run(main())


def test_a_new_node_or_a_lifted_taint_is_tried_at_once() -> None:
    async def main() -> None:
        tainted = NodeConfig("node-a", taints=({"key": "gpu", "effect": "NoSchedule"},))
        async with controlled_cluster(nodes=[tainted]) as (harness, _):
            harness.apply(pod("one", pod_spec()), pod("two", pod_spec(nodeSelector={"pool": "new"})))
            await eventually(
                lambda: harness.said("FailedScheduling", "one") and harness.said("FailedScheduling", "two")
            )
            register(harness.cluster, NodeConfig("node-b", labels={"pool": "new"}), "10.0.0.2")
            await eventually(lambda: node_of(harness, "two") == "node-b")
            await eventually(lambda: node_of(harness, "one") == "node-b")
            assert not harness.said("FailedMount")

    asyncio.run(main())


def test_repeated_refusals_become_a_series() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, _):
            harness.apply(pod("one", pod_spec(nodeSelector={"pool": "none"})))
            await eventually(lambda: harness.said("FailedScheduling"))

            def relabel(value: str) -> None:
                harness.cluster.update(
                    NODES, "", "node-a", lambda node: node["metadata"]["labels"].update(x=value), manager="test"
                )

            for value in "123":
                relabel(value)
                await asyncio.sleep(0.05)
            found = [one for one in harness.events("one") if one["reason"] == "FailedScheduling"]
            assert [one.get("series", {}).get("count") for one in found] == [None, 3]
            assert len({one["message"] for one in found}) == 1

    asyncio.run(main())


def test_pods_of_other_schedulers_and_gated_pods_are_left_alone() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, _):
            harness.apply(
                pod("theirs", pod_spec(schedulerName="my-scheduler")),
                pod("gated", pod_spec(schedulingGates=[{"name": "example.com/wait"}])),
            )
            await eventually(lambda: conditions(harness.one(PODS, "gated")))
            assert conditions(harness.one(PODS, "gated")) == {"PodScheduled": ("False", "SchedulingGated")}
            assert node_of(harness, "theirs") == ""
            assert not harness.events()

    asyncio.run(main())


def test_pods_go_where_most_is_left() -> None:
    async def main() -> None:
        nodes = [NodeConfig(f"node-{letter}", capacity={"cpu": "4", "memory": "8Gi"}) for letter in "ab"]
        async with controlled_cluster(nodes=nodes) as (harness, _):
            spec = pod_spec(container(resources={"requests": {"cpu": "1"}}))
            for number in range(4):
                harness.apply(pod(f"pod-{number}", spec))
                await eventually(lambda number=number: node_of(harness, f"pod-{number}"))
            assert [node_of(harness, f"pod-{number}")[-1] for number in range(4)] == ["a", "b", "a", "b"]

    asyncio.run(main())


def a_claim(name: str = "cache", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}, **spec},
    }


def a_volume(name: str, size: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": size},
            "csi": {"driver": "s3.csi.aws.com", "volumeHandle": name},
            **spec,
        },
    }


def test_a_claim_gets_the_smallest_volume_that_fits_and_lets_its_pod_start() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, _):
            claimed = [{"name": "cache", "persistentVolumeClaim": {"claimName": "cache"}}]
            harness.apply(a_claim(), pod("one", pod_spec(volumes=claimed)))
            text = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found"
            await eventually(lambda: text in harness.said("FailedScheduling", "one"))
            for name, size in (("small", "1Gi"), ("fitting", "5Gi"), ("large", "50Gi")):
                harness.apply(a_volume(name, size))
            await eventually(lambda: harness.one(PVCS, "cache")["status"]["phase"] == "Bound")
            assert harness.one(PVCS, "cache")["spec"]["volumeName"] == "fitting"
            await eventually(lambda: node_of(harness, "one") == "node-a")
            harness.cluster.delete(PODS, NAMESPACE, "one")
            await eventually(lambda: not harness.pods())
            harness.cluster.delete(PVCS, NAMESPACE, "cache")

            def phase() -> Any:
                volume = harness.cluster.get(PVS, "", "fitting")
                return volume and volume["status"]["phase"] == "Released"

            await eventually(phase)

    asyncio.run(main())


def test_a_missing_claim_is_named() -> None:
    async def main() -> None:
        async with controlled_cluster(nodes=[GPU_NODE]) as (harness, _):
            claimed = [{"name": "cache", "persistentVolumeClaim": {"claimName": "nope"}}]
            harness.apply(pod("one", pod_spec(volumes=claimed)))
            text = '0/1 nodes are available: persistentvolumeclaim "nope" not found. not found'
            await eventually(lambda: text in harness.said("FailedScheduling", "one"))

    asyncio.run(main())
