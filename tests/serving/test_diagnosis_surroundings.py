"""What stands around an engine and fails: runtimes, networks, webhooks, disks, zones, operators, answers."""

import copy
from typing import Any

import pytest

from tests.serving import scene_variants as scenes
from tests.serving.scene_variants import Entry, event, in_time, last, pod_of, without_events

OCI = "failed to create containerd task: failed to create shim task: OCI runtime create failed: "
HOOK = f"{OCI}runc create failed: unable to start container process: error during container init: error running hook: "
SANDBOX = "Failed to create pod sandbox: rpc error: code = Unknown desc = "
NETWORK = f'{SANDBOX}failed to setup network for sandbox "abc": plugin type="aws-cni" name="aws-cni" failed (add): '
MOUNT = 'MountVolume.SetUp failed for volume "models" : rpc error: code = Internal desc = Could not mount '
ATTACH = 'AttachVolume.Attach failed for volume "pvc-1" : rpc error: code = Internal desc = Could not attach volume: '
NO_REPLICA = "The deployment failed to start 3 times in a row. Error:\n"


def held(entry: Entry, want: str, named: str = "") -> None:
    found = scenes.judged(entry)
    assert found is not None
    assert f"{found.category}/{found.reason}".startswith(want), found
    assert found.evidence
    assert named in " ".join((found.cause, *found.fixes)), found


def without_sandbox(message: str) -> Entry:
    entry = without_events(in_time(last("06a")), "Failed", "BackOff", "Pulling")
    pod_of(entry)["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": "ContainerCreating"}}
    return event(entry, "FailedCreatePodSandBox", message)


def disrupted(reason: str, message: str) -> Entry:
    """A pod that something took off its node while it served."""
    entry = copy.deepcopy(last("01")) | {"requests": []}
    pod = pod_of(entry)
    for condition in pod["status"]["conditions"]:
        if condition["type"] in ("Ready", "ContainersReady"):
            condition["status"] = "False"
    pod["status"]["containerStatuses"][0]["ready"] = False
    target = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    pod["status"]["conditions"].append(target)
    return entry


@pytest.mark.parametrize(
    ("message", "want", "named"),
    [
        (
            f'{OCI}unable to retrieve OCI runtime error: exec: "nvidia-container-runtime": executable file not '
            "found in $PATH: unknown",
            "engine/no-device",
            "",
        ),
        (f"{HOOK}nvidia-container-cli: device error: 0: unknown device: unknown", "engine/no-device", ""),
        (f'{HOOK}exec: "nvidia-ctk": something new', "start/create", "nvidia-ctk"),
    ],
)
def test_what_gives_containers_their_devices_fails(message: str, want: str, named: str) -> None:
    held(scenes.crashing("", 128, "StartError", message=message), want, named)


@pytest.mark.parametrize(
    ("message", "want", "named"),
    [
        (f'{SANDBOX}failed to get sandbox runtime: no runtime for "nvidia" is configured', "start/runtime", "nvidia"),
        (f"{NETWORK}add cmd: failed to assign an IP address to container", "network/no-address", "subnet"),
        (f"{NETWORK}add cmd: dial tcp 127.0.0.1:50051: connect: connection refused", "network/cni", "aws-node"),
        (
            f'{SANDBOX}failed to get sandbox image "602.dkr.ecr.us-west-2.amazonaws.com/eks/pause:3.10": failed',
            "image-pull/sandbox",
            "eks/pause:3.10",
        ),
    ],
)
def test_a_pod_whose_sandbox_is_not_made(message: str, want: str, named: str) -> None:
    held(without_sandbox(message), want, named)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("unexpected status from HEAD request to https://nvcr.io/v2/nim/x/manifests/1: 402 Payment Required", "auth"),
        ("unable to retrieve auth token: invalid username/password: unauthorized: not accessible", "auth"),
        ("failed to extract layer sha256:abc: failed to Lchown: invalid argument", "failed"),
    ],
)
def test_registries_in_other_words(message: str, reason: str) -> None:
    held(scenes.pulling(message), f"image-pull/{reason}")


