"""Clusters, registries and autoscalers that were never recorded: what heals by itself there, and what never will."""

import copy

import pytest

from tests.serving import scene_variants as scenes
from tests.serving.scene_variants import Entry, changed, event, in_time, last, pod_of, says, without_events

PULL = 'rpc error: code = Unknown desc = failed to pull and unpack image "x": '
RESOLVE = f'{PULL}failed to resolve reference "x": '
OCI = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
PODS = 'pods "chat-8689b4f799-2xv6j" is forbidden: '
SANDBOX = "Failed to create pod sandbox: rpc error: code = Unknown desc = "
POOL = 'Failed to schedule pod, incompatible with nodepool "gpu", daemonset overhead={"cpu":"180m"}, '
GPU = {"nvidia.com/gpu": "1"}


def told(entry: Entry, want: str, final: bool, named: str = "") -> None:
    """Holds a judgement to ``category/reason``, to whether it is final, and to what it must name."""
    found = scenes.judged(entry)
    assert found is not None, want
    assert (f"{found.category}/{found.reason}", found.final) == (want, final), found.cause
    assert found.evidence
    assert named in " ".join((found.cause, *found.fixes)), found


def healthy(entry: Entry) -> None:
    found = scenes.judged(entry)
    assert found is None, found


@pytest.mark.parametrize(
    ("message", "reason", "final"),
    [
        ("pull QPS exceeded", "rate-limit", False),
        (
            'choosing image instance: no image found in image index for architecture "arm64", variant "v8", OS "linux"',
            "platform",
            True,
        ),
        ("reading manifest v9 in docker.io/vllm/vllm-openai: manifest unknown", "not-found", True),
        ("initializing source docker://ghcr.io/org/x:1: reading manifest 1 in ghcr.io/org/x: denied", "auth", True),
        ("unable to retrieve auth token: invalid username/password: unauthorized: incorrect password", "auth", True),
        (
            f'{PULL}failed commit on ref "layer-sha256:ab": unexpected commit digest sha256:cd: failed precondition',
            "failed",
            False,
        ),
        (
            f"{PULL}failed to copy: httpReadSeeker: failed open: unexpected status code "
            "https://nvcr.io/v2/nim/x/blobs/sha256:401ab: 500 Internal Server Error",
            "server-error",
            False,
        ),
        (
            f"{RESOLVE}failed to authorize: failed to fetch anonymous token: unexpected status from GET request to "
            "https://ghcr.io/token?scope=repository%3Aorg%2Fx%3Apull: 503 Service Unavailable",
            "server-error",
            False,
        ),
        (
            f'{RESOLVE}failed to do request: Head "https://1.dkr.ecr.us-west-2.amazonaws.com/v2/x/manifests/1": '
            "net/http: TLS handshake timeout",
            "network",
            False,
        ),
        (
            f"{RESOLVE}unexpected status from HEAD request to https://nvcr.io/v2/nim/meta/x/manifests/1: "
            "402 Payment Required",
            "auth",
            True,
        ),
        (
            'media type "application/vnd.docker.distribution.manifest.v1+prettyjws" is no longer supported since '
            "containerd v2.1, please rebuild the image",
            "format",
            True,
        ),
        (
            'short-name "vllm-openai:v1" did not resolve to an alias and no unqualified-search registries are defined',
            "not-found",
            True,
        ),
    ],
)
def test_registries_and_runtimes_of_other_kinds(message: str, reason: str, final: bool) -> None:
    told(in_time(scenes.pulling(message)), f"image-pull/{reason}", final)


