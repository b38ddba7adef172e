"""Failures that were not recorded: their mechanism is told from what the real programs say of it, in their words."""

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from serving.diagnosis import Diagnosis
from tests.serving import scene_variants as scenes
from tests.serving.scene_variants import LATE, Entry, changed, event, in_time, last, pod_of

IMAGE = "registry.example.com/vllm/vllm-openai:v0.99.0"
RESOLVE = f'failed to pull and unpack image "{IMAGE}": failed to resolve reference "{IMAGE}": '
HEAD = f"{RESOLVE}unexpected status from HEAD request to https://registry.example.com/v2/vllm/manifests/v0.99.0: "
DIAL = f'{RESOLVE}failed to do request: Head "https://registry.example.com/v2/vllm/manifests/v0.99.0": '


def found(entry: Entry, expected: str, *, final: bool | None = None, named: str = "") -> Diagnosis:
    """Judges, and holds the judgement to what is expected: ``category`` or ``category/reason``."""
    judged = scenes.judged(entry)
    assert judged is not None, expected
    told = f"{judged.category.value}/{judged.reason}"
    assert told.startswith(expected), f"{told}: {judged.cause}"
    assert final is None or judged.final is final, judged
    assert judged.evidence
    text = " ".join((judged.cause, *judged.fixes))
    assert named in text, text
    assert not re.search(r"\{\w*\}", text), text
    return judged


def healthy(entry: Entry) -> None:
    judged = scenes.judged(entry)
    assert judged is None, judged


# --- images

PULLS = {
    f"{RESOLVE}failed to authorize: failed to fetch oauth token: unexpected status from GET request to "
    "https://auth.docker.io/token?scope=repository%3Avllm%3Apull: 401 Unauthorized": "auth",
    f"{HEAD}403 Forbidden": "auth",
    f"{RESOLVE}pull access denied, repository does not exist or may require authorization: server message: "
    "insufficient_scope: authorization failed": "auth",
    f"{RESOLVE}failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized": "auth",
    f"{HEAD}429 Too Many Requests": "rate-limit",
    "failed to copy: httpReadSeeker: failed open: unexpected status code 429 Too Many Requests - Server message: "
    "toomanyrequests: You have reached your unauthenticated pull rate limit.": "rate-limit",
    f"{RESOLVE}{IMAGE}: not found": "not-found",
    f"{HEAD}404 Not Found": "not-found",
    f"{DIAL}dial tcp: lookup registry.example.com on 10.96.0.10:53: no such host": "network",
    f"{DIAL}dial tcp 10.0.0.1:443: i/o timeout": "network",
    f"{DIAL}tls: failed to verify certificate: x509: certificate signed by unknown authority": "network",
    f"{DIAL}http: server gave HTTP response to HTTPS client": "network",
    f'failed to pull and unpack image "{IMAGE}": no match for platform in manifest: not found': "platform",
    "failed to extract layer: write /var/lib/containerd/x: no space left on device: unknown": "disk",
    f"{HEAD}500 Internal Server Error": "",
    "context canceled": "",
}


@pytest.mark.parametrize("told", ["event", "state", "both"])
@pytest.mark.parametrize("message", PULLS)
def test_an_image_that_does_not_come_is_told_after_its_deadline_too(message: str, told: str) -> None:
    entry = scenes.pulling(f"rpc error: code = Unknown desc = {message}", told=told)
    found(entry, f"image-pull/{PULLS[message]}", final=True, named=IMAGE)


@pytest.mark.parametrize("message", [m for m, reason in PULLS.items() if reason in ("rate-limit", "network", "")])
def test_a_registry_in_trouble_is_waited_for(message: str) -> None:
    assert found(in_time(scenes.pulling(message)), "image-pull/", final=False)


def test_names_and_images_that_no_registry_can_help() -> None:
    name = "Failed to apply default image tag: couldn't parse image name: invalid reference format"
    found(scenes.pulling("", "InvalidImageName", told="state"), "image-pull/invalid-name", final=True, named=IMAGE)
    found(scenes.waiting("InvalidImageName", name, "06a"), "image-pull/invalid-name", final=True)
    found(scenes.waiting("ImageInspectError", "Failed to inspect image", "06a"), "image-pull/failed")


# --- containers that are not created or started

OCI = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
START = f"{OCI}unable to start container process: "
HOOK = f"{START}error during container init: error running prestart hook #0: exit status 1, stdout: , stderr: "


@pytest.mark.parametrize(
    ("reason", "message", "expected", "final", "named"),
    [
        ("CreateContainerConfigError", 'configmap "settings" not found', "config/missing", True, "ConfigMap settings"),
        (
            "CreateContainerConfigError",
            "couldn't find key A in ConfigMap ns/settings",
            "config/key-missing",
            True,
            "key A",
        ),
        (
            "CreateContainerConfigError",
            "container has runAsNonRoot and image will run as root",
            "config/non-root",
            True,
            "",
        ),
        ("CreateContainerConfigError", "failed to sync secret cache: timed out", "config/config", False, "vllm"),
        ("CreateContainerError", "failed to generate spec: no command specified", "start/command", True, "vllm"),
        ("CreateContainerError", 'failed to reserve name "x": name "x" is reserved for "y"', "start/create", False, ""),
        ("CreateContainerError", "context deadline exceeded", "start/create", False, ""),
        (
            "RunContainerError",
            f'{START}exec: "vllm": executable file not found in $PATH',
            "start/command",
            True,
            "vllm",
        ),
        ("RunContainerError", f"{HOOK}requirement error: unsatisfied condition: cuda>=12.8", "engine/driver", True, ""),
        ("CreateContainerError", "unresolvable CDI devices nvidia.com/gpu=all", "engine/no-device", True, ""),
    ],
)
def test_a_container_that_cannot_be_made(reason: str, message: str, expected: str, final: bool, named: str) -> None:
    found(in_time(scenes.waiting(reason, message)), expected, final=final, named=named)