@pytest.mark.parametrize(
    ("entry", "want", "named"),
    [
        (scenes.taken_off("The node had condition: [DiskPressure]. "), "node/evicted", "larger disks"),
        (scenes.taken_off("The node had condition: [MemoryPressure]. "), "node/evicted", "resources.memory"),
        (
            scenes.taken_off('Container vllm exceeded its local ephemeral storage limit "20Gi". '),
            "node/evicted",
            "20Gi",
        ),
        (
            scenes.taken_off("Pod was rejected: Node didn't have enough resource: x", "OutOfnvidia.com/gpu"),
            "node/rejected",
            "enough resource",
        ),
        (disrupted("PreemptionByScheduler", "preempting for a higher priority pod"), "node/preempted", "priority"),
        (disrupted("EvictionByEvictionAPI", "Eviction API: evicting"), "node/evicted", "replicas above 1"),
        (disrupted("DeletionByPodGC", "PodGC: node no longer exists"), "node/lost", "node-a"),
    ],
)
def test_pods_that_their_nodes_lose(entry: Entry, want: str, named: str) -> None:
    held(entry, want, named)


@pytest.mark.parametrize(
    ("message", "want", "named"),
    [
        (
            'Internal error occurred: failed calling webhook "pod-identity-webhook.amazonaws.com": failed to call '
            'webhook: Post "https://pod-identity-webhook.kube-system.svc:443/mutate": context deadline exceeded',
            "admission/webhook-down",
            "pod-identity-webhook.kube-system",
        ),
        (
            'admission webhook "validate.kyverno.svc-fail" denied the request: resource Pod/x was blocked due to the '
            "following policies require-limits: CPU and memory limits are required.",
            "admission/webhook",
            "require-limits",
        ),
        (
            'Pod "chat" is invalid: spec.containers[0].resources.requests: Invalid value: "2": must be less than or '
            "equal to nvidia.com/gpu limit of 1",
            "admission/refused",
            "nvidia.com/gpu",
        ),
    ],
)
def test_pods_that_are_refused(message: str, want: str, named: str) -> None:
    held(scenes.refused(message), want, named)


@pytest.mark.parametrize(
    ("message", "want", "named"),
    [
        (
            f'{MOUNT}"models-bucket": Mount failed: 2: Failed to get credentials: AccessDenied: Not authorized to '
            "perform sts:AssumeRoleWithWebIdentity",
            "volume/s3-credentials",
            "trust policy",
        ),
        (f'{MOUNT}"fs-0abc:/": Failed to resolve "fs-0abc.efs.us-west-2.amazonaws.com"', "volume/", "fs-0abc"),
        (f"{ATTACH}api error InvalidVolume.ZoneMismatch: not in the same availability zone", "volume/volume-zone", ""),
        (f"{ATTACH}api error UnauthorizedOperation: You are not authorized", "volume/denied", "pvc-1"),
    ],
)
def test_volumes_in_other_words(message: str, want: str, named: str) -> None:
    held(scenes.mounting(message), want, named)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            f"{NO_REPLICA}ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.",
            "killed",
        ),
        (f"{NO_REPLICA}ray.exceptions.ActorDiedError: The actor died because its node has died.", "deploy-failed"),
        ("OSError: You are trying to access a gated repo.\n401 Client Error.", "gated"),
    ],
)
def test_replicas_that_do_not_come(message: str, reason: str) -> None:
    held(scenes.ray("DEPLOY_FAILED", message), f"ray-serve/{reason}", "llm")


CHAT = "/v1/chat/completions"
NO_TEMPLATE = (
    "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat template"
)


@pytest.mark.parametrize(
    ("status", "message", "want", "named"),
    [
        (400, NO_TEMPLATE, "engine/chat-template", "/v1/completions"),
        (500, "EngineCore encountered an issue. See stack trace.", "engine/answers-errors", "EngineCore encountered"),
    ],
)
def test_a_ready_engine_that_answers_no_question(status: int, message: str, want: str, named: str) -> None:
    answer: dict[str, Any] = {"error": {"message": message, "code": status}}
    held(scenes.asked("28", (CHAT, status, answer, {"model": "chat"})), want, named)
    answered = ("/v1/completions", 200, {"choices": [{"text": "x"}]}, {"model": "chat"})
    assert scenes.judged(scenes.asked("28", (CHAT, status, answer, {"model": "chat"}), answered)) is None