def test_a_pull_secret_that_does_not_exist_is_named_where_the_pull_is_refused_and_nowhere_else() -> None:
    missing = "Unable to retrieve some image pull secrets (ngc-secret, other); attempting to pull the image may not"
    refused = scenes.pulling(f"{RESOLVE}unexpected status from HEAD request to https://nvcr.io/v2/x: 401 Unauthorized")
    event(refused, "FailedToRetrieveImagePullSecret", missing)
    told(refused, "image-pull/auth", True, "kubectl create secret docker-registry -n inference ngc-secret")
    serving = last("01") | {"requests": []}
    event(serving, "FailedToRetrieveImagePullSecret", missing)
    healthy(event(serving, "DNSConfigForming", "Nameserver limits were exceeded, some have been omitted"))


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("CreateContainerConfigError", "services have not yet been read at least once, cannot construct envvars"),
        ("CreateContainerConfigError", 'cannot find volume "kube-api-access-7x2lq" to mount into container "vllm"'),
        (
            "CreateContainerConfigError",
            'Get "https://10.0.0.1:443/api/v1/namespaces/inference/secrets/hf-token": net/http: TLS handshake timeout',
        ),
        (
            "CreateContainerConfigError",
            'secrets "hf-token" is forbidden: User "system:node:ip-10-0-0-1" cannot get resource "secrets" in API '
            'group "" in the namespace "inference": no relationship found between node \'ip\' and this object',
        ),
        ("CreateContainerError", "failed to get sandbox container task: no running task found: task 7f not found"),
        ("CreateContainerError", 'create snapshot: target snapshot "k8s.io/1/x": already exists'),
        (
            "RunContainerError",
            "failed to start shim: start failed: fork/exec /usr/bin/containerd-shim-runc-v2: resource temporarily "
            "unavailable",
        ),
    ],
)
def test_what_a_kubelet_is_not_ready_for_passes(reason: str, message: str) -> None:
    entry = in_time(scenes.waiting(reason, message))
    entry["taken_at"] = "2026-11-22T13:12:40Z"
    found = scenes.judged(entry)
    assert found is not None
    assert not found.final, found


@pytest.mark.parametrize(
    ("reason", "message", "want"),
    [
        ("CreateContainerConfigError", 'failed to prepare subPath for volumeMount "models"', "config/config"),
        ("CreateContainerError", "failed to apply OCI options: failed to find user: no users found", "start/create"),
        ("CreateContainerError", "something that no kubelet has said before", "start/create"),
    ],
)
def test_a_complaint_that_nobody_knows_is_final_once_it_was_repeated(reason: str, message: str, want: str) -> None:
    entry = in_time(scenes.waiting(reason, message))
    told(entry | {"taken_at": "2026-11-22T12:12:50Z"}, want, False)
    told(entry | {"taken_at": "2026-11-22T12:13:15Z"}, want, True)


@pytest.mark.parametrize(
    ("message", "want", "named"),
    [
        (
            "container has runAsNonRoot and image has non-numeric user (nim), cannot verify user is non-root",
            "config/non-root",
            "runs as nim",
        ),
        (
            f"{OCI}unable to start container process: error during container init: error running prestart hook #0: "
            "exit status 1, stderr: nvidia-container-cli: mount error: failed to add device rules: unable to find any "
            "existing device filters attached to the cgroup: bpf_prog_query(BPF_CGROUP_DEVICE) failed",
            "engine/no-device",
            "",
        ),
        (
            f'{OCI}unable to start container process: error mounting "/dev/infiniband/uverbs0" to rootfs at '
            '"/dev/infiniband/uverbs0": no such file or directory',
            "start/mount",
            "",
        ),
    ],
)
def test_what_no_kubelet_can_make_is_final_at_once(message: str, want: str, named: str) -> None:
    reason = "CreateContainerConfigError" if want.startswith("config") else "RunContainerError"
    told(in_time(scenes.waiting(reason, message)), want, True, named)