@pytest.mark.parametrize(
    ("message", "expected", "named"),
    [
        (f'{START}exec: "vllm-serve": executable file not found in $PATH: unknown', "start/command", "vllm-serve"),
        (f'{START}exec: "/opt/vllm": stat /opt/vllm: no such file or directory', "start/command", "/opt/vllm"),
        (f'{START}exec: "/entry.sh": permission denied: unknown', "start/command", "/entry.sh"),
        (f"{HOOK}nvidia-container-cli: initialization error: nvml error: driver not loaded", "engine/no-device", ""),
        (f"{HOOK}nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8", "engine/driver", ""),
        (f'{START}error mounting "/x" to rootfs at "/y": not a directory: unknown', "start/mount", "vllm"),
        (f"{START}container init was OOM-killed (memory limit too low?): unknown", "host-memory/oom-killed", ""),
    ],
)
def test_a_container_that_never_starts(message: str, expected: str, named: str) -> None:
    found(scenes.crashing("", 128, "StartError", message=message), expected, final=True, named=named)


@pytest.mark.parametrize(
    ("log", "code", "expected"),
    [
        ("/bin/sh: 1: vllm: not found", 127, "start/command"),
        ("bash: line 1: vllm: command not found", 127, "start/command"),
        ("", 127, "start/command"),
        ("/bin/sh: 1: /opt/run.sh: Permission denied", 126, "start/command"),
        ("python3: can't open file '/app/serve.py': [Errno 2] No such file or directory", 2, "start/command"),
        ("/usr/bin/python3: No module named vllm.entrypoints", 1, "engine/missing-module"),
        ("exec /usr/local/bin/vllm: exec format error", 255, "start/processor"),
        ("INFO done", 0, "crash/exit"),
        ("", 1, "crash/exit"),
        ("Fatal Python error: Segmentation fault", 139, "crash/signal-11"),
        ("Loading safetensors checkpoint shards:  25%", 137, "crash/signal-9"),
    ],
)
def test_an_exit_code_and_what_it_means(log: str, code: int, expected: str) -> None:
    found(scenes.crashing(log, code), expected, final=True, named="vllm")


def test_the_last_error_of_an_unknown_crash_is_said() -> None:
    log = "ERROR KeyError: 'model.layers.0'\nRuntimeError: Engine core initialization failed. See root cause above."
    found(scenes.crashing(log), "crash/exit", named="KeyError: 'model.layers.0'")


def test_one_crash_is_final_when_the_rollout_has_no_time_left() -> None:
    entry = scenes.crashing("loading", 137, "OOMKilled", restarts=1)
    found(copy.deepcopy(entry), "host-memory/oom-killed", final=True)
    found(in_time(entry), "host-memory/oom-killed", final=False)


def test_a_run_that_got_further_than_the_one_that_failed_is_given_its_time() -> None:
    entry = in_time(scenes.crashing("KeyError: 'x'"))
    status = pod_of(entry)["status"]["containerStatuses"][0]
    status["state"] = {"running": {"startedAt": "2026-11-22T12:12:01Z"}}
    found(entry, "crash/exit", final=True)
    event(entry, "Pulled", "x", when="2026-11-22T12:40:01Z", type="Normal")
    found(entry, "crash/exit", final=False)


# --- what engines say

NOISE = """INFO 11-22 12:11:58 [api_server.py:1839] vLLM API server version 0.11.0
(APIServer pid=1) INFO 11-22 12:11:58 [utils.py:233] non-default args: {'trust_remote_code': True, 'model': 'org/x'}
(EngineCore_DP0 pid=68) INFO 11-22 12:11:58 [core.py:77] Initializing with config: model='org/x', trust_remote_code=True
WARNING 11-22 12:11:58 [x.py:1] 429 Client Error: Too Many Requests for url: https://huggingface.co/api/models/org/x
WARNING 11-22 12:11:58 [x.py:1] Temporary failure in name resolution, retrying
/usr/lib/python3/site.py:1: FutureWarning: set trust_remote_code=True to silence this
(EngineCore_DP0 pid=68) INFO 11-22 12:11:58 [topk.py] flashinfer: ModuleNotFoundError: No module named 'flashinfer'
"""
ENGINES = {
    "ValueError: No available memory for the cache blocks. Try increasing gpu_memory": "gpu-memory/kv-cache",
    "ValueError: To serve at least one request with the models's max seq len (131072), (16.00 GiB KV cache is needed, "
    "which is larger than the available KV cache memory (4.85 GiB). Based on the available memory, the estimated "
    "maximum model length is 39744.": "gpu-memory/kv-cache",
    "ValueError: The model's max seq len (8192) is larger than the maximum number of tokens that can be stored in KV "
    "cache (4096).": "gpu-memory/kv-cache",
    "ValueError: Free memory on device cuda:0 (2.6/22.05 GiB) on startup is less than desired GPU memory utilization "
    "(0.9, 19.84 GiB).": "gpu-memory/utilization",
    "RuntimeError: CUDA error: out of memory": "gpu-memory/out-of-memory",
    "RuntimeError: CUDA out of memory occurred when warming up sampler with 256 dummy requests.": "gpu-memory/out-of-",
    "NCCL WARN Cuda failure 2 'out of memory'": "gpu-memory/out-of-memory",
    "ValueError: Total number of attention heads (40) must be divisible by tensor parallel size (3).": "engine/tensor",
    "ValueError: World size (2) is larger than the number of available GPUs (1) in this": "engine/tensor-parallel",
    "ValueError: The number of required GPUs exceeds the total number of available GPUs in the group": "engine/tensor",
    "AssertionError: 151936 is not divisible by 3": "engine/tensor-parallel",
    "ValueError: The checkpoint you are trying to load has model type `qwen9` but Transformers does not recognize this "
    "architecture.": "engine/architecture",
    "ValueError: Qwen9ForCausalLM has no vLLM implementation and the Transformers one is not compatible": "engine/arch",
    "ValueError: The repository org/x contains custom code which must be executed to correctly load the model.\n"
    "Please pass the argument `trust_remote_code=True` to allow custom code to be run.": "engine/trust-remote-code",
    "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0.": "engine/compute-",
    "ValueError: The quantization method fp8 is not supported for the current GPU.": "engine/quantization",
    "ValueError: torch.bfloat16 is not supported for quantization method awq.": "engine/quantization",
    "ValidationError: 1 validation error for ModelConfig\n  Value error, Unsupported thing": "engine/settings",
    "ValueError: User-specified max_model_len (65536) is greater than the derived max_model_len": "engine/context",
    "RuntimeError: No CUDA GPUs are available": "engine/no-device",
    "RuntimeError: CUDA error: no kernel image is available for execution on the device": "engine/compute-capability",
    "RuntimeError: NCCL error: unhandled system error (run with NCCL_DEBUG=INFO for details)": "engine/nccl",
    "OSError: /models does not appear to have a file named config.json.": "model-access/files",
    "OSError: [Errno 30] Read-only file system: '/models/.cache'": "start/permission",
    "OSError: [Errno 98] Address already in use": "network/port-in-use",
}


