"""Deployments and ReplicaSets on pods that are ready at once."""

import asyncio
from typing import Any

from cluster_harness import (
    NAMESPACE,
    Harness,
    conditions,
    container,
    controlled_cluster,
    deployment,
    eventually,
    pod_spec,
)

from sandbox.kubernetes.controllers.deployments.revisions import HASH, HISTORY, REVISION, new_replica_set
from sandbox.kubernetes.controllers.meta import controller_of
from sandbox.kubernetes.resources import DEPLOYMENTS, PODS, REPLICASETS


def complete(harness: Harness, replicas: int = 1, name: str = "chat") -> bool:
    obj = harness.one(DEPLOYMENTS, name)
    status = obj["status"]
    counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")]
    return counts == [replicas] * 3 and status.get("observedGeneration") == obj["metadata"]["generation"]


def with_env(value: str) -> Any:
    def change(obj: dict[str, Any]) -> None:
        obj["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "REV", "value": value}]

    return change


def replica_sets(harness: Harness) -> dict[str, int]:
    return {
        one["metadata"]["annotations"][REVISION]: one["spec"]["replicas"]
        for one in harness.cluster.list(REPLICASETS, NAMESPACE)
    }


def test_pods_carry_the_template_hash_and_their_owner() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, _):
            harness.apply(deployment(replicas=2))
            await eventually(lambda: complete(harness, 2))
            (one,) = harness.cluster.list(REPLICASETS, NAMESPACE)
            pods = harness.pods()
            assert len(pods) == 2
            for pod in pods:
                owner = controller_of(pod)
                assert owner is not None
                assert owner["name"] == one["metadata"]["name"]
                assert pod["metadata"]["labels"][HASH] == one["spec"]["selector"]["matchLabels"][HASH]
                assert pod["metadata"]["name"].startswith(one["metadata"]["name"] + "-")

    asyncio.run(main())


def test_scaling_up_down_and_to_zero() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, _):
            harness.apply(deployment(replicas=1))
            await eventually(lambda: complete(harness))
            for count in (3, 1, 0, 2):
                harness.change(DEPLOYMENTS, "chat", lambda obj, count=count: obj["spec"].update(replicas=count))
                await eventually(lambda count=count: complete(harness, count) and len(harness.pods()) == count)
                (one,) = harness.cluster.list(REPLICASETS, NAMESPACE)
                assert one["metadata"]["annotations"]["deployment.kubernetes.io/desired-replicas"] == str(count)
            hash_name = one["metadata"]["name"]
            assert harness.said("ScalingReplicaSet") == [
                f"Scaled up replica set {hash_name} from 0 to 1",
                f"Scaled up replica set {hash_name} from 1 to 3",
                f"Scaled down replica set {hash_name} from 3 to 1",
                f"Scaled down replica set {hash_name} from 1 to 0",
                f"Scaled up replica set {hash_name} from 0 to 2",
            ]

    asyncio.run(main())


def test_going_back_to_an_earlier_template_reuses_its_replica_set() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, _):
            harness.apply(deployment())
            await eventually(lambda: complete(harness))
            first = harness.cluster.list(REPLICASETS, NAMESPACE)[0]["metadata"]["name"]
            for value in ("2", "3"):
                harness.change(DEPLOYMENTS, "chat", with_env(value))
                await eventually(lambda: complete(harness))
            assert replica_sets(harness) == {"1": 0, "2": 0, "3": 1}

            def back(obj: dict[str, Any]) -> None:
                obj["spec"]["template"]["spec"]["containers"][0].pop("env")

            harness.change(DEPLOYMENTS, "chat", back)
            await eventually(lambda: complete(harness))
            assert replica_sets(harness) == {"4": 1, "2": 0, "3": 0}
            reused = harness.one(REPLICASETS, first)
            assert reused["metadata"]["annotations"][HISTORY] == "1"
            assert harness.one(DEPLOYMENTS, "chat")["metadata"]["annotations"][REVISION] == "4"

    asyncio.run(main())


def test_old_replica_sets_beyond_the_history_limit_go() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, _):
            harness.apply(deployment(revisionHistoryLimit=1))
            await eventually(lambda: complete(harness))
            for value in ("2", "3", "4"):
                harness.change(DEPLOYMENTS, "chat", with_env(value))
                await eventually(lambda: complete(harness))
            await eventually(lambda: set(replica_sets(harness)) == {"3", "4"})

    asyncio.run(main())


def test_recreate_starts_the_new_pod_only_when_the_old_one_is_gone() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, kubelet):
            harness.apply(deployment(strategy={"type": "Recreate"}))
            await eventually(lambda: complete(harness))
            kubelet.keeps_deleted = True
            old = harness.pods()[0]["metadata"]["name"]
            harness.change(DEPLOYMENTS, "chat", with_env("2"))
            await eventually(lambda: "deletionTimestamp" in harness.one(PODS, old)["metadata"])
            await asyncio.sleep(0.2)
            assert [one["metadata"]["name"] for one in harness.pods()] == [old]
            assert conditions(harness.one(DEPLOYMENTS, "chat"))["Available"] == ("False", "MinimumReplicasUnavailable")
            harness.cluster.finalize(PODS, NAMESPACE, old)
            await eventually(lambda: complete(harness))
            assert [one["metadata"]["name"] == old for one in harness.pods()] == [False]

    asyncio.run(main())