@pytest.mark.parametrize(
    ("message", "want", "final"),
    [
        (f"{PODS}status unknown for quota: compute, resources: requests.nvidia.com/gpu", "quota/quota-unknown", False),
        (f"{PODS}not yet ready to handle request", "admission/refused", False),
        (
            f'{PODS}no API token found for service account "reader", retry after the token is automatically created',
            "admission/refused",
            False,
        ),
        (
            f"{PODS}insufficient quota to match these scopes: [{{PriorityClass In [high]}}]",
            "quota/resource-quota",
            True,
        ),
        (
            f"{PODS}[minimum cpu usage per Container is 500m, but request is 100m, cpu max limit to request ratio per "
            "Container is 2, but provided ratio is 4.000000]",
            "quota/limit-range",
            True,
        ),
        ("Internal error occurred: resource quota evaluation timed out", "admission/refused", False),
        (
            'Operation cannot be fulfilled on resourcequotas "compute": the object has been modified; please apply '
            "your changes to the latest version and try again",
            "admission/refused",
            False,
        ),
        ("rpc error: code = Unavailable desc = etcdserver: leader changed", "admission/refused", False),
        ("Timeout: request did not complete within requested timeout", "admission/refused", False),
        (
            'Internal error occurred: failed calling webhook "vpod.kb.io": failed to call webhook: Post '
            '"https://webhook.svc:443/x": tls: failed to verify certificate: x509: unknown authority',
            "admission/webhook-down",
            False,
        ),
        (
            'Pod "chat" is invalid: spec.containers[0].env[3].valueFrom.secretKeyRef.name: Invalid value: "HF_token"',
            "admission/refused",
            True,
        ),
    ],
)
def test_an_api_server_that_is_not_ready_refuses_nothing_for_good(message: str, want: str, final: bool) -> None:
    told(in_time(scenes.refused(message)), want, final)


def test_pods_that_kuberay_cannot_create_are_told_by_its_event_alone() -> None:
    entry = scenes.ray("DEPLOYING") | {"pods": []}
    cluster = {"metadata": {"name": "chat-cluster", "namespace": "inference"}, "spec": {}, "status": {}}
    entry["rayclusters"] = [cluster]
    refused = (
        f"Failed to create head Pod inference/chat-head, {PODS}exceeded quota: gpus, requested: pods=1, used: pods=1"
    )
    event(entry, "FailedToCreateHeadPod", refused, kind="RayCluster", name="chat-cluster")
    told(entry, "quota/resource-quota", False, "gpus")


def said_by(component: str, reason: str, message: str, *, when: str = scenes.LATE) -> Entry:
    entry = scenes.pending("1 Insufficient nvidia.com/gpu", asks=GPU)
    return event(entry, reason, message, source=component, when=when)


@pytest.mark.parametrize(
    ("message", "reason", "final"),
    [
        ("no instance type had a required offering, requirements=x", "no-ec2-capacity", False),
        (
            "no instance type which met the scheduling requirements and had enough resources, had a required offering, "
            "requirements=x",
            "no-ec2-capacity",
            False,
        ),
        (
            "no instance type met the scheduling requirements or had a required offering, requirements=x",
            "autoscaler-refused",
            True,
        ),
        ('incompatible requirements, label "team" does not have known values', "autoscaler-refused", True),
        (
            "incompatible requirements, key topology.kubernetes.io/zone, topology.kubernetes.io/zone In [us-west-2d] "
            "not in topology.kubernetes.io/zone In [us-west-2a us-west-2b]",
            "autoscaler-refused",
            True,
        ),
    ],
)
@pytest.mark.parametrize("component", ["karpenter", "eks-auto-mode/compute"])
def test_a_shortage_passes_and_what_no_pool_allows_does_not(
    message: str, reason: str, final: bool, component: str
) -> None:
    told(said_by(component, "FailedScheduling", f"{POOL}{message}"), f"unschedulable/{reason}", final)