@pytest.mark.parametrize("words", ENGINES)
def test_the_error_counts_and_not_what_was_said_in_passing(words: str) -> None:
    prefix = "(EngineCore_DP0 pid=68) ERROR 11-22 12:12:08 [core.py:708] "
    said = "\n".join(prefix + line for line in words.splitlines())
    log = f"{NOISE}{said}\n(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.\n"
    found(scenes.crashing(log), ENGINES[words], final=True)


def test_warnings_do_not_explain_an_end_that_they_did_not_cause() -> None:
    found(scenes.crashing(NOISE + "ERROR KeyError: 'x'"), "crash/exit")
    found(scenes.crashing(NOISE.replace("WARNING 11-22 12:11:58 [x.py:1] 429", "INFO 429"), 137), "crash/signal-9")


def test_the_longest_context_that_would_fit_is_named() -> None:
    words = next(line for line in ENGINES if "39744" in line)
    found(scenes.crashing(words), "gpu-memory/kv-cache", named="Lower max_model_len to at most 39744")


HUB = {
    "GatedRepoError: 401 Client Error.\n\nCannot access gated repo for url https://huggingface.co/meta/x/resolve/main/a"
    "\nAccess to model meta/x is restricted. Please log in.": ("gated", "meta/x"),
    "RepositoryNotFoundError: 401 Client Error.\n\nRepository Not Found for url: https://huggingface.co/org/typo/resolve"
    "/main/config.json.\nInvalid username or password.": ("repository", "org/typo"),
    "OSError: org/typo is not a local folder and is not a valid model identifier listed on the Hub": (
        "repository",
        "org/",
    ),
    "RevisionNotFoundError: 404 Client Error.\n\nRevision Not Found for url: https://huggingface.co/org/x/resolve/v9/a."
    "\nInvalid rev id: v9": ("revision", "revision"),
    "HfHubHTTPError: 401 Client Error: Unauthorized for url: https://huggingface.co/api/models/org/x\n\nInvalid "
    "credentials in Authorization header": ("token", "Secret hf-token, key token"),
    "HfHubHTTPError: 403 Forbidden: Please enable access to public gated repositories in your fine-grained token "
    "settings to view this repository.": ("token-scope", "fine-grained"),
    "HfHubHTTPError: 429 Too Many Requests: you have reached your 'api' rate limit. Retry after 285 seconds": (
        "rate-limit",
        "weights=sync",
    ),
    "EntryNotFoundError: 404 Client Error.\n\nEntry Not Found for url: https://huggingface.co/org/x/a": (
        "files",
        "file",
    ),
    "ConnectionError: HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded with url: /": (
        "network",
        "DNS",
    ),
    "HfHubHTTPError: 503 Server Error: Service Unavailable for url: https://huggingface.co/org/x": ("hub-down", ""),
}


@pytest.mark.parametrize("words", HUB)
def test_what_the_hub_answers(words: str) -> None:
    reason, named = HUB[words]
    found(
        scenes.crashing(f"{NOISE}Traceback (most recent call last):\nhuggingface_hub.errors.{words}"),
        f"model-access/{reason}",
        named=named,
    )


def test_the_secret_that_the_pod_reads_is_the_one_to_mend() -> None:
    reference = {"secretKeyRef": {"name": "my-hub", "key": "value"}}
    container = {"env": [{"name": "HF_TOKEN", "valueFrom": reference}]}
    entry = scenes.crashing("GatedRepoError: 403 Client Error.", container=container)
    found(entry, "model-access/gated", named="Secret my-hub, key value")
    without = scenes.crashing("GatedRepoError: 401 Client Error.", container={"env": []})
    found(without, "model-access/gated", named="container vllm have it (it has no env HF_TOKEN)")


STORES = {
    "An error occurred (403) when calling the HeadObject operation: Forbidden": ("denied", "bucket models-bucket"),
    "An error occurred (AccessDenied) when calling the ListObjectsV2 operation: User: arn:aws:sts::1:assumed-role/node-"
    'role/i is not authorized to perform: s3:ListBucket on resource: "arn:aws:s3:::models-bucket"': (
        "denied",
        "Grant s3:ListBucket on arn:aws:s3:::models-bucket to role node-role",
    ),
    "An error occurred (AccessDenied) when calling the GetObject operation: not authorized to perform: kms:Decrypt on "
    "resource: arn:aws:kms:us-west-2:1:key/abc": ("denied", "Grant kms:Decrypt on arn:aws:kms"),
    "An error occurred (PermanentRedirect) when calling the ListObjectsV2 operation: The bucket": ("region", "region"),
    "An error occurred (301) when calling the HeadObject operation: Moved Permanently": ("region", "models-bucket"),
    "An error occurred (AuthorizationHeaderMalformed) when calling x; the region 'us-east-1' is wrong": ("region", ""),
    "An error occurred (NoSuchBucket) when calling the ListObjectsV2 operation": ("missing", "models-bucket"),
    "An error occurred (NoSuchKey) when calling the GetObject operation": ("missing", "Stage the model again"),
    "An error occurred (404) when calling the HeadObject operation: Key does not exist": ("missing", ""),
    "An error occurred (ExpiredToken) when calling the GetObject operation": ("credentials", "service account"),
    "botocore.exceptions.NoCredentialsError: Unable to locate credentials": ("credentials", "service_account"),
    "CredentialRetrievalError: Error when retrieving credentials from container-role": ("credentials", ""),
    'Could not connect to the endpoint URL: "https://models-bucket.s3.us-west-2.amazonaws.com/"': (
        "unreachable",
        "VPC",
    ),
    "An error occurred (SlowDown) when calling the GetObject operation (reached max retries: 4)": ("rate-limit", ""),
    "An error occurred (InvalidObjectState) when calling the GetObject operation": ("archived", "Restore"),
    "[Errno 28] No space left on device": ("disk-full", ""),
}