def test_a_question_that_is_too_long_is_no_finding() -> None:
    answer = {"error": {"message": "This model's maximum context length is 2048 tokens."}}
    assert scenes.judged(scenes.asked("28", (CHAT, 400, answer, {"model": "chat"}))) is None


def test_a_deployment_that_somebody_holds_back() -> None:
    at_zero = copy.deepcopy(last("01")) | {"pods": [], "events": [], "requests": []}
    at_zero["deployments"][0]["spec"]["replicas"] = 0
    held(at_zero, "rollout/scaled-to-zero", "kubectl scale -n inference deployment/chat")
    paused = copy.deepcopy(last("01")) | {"requests": []}
    paused["deployments"][0]["spec"]["paused"] = True
    assert scenes.judged(paused) is None
    paused["deployments"][0]["status"]["updatedReplicas"] = 0
    held(paused, "rollout/paused", "kubectl rollout resume -n inference deployment/chat")


def test_a_group_at_zero_and_a_suspended_ray_service() -> None:
    group = copy.deepcopy(last("26")) | {"pods": [], "events": [], "requests": []}
    group["leaderworkersets"][0]["spec"]["replicas"] = 0
    held(group, "rollout/scaled-to-zero", "kubectl scale -n inference leaderworkerset/lws-chat --replicas=1")
    ray = copy.deepcopy(last("25b")) | {"pods": [], "events": [], "requests": []}
    (service,) = ray["rayservices"]
    service["spec"]["suspend"] = True
    service["status"] = {
        "observedGeneration": service["metadata"]["generation"],
        "conditions": [
            {
                "type": "Suspended",
                "status": "True",
                "reason": "SuspendComplete",
                "message": "All owned resources gone.",
            },
            {"type": "Ready", "status": "False", "reason": "SuspendComplete", "message": "RayService is suspended."},
        ],
    }
    held(ray, "rollout/suspended", "kubectl patch rayservice -n inference")


def test_a_disk_that_no_node_has_room_for() -> None:
    says = "0/1 nodes are available: 1 node(s) did not have enough free storage."
    waits = "waiting for first consumer to be created before binding"
    claim = scenes.claiming("WaitForFirstConsumer", waits, {"storageClassName": "local"}, pod_says=says)
    held(claim, "volume/no-volume", "model-cache")


def test_the_pods_of_a_ray_cluster_and_of_a_group_are_judged_one_by_one() -> None:
    group = copy.deepcopy(last("26")) | {"pods": []}
    owner = {"metadata": {"name": "lws-chat", "namespace": "inference"}, "spec": {"replicas": 1}, "status": {}}
    group["statefulsets"], group["events"] = [owner], []
    refused = (
        "create Pod lws-chat-0 failed error: exceeded quota: gpus, requested: requests.nvidia.com/gpu=4, used: a=0"
    )
    event(group, "FailedCreate", refused, kind="StatefulSet", name="lws-chat")
    held(group, "quota/resource-quota", "gpus")
    entry = scenes.ray("DEPLOYING")
    worker = copy.deepcopy(pod_of(entry))
    worker["metadata"] |= {"name": "chat-worker", "uid": "worker"}
    status = worker["status"]["containerStatuses"][0]
    ended = {"terminated": {"exitCode": 1, "reason": "Error"}}
    status |= {"restartCount": 3, "ready": False, "lastState": ended}
    status["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
    body = {"status": 200, "body": "gcs_rpc_client.h:179: Failed to connect to GCS at address chat-head-svc:6379"}
    entry["logs"]["chat-worker"] = {status["name"]: {"previous": body}}
    entry["pods"].append(worker)
    held(entry, "ray-cluster/head-unreachable", "6379")