def test_a_node_that_was_asked_for_may_come_after_its_group_is_full() -> None:
    """Before the new node's devices show, the cluster autoscaler wants one more, and the group has no room for it."""
    entry = said_by("cluster-autoscaler", "TriggeredScaleUp", "pod triggered scale-up: [{gpu 0->1 (max: 1)}]")
    full = "pod didn't trigger scale-up: 1 max node group size reached"
    late = event(
        copy.deepcopy(entry), "NotTriggerScaleUp", full, source="cluster-autoscaler", when="2026-11-22T13:00:00Z"
    )
    event(entry, "NotTriggerScaleUp", full, source="cluster-autoscaler", when="2026-11-22T12:16:00Z")
    told(entry, "unschedulable/no-free-capacity", False, "may still come")
    told(late, "unschedulable/autoscaler-refused", True)


@pytest.mark.parametrize(
    ("message", "asks", "reason", "final"),
    [
        ("1 Insufficient vpc.amazonaws.com/efa", {"vpc.amazonaws.com/efa": "1"}, "accelerator-absent", True),
        ("1 Insufficient nvidia.com/mig-3g.40gb", {"nvidia.com/mig-3g.40gb": "1"}, "accelerator-absent", True),
        ("1 Insufficient aws.amazon.com/neuroncore", {"aws.amazon.com/neuroncore": "2"}, "accelerator-absent", True),
        ("1 cannot allocate all claims", {"cpu": "1"}, "resource-claim", False),
        ("1 node(s) didn't satisfy plugin(s) [NodeResourcesFit]", GPU, "other", False),
    ],
)
def test_schedulers_of_other_clusters(message: str, asks: dict[str, str], reason: str, final: bool) -> None:
    told(scenes.pending(message, asks=asks), f"unschedulable/{reason}", final)


def test_a_queue_that_waits_for_the_whole_group_is_waited_for() -> None:
    words = "pod group is not ready, 1 Pending, 2 minAvailable; Pending: 1 Undetermined"
    told(changed(scenes.pending("x", asks=GPU), lambda entry: says(entry, words)), "unschedulable/other", False)


@pytest.mark.parametrize(
    ("message", "reason", "want"),
    [
        (
            "Allocate failed due to requested number of devices unavailable for nvidia.com/gpu. Requested: 1, "
            "Available: 0, which is unexpected",
            "UnexpectedAdmissionError",
            "rejected",
        ),
        (
            "Pod was rejected: Node is in progress of shutting down, not admitting any new pods",
            "NodeShutdown",
            "evicted",
        ),
        ("Preempted in order to admit critical pod", "Preempting", "preempted"),
        ("Pod was rejected: Node didn't have enough resource: nvidia.com/gpu", "OutOfnvidia.com/gpu", "rejected"),
        ("The node had condition: [DiskPressure]. ", "Evicted", "evicted"),
        ('Container vllm exceeded its local ephemeral storage limit "20Gi". ', "Evicted", "evicted"),
    ],
)
def test_nodes_that_give_pods_up_leave_it_to_their_replacements(message: str, reason: str, want: str) -> None:
    told(scenes.taken_off(message, reason), f"node/{want}", False)


@pytest.mark.parametrize(("code", "reason"), [(137, "ContainerStatusUnknown"), (255, "Unknown")])
def test_a_container_that_ended_with_its_node_is_no_crash(code: int, reason: str) -> None:
    told(in_time(scenes.crashing("", code, reason, restarts=1)), "node/restarted", False, "node-a")


def test_an_exit_code_beyond_all_signals_is_no_signal() -> None:
    told(scenes.crashing("", 255), "crash/exit", True)