@pytest.mark.parametrize("words", STORES)
def test_what_s3_answers_an_init_container(words: str) -> None:
    reason, named = STORES[words]
    log = f"fetch-model: downloading s3://models-bucket/qwen/model.safetensors to /models\nfatal error: {words}\n"
    found(scenes.fetching(log), f"init/{reason}", final=True, named=named)


def test_an_init_container_that_cannot_run() -> None:
    found(scenes.fetching("/bin/sh: 1: aws: not found", 127), "init/command", final=True, named="fetch")
    message = f'{START}exec: "aws": executable file not found in $PATH: unknown'
    found(scenes.fetching("", 128, "StartError", message), "start/command", final=True, named="aws")
    found(scenes.fetching("copying", 137, "OOMKilled"), "host-memory/oom-killed", final=True, named="fetch")


# --- probes, readiness


@pytest.mark.parametrize("killing", [True, False])
@pytest.mark.parametrize("code", [137, 143])
@pytest.mark.parametrize("kind", ["startup", "liveness"])
def test_a_probe_that_ends_a_load_is_told_with_and_without_its_event(kind: str, code: int, killing: bool) -> None:
    found(scenes.probed(code, kind, killing=killing), f"probe/{kind}-kill", final=True, named="startup_seconds")


def test_a_probe_that_ends_a_load_is_told_by_the_run_alone_once_its_events_are_gone() -> None:
    entry = scenes.probed(137)
    found(entry | {"events": []}, "probe/startup-kill", named="container vllm")


def test_a_probe_that_asks_a_path_that_is_not_there() -> None:
    entry = scenes.probed(137, failed="HTTP probe failed with statuscode: 404")
    found(entry, "probe/startup-kill", named="Correct the path of the startup probe of container vllm: /health")


@pytest.mark.parametrize(
    ("failed", "named"),
    [
        ("HTTP probe failed with statuscode: 503", "answers /health with 503"),
        ("HTTP probe failed with statuscode: 404", "Correct the path"),
        (
            'Get "http://10.0.0.1:8000/health": dial tcp 10.0.0.1:8000: connect: connection refused',
            "listens on the port",
        ),
        ('Get "http://10.0.0.1:8000/health": context deadline exceeded', "does not pass /health"),
    ],
)
def test_a_server_that_never_becomes_ready(failed: str, named: str) -> None:
    found(scenes.unready(failed), "readiness/not-ready", final=True, named=named)
    healthy(in_time(scenes.unready(failed)))


# --- volumes

S3_MOUNT = (
    'MountVolume.SetUp failed for volume "models" : rpc error: code = Internal desc = Could not mount "models-bucket" '
    'at "/var/lib/kubelet/x": Mount failed: Failed to start mount-s3: Error: Failed to create S3 client Caused by: 0: '
    "initial ListObjectsV2 failed for bucket models-bucket in region us-east-1 1: "
)
MOUNTS = {
    'MountVolume.SetUp failed for volume "certs" : secret "tls" not found': ("secret-missing", "Create Secret tls"),
    'MountVolume.SetUp failed for volume "tpl" : references non-existent config key: chat.jinja': (
        "key-missing",
        "Add key chat.jinja to ConfigMap chat-template",
    ),
    'MountVolume.SetUp failed for volume "models" : kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: '
    "driver name s3.csi.aws.com not found in the list of registered CSI drivers": (
        "driver-missing",
        "aws-mountpoint-s3-csi-driver",
    ),
    f"{S3_MOUNT}Client error 2: Forbidden: Access Denied": ("s3-denied", "models-bucket"),
    f"{S3_MOUNT}Client error 2: No signing credentials available": ("s3-credentials", "service_account"),
    f"{S3_MOUNT}Service error 2: The bucket does not exist": ("s3-missing", "models-bucket"),
    f"{S3_MOUNT}Service error 2: PermanentRedirect": ("s3-region", "models-bucket"),
    'MountVolume.SetUp failed for volume "h" : hostPath type check failed: /mnt/models is not a directory': (
        "host-path",
        "/mnt/models",
    ),
    'MountVolume.SetUp failed for volume "efs" : mount.nfs: access denied by server': ("denied", "efs"),
    "Unable to attach or mount volumes: unmounted volumes=[tpl], unattached volumes=[]: timed out": ("mount", "tpl"),
    'MountVolume.MountDevice failed for volume "pvc-1" : rpc error: code = DeadlineExceeded': ("mount", "pvc-1"),
    'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) chat-old': ("multi-attach", "chat-old"),
    'AttachVolume.Attach failed for volume "pvc-1" : rpc error: code = NotFound desc = Volume "vol-1" not found': (
        "gone",
        "pvc-1",
    ),
    'AttachVolume.Attach failed for volume "pvc-1" : CSINode ip-1 does not contain driver ebs.csi.aws.com': (
        "driver-missing",
        "ebs.csi.aws.com",
    ),
}


@pytest.mark.parametrize("message", MOUNTS)
def test_a_volume_that_does_not_come(message: str) -> None:
    reason, named = MOUNTS[message]
    found(scenes.mounting(message), f"volume/{reason}", final=True, named=named)


def test_the_cause_counts_and_not_the_complaint_that_follows_it() -> None:
    entry = scenes.mounting(
        'MountVolume.SetUp failed for volume "tpl" : configmap "chat-template" not found',
        "Unable to attach or mount volumes: unmounted volumes=[tpl]: timed out waiting for the condition",
    )
    found(entry, "volume/configmap-missing", named="Create ConfigMap chat-template")


def test_a_volume_that_came_after_all_is_no_finding() -> None:
    entry = in_time(scenes.mounting('MountVolume.SetUp failed for volume "tpl" : configmap "x" not found'))
    pod_of(entry)["status"]["conditions"] = [{"type": "PodScheduled", "status": "True"}]
    found(entry, "volume/configmap-missing")
    healthy(event(entry, "Pulling", 'Pulling image "x"', when=LATE, type="Normal"))


UNBOUND = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found"