def test_a_rolling_update_waits_for_the_new_pod_and_keeps_the_old_one() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, kubelet):
            harness.apply(deployment())
            await eventually(lambda: complete(harness))
            kubelet.unready.add("chat")
            harness.change(DEPLOYMENTS, "chat", with_env("2"))
            await eventually(lambda: len(harness.pods()) == 2)
            await asyncio.sleep(0.2)
            status = harness.one(DEPLOYMENTS, "chat")["status"]
            assert (status["replicas"], status["updatedReplicas"], status["availableReplicas"]) == (2, 1, 1)
            (new,) = [one for one in harness.pods() if one["spec"]["containers"][0].get("env")]
            kubelet.report(new["metadata"]["name"], "Running", ready=True)
            await eventually(lambda: complete(harness))

    asyncio.run(main())


def test_a_paused_deployment_scales_and_does_not_roll() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, _):
            harness.apply(deployment())
            await eventually(lambda: complete(harness))

            def pause(obj: dict[str, Any]) -> None:
                obj["spec"].update(paused=True, replicas=2)
                with_env("2")(obj)

            harness.change(DEPLOYMENTS, "chat", pause)
            await eventually(lambda: len(harness.pods()) == 2)
            await eventually(
                lambda: conditions(harness.one(DEPLOYMENTS, "chat"))["Progressing"] == ("Unknown", "DeploymentPaused")
            )
            assert len(harness.cluster.list(REPLICASETS, NAMESPACE)) == 1
            harness.change(DEPLOYMENTS, "chat", lambda obj: obj["spec"].update(paused=False))
            await eventually(lambda: complete(harness, 2))
            assert conditions(harness.one(DEPLOYMENTS, "chat"))["Progressing"] == ("True", "NewReplicaSetAvailable")
            assert len(harness.cluster.list(REPLICASETS, NAMESPACE)) == 2

    asyncio.run(main())


def test_a_pod_counts_as_available_only_after_min_ready_seconds() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, _):
            harness.apply(deployment(minReadySeconds=1))
            await eventually(lambda: harness.one(DEPLOYMENTS, "chat")["status"].get("readyReplicas") == 1)
            assert "availableReplicas" not in harness.one(DEPLOYMENTS, "chat")["status"]
            await eventually(lambda: complete(harness))

    asyncio.run(main())


def test_a_name_that_is_taken_by_another_template_gets_another_hash() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, _):
            harness.apply(deployment("other", replicas=0))
            await eventually(lambda: complete(harness, 0, "other"))
            created = harness.cluster.create(DEPLOYMENTS, deployment(paused=True), manager="test")
            squatter = new_replica_set(created, [])
            squatter["metadata"] |= {"ownerReferences": [], "labels": {"app": "squatter"}, "annotations": {}}
            squatter["spec"] |= {"replicas": 0, "selector": {"matchLabels": {"app": "squatter"}}}
            squatter["spec"]["template"]["metadata"]["labels"] = {"app": "squatter"}
            harness.apply(squatter)
            harness.change(DEPLOYMENTS, "chat", lambda obj: obj["spec"].update(paused=False))
            await eventually(lambda: complete(harness))
            assert harness.one(DEPLOYMENTS, "chat")["status"]["collisionCount"] == 1
            assert controller_of(harness.one(REPLICASETS, squatter["metadata"]["name"])) is None

    asyncio.run(main())


def test_an_orphaned_pod_is_adopted_and_one_that_leaves_the_selector_is_replaced() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, _):
            harness.apply(deployment())
            await eventually(lambda: complete(harness))
            (first,) = harness.pods()
            name = first["metadata"]["name"]
            harness.change(PODS, name, lambda pod: pod["metadata"]["labels"].update(app="debug"))
            await eventually(lambda: len(harness.pods()) == 2)
            await eventually(lambda: controller_of(harness.one(PODS, name)) is None)
            harness.change(PODS, name, lambda pod: pod["metadata"]["labels"].update(app="chat"))
            await eventually(lambda: len(harness.pods()) == 1 and complete(harness))

    asyncio.run(main())


def test_deleting_a_deployment_takes_its_replica_sets_and_pods_along() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, _):
            harness.apply(deployment(replicas=2))
            await eventually(lambda: complete(harness, 2))
            harness.cluster.delete(DEPLOYMENTS, NAMESPACE, "chat")
            await eventually(lambda: not harness.pods() and not harness.cluster.list(REPLICASETS, NAMESPACE))

    asyncio.run(main())


def test_a_deployment_without_a_deadline_never_times_out() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, kubelet):
            kubelet.unready.add("chat")
            harness.apply(deployment(progressDeadlineSeconds=2**31 - 1))
            await eventually(harness.pods)
            await asyncio.sleep(0.2)
            assert set(conditions(harness.one(DEPLOYMENTS, "chat"))) == {"Available"}

    asyncio.run(main())


def test_a_pod_that_dies_is_replaced() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, kubelet):
            harness.apply(deployment(spec=pod_spec(container())))
            await eventually(lambda: complete(harness))
            (first,) = harness.pods()
            kubelet.report(first["metadata"]["name"], "Failed")
            await eventually(lambda: len(harness.pods()) == 2 and complete(harness))

    asyncio.run(main())