@pytest.mark.parametrize(
    ("message", "want"),
    [
        (
            f'{SANDBOX}plugin type="aws-cni" name="aws-cni" failed (add): add cmd: failed to assign an IP address',
            "network/no-address",
        ),
        (
            f'{SANDBOX}plugin type="aws-cni" failed (add): Error received from AddNetwork gRPC call: dial tcp '
            "127.0.0.1:50051: connect: connection refused",
            "network/cni",
        ),
        (f'{SANDBOX}plugin type="cilium-cni" failed (add): unable to connect to Cilium agent', "network/cni"),
        (f'{SANDBOX}failed to reserve sandbox name "x": name "x" is reserved for "y"', "start/node-runtime"),
        (f'{SANDBOX}{OCI}expected cgroupsPath to be of format "slice:prefix:name"', "start/node-runtime"),
        (f'{SANDBOX}failed to get sandbox image "registry.k8s.io/pause:3.10": failed to pull', "image-pull/sandbox"),
    ],
)
def test_places_for_pods_that_a_node_cannot_make_are_tried_again(message: str, want: str) -> None:
    entry = without_events(in_time(last("06a")), "Failed", "BackOff", "Pulling")
    pod_of(entry)["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": "ContainerCreating"}}
    told(event(entry, "FailedCreatePodSandBox", message), want, False)


def test_what_every_namespace_gets_is_waited_for() -> None:
    """A namespace that was made a moment ago."""
    account = 'error looking up service account inference/{0}: serviceaccount "{0}" not found'
    told(in_time(scenes.refused(f"{PODS}{account.format('default')}")), "service-account/missing", False)
    told(in_time(scenes.refused(f"{PODS}{account.format('reader')}")), "service-account/missing", True)
    mount = 'MountVolume.SetUp failed for volume "kube-api-access-x" : '
    told(in_time(scenes.mounting(f'{mount}configmap "kube-root-ca.crt" not found')), "volume/configmap-missing", False)
    told(
        in_time(scenes.mounting(f'{mount}object "inference"/"kube-root-ca.crt" not registered')), "volume/mount", False
    )
    token = 'failed to fetch token: serviceaccounts "default" not found'
    told(in_time(scenes.mounting(f"{mount}{token}")), "service-account/missing", False)


def test_a_pod_whose_name_is_still_taken_is_tried_again() -> None:
    entry = last("26") | {"pods": [], "events": []}
    owner = {"metadata": {"name": "lws-chat", "namespace": "inference"}, "spec": {"replicas": 1}, "status": {}}
    entry["statefulsets"] = [owner]
    words = (
        'create Pod lws-chat-0 in StatefulSet lws-chat failed error: object is being deleted: pods "lws-chat-0" exists'
    )
    told(event(entry, "FailedCreate", words, kind="StatefulSet", name="lws-chat"), "admission/refused", False)


def group_that_begins_anew(log: str, *, times: int) -> Entry:
    """The leader's container ended and was started again: its LeaderWorkerSet takes the group away."""
    entry = last("26")
    leader = entry["pods"][0]
    leader["metadata"] |= {"deletionTimestamp": "2026-11-22T12:20:00Z"}
    leader["metadata"]["labels"] |= {"leaderworkerset.sigs.k8s.io/name": "chat"}
    status = leader["status"]["containerStatuses"][0]
    status |= {"ready": False, "restartCount": 1, "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}
    body = {"status": 200, "body": log}
    entry["logs"] = {leader["metadata"]["name"]: {status["name"]: {"previous": body}}}
    entry |= {"pods": [leader], "events": []}
    words = "Worker pod chat-0 failed, deleted leader pod chat-0 to recreate group 0"
    for _ in range(times):
        event(entry, "RecreateGroupOnPodRestart", words, kind="LeaderWorkerSet", name="chat", type="Normal")
    return entry


def test_a_group_that_begins_anew_tells_why_and_its_ends_are_counted_on() -> None:
    no_memory = "torch.OutOfMemoryError: CUDA out of memory"
    told(group_that_begins_anew(no_memory, times=0), "gpu-memory/out-of-memory", True)
    told(group_that_begins_anew("KeyError: 'x'", times=1), "crash/exit", False)
    told(group_that_begins_anew("KeyError: 'x'", times=2), "crash/exit", True)
    other = group_that_begins_anew(no_memory, times=0)
    other["pods"][0]["metadata"]["labels"] = {}
    healthy(other)