@pytest.mark.parametrize(
    ("reason", "message", "spec", "expected", "named"),
    [
        (
            "ProvisioningFailed",
            'storageclass.storage.k8s.io "gp3" not found',
            {"storageClassName": "gp3"},
            "storage-class-missing",
            "Create storage class gp3",
        ),
        (
            "ProvisioningFailed",
            'failed to provision volume with StorageClass "gp3": UnauthorizedOperation',
            {"storageClassName": "gp3"},
            "provisioning-failed",
            "model-cache",
        ),
        (
            "ExternalProvisioning",
            "Waiting for a volume to be created either by the external provisioner 'ebs.csi.aws.com' or manually",
            {"storageClassName": "gp3"},
            "claim-pending",
            "ebs.csi.aws.com",
        ),
        (
            "FailedBinding",
            "no persistent volumes available for this claim and no storage class is set",
            {"storageClassName": ""},
            "no-volume",
            "Create a PersistentVolume that fits claim inference/model-cache",
        ),
        (
            "VolumeMismatch",
            'Cannot bind to requested volume "models-pv": requested PV is too small',
            {"storageClassName": "", "volumeName": "models-pv"},
            "no-volume",
            "models-pv",
        ),
        (
            "FailedBinding",
            'volume "pv" already bound to a different claim.',
            {"volumeName": "pv"},
            "volume-taken",
            "pv",
        ),
    ],
)
def test_a_claim_that_is_not_bound(reason: str, message: str, spec: Entry, expected: str, named: str) -> None:
    found(scenes.claiming(reason, message, spec), f"volume/{expected}", final=True, named=named)


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        ('persistentvolumeclaim "model-cache" not found.', "claim-missing"),
        ('persistentvolumeclaim "model-cache" is being deleted.', "claim-missing"),
        ("1 node(s) had volume node affinity conflict.", "volume-zone"),
        ("1 node(s) didn't find available persistent volumes to bind.", "no-volume"),
        ("1 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s).", "claim-lost"),
        ("1 node(s) exceed max volume count.", "too-many-volumes"),
        ("pod has unbound immediate PersistentVolumeClaims.", "claim-pending"),
    ],
)
def test_what_the_scheduler_says_of_volumes(says: str, expected: str) -> None:
    entry = scenes.claiming("", "", pod_says=f"0/1 nodes are available: {says}")
    found(entry | {"persistentvolumeclaims": []}, f"volume/{expected}", final=True)


