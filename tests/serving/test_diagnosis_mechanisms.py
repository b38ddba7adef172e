"""Diagnosis by mechanism: states put together by hand, beside the recorded scenes."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from serving.__main__ import main
from serving.diagnosis import TOPICS, Category, Diagnosis, Topic, diagnose
from serving.findings import signatures
from serving.findings.words import SIGNATURES
from serving.snapshot import Snapshot
from tests.serving.conftest import DATA, load_scene

NOW = "2026-11-22T12:20:00Z"
EARLIER = "2026-11-22T12:10:00Z"


def event(reason: str, message: str, *, kind: str = "Pod", name: str = "chat-1", **more: Any) -> dict[str, Any]:
    return {
        "involvedObject": {"kind": kind, "name": name, "namespace": "ns"},
        "reason": reason,
        "message": message,
        "type": "Warning",
        "lastTimestamp": NOW,
        **more,
    }


def node(name: str = "node-a", *, labels: dict[str, str] | None = None, **allocatable: str) -> dict[str, Any]:
    offered = {"cpu": "8", "memory": "32Gi", "pods": "110"} | {
        {"gpu": "nvidia.com/gpu", "neuron": "aws.amazon.com/neuron"}.get(key, key): value
        for key, value in allocatable.items()
    }
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": {},
        "status": {"allocatable": offered, "capacity": offered, "conditions": [{"type": "Ready", "status": "True"}]},
    }


def pending(message: str, *, gpus: int = 1, name: str = "chat-1", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "ns", "creationTimestamp": EARLIER},
        "spec": {
            "containers": [{"name": "vllm", "resources": {"requests": {"nvidia.com/gpu": str(gpus)}}}],
            **spec,
        },
        "status": {
            "phase": "Pending",
            "conditions": [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": message,
                    "lastTransitionTime": NOW,
                }
            ],
        },
    }


def running(
    state: dict[str, Any],
    *,
    last: dict[str, Any] | None = None,
    restarts: int = 0,
    init: bool = False,
    ready: bool = False,
    conditions: dict[str, str] | None = None,
    container: dict[str, Any] | None = None,
    name: str = "chat-1",
) -> dict[str, Any]:
    status = {
        "name": "fetch" if init else "vllm",
        "state": state,
        "lastState": {"terminated": last} if last else {},
        "restartCount": restarts,
        "ready": ready,
        "started": "running" in state,
    }
    spec = {"name": status["name"], "image": "img:1", **(container or {})}
    kind = ("initContainers", "initContainerStatuses") if init else ("containers", "containerStatuses")
    shown = {"PodScheduled": "True", "Ready": "True" if ready else "False", **(conditions or {})}
    return {
        "metadata": {"name": name, "namespace": "ns", "creationTimestamp": EARLIER},
        "spec": {"nodeName": "node-a", "containers": [], kind[0]: [spec]},
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": key, "status": value, "reason": "Because", "lastTransitionTime": NOW}
                for key, value in shown.items()
            ],
            kind[1]: [status],
        },
    }


def crashed(code: int = 1, reason: str = "Error", restarts: int = 3, **more: Any) -> dict[str, Any]:
    ended = {"exitCode": code, "reason": reason, "message": more.pop("message", "")}
    return running({"waiting": {"reason": "CrashLoopBackOff"}}, last=ended, restarts=restarts, **more)


def judged(*pods: dict[str, Any], log: str = "", nodes: list[dict[str, Any]] | None = None, **more: Any) -> Diagnosis:
    entry: dict[str, Any] = {"pods": list(pods), "events": more.pop("events", []), **more}
    if log:
        names = {c["name"] for p in pods for k in ("containers", "initContainers") for c in p["spec"].get(k, [])}
        entry["logs"] = {
            p["metadata"]["name"]: {n: {"previous": {"status": 200, "body": log}} for n in names} for p in pods
        }
    found = diagnose(Snapshot.read(entry, [node(gpu="4")] if nodes is None else nodes))
    assert found is not None
    assert found.cause
    assert found.evidence
    assert found.fixes
    return found


def said(found: Diagnosis) -> tuple[str, str, bool]:
    return found.category.value, found.reason, found.final


NO_GPU = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."


# --- scheduling


def test_hardware_without_its_device_plugin_is_told_from_no_hardware() -> None:
    labels = {"node.kubernetes.io/instance-type": "g6e.2xlarge"}
    found = judged(pending(NO_GPU), nodes=[node(labels=labels)])
    assert said(found) == ("unschedulable", "device-plugin", False)
    assert "node-a (g6e.2xlarge) has the hardware, but nothing on them advertises it" in found.cause
    assert said(judged(pending(NO_GPU), nodes=[node()])) == ("unschedulable", "accelerator-absent", True)
    ill = node(labels=labels, gpu="0")
    ill["status"] = copy.deepcopy(ill["status"])
    ill["status"]["capacity"] = {"nvidia.com/gpu": "1"}
    assert "all of their devices are unhealthy" in judged(pending(NO_GPU), nodes=[ill]).cause


def test_capacity_that_others_hold_may_become_free() -> None:
    found = judged(pending(NO_GPU))
    assert said(found) == ("unschedulable", "no-free-capacity", False)


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (pending("x", nodeSelector={"pool": "a"}), ("unschedulable", "node-selector", True)),
        (pending("didn't match pod topology spread constraints"), ("unschedulable", "topology-spread", True)),
        (pending("1 node(s) didn't match pod anti-affinity rules"), ("unschedulable", "pod-anti-affinity", True)),
        (pending('persistentvolumeclaim "models" not found'), ("volume", "claim-missing", True)),
        (pending("1 node(s) had volume node affinity conflict"), ("volume", "volume-zone", True)),
        (pending("pod has unbound immediate PersistentVolumeClaims"), ("volume", "claim-pending", False)),
    ],
)
def test_what_keeps_a_pod_off_every_node(pod: dict[str, Any], expected: tuple[str, str, bool]) -> None:
    assert said(judged(pod)) == expected


def test_required_node_affinity_that_nothing_meets() -> None:
    term = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    assert said(judged(pending("x", affinity=affinity))) == ("unschedulable", "node-affinity", True)
    met = judged(pending(NO_GPU, affinity=affinity), nodes=[node(labels={"zone": "b"}, gpu="1")])
    assert met.reason == "no-free-capacity"


def test_a_scheduler_that_nobody_runs() -> None:
    pod = pending("")
    pod["status"]["conditions"] = []
    pod["spec"]["schedulerName"] = "my-scheduler"
    found = judged(pod, events=[event("Pulled", "x", name="another")])
    assert said(found) == ("unschedulable", "scheduler-missing", True)
    assert "asks for scheduler my-scheduler" in found.cause


def test_the_autoscalers_word_counts() -> None:
    pod = pending(NO_GPU, gpus=8)
    comes = judged(pod, events=[event("TriggeredScaleUp", "pod triggered scale-up")])
    assert not comes.final
    assert "A node is being provisioned" in comes.cause
    refused = judged(
        pod, events=[event("NotTriggerScaleUp", "pod didn't trigger scale-up: 1 max node group size reached")]
    )
    assert said(refused) == ("unschedulable", "autoscaler-refused", True)
    karpenter = event("FailedScheduling", 'incompatible with nodepool "gpu"', source={"component": "karpenter"})
    assert said(judged(pod, events=[karpenter], node_autoscaler=True)) == ("unschedulable", "autoscaler-refused", True)
    limit = event("LaunchFailed", "VcpuLimitExceeded: You have requested more vCPU capacity", kind="NodeClaim")
    assert said(judged(pod, events=[limit], node_autoscaler=True)) == ("quota", "ec2-limit", True)
    stock = event("InsufficientCapacityError", "insufficient capacity for p5.48xlarge", kind="NodeClaim")
    assert said(judged(pod, events=[stock], node_autoscaler=True)) == ("unschedulable", "no-ec2-capacity", False)


def test_a_group_that_the_nodes_could_hold_only_waits() -> None:
    def member(index: int, **more: Any) -> dict[str, Any]:
        pod = pending(NO_GPU, gpus=4, name=f"chat-0-{index}")
        pod["metadata"]["labels"] = {"leaderworkerset.sigs.k8s.io/name": "chat"}
        pod["spec"] |= more
        return pod

    leader = member(0, nodeName="node-a")
    assert judged(leader, member(1)).reason == "group-too-large"
    two = [node("node-a", gpu="4"), node("node-b", gpu="4")]
    assert said(judged(leader, member(1), nodes=two)) == ("unschedulable", "no-free-capacity", False)


def test_cordoned_and_lost_nodes_are_a_nodes_matter() -> None:
    cordoned = node(gpu="4")
    cordoned["spec"]["unschedulable"] = True
    assert said(judged(pending("x"), nodes=[cordoned])) == ("node", "not-ready", False)


# --- nodes


def lost_pod(**conditions: str) -> dict[str, Any]:
    pod = running({"running": {"startedAt": EARLIER}}, conditions={"ContainersReady": "True", **conditions})
    for entry in pod["status"]["conditions"]:
        if entry["type"] == "Ready":
            entry.pop("reason")
    return pod


def test_a_lost_node_is_the_cause_of_what_its_replacement_suffers() -> None:
    dead = node(gpu="4")
    dead["status"]["conditions"] = [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]
    gone = lost_pod()
    gone["metadata"]["deletionTimestamp"] = NOW
    gone["status"]["conditions"].append(
        {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager", "message": "taint manager"}
    )
    found = judged(gone, pending(NO_GPU, gpus=8, name="chat-2"), nodes=[dead, node("node-b", gpu="4")])
    assert said(found) == ("node", "lost", False)
    assert "Node node-a stopped reporting" in found.cause
    assert "no longer exists" in judged(lost_pod(), nodes=[node("node-b")]).cause


def test_a_spot_node_that_is_taken_back() -> None:
    going = node(gpu="4")
    going["status"]["conditions"] = [{"type": "Ready", "status": "Unknown"}]
    going["spec"]["taints"] = [{"key": "aws-node-termination-handler/spot-itn", "effect": "NoSchedule"}]
    assert said(judged(lost_pod(), nodes=[going])) == ("node", "reclaimed", False)


def test_evicted_and_preempted_pods() -> None:
    pod = running({"terminated": {"exitCode": 137}})
    pod["status"] |= {"phase": "Failed", "reason": "Evicted"}
    pod["status"]["message"] = "The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi."
    found = judged(pod)
    assert said(found) == ("node", "evicted", False)
    assert "ran low on ephemeral-storage" in found.cause
    pod = lost_pod(DisruptionTarget="True")
    pod["status"]["conditions"][-1]["reason"] = "PreemptionByScheduler"
    assert said(judged(pod)) == ("node", "preempted", False)


# --- creation


@pytest.mark.parametrize(
    ("message", "expected", "named"),
    [
        (
            'pods "x" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false',
            ("admission", "pod-security", True),
            "pod-security.kubernetes.io/enforce",
        ),
        (
            'admission webhook "policy.example.com" denied the request: images must be signed',
            ("admission", "webhook", True),
            "policy.example.com",
        ),
        (
            'pods "x" is forbidden: maximum memory usage per Container is 4Gi, but limit is 8Gi',
            ("quota", "limit-range", True),
            "LimitRange",
        ),
        (
            'pods "x" is forbidden: failed quota: q: must specify limits.memory for: vllm',
            ("quota", "quota-needs-resources", True),
            "limits.memory",
        ),
        (
            'pods "x" is forbidden: unable to create new content in namespace ns because it is being terminated',
            ("admission", "namespace-terminating", True),
            "ns",
        ),
    ],
)
def test_pods_that_may_not_be_created(message: str, expected: tuple[str, str, bool], named: str) -> None:
    owner = {"metadata": {"name": "chat-abc", "namespace": "ns"}, "spec": {"replicas": 1}, "status": {"replicas": 0}}
    events = [event("FailedCreate", f"Error creating: {message}", kind="ReplicaSet", name="chat-abc")]
    found = judged(replicasets=[owner], events=events)
    assert said(found) == expected
    assert any(named in text for text in (found.cause, *found.fixes))


# --- images, configuration, volumes


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("failed to pull: 429 Too Many Requests - toomanyrequests: rate limit", ("rate-limit", False)),
        ("pull access denied, repository does not exist or may require authorization", ("auth", True)),
        ("failed to authorize: failed to fetch anonymous token: 401 Unauthorized", ("auth", True)),
        ("no basic auth credentials", ("auth", True)),
        ("no match for platform in manifest: not found", ("platform", True)),
        ("manifest unknown: manifest unknown", ("not-found", True)),
        ("dial tcp: lookup registry.example.com: no such host", ("network", False)),
        ("write /var/lib/containerd: no space left on device", ("disk", True)),
        ("something nobody has seen", ("failed", False)),
    ],
)
def test_an_image_that_does_not_come(message: str, expected: tuple[str, bool]) -> None:
    pod = running({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}})
    failed = event("Failed", f'Failed to pull image "img:1": {message}')
    found = judged(pod, events=[failed])
    assert (found.category, found.reason, found.final) == ("image-pull", *expected)
    assert "img:1" in found.cause


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ('MountVolume.SetUp failed for volume "t": secret "certs" not found', ("secret-missing", True)),
        ('MountVolume.SetUp failed for volume "t": references non-existent config key: x.json', ("key-missing", True)),
        (
            'volume "t": driver name s3.csi.aws.com not found in the list of registered CSI drivers',
            ("driver-missing", True),
        ),
        ('MountVolume.SetUp failed for volume "t": Mount failed: AccessDenied', ("s3-denied", False)),
        ('Multi-Attach error for volume "t" Volume is already used by pod(s) old', ("multi-attach", False)),
        ('MountVolume.SetUp failed for volume "t": timed out', ("mount", False)),
    ],
)
def test_a_volume_that_cannot_be_mounted(message: str, expected: tuple[str, bool]) -> None:
    pod = running({"waiting": {"reason": "ContainerCreating"}}, conditions={"PodReadyToStartContainers": "False"})
    found = judged(pod, events=[event("FailedMount", message)])
    assert (found.category, found.reason, found.final) == ("volume", *expected)


def test_a_user_that_the_image_does_not_allow_and_a_command_that_is_not_there() -> None:
    root = {"reason": "CreateContainerConfigError", "message": "container has runAsNonRoot and image will run as root"}
    assert said(judged(running({"waiting": root}))) == ("config", "non-root", True)
    found = judged(crashed(128, "StartError", message='exec: "vllm": executable file not found in $PATH'))
    assert said(found) == ("start", "command", True)
    assert "executable file not found" in found.cause


def test_no_address_for_the_pod() -> None:
    pod = running({"waiting": {"reason": "ContainerCreating"}})
    message = "failed to assign an IP address to container"
    assert said(judged(pod, events=[event("FailedCreatePodSandBox", message)])) == ("network", "no-address", False)


# --- runs


def test_a_liveness_probe_that_ends_a_load() -> None:
    pod = crashed(137, container={"livenessProbe": {"periodSeconds": 10, "failureThreshold": 3}})
    events = [
        event("Unhealthy", "Liveness probe failed: dial tcp 10.0.0.1:8000: connect: connection refused"),
        event("Killing", "Container vllm failed liveness probe, will be restarted"),
    ]
    found = judged(pod, events=events, log="INFO Loading safetensors checkpoint shards: 20%")
    assert said(found) == ("probe", "liveness-kill", True)
    assert "gives up after 30 s and ends a server that still loads" in found.cause


def test_a_probes_kill_is_told_from_a_crash_by_the_exit_code() -> None:
    killing = event("Killing", "Container vllm failed startup probe, will be restarted")
    log = "ValueError: The model's max seq len (8192) is larger than the maximum number of tokens"
    assert judged(crashed(1), events=[killing], log=log).reason == "kv-cache"
    assert judged(crashed(143), events=[killing], log=log).reason == "startup-kill"


def test_a_container_that_recovered_is_well() -> None:
    pod = running({"running": {"startedAt": EARLIER}}, last={"exitCode": 1}, restarts=2, ready=True)
    assert diagnose(Snapshot.read({"pods": [pod]})) is None


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [(139, "signal-11", "SIGSEGV"), (135, "signal-7", "shared_memory"), (0, "exit", "ends by itself with exit code 0")],
)
def test_an_end_without_words_is_told_by_its_code(code: int, reason: str, words: str) -> None:
    found = judged(crashed(code))
    assert said(found) == ("crash", reason, True)
    assert words in found.cause
    assert found.wants == ("logs",)


def test_the_nodes_memory_is_told_from_the_containers() -> None:
    limited = crashed(137, "OOMKilled", container={"resources": {"limits": {"memory": "8Gi"}}})
    assert "needs more memory than its limit of 8Gi" in judged(limited).cause
    assert "its node ran out of memory" in judged(crashed(137, "OOMKilled")).cause


LINES = {
    "gated": "OSError: You are trying to access a gated repo. Access to model meta-llama/X is restricted.",
    "revision": "huggingface_hub.errors.RevisionNotFoundError: 404 Client Error. Revision Not Found for url: https://…",
    "repository": "RepositoryNotFoundError: 401 Client Error. Repository Not Found for url: https://huggingface.co/a/b",
    "token": "requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: https://huggingface.co/api/whoami",
    "rate-limit": "huggingface_hub.errors.HfHubHTTPError: 429 Client Error: Too Many Requests for url: https://h",
    "forbidden": "HfHubHTTPError: 403 Client Error: Forbidden for url: https://huggingface.co/a/b/resolve/main/x",
    "hub-down": "huggingface_hub.errors.HfHubHTTPError: 503 Server Error: Service Temporarily Unavailable for url",
    "archived": "An error occurred (InvalidObjectState) when calling the GetObject operation: not valid",
    "settings": "ValueError: max_num_batched_tokens (2048) is smaller than max_model_len (8192).",
    "offline": "LocalEntryNotFoundError: outgoing traffic has been disabled. To enable set HF_HUB_OFFLINE=0",
    "checksum": "staged-model: checksum mismatch: model-00001.safetensors: FAILED",
    "denied": "fatal error: An error occurred (AccessDenied) when calling the ListObjectsV2 operation: Access Denied",
    "credentials": "fatal error: Unable to locate credentials",
    "region": "An error occurred (PermanentRedirect) when calling the ListObjectsV2 operation: The bucket is elsewhere",
    "missing": "fatal error: An error occurred (NoSuchBucket) when calling the ListObjectsV2 operation",
    "redis": "redis.exceptions.AuthenticationError: invalid username-password pair or user is disabled.",
    "streamer": "Exception: Could not receive runai_response from libstreamer due to: b'File access error'",
    "unreachable": 'Could not connect to the endpoint URL: "https://b.s3.amazonaws.com/"',
    "damaged": "safetensors_rust.SafetensorError: Error while deserializing header: MetadataIncompleteBuffer",
    "kv-cache": "ValueError: To serve at least one request (32.0 GiB KV cache is needed, which is larger than the "
    "available KV cache memory (10.2 GiB). ",
    "utilization": "ValueError: Free memory on device (3.1/22.0 GiB) on startup is less than desired GPU memory "
    "utilization (0.9, 19.8 GiB).",
    "out-of-memory": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 270.00 MiB.",
    "shared-memory": "RuntimeError: DataLoader worker killed: /dev/shm: No space left on device",
    "disk-full": "OSError: [Errno 28] No space left on device",
    "allocation": "terminate called after throwing an instance of 'std::bad_alloc'",
    "tensor-parallel": "ValueError: Total number of attention heads (40) must be divisible by tensor parallel size (3)",
    "architecture": "ValueError: Model architectures ['NewForCausalLM'] are not supported for now.",
    "trust-remote-code": "ValueError: Please pass the argument `trust_remote_code=True` to allow custom code to run.",
    "context-length": "ValueError: User-specified max_model_len (131072) is greater than the derived max_model_len",
    "argument": "api_server.py: error: unrecognized arguments: --max-model-lenn 8192",
    "compute-capability": "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0.",
    "no-device": "RuntimeError: Failed to infer device type, please set the environment variable",
    "quantization": "ValueError: Unknown quantization method: int3. Must be one of ['awq', 'fp8'].",
    "driver": "RuntimeError: The NVIDIA driver on your system is too old (found version 11040).",
    "peers": "torch.distributed.DistNetworkError: The client socket has timed out after 600000ms",
    "permission": "PermissionError: [Errno 13] Permission denied: '/.cache'",
    "nccl": "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:317, unhandled system error",
    "compile": "ERROR: neuronx-cc failed with exit code 70",
    "service-links": "ValueError: VLLM_PORT 'tcp://172.20.13.7:8000' appears to be a URI. This may be caused by a",
    "attention": "RuntimeError: FlashAttention forward only supports head dimension at most 256",
    "device-fault": "torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered",
    "killed": "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.",
    "no-resources": "ValueError: Cannot provide a placement group of [{'GPU': 1.0}, {'GPU': 1.0}] within 1800 seconds.",
    "port-in-use": "OSError: [Errno 98] Address already in use",
    "version": "RuntimeError: Version mismatch: The cluster was started with: Ray: 2.46.0 Python: 3.11.11",
    "head-unreachable": "ERROR: Failed to connect to GCS at address 10.0.0.1:6379 within 5 seconds",
    "profile": "ERROR: Could not find a profile that is currently runnable with the detected hardware",
    "key": "The NGC_API_KEY is not set or invalid",
    "missing-module": "ModuleNotFoundError: No module named 'runai_model_streamer'",
    "model-load": "E1122 failed to load 'vllm_model' version 1: Internal: Exception",
    "files": "OSError: Error no file named model.safetensors found in directory /staged-model",
    "network": "socket.gaierror: [Errno -2] Name or service not known",
    "processor": "exec /usr/bin/vllm: exec format error",
    "command": "/bin/sh: 1: vllm: not found",
    "token-scope": "HfHubHTTPError: 403 Forbidden: Please enable access to public gated repositories in your "
    "fine-grained token settings to view this repository.",
    "disabled": "huggingface_hub.errors.DisabledRepoError: 403 Client Error. Access to this resource is disabled.",
    "certificate": "SSLError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self signed certificate",
}


MORE = (
    ("OSError: You are trying to access a gated repo.\nMake sure to have access to it.\n401 Client Error.", "gated"),
    ("huggingface_hub.errors.LocalEntryNotFoundError: An error happened. Please check your connection", "network"),
    ("ClientError: (ExpiredToken) when calling GetObject: The provided token has expired.", "credentials"),
    ("AssertionError: 32 is not divisible by 3", "tensor-parallel"),
    ("sha256sum: WARNING: 1 computed checksum did NOT match", "checksum"),
    ("ValueError: No supported config format found in /staged-model.", "files"),
    ("ValueError: The supplied chat template (/x.jinja) looks like a file path, but it failed to open", "argument"),
)


@pytest.mark.parametrize(("log", "reason"), MORE)
def test_the_same_cause_in_other_words(log: str, reason: str) -> None:
    reading = signatures.read(log)
    assert reading is not None
    assert reading.signature.reason == reason


@pytest.mark.parametrize("reason", sorted(LINES))
def test_last_words_name_their_cause(reason: str) -> None:
    log = f"INFO starting\n{LINES[reason]}\nRuntimeError: Engine core initialization failed. See root cause above."
    reading = signatures.read(log)
    assert reading is not None
    assert reading.signature.reason == reason
    assert LINES[reason].splitlines()[0].strip() in reading.line
    assert "{" not in reading.cause
    found = judged(crashed(1), log=log)
    assert (found.category, found.reason) == (reading.signature.category, reason)


def test_every_pattern_has_its_line_here() -> None:
    assert {entry.reason for entry in SIGNATURES} == set(LINES)


def test_what_was_said_long_before_the_end_did_not_cause_it() -> None:
    log = "WARNING 429 Client Error: Too Many Requests for url: https://huggingface.co, retrying\n"
    assert signatures.read(log + "INFO still fine\n" * 400) is None


def test_a_cause_that_may_pass_is_final_only_when_it_repeats() -> None:
    log = LINES["denied"]
    assert not judged(crashed(1, restarts=1), log=log).final
    assert judged(crashed(1, restarts=3), log=log).final
    init = running({"waiting": {"reason": "CrashLoopBackOff"}}, last={"exitCode": 1}, restarts=2, init=True)
    assert said(judged(init, log=log)) == ("init", "denied", True)


# --- operators


def ray_service(status: dict[str, Any] | None) -> dict[str, Any]:
    service: dict[str, Any] = {
        "metadata": {"name": "chat", "namespace": "ns", "generation": 1, "creationTimestamp": EARLIER},
        "spec": {},
    }
    return service | ({"status": status} if status else {})


def test_an_operator_that_does_not_run() -> None:
    found = judged(rayservices=[ray_service(None)], events=[event("X", "x")])
    assert said(found) == ("operator", "not-running", True)
    assert "KubeRay operator" in found.cause
    group = {"metadata": {"name": "chat", "creationTimestamp": NOW}, "spec": {}}
    assert diagnose(Snapshot.read({"leaderworkersets": [group], "events": [event("X", "x")]})) is None


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Traceback\ntorch.OutOfMemoryError: CUDA out of memory.", "out-of-memory"),
        ("RuntimeEnvSetupError: Failed to set up runtime environment. pip install failed", "runtime-env"),
        ("The deployment failed to start 3 times in a row. KeyError: 'x'", "deploy-failed"),
        ("in import_attr\nImportError: cannot import name 'build_openai_app' from 'ray.serve.llm'", "import"),
    ],
)
def test_an_application_that_cannot_be_deployed(message: str, reason: str) -> None:
    status = {"pendingServiceStatus": {"applicationStatuses": {"llm": {"status": "DEPLOY_FAILED", "message": message}}}}
    assert said(judged(rayservices=[ray_service(status)])) == ("ray-serve", reason, True)


def test_replicas_that_wait_for_resources_may_get_them() -> None:
    message = (
        "Deployment 'LLM' has 1 replicas that have taken more than 30s to be scheduled. Resources required for each "
        'replica: [{"CPU": 1.0, "GPU": 2.0}], total resources available: {"GPU": 1.0}. Use `ray status` for details.'
    )
    part = {"status": "DEPLOYING", "serveDeploymentStatuses": {"LLM": {"status": "UPDATING", "message": message}}}
    status = {"pendingServiceStatus": {"applicationStatuses": {"llm": part}}}
    found = judged(rayservices=[ray_service(status)])
    assert said(found) == ("ray-serve", "no-resources", False)


def test_a_ray_cluster_whose_pods_are_refused() -> None:
    refused = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreateWorkerPod",
        "message": 'pods "x" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=2, used: '
        "requests.nvidia.com/gpu=0, limited: requests.nvidia.com/gpu=1",
    }
    status = {"pendingServiceStatus": {"rayClusterStatus": {"conditions": [refused]}}}
    assert said(judged(rayservices=[ray_service(status)])) == ("quota", "resource-quota", True)


def test_a_nim_that_failed() -> None:
    failed = {"type": "Failed", "status": "True", "message": "NGC_API_KEY is invalid"}
    cache = {"metadata": {"name": "c", "namespace": "ns"}, "status": {"state": "Failed", "conditions": [failed]}}
    assert said(judged(nimcaches=[cache])) == ("nim", "key", True)


def nim(kind: str, state: str, **condition: str) -> dict[str, Any]:
    return {"metadata": {"name": kind, "namespace": "ns"}, "status": {"state": state, "conditions": [condition]}}


def test_a_nim_whose_cache_failed_once_may_heal() -> None:
    """Its Job starts more pods, and the operator says of the service no more than that its cache failed."""
    text = "The Job to cache NIM has failed"
    cache = nim("cache", "Failed", type="NIM_CACHE_JOB_COMPLETED", status="False", reason="JobFailed", message=text)
    service = nim("service", "Failed", type="Failed", status="True", reason="NIMCacheFailed", message="")
    found = judged(nimcaches=[cache], nimservices=[service])
    assert said(found) == ("nim", "failed", False)
    assert found is not None
    assert found.cause == f"NIMCache cache failed: {text}"
    assert found.fixes[0] == "Read what its Job says: kubectl logs -n ns job/cache-job"
    unmatched = {"type": "NIM_CACHE_RECONCILE_FAILED", "status": "True", "message": "no profile matches"}
    found = judged(nimcaches=[nim("cache", "NotReady", **unmatched)])
    assert said(found)[2] is False
    assert found is not None
    assert "no profile matches" in found.cause
    refused = nim("service", "Failed", type="Failed", status="True", reason="DeploymentFailed", message="no quota left")
    assert said(judged(nimservices=[refused])) == ("nim", "failed", True)


# --- jobs, requests


def test_a_job_that_ran_out_of_time() -> None:
    verdict = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "was active too long"}
    job = {"metadata": {"name": "stage", "namespace": "ns"}, "status": {"conditions": [verdict]}}
    assert said(judged(jobs=[job])) == ("job", "deadline", True)


def test_a_service_whose_selector_finds_no_pod() -> None:
    pod = running({"running": {"startedAt": EARLIER}}, ready=True)
    asked = {
        "method": "GET",
        "path": "/api/v1/namespaces/ns/services/http:chat:http/proxy/health",
        "status": 503,
        "response": {"message": 'no endpoints available for service "http:chat:http"'},
    }
    found = judged(pod, requests=[asked], endpointslices=[{"endpoints": None}])
    assert said(found) == ("network", "selector-mismatch", True)
    waiting = {
        "requests": [asked],
        "endpointslices": [{"endpoints": [{"conditions": {"ready": False}}]}],
        "pods": [pod],
    }
    assert diagnose(Snapshot.read(waiting)) is None


# --- the whole


SCENES = sorted(path.name.split("-")[0] for path in (DATA / "scenes").glob("*.json"))


@pytest.mark.parametrize("scene", SCENES)
def test_every_recorded_scene_gets_its_category(scene: str) -> None:
    document = load_scene(scene)
    found = diagnose(Snapshot.read(document["timeline"][-1], document["nodes"]))
    assert (found.category.value if found else "healthy") == document["truth"]["category"]


@pytest.mark.parametrize("scene", SCENES)
def test_nothing_in_a_scene_is_called_final_before_its_end_for_another_cause(scene: str) -> None:
    document = load_scene(scene)
    for entry in document["timeline"]:
        found = diagnose(Snapshot.read(entry, document["nodes"]))
        if found is not None and found.final:
            assert found.category == document["truth"]["category"]


@pytest.mark.parametrize("scene", SCENES)
def test_judging_never_fails_on_what_is_left_out(scene: str) -> None:
    """A snapshot of someone with fewer rights, or of an object that a controller has not filled yet."""
    entry = load_scene(scene)["timeline"][-1]
    for left_out in ("events", "logs", "pods", "replicasets", "deployments", "requests", "endpointslices"):
        diagnose(Snapshot.read({key: value for key, value in entry.items() if key != left_out}))
    bare = copy.deepcopy(entry)
    for thing in [*bare.get("pods", []), *bare.get("deployments", [])]:
        thing.pop("status", None)
    diagnose(Snapshot.read(bare, []))


def test_every_category_belongs_to_a_topic_and_every_topic_of_the_seed_has_one() -> None:
    assert set(TOPICS) <= set(Category)
    assert {*TOPICS.values(), Topic.OTHER} == set(Topic)


def test_the_command_judges_a_scene_and_a_snapshot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (scene,) = (DATA / "scenes").glob("08-*.json")
    assert main(["diagnose", str(scene), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["category"], told["reason"], told["final"]) == ("config", "missing", True)
    entry = {**json.loads(scene.read_text())["timeline"][-1], "nodes": []}
    path = tmp_path / "snapshot.json"
    path.write_text(json.dumps(entry))
    assert main(["diagnose", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "config (missing; Pods stuck in Pending), cannot heal by itself" in shown
    assert "1. Create Secret hf-token" in shown
    (healthy,) = (DATA / "scenes").glob("01-*.json")
    assert main(["diagnose", str(healthy)]) == 0
    assert "Nothing is wrong" in capsys.readouterr().out
    path.write_text("[]")
    assert main(["diagnose", str(path)]) == 2
