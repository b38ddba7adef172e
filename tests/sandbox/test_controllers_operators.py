"""The simulated operators: LeaderWorkerSets, RayServices and NIMServices reach ready through real pods."""

import asyncio
from pathlib import Path
from typing import Any

from cluster_harness import (
    GPU_NODE,
    IMAGE,
    NAMESPACE,
    Harness,
    conditions,
    container,
    controlled_cluster,
    eventually,
    pod_spec,
    running_cluster,
)
from scene_replay import normalized, scene, told

from sandbox.images import default_images
from sandbox.kubernetes.controllers.operators import ANNOTATION, SIMULATED
from sandbox.kubernetes.controllers.operators.leaderworkersets import REVISION, WORKER
from sandbox.kubernetes.controllers.operators.nim.caches import GPU_NODES
from sandbox.kubernetes.disks import PROVISIONER
from sandbox.kubernetes.node import ImageConfig, NodeConfig
from sandbox.kubernetes.objects.custom import served
from sandbox.kubernetes.resources import (
    CRDS,
    DEPLOYMENTS,
    JOBS,
    PODS,
    PVCS,
    PVS,
    SECRETS,
    SERVICES,
    STORAGECLASSES,
    Resource,
)

RAY_IMAGE = ImageConfig("rayproject/*", path=Path(__file__).parents[1] / "data" / "ray_image")
BIG_NODE = NodeConfig("node-a", capacity={"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "8"})


def install(harness: Harness, group: str, kind: str, plural: str, *, simulated: bool = True) -> Resource:
    """Serve a custom resource of any shape, with its operator or without."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": anything, "status": anything}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", "annotations": {ANNOTATION: SIMULATED} if simulated else {}},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [{**version, "subresources": {"status": {}}}],
        },
    }
    created = harness.cluster.create(CRDS, definition, manager="test")
    return served(created)[0]


def install_lws(harness: Harness) -> Resource:
    return install(harness, "leaderworkerset.x-k8s.io", "LeaderWorkerSet", "leaderworkersets")


def lws(name: str = "chat", replicas: int = 1, size: int = 2, **template: Any) -> dict[str, Any]:
    both = {"size": size, "workerTemplate": {"spec": pod_spec()}, **template}
    return {
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"replicas": replicas, "leaderWorkerTemplate": both},
    }


def status_of(harness: Harness, resource: Resource, name: str = "chat") -> dict[str, Any]:
    return harness.one(resource, name).get("status", {})


def is_available(harness: Harness, resource: Resource, groups: int = 1) -> bool:
    status = status_of(harness, resource)
    counts = [status.get(key) for key in ("replicas", "readyReplicas", "updatedReplicas")]
    return counts == [groups] * 3 and conditions({"status": status}).get("Available") == ("True", "AllGroupsReady")


def pods_by_name(harness: Harness) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in harness.pods()}


def test_the_recorded_group_whose_worker_does_not_fit() -> None:
    recorded = scene("26-lws-only-leader-ready")
    last = recorded["timeline"][-1]

    async def main() -> None:
        async with controlled_cluster(nodes=[GPU_NODE]) as (harness, _):
            resource = install_lws(harness)
            (manifest,) = recorded["manifests"]
            harness.cluster.create(resource, manifest, manager="test")
            await eventually(lambda: harness.said("FailedScheduling", "lws-chat-0-1"))
            expected = normalized(last["leaderworkersets"][0]["status"])
            await eventually(lambda: normalized(status_of(harness, resource, "lws-chat")) == expected)
            made = pods_by_name(harness)
            for pod in last["pods"]:
                mine, theirs = made[pod["metadata"]["name"]], pod
                kept = {k: v for k, v in theirs["metadata"]["labels"].items() if k.startswith("leaderworkerset.")}
                for key in ("leaderworkerset.sigs.k8s.io/group-key", REVISION):
                    kept.pop(key)
                assert kept.items() <= mine["metadata"]["labels"].items()
                assert theirs["metadata"]["annotations"] == mine["metadata"]["annotations"]
                assert (theirs["spec"]["hostname"], theirs["spec"]["subdomain"]) == (
                    mine["spec"]["hostname"],
                    mine["spec"]["subdomain"],
                )
            mine = {told(one) for one in harness.events("lws-chat")}
            assert {told(one) for one in last["events"] if one["involvedObject"]["kind"] == "LeaderWorkerSet"} == mine

    asyncio.run(main())


def test_groups_become_available_and_know_their_leader() -> None:
    async def main() -> None:
        async with controlled_cluster(nodes=[BIG_NODE]) as (harness, _):
            resource = install_lws(harness)
            harness.cluster.create(resource, lws(replicas=2, size=3), manager="test")
            await eventually(lambda: is_available(harness, resource, 2))
            made = pods_by_name(harness)
            assert sorted(made) == ["chat-0", "chat-0-1", "chat-0-2", "chat-1", "chat-1-1", "chat-1-2"]
            env = {one["name"]: one["value"] for one in made["chat-1-2"]["spec"]["containers"][0]["env"]}
            assert env["LWS_LEADER_ADDRESS"] == "chat-1.chat.inference"
            assert (env["LWS_GROUP_SIZE"], env["LWS_WORKER_INDEX"]) == ("3", "2")
            assert harness.one(SERVICES, "chat")["spec"]["clusterIP"] == "None"
            assert conditions(harness.one(resource, "chat"))["Progressing"] == ("False", "GroupsProgressing")
            harness.change(resource, "chat", lambda obj: obj["spec"].update(replicas=1))
            await eventually(lambda: is_available(harness, resource, 1) and len(harness.pods()) == 3)

    asyncio.run(main())


def test_workers_may_wait_for_their_leader() -> None:
    async def main() -> None:
        async with controlled_cluster(nodes=[BIG_NODE]) as (harness, kubelet):
            resource = install_lws(harness)
            wanted = lws(leaderTemplate={"metadata": {"labels": {"app": "leader"}}, "spec": pod_spec()})
            wanted["spec"]["startupPolicy"] = "LeaderReady"
            kubelet.unready.add("leader")
            harness.cluster.create(resource, wanted, manager="test")
            await eventually(harness.pods)
            await asyncio.sleep(0.1)
            assert list(pods_by_name(harness)) == ["chat-0"]
            kubelet.report("chat-0", "Running", ready=True)
            await eventually(lambda: is_available(harness, resource))

    asyncio.run(main())


def test_a_new_template_replaces_one_group_after_the_other() -> None:
    async def main() -> None:
        async with controlled_cluster(nodes=[BIG_NODE]) as (harness, _):
            resource = install_lws(harness)
            harness.cluster.create(resource, lws(replicas=2), manager="test")
            await eventually(lambda: is_available(harness, resource, 2))
            least = 2
            events = harness.cluster.subscribe(resource)

            def change(obj: dict[str, Any]) -> None:
                spec = obj["spec"]["leaderWorkerTemplate"]["workerTemplate"]["spec"]
                spec["containers"][0]["env"] = [{"name": "REV", "value": "2"}]

            harness.change(resource, "chat", change)
            updating = False
            async for _, _, obj in events:
                least = min(least, obj["status"]["readyReplicas"])
                updating = updating or conditions(obj).get("UpdateInProgress", ("", ""))[0] == "True"
                current = obj["status"]["observedGeneration"] == 2
                if current and obj["status"]["updatedReplicas"] == obj["status"]["readyReplicas"] == 2:
                    break
            assert updating
            assert least == 1
            assert all(one["spec"]["containers"][0]["env"][-1]["value"] == "2" for one in harness.pods())

    asyncio.run(main())


def test_a_restarted_worker_takes_its_group_along(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_cluster(tmp_path, nodes=[BIG_NODE]) as harness:
            resource = install_lws(harness)
            harness.cluster.create(resource, lws(replicas=2), manager="test")
            await eventually(lambda: is_available(harness, resource, 2))
            before = {name: one["metadata"]["uid"] for name, one in pods_by_name(harness).items()}
            assert harness.fleet is not None
            assert harness.fleet.signal_container(NAMESPACE, "chat-0-1", "vllm")
            await eventually(lambda: not is_available(harness, resource, 2))
            await eventually(lambda: is_available(harness, resource, 2), 20)
            after = {name: one["metadata"]["uid"] for name, one in pods_by_name(harness).items()}
            assert [name for name in before if before[name] != after[name]] == ["chat-0", "chat-0-1"]

    asyncio.run(main())


def ray_service(import_path: str = "llm:app", image: str = "rayproject/ray-llm:2.52") -> dict[str, Any]:
    ray = container("ray", image=image)
    del ray["command"]
    template = {"metadata": {"labels": {"app": "chat"}}, "spec": pod_spec(ray)}
    worker = {"groupName": "gpu", "replicas": 1, "rayStartParams": {"num-cpus": "2"}, "template": template}
    return {
        "metadata": {"name": "chat", "namespace": NAMESPACE},
        "spec": {
            "rayClusterDeletionDelaySeconds": 0,
            "serveConfigV2": f"applications:\n- name: llm\n  import_path: {import_path}\n  route_prefix: /\n",
            "rayClusterConfig": {
                "headGroupSpec": {"rayStartParams": {"dashboard-host": "0.0.0.0"}, "template": template},
                "workerGroupSpecs": [worker],
            },
        },
    }


def install_ray(harness: Harness) -> Resource:
    return install(harness, "ray.io", "RayService", "rayservices")


def is_serving(harness: Harness, resource: Resource) -> bool:
    return conditions({"status": status_of(harness, resource)}).get("Ready") == ("True", "NonZeroServeEndpoints")


def cluster_state(status: dict[str, Any]) -> str | None:
    """The state of a RayService's active cluster, None until all its pods have been ready."""
    return status["activeServiceStatus"]["rayClusterStatus"].get("state")


def test_a_ray_service_serves_and_is_replaced_by_a_new_cluster(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_cluster(tmp_path, nodes=[BIG_NODE], images=[RAY_IMAGE]) as harness:
            resource = install_ray(harness)
            harness.cluster.create(resource, ray_service(), manager="test")
            await eventually(lambda: status_of(harness, resource).get("pendingServiceStatus"))
            first = status_of(harness, resource)
            assert conditions({"status": first})["Ready"] == ("False", "Initializing")
            await eventually(lambda: is_serving(harness, resource), 20)
            # The head may serve before the worker is ready; only then is the cluster.
            await eventually(lambda: cluster_state(status_of(harness, resource)) == "ready")
            status = status_of(harness, resource)
            active = status["activeServiceStatus"]
            assert active["rayClusterName"] == first["pendingServiceStatus"]["rayClusterName"]
            assert active["applicationStatuses"]["llm"] == {
                "message": "",
                "status": "RUNNING",
                "serveDeploymentStatuses": {"LLMDeployment": {"message": "", "status": "HEALTHY"}},
            }
            assert status["serviceStatus"] == "Running"
            assert "pendingServiceStatus" not in status
            assert len(harness.pods()) == 2
            ports = harness.one(SERVICES, "chat-serve-svc")["spec"]["ports"]
            assert [(one["name"], one["port"]) for one in ports] == [("serve", 8000)]
            old = {one["metadata"]["name"] for one in harness.pods()}

            def change(obj: dict[str, Any]) -> None:
                head = obj["spec"]["rayClusterConfig"]["headGroupSpec"]
                head["template"]["spec"]["containers"][0]["env"] = [{"name": "REV", "value": "2"}]

            harness.change(resource, "chat", change)
            await eventually(lambda: conditions(harness.one(resource, "chat"))["UpgradeInProgress"][0] == "True")
            assert is_serving(harness, resource), "the old cluster serves until the new one does"
            await eventually(lambda: len(harness.pods()) == 2 and old.isdisjoint(pods_by_name(harness)), 20)
            await eventually(lambda: is_serving(harness, resource))

    asyncio.run(main())


def test_a_suspended_ray_service_has_nothing_until_it_is_resumed() -> None:
    async def main() -> None:
        async with controlled_cluster(nodes=[BIG_NODE]) as (harness, _):
            resource = install_ray(harness)
            harness.cluster.create(resource, ray_service(), manager="test")
            await eventually(lambda: len(harness.pods()) == 2)
            before = set(pods_by_name(harness))
            harness.change(resource, "chat", lambda obj: obj["spec"].update(suspend=True))
            done = {"Suspended": ("True", "SuspendComplete"), "Suspending": ("False", "SuspendComplete")}
            await eventually(lambda: done.items() <= conditions(harness.one(resource, "chat")).items())
            assert not harness.pods()
            assert not harness.cluster.list(SERVICES, NAMESPACE)
            assert conditions(harness.one(resource, "chat"))["Ready"] == ("False", "SuspendComplete")
            assert "pendingServiceStatus" not in status_of(harness, resource)

            harness.change(resource, "chat", lambda obj: obj["spec"].pop("suspend"))
            await eventually(lambda: len(harness.pods()) == 2)
            assert before.isdisjoint(pods_by_name(harness))
            await eventually(lambda: status_of(harness, resource).get("pendingServiceStatus"))
            assert conditions(harness.one(resource, "chat"))["Suspended"] == ("False", "RayServiceResumed")

    asyncio.run(main())


def test_an_application_that_cannot_be_imported_is_told_as_recorded(tmp_path: Path) -> None:
    recorded = scene("25a-rayservice-import-error")["timeline"][-1]["rayservices"][0]["status"]

    async def main() -> None:
        async with running_cluster(tmp_path, nodes=[BIG_NODE], images=[RAY_IMAGE]) as harness:
            resource = install_ray(harness)
            wanted = ray_service("broken_chat:app")
            wanted["spec"]["rayClusterConfig"]["workerGroupSpecs"] = []
            harness.cluster.create(resource, wanted, manager="test")

            def failed() -> Any:
                status = status_of(harness, resource)
                pending = status.get("pendingServiceStatus", {})
                app = pending.get("applicationStatuses", {}).get("llm", {})
                return app.get("status") == "DEPLOY_FAILED" and status

            status = await eventually(failed, 20)
            assert "broken_chat" in status["pendingServiceStatus"]["applicationStatuses"]["llm"]["message"]
            for one in (status, recorded):
                one["pendingServiceStatus"].pop("applicationStatuses")
                for key in ("desiredCPU", "desiredMemory"):
                    one["pendingServiceStatus"]["rayClusterStatus"].pop(key)
            text = normalized({**status, "lastUpdateTime": ""})
            name = status["pendingServiceStatus"]["rayClusterName"]
            head = next(one["metadata"]["name"] for one in harness.cluster.list(PODS, NAMESPACE))
            same = str(text).replace(head, "HEAD").replace(name, "CLUSTER")
            theirs = str(normalized({**recorded, "lastUpdateTime": ""}))
            assert same == theirs.replace("ray-chat-7k2hq-head-x4v9d", "HEAD").replace("ray-chat-7k2hq", "CLUSTER")
            assert harness.said("CreatedRayCluster") == [f"Created RayCluster {NAMESPACE}/{name}"]

    asyncio.run(main())


NIM_IMAGE = "nvcr.io/nim/meta/llama-3.2-1b-instruct"
NIM_NODE = NodeConfig("node-a", labels=GPU_NODES, capacity={"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "1"})


def install_nim(harness: Harness, secret: dict[str, str]) -> tuple[Resource, Resource]:
    """The operator's kinds, disks for its claims, and the Secret with NGC's key."""
    disks = {"metadata": {"name": "disks"}, "provisioner": PROVISIONER}
    harness.cluster.create(STORAGECLASSES, disks, manager="test")
    key = {"metadata": {"name": "ngc-api", "namespace": NAMESPACE}, "stringData": secret}
    harness.cluster.create(SECRETS, key, manager="test")
    caches = install(harness, "apps.nvidia.com", "NIMCache", "nimcaches")
    return caches, install(harness, "apps.nvidia.com", "NIMService", "nimservices")


def nim_cache() -> dict[str, Any]:
    source = {"modelPuller": f"{NIM_IMAGE}:1", "authSecret": "ngc-api", "pullSecret": "ngc-secret"}
    pvc = {"create": True, "size": "1Gi", "volumeAccessMode": "ReadWriteOnce", "storageClass": "disks"}
    spec = {"source": {"ngc": source}, "storage": {"pvc": pvc}}
    return {"metadata": {"name": "weights", "namespace": NAMESPACE}, "spec": spec}


def nim_service() -> dict[str, Any]:
    probe = {"httpGet": {"path": "/v1/health/ready", "port": 8000}, "periodSeconds": 1, "failureThreshold": 60}
    spec = {
        "image": {"repository": NIM_IMAGE, "tag": "1", "pullPolicy": "IfNotPresent", "pullSecrets": ["ngc-secret"]},
        "authSecret": "ngc-api",
        "storage": {"nimCache": {"name": "weights"}},
        "replicas": 1,
        "labels": {"team": "a"},
        "env": [{"name": "NIM_SERVED_MODEL_NAME", "value": "llama"}, {"name": "NIM_LOG_LEVEL", "value": "DEBUG"}],
        "expose": {"service": {"type": "ClusterIP", "port": 8000}},
        "startupProbe": {"probe": probe},
        "readinessProbe": {"probe": probe},
        "livenessProbe": {"enabled": False},
    }
    return {"metadata": {"name": "chat", "namespace": NAMESPACE}, "spec": spec}


def message_of(harness: Harness, resource: Resource, kind: str) -> str:
    [said] = [one["message"] for one in status_of(harness, resource)["conditions"] if one["type"] == kind]
    return str(said)


def test_a_nim_is_cached_once_and_then_served_from_its_disk(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_cluster(tmp_path, nodes=[NIM_NODE], images=default_images()) as harness:
            caches, services = install_nim(harness, {"NGC_API_KEY": "nvapi-sandbox"})
            harness.cluster.create(services, nim_service(), manager="test")
            await eventually(lambda: status_of(harness, services).get("state") == "Failed")
            assert message_of(harness, services, "Failed") == "NIMCache weights not found"
            harness.cluster.create(caches, nim_cache(), manager="test")
            await eventually(lambda: status_of(harness, caches, "weights").get("state") == "Ready", 30)
            status = status_of(harness, caches, "weights")
            assert (status["pvc"], status["profiles"]) == ("weights-pvc", [])
            assert conditions({"status": status})["NIM_CACHE_JOB_COMPLETED"] == ("True", "JobCompleted")
            job = harness.one(JOBS, "weights-job")["spec"]["template"]["spec"]
            assert job["containers"][0]["command"] == ["download-to-cache"]
            assert (job["imagePullSecrets"], job["nodeSelector"]) == ([{"name": "ngc-secret"}], GPU_NODES)

            await eventually(lambda: status_of(harness, services).get("state") == "Ready", 30)
            service = harness.one(services, "chat")
            assert conditions(service) == {"Ready": ("True", "Ready"), "Failed": ("False", "Ready")}
            assert service["metadata"]["finalizers"] == ["finalizer.nimservice.apps.nvidia.com"]
            front = harness.one(SERVICES, "chat")
            ports = [(one["name"], one["port"], one["targetPort"]) for one in front["spec"]["ports"]]
            assert (ports, front["spec"]["selector"]) == ([("api", 8000, "api")], {"app": "chat"})
            address = f"{front['spec']['clusterIP']}:8000"
            assert service["status"]["model"] == {
                "name": "llama",
                "clusterEndpoint": address,
                "externalEndpoint": "",
            }
            template = harness.one(DEPLOYMENTS, "chat")["spec"]["template"]
            assert {"app": "chat", "team": "a"}.items() <= template["metadata"]["labels"].items()
            assert template["spec"]["imagePullSecrets"] == [{"name": "ngc-secret"}]
            [made] = template["spec"]["containers"]
            assert (made["name"], made["image"]) == ("chat-ctr", f"{NIM_IMAGE}:1")
            assert "livenessProbe" not in made
            env = {one["name"]: one.get("value", one.get("valueFrom")) for one in made["env"]}
            assert env["NGC_API_KEY"] == {"secretKeyRef": {"name": "ngc-api", "key": "NGC_API_KEY"}}
            assert (env["NIM_CACHE_PATH"], env["NIM_LOG_LEVEL"]) == ("/model-store", "DEBUG")

            assert len(list((tmp_path / "nodes" / "disks").glob("*/nim/profile/*"))) == 1, (
                "the service fetched it again"
            )

            harness.change(services, "chat", lambda obj: obj["spec"].update(replicas=0))
            await eventually(lambda: status_of(harness, services)["state"] == "NotReady")
            assert message_of(harness, services, "Ready") == 'deployment "chat" is scaled down'
            for kind, name in ((services, "chat"), (caches, "weights")):
                harness.cluster.delete(kind, NAMESPACE, name)
            harness.cluster.delete(PVCS, NAMESPACE, "weights-pvc")
            gone = (services, caches, PVS)
            await eventually(lambda: not any(harness.cluster.list(kind) for kind in gone))

    asyncio.run(main())


def test_a_nim_without_its_key_fails_its_cache_and_its_service(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_cluster(tmp_path, nodes=[NIM_NODE], images=default_images()) as harness:
            caches, services = install_nim(harness, {"OTHER": "value"})
            harness.cluster.create(caches, nim_cache(), manager="test")
            harness.cluster.create(services, nim_service(), manager="test")
            await eventually(lambda: status_of(harness, services).get("state") == "Failed", 30)
            status = status_of(harness, caches, "weights")
            assert status["state"] == "Failed"
            assert conditions({"status": status})["NIM_CACHE_JOB_COMPLETED"] == ("False", "JobFailed")
            assert conditions(harness.one(services, "chat"))["Failed"] == ("True", "NIMCacheFailed")
            assert not harness.cluster.list(DEPLOYMENTS, NAMESPACE)

    asyncio.run(main())


def test_without_its_operator_an_object_is_only_stored() -> None:
    async def main() -> None:
        async with controlled_cluster(nodes=[BIG_NODE]) as (harness, _):
            group = "leaderworkerset.x-k8s.io"
            resource = install(harness, group, "LeaderWorkerSet", "leaderworkersets", simulated=False)
            harness.cluster.create(resource, lws(), manager="test")
            await asyncio.sleep(0.2)
            assert not harness.pods()
            assert not status_of(harness, resource)

            def simulate(definition: dict[str, Any]) -> None:
                definition["metadata"]["annotations"] = {ANNOTATION: SIMULATED}

            harness.cluster.update(CRDS, "", f"leaderworkersets.{group}", simulate, manager="test")
            await eventually(lambda: is_available(harness, resource))

    asyncio.run(main())


def test_labels_tell_leaders_from_workers() -> None:
    async def main() -> None:
        async with controlled_cluster(nodes=[BIG_NODE]) as (harness, _):
            resource = install_lws(harness)
            harness.cluster.create(resource, lws(), manager="test")
            await eventually(lambda: is_available(harness, resource))
            found = harness.cluster.list(PODS, NAMESPACE, {WORKER: "0"})
            assert [one["metadata"]["name"] for one in found] == ["chat-0"]
            assert found[0]["spec"]["containers"][0]["image"] == IMAGE

    asyncio.run(main())