def test_a_claim_that_waits_for_its_pod_is_not_the_cause() -> None:
    waits = "waiting for first consumer to be created before binding"
    entry = scenes.claiming("WaitForFirstConsumer", waits, pod_says="0/1 nodes are available: 1 Insufficient cpu.")
    pod_of(entry)["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "64"}}
    found(entry, "unschedulable/too-much-cpu", final=True, named="64")


# --- pods that are not created

PODS = 'pods "chat-8689b4f799-2xv6j" is forbidden: '


@pytest.mark.parametrize(
    ("message", "expected", "final", "named"),
    [
        (
            f"{PODS}[maximum memory usage per Container is 4Gi, but limit is 8Gi]",
            "quota/limit-range",
            True,
            "LimitRange",
        ),
        (
            f"{PODS}failed quota: q: must specify limits.cpu for: vllm",
            "quota/quota-needs-resources",
            True,
            "limits.cpu",
        ),
        (
            f"{PODS}exceeded quota: q, requested: pods=1, used: pods=10, limited: pods=10",
            "quota/resource-quota",
            False,
            "q",
        ),
        (
            f"{PODS}exceeded quota: q, requested: cpu=8,memory=9Gi, used: cpu=0, limited: cpu=4",
            "quota/resource-quota",
            True,
            "q",
        ),
        (f"{PODS}no PriorityClass with name high was found", "admission/priority-class", True, "PriorityClass high"),
        (
            f'{PODS}pod rejected: RuntimeClass "nvidia" not found',
            "admission/runtime-class",
            True,
            "RuntimeClass nvidia",
        ),
        (
            f"{PODS}ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
            "admission/policy",
            True,
            "policy p",
        ),
        ('admission webhook "kyverno.svc" denied the request: tag it', "admission/webhook", True, "tag it"),
        (
            'Internal error occurred: failed calling webhook "mpod.elbv2.k8s.aws": failed to call webhook: Post '
            '"https://aws-lb.kube-system.svc:443/mutate-v1-pod?timeout=10s": no endpoints available',
            "admission/webhook-down",
            False,
            "aws-lb.kube-system",
        ),
        ("etcdserver: request timed out", "admission/refused", False, ""),
    ],
)
def test_pods_that_the_api_server_refuses(message: str, expected: str, final: bool, named: str) -> None:
    found(in_time(scenes.refused(message)), expected, final=final, named=named)
    found(scenes.refused(message), expected, final=True)


# --- scheduling

GPU = {"nvidia.com/gpu": "1"}
WANTS_ZONE = {"whenUnsatisfiable": "DoNotSchedule", "topologyKey": "topology.kubernetes.io/zone", "maxSkew": 1}


def anti_affinity(kind: str = "podAntiAffinity", key: str = "kubernetes.io/hostname") -> Entry:
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": key}]}}


@pytest.mark.parametrize(
    ("entry", "expected", "final", "named"),
    [
        (scenes.pending("1 Insufficient cpu", asks={"cpu": "64"}), "unschedulable/too-much-cpu", True, "at most 2"),
        (scenes.pending("1 Insufficient cpu", asks={"cpu": "2"}), "unschedulable/no-free-capacity", False, "cpu"),
        (scenes.pending("1 Too many pods", asks={"cpu": "1"}), "unschedulable/no-free-capacity", False, "pods"),
        (scenes.pending("1 Insufficient nvidia.com/gpu", asks=GPU), "unschedulable/no-free-capacity", False, "gpu"),
        (
            scenes.pending("1 Insufficient ephemeral-storage", asks={"ephemeral-storage": "500Gi"}),
            "unschedulable/too-much-ephemeral-storage",
            True,
            "500",
        ),
        (
            scenes.pending("1 Insufficient cpu", asks={"cpu": "2", "ephemeral-storage": "5Gi"}),
            "unschedulable/no-free-capacity",
            False,
            "cpu",
        ),
        (
            scenes.pending("1 node(s) had untolerated taint(s)", asks=GPU, taints=["dedicated=team:NoSchedule"]),
            "unschedulable/taint",
            True,
            "toleration for dedicated",
        ),
        (
            scenes.pending("1 node(s) didn't match pod anti-affinity rules", asks=GPU, affinity=anti_affinity()),
            "unschedulable/pod-anti-affinity",
            True,
            "anti-affinity",
        ),
        (
            scenes.pending(
                "1 node(s) didn't match pod topology spread constraints (missing required label)",
                asks=GPU,
                topologySpreadConstraints=[WANTS_ZONE],
            ),
            "unschedulable/topology-spread",
            True,
            "Label the nodes with topology.kubernetes.io/zone",
        ),
        (
            scenes.pending("x", nodeSelector={"kubernetes.io/arch": "arm64"}),
            "unschedulable/node-selector",
            True,
            "kubernetes.io/arch=arm64",
        ),
        (scenes.pending("1 node(s) didn't have free ports", asks=GPU), "unschedulable/other", False, "ports"),
        (
            scenes.pending('resourceclaim "gpus" not found', asks=GPU),
            "unschedulable/resource-claim",
            True,
            "claim gpus",
        ),
        (changed(scenes.pending("x"), lambda e: e["nodes"].clear()), "unschedulable/no-nodes", True, ""),
    ],
)
def test_what_keeps_a_pod_without_a_node(entry: Entry, expected: str, final: bool, named: str) -> None:
    found(entry, expected, final=final, named=named)


@pytest.mark.parametrize(
    "taint",
    [
        "node.kubernetes.io/unreachable:NoSchedule",
        "node.kubernetes.io/disk-pressure:NoSchedule",
        "node.kubernetes.io/unschedulable:NoSchedule",
        "node.cloudprovider.kubernetes.io/uninitialized=true:NoSchedule",
        "karpenter.sh/unregistered:NoExecute",
        "karpenter.sh/disrupted:NoSchedule",
        "ebs.csi.aws.com/agent-not-ready:NoExecute",
        "node.cilium.io/agent-not-ready:NoSchedule",
    ],
)
def test_taints_that_controllers_take_off_again_are_waited_for(taint: str) -> None:
    entry = scenes.pending("1 node(s) had untolerated taint(s)", asks=GPU, taints=[taint])
    found(entry, "node/not-ready", final=False, named=taint.partition(":")[0].partition("=")[0])


def said_by(component: str, reason: str, message: str, *, asks: dict[str, str] | None = None) -> Entry:
    entry = scenes.pending("1 Insufficient nvidia.com/gpu", asks=asks)
    return event(entry, reason, message, source=component, when=LATE)


INCOMPATIBLE = 'Failed to schedule pod, incompatible with nodepool "gpu", daemonset overhead={"cpu":"180m"}, '


@pytest.mark.parametrize(
    ("entry", "expected", "final", "named"),
    [
        (
            said_by("karpenter", "FailedScheduling", f"{INCOMPATIBLE}no instance type has enough resources"),
            "unschedulable/autoscaler-refused",
            True,
            "Let NodePool gpu allow",
        ),
        (
            said_by(
                "karpenter",
                "FailedScheduling",
                f"{INCOMPATIBLE}did not tolerate taint (taint=nvidia.com/gpu:NoSchedule)",
            ),
            "unschedulable/autoscaler-refused",
            True,
            "Add a toleration for nvidia.com/gpu",
        ),
        (
            said_by(
                "karpenter",
                "FailedScheduling",
                'Failed to schedule pod, all available instance types exceed limits for nodepool (NodePool="gpu")',
            ),
            "unschedulable/autoscaler-refused",
            True,
            "Raise the limits",
        ),
        (
            said_by("karpenter", "Nominated", "Pod should schedule on: nodeclaim/gpu-abc"),
            "unschedulable/too-many-accelerators",
            False,
            "is being provisioned",
        ),
        (
            said_by(
                "cluster-autoscaler", "NotTriggerScaleUp", "pod didn't trigger scale-up: 1 max node group size reached"
            ),
            "unschedulable/autoscaler-refused",
            True,
            "Raise the largest size of the node group",
        ),
        (
            said_by(
                "cluster-autoscaler",
                "NotTriggerScaleUp",
                "pod didn't trigger scale-up: 1 in backoff after failed scale-up",
            ),
            "unschedulable/scale-up-failed",
            False,
            "cluster-autoscaler-status",
        ),
        (
            said_by("cluster-autoscaler", "TriggeredScaleUp", "pod triggered scale-up: [{gpu 0->1 (max: 4)}]"),
            "unschedulable/too-many-accelerators",
            False,
            "is being provisioned",
        ),
    ],
)
def test_what_an_autoscaler_says_of_a_pod(entry: Entry, expected: str, final: bool, named: str) -> None:
    found(entry, expected, final=final, named=named)


@pytest.mark.parametrize(
    ("message", "expected", "final"),
    [
        (
            "with fleet error(s), InsufficientInstanceCapacity: We currently do not have",
            "unschedulable/no-ec2-capacity",
            False,
        ),
        ("all requested instance types were unavailable during launch", "unschedulable/no-ec2-capacity", False),
        ("insufficient capacity, VcpuLimitExceeded: You have requested more vCPU capacity", "quota/ec2-limit", True),
        ("insufficient capacity, InsufficientFreeAddressesInSubnet: x", "unschedulable/no-addresses", False),
        ("creating fleet, UnauthorizedOperation: You are not authorized", "unschedulable/launch-denied", False),
        ("something new", "unschedulable/launch-failed", False),
    ],
)
def test_a_node_that_could_not_be_launched(message: str, expected: str, final: bool) -> None:
    entry = said_by("karpenter", "Nominated", "Pod should schedule on: nodeclaim/gpu-abc")
    told = f"NodeClaim gpu-abc event: creating instance, {message}"
    event(entry, "InsufficientCapacityError", told, kind="NodeClaim", name="gpu-abc", source="karpenter", when=LATE)
    found(entry, expected, final=final)
    later = event(entry, "Nominated", "Pod should schedule on: nodeclaim/gpu-def", source="karpenter", when=LATE + "1")
    found(later, "unschedulable/too-many-accelerators", final=False, named="is being provisioned")


def test_help_that_is_on_its_way_outlives_the_rollouts_deadline() -> None:
    entry = last("02")
    found(copy.deepcopy(entry), "unschedulable/too-many-accelerators", final=True)
    event(entry, "TriggeredScaleUp", "pod triggered scale-up", source="cluster-autoscaler", when=LATE)
    found(entry, "unschedulable/too-many-accelerators", final=False)


# --- nodes


def ready_elsewhere(entry: Entry) -> Entry:
    good = last("01")
    for replicaset in entry["replicasets"]:
        replicaset["status"] = good["replicasets"][0]["status"]
    return scenes.moved(entry, copy.deepcopy(pod_of(good)["status"]), node="node-b")


def waits_elsewhere(entry: Entry) -> Entry:
    message = "0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) had untolerated taint(s)."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return scenes.moved(entry, {"phase": "Pending", "conditions": [condition]})


def test_a_lost_node_is_the_cause_until_its_pods_are_ready_elsewhere() -> None:
    entry = waits_elsewhere(last("24a"))
    found(entry, "node/lost", final=False, named="node-a")
    found(entry | {"pods": entry["pods"][::-1]}, "node/lost", named="node-a")
    healthy(ready_elsewhere(last("24a")))


def test_a_replacement_that_cannot_run_anywhere_has_a_cause_of_its_own() -> None:
    broken = copy.deepcopy(pod_of(last("08"))["status"])
    found(scenes.moved(last("24a"), broken, node="node-b"), "config/missing", final=True, named="hf-token")


@pytest.mark.parametrize(
    ("message", "reason", "expected", "named"),
    [
        (
            "The node was low on resource: ephemeral-storage. Threshold quantity: 10Gi",
            "Evicted",
            "evicted",
            "larger disks",
        ),
        ("The node was low on resource: memory. Threshold quantity: 100Mi", "Evicted", "evicted", "resources.memory"),
        (
            "Pod ephemeral local storage usage exceeds the total limit of containers 20Gi. ",
            "Evicted",
            "evicted",
            "20Gi",
        ),
        (
            'Usage of EmptyDir volume "model" exceeds the limit "10Gi". ',
            "Evicted",
            "evicted",
            'EmptyDir volume "model"',
        ),
        ("Pod was terminated in response to imminent node shutdown.", "Terminated", "evicted", "node shutdown"),
        (
            "Pod was rejected: Allocate failed due to no healthy devices",
            "UnexpectedAdmissionError",
            "rejected",
            "device",
        ),
        ("Pod was rejected: Node didn't have enough resource: cpu", "OutOfcpu", "rejected", "enough resource: cpu"),
    ],
)
def test_a_pod_that_its_node_gave_up(message: str, reason: str, expected: str, named: str) -> None:
    entry = scenes.taken_off(message, reason)
    found(entry, f"node/{expected}", final=False, named=named)
    beside = last("01")
    left = copy.deepcopy(pod_of(entry))
    left["metadata"]["name"] = "chat-left"
    healthy(beside | {"pods": [left, *beside["pods"]]})


# --- operators


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("in import_attr\nAttributeError: module 'serve_chat' has no attribute 'app2'", "import"),
        (
            "The deployment failed to start 3 times in a row. Error:\nray::ServeReplica:llm:LLMServer.initialize()\n"
            "ValueError: Total number of attention heads (28) must be divisible by tensor parallel size (3).",
            "tensor-parallel",
        ),
        ("huggingface_hub.errors.GatedRepoError: 401 Client Error.", "gated"),
        ("ray.exceptions.RuntimeEnvSetupError: Failed to set up runtime environment.", "runtime-env"),
        ("ValidationError: 1 validation error for LLMConfig\n  Value error, Unsupported accelerator: L44", "settings"),
        ("Unexpected error occurred while deploying application 'llm': \nKeyError: 'x'", "deploy-failed"),
    ],
)
def test_a_ray_application_that_cannot_be_deployed(message: str, reason: str) -> None:
    found(scenes.ray("DEPLOY_FAILED", message), f"ray-serve/{reason}", final=True, named="llm")


def test_a_ray_service_on_its_way_is_well_and_one_that_gave_up_is_not() -> None:
    for state in ("NOT_STARTED", "DEPLOYING", "RUNNING"):
        healthy(scenes.ray(state))
    healthy(scenes.ray("RUNNING", ready=("NonZeroServeEndpoints", ""), part="activeServiceStatus"))
    found(scenes.ray("UNHEALTHY", "CUDA out of memory"), "ray-serve/unhealthy", final=False)
    found(scenes.ray("DEPLOYING", ready=("InitializingTimeout", "x")), "ray-serve/initializing-timeout", final=True)
    found(scenes.ray(ready=("ValidationFailed", "bad name")), "ray-serve/invalid-spec", final=True, named="bad name")


def test_an_operator_that_says_nothing_is_told_within_a_scenes_time() -> None:
    entry = last("25a") | {"pods": [], "events": [], "rayclusters": [], "t": 25.0}
    entry["rayservices"][0].pop("status")
    found(copy.deepcopy(entry), "operator/not-running", final=False, named="KubeRay operator")
    found(entry | {"t": 90.0}, "operator/not-running", final=True)
    healthy(entry | {"t": 3.0})


def ray_head(entry: Entry, state: Entry, ended: Entry | None = None, log: str = "") -> Entry:
    pod = pod_of(entry)
    status = pod["status"]["containerStatuses"][0]
    status |= {"state": state, "ready": False, "restartCount": 4 if ended else 0}
    status["lastState"] = {"terminated": ended} if ended else {}
    entry["logs"][pod["metadata"]["name"]] = {status["name"]: {"previous": {"status": 200, "body": log}}}
    return entry


def test_a_ray_head_that_does_not_run() -> None:
    missing = {
        "reason": "ImagePullBackOff",
        "message": "rpc error: code = NotFound desc = rayproject/ray-llm:9: not found",
    }
    found(ray_head(scenes.ray(), {"waiting": missing}), "image-pull/not-found", final=True)
    crash = ({"waiting": {"reason": "CrashLoopBackOff"}}, {"exitCode": 1, "reason": "Error"})
    log = "RuntimeError: Version mismatch: The cluster was started with:\n    Ray: 2.46.0"
    found(ray_head(scenes.ray(), *crash, log), "ray-cluster/version", final=True, named="ray.version")
    found(ray_head(scenes.ray(), *crash, "KeyError: 'x'"), "crash/exit", final=True)


def test_the_pods_of_a_group_are_judged_like_others() -> None:
    entry = last("26")
    leader, worker = entry["pods"]
    worker["spec"]["nodeName"] = "node-a"
    worker["status"] = copy.deepcopy(pod_of(last("10a"))["status"])
    log = "torch.distributed.DistStoreError: Timed out after 601 seconds waiting for clients. 1/2 clients joined."
    entry["logs"][worker["metadata"]["name"]] = {"vllm": {"previous": {"status": 200, "body": log}}}
    found(entry, "engine/peers", final=True)
    loading = last("26")
    for pod in loading["pods"]:
        pod["spec"]["nodeName"] = "node-a"
        pod["status"] = copy.deepcopy(leader["status"])
        pod["status"]["containerStatuses"][0] |= {"ready": False, "started": False}
    healthy(loading)


# --- Jobs


def test_jobs_that_failed_were_held_back_or_went_well() -> None:
    limit = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    found(scenes.job(*limit, "KeyError: 'x'"), "job/exit", final=True)
    found(scenes.job(*limit, "copying", code=137, ended="OOMKilled"), "job/oom-killed", final=True, named="memory")
    found(scenes.job(*limit, pods=False), "job/", final=True, named="stage-weights")
    found(scenes.job("DeadlineExceeded", "too long", pods=False), "job/deadline", final=True, named="activeDeadline")
    found(scenes.job("PodFailurePolicy", "exit code 42 matching FailJob rule", code=42), "job/", final=True)
    suspended = last("29a") | {"pods": [], "events": []}
    suspended["jobs"][0]["status"] = {"conditions": [{"type": "Suspended", "status": "True"}]}
    found(suspended, "job/suspended", final=False, named="kubectl patch job -n inference stage-weights")
    complete = last("29a")
    complete["jobs"][0]["status"] = {
        "conditions": [{"type": "Complete", "status": "True"}],
        "succeeded": 1,
        "failed": 1,
    }
    healthy(complete)


# --- requests


def unavailable(message: str) -> Entry:
    return {"kind": "Status", "status": "Failure", "message": message, "reason": "ServiceUnavailable", "code": 503}


@pytest.mark.parametrize(
    ("message", "reason", "named"),
    [
        ("error trying to reach service: dial tcp 10.0.0.1:8000: connect: connection refused", "port-mismatch", "8000"),
        ("error trying to reach service: dial tcp 10.0.0.1:8000: i/o timeout", "no-answer", "network policies"),
        (
            "error trying to reach service: tls: first record does not look like a TLS handshake",
            "protocol",
            "http:chat",
        ),
        ('no service port "http" found for service "chat"', "port-name", "Service chat"),
        ('services "chat" not found', "service-missing", "Service chat"),
    ],
)
def test_ready_pods_that_a_request_does_not_reach(message: str, reason: str, named: str) -> None:
    found(scenes.asked("01", ("/health", 503, unavailable(message), None)), f"network/{reason}", named=named)


MODELS = ("/v1/models", 200, {"data": [{"id": "chat"}]}, None)


@pytest.mark.parametrize(
    "answer",
    [
        {"error": {"message": "The model `org/x` does not exist.", "code": 404}},
        {"object": "error", "message": "The model `org/x` does not exist.", "code": 404},
        {"error": {"message": "Could not find model with id org/x", "code": 404}},
        json.dumps({"error": {"message": "The model `org/x` does not exist."}}),
    ],
)
def test_a_model_that_is_served_under_another_name(answer: Any) -> None:
    chat = ("/v1/chat/completions", 404, answer, {"model": "org/x"})
    entry = scenes.asked("28", MODELS, chat)
    found(entry, "model-name/other-name", named="Ask for chat, or set served_model_name (--served-model-name) to org/x")


def test_a_route_that_is_missing_is_not_a_model_that_is_missing() -> None:
    healthy(scenes.asked("28", MODELS, ("/v1/chat/completions", 404, {"detail": "Not Found"}, {"model": "chat"})))


# --- what is well


def old_troubles(entry: Entry) -> None:
    status = pod_of(entry)["status"]["containerStatuses"][0]
    status["restartCount"] = 7
    status["lastState"] = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}


def noisy(entry: Entry) -> None:
    log = "ERROR 403 Forbidden AccessDenied\nTraceback\ntorch.OutOfMemoryError: CUDA out of memory\n" * 50
    entry["logs"][pod_of(entry)["metadata"]["name"]]["vllm"]["current"] = {"status": 200, "body": log}


def unready_for_now(entry: Entry) -> None:
    pod = pod_of(entry)
    for condition in pod["status"]["conditions"]:
        if condition["type"] in ("Ready", "ContainersReady"):
            condition |= {"status": "False", "reason": "ContainersNotReady"}
    pod["status"]["containerStatuses"][0] |= {"ready": False, "started": False}


def still_pulling(entry: Entry) -> None:
    unready_for_now(entry)
    pod_of(entry)["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": "ContainerCreating"}}
    scenes.without_events(entry, "Pulled", "Created", "Started", "Unhealthy")
    event(entry, "Pulling", 'Pulling image "x"', type="Normal")


def two_ready(entry: Entry) -> None:
    other = copy.deepcopy(pod_of(entry))
    other["metadata"] |= {"name": "chat-other", "uid": "other"}
    entry["pods"].append(other)


@pytest.mark.parametrize("change", [old_troubles, noisy, unready_for_now, still_pulling, two_ready])
def test_what_is_well_or_on_its_way_has_no_diagnosis(change: Callable[[Entry], None]) -> None:
    entry = last("01") | {"requests": []}
    change(entry)
    healthy(entry)


def test_a_rolling_update_on_its_way_is_well() -> None:
    entry = in_time(last("22"))
    new = next(pod for pod in entry["pods"] if not pod["spec"].get("nodeName"))
    started = last("01")
    unready_for_now(started)
    new["spec"]["nodeName"] = "node-a"
    new["status"] = pod_of(started)["status"]
    healthy(entry)


def test_an_old_template_that_fails_is_passed_over_once_the_new_one_has_pods() -> None:
    entry = in_time(last("22"))
    old = next(pod for pod in entry["pods"] if pod["spec"].get("nodeName"))
    new = next(pod for pod in entry["pods"] if not pod["spec"].get("nodeName"))
    old["status"] = copy.deepcopy(pod_of(last("10a"))["status"])
    started = last("01")
    unready_for_now(started)
    new["spec"]["nodeName"] = "node-a"
    new["status"] = pod_of(started)["status"]
    healthy(entry)
