"""Values files of the inference chart become presets that say the same."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.__main__ import main
from serving.catalog import get_preset
from serving.chart import read_values
from serving.errors import InputError

FACTS: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "serving" / "presets.json").read_text()
)


def values_of(facts: dict[str, Any]) -> dict[str, Any]:
    """Writes a preset's facts the way the chart's values files do."""
    repository, _, tag = facts["image"].rpartition(":")
    deployment: dict[str, Any] = {
        "replicas": facts["replicas"],
        "resources": {facts["accelerator"]: facts["resources"]},
        "instanceType": facts.get("instance_type"),
        "tolerations": facts.get("tolerations"),
    }
    server: dict[str, Any] = {
        "image": {"repository": repository, "tag": tag},
        "deployment": deployment,
        "env": facts.get("env"),
    }
    inference: dict[str, Any] = {
        "accelerator": facts["accelerator"],
        "framework": facts["framework"],
        "serviceName": facts["service_name"],
        "serviceNamespace": facts["namespace"],
        "modelServer": server,
    }
    if ray := facts.get("ray"):
        inference["rayOptions"] = {"rayVersion": ray["version"], "autoscaling": ray["autoscaling"]}
        server["vllmVersion"] = ray["vllm_version"]
        deployment |= {"minReplicas": ray["min_replicas"], "maxReplicas": ray["max_replicas"]}
    if nim := facts.get("nim"):
        deployment["nim"] = nim
    parameters = facts.get("model_parameters")
    return {"model": facts["model"], "modelParameters": parameters, "inference": inference}


@pytest.mark.parametrize("name", sorted(FACTS))
def test_each_of_the_charts_presets_comes_out_as_ours(name: str) -> None:
    result = read_values(values_of(FACTS[name]), name)
    assert result.not_understood == []
    assert result.preset is not None
    ours = get_preset(name)
    # Ours leave out what the chart repeats, and know more: sizes of pictures, times, a side-car that is off.
    beside = {"title", "startup_seconds"}
    got, wanted = result.preset.model_dump(exclude=beside), ours.model_dump(exclude=beside)
    for document in (got, wanted):
        if document["ray"]:
            document["ray"].pop("fluent_bit")
        if document["diffusers"]:
            document["diffusers"] = document["diffusers"]["pipeline"]
    assert got == wanted


MAIN_PARAMETERS = yaml.safe_load("""
model: org/model
modelParameters:
  gpuMemoryUtilization: "0.8"
  maxModelLen: 8192
  tensorParallelSize: 2
  pipelineParallelSize: 1
  enablePrefixCaching: false
  trustRemoteCode: true
  someNewFlag: true
  anotherFlag: false
  attentionConfig: >-
    '{"a":"b"}'
serviceAccountName: reader
hfTokenSecret: {name: my-token}
extraLabels: {team: a}
global: {image: {pullPolicy: Always}}
vllm: {loadFormat: runai_streamer, port: 8004, logLevel: debug}
service: {type: ClusterIP, port: 8000, annotations: {a: b}}
inference:
  accelerator: gpu
  framework: vllm
  serviceName: my-inference
  serviceNamespace: team
  modelServer:
    image: {repository: vllm/vllm-openai, tag: v0.11.0}
    env: {LEVEL: 1}
    deployment:
      replicas: 3
      sharedMemory: 50Gi
      nodeSelector: {node.kubernetes.io/instance-type: p5.48xlarge, pool: a}
      tolerations: [{key: nvidia.com/gpu, operator: Exists}, {key: team, operator: Equal, value: a}]
      startupProbe: {failureThreshold: 600, periodSeconds: 10, httpGet: {path: /health, port: 8000}}
      topologySpreadConstraints: {enabled: false}
      lifecycle: {preStop: {exec: {command: [sleep, "5"]}}}
      resources:
        gpu:
          requests: {nvidia.com/gpu: 2, cpu: 4, memory: 16Gi, vpc.amazonaws.com/efa: 1}
          limits: {nvidia.com/gpu: 2, memory: 32Gi}
""")


def test_the_main_parameters_are_understood_and_the_rest_is_named() -> None:
    result = read_values(MAIN_PARAMETERS, "mine")
    preset = result.preset
    assert preset is not None
    assert (preset.model, preset.endpoint, preset.namespace) == ("org/model", "my-inference", "team")
    assert (preset.service_account, preset.token_secret, preset.replicas) == ("reader", "my-token", 3)
    assert preset.weights == "stream"
    assert preset.engine.model_dump(exclude_defaults=True) == {
        "gpu_memory_utilization": 0.8,
        "max_model_len": 8192,
        "tensor_parallel_size": 2,
        "pipeline_parallel_size": 1,
        "enable_prefix_caching": False,
        "trust_remote_code": True,
        "extra_args": ("--some-new-flag", "--no-another-flag", '--attention-config={"a":"b"}'),
    }
    assert preset.resources.model_dump() == {
        "accelerators": 2,
        "cpu": "4",
        "memory": "16Gi",
        "cpu_limit": "",
        "memory_limit": "32Gi",
    }
    assert preset.instance_type == "p5.48xlarge"
    assert preset.pod is not None
    assert preset.pod.node_selector == {"pool": "a"}
    assert [toleration.key for toleration in preset.pod.tolerations] == ["team"]
    assert preset.pod.labels == {"team": "a"}
    assert preset.startup_seconds == 6000
    assert preset.env == {"LEVEL": "1"}
    assert preset.pod.drain_seconds == 5
    (not_understood,) = result.not_understood
    assert "vpc.amazonaws.com/efa: 1 (only accelerators, cpu and memory are asked for" in not_understood
    notes = "\n".join(result.notes)
    assert "vllm.logLevel is not needed: the chart uses it with Ray only" in notes
    assert "deployment.topologySpreadConstraints is not needed" in notes
    assert "global.image.pullPolicy is not needed" in notes


PLAIN = {"model": "org/model", "inference": {"framework": "vllm"}}
RAY = {**PLAIN, "inference": {"framework": "ray-vllm"}}
IMAGES = {**PLAIN, "inference": {"framework": "diffusers"}}
COPY = {"s3ModelCopy": {"model": "org/model", "s3Bucket": "models"}}
SERVER, DEPLOYMENT, RAY_OPTIONS = "inference.modelServer", "inference.modelServer.deployment", "inference.rayOptions"
PROBE = {"httpGet": {"path": "/health", "port": 8000}, "periodSeconds": 30}

UNDERSTOOD: list[tuple[dict[str, Any], str, Any]] = [
    (PLAIN, "inference.accelerator", "neuron"),
    (PLAIN, "inference.framework", "aibrix"),
    (PLAIN, "inference.serviceName", "another"),
    (PLAIN, "inference.serviceNamespace", "team"),
    (PLAIN, "inference.env", {"A": "b"}),
    (PLAIN, f"{SERVER}.image.repository", "public.ecr.aws/deep-learning-containers/vllm"),
    (PLAIN, f"{SERVER}.image.tag", "v0.11.0"),
    (PLAIN, f"{SERVER}.env", {"A": "b"}),
    (RAY, f"{SERVER}.vllmVersion", "0.9.1"),
    (PLAIN, f"{DEPLOYMENT}.replicas", 2),
    (RAY, f"{DEPLOYMENT}.minReplicas", 2),
    (RAY, f"{DEPLOYMENT}.maxReplicas", 3),
    (PLAIN, f"{DEPLOYMENT}.instanceType", "g5.2xlarge"),
    (PLAIN, f"{DEPLOYMENT}.resources.gpu.requests", {"nvidia.com/gpu": 2, "cpu": 4, "memory": "16Gi"}),
    (PLAIN, f"{DEPLOYMENT}.resources.gpu.limits", {"nvidia.com/gpu": 2, "cpu": 4, "memory": "16Gi"}),
    (PLAIN, f"{DEPLOYMENT}.nodeSelector", {"pool": "a"}),
    (PLAIN, f"{DEPLOYMENT}.tolerations", [{"key": "team", "operator": "Equal", "value": "a"}]),
    (PLAIN, f"{DEPLOYMENT}.annotations", {"a": "b"}),
    (PLAIN, f"{DEPLOYMENT}.sharedMemory", "50Gi"),
    (PLAIN, f"{DEPLOYMENT}.startupProbe", {**PROBE, "failureThreshold": 60}),
    (PLAIN, f"{DEPLOYMENT}.terminationGracePeriodSeconds", 300),
    (PLAIN, f"{DEPLOYMENT}.lifecycle", {"preStop": {"exec": {"command": ["/bin/sh", "-c", "sleep 20"]}}}),
    (PLAIN, f"{DEPLOYMENT}.lifecycle", {"preStop": {"sleep": {"seconds": 20}}}),
    (RAY, f"{RAY_OPTIONS}.rayVersion", "2.52.0"),
    (RAY, f"{RAY_OPTIONS}.autoscaling.enabled", True),
    (RAY, f"{RAY_OPTIONS}.autoscaling.upscalingMode", "Aggressive"),
    (RAY, f"{RAY_OPTIONS}.autoscaling.idleTimeoutSeconds", 90),
    (RAY, f"{RAY_OPTIONS}.autoscaling.actorAutoscaling.minActors", 0),
    (RAY, f"{RAY_OPTIONS}.autoscaling.actorAutoscaling.maxActors", 5),
    (RAY, f"{RAY_OPTIONS}.gcs.highAvailability", {"enabled": True}),
    (RAY, f"{RAY_OPTIONS}.gcs.highAvailability", {"enabled": True, "redis": {"address": "a.b", "port": 1}}),
    (RAY, f"{RAY_OPTIONS}.gcs.highAvailability.redis.secretName", "s"),
    (RAY, f"{RAY_OPTIONS}.gcs.highAvailability.redis.secretPasswordKey", "p"),
    (RAY, f"{RAY_OPTIONS}.observability.rayPrometheusHost", "http://p"),
    (RAY, f"{RAY_OPTIONS}.observability.rayGrafanaHost", "http://g"),
    (RAY, f"{RAY_OPTIONS}.observability.rayGrafanaIframeHost", "http://i"),
    (RAY, "vllm.logLevel", "info"),
    (PLAIN, "vllm.loadFormat", "runai_streamer"),
    (PLAIN, "service.annotations", {"a": "b"}),
    (PLAIN, "serviceAccountName", "reader"),
    (PLAIN, "hfTokenSecret.name", "my-token"),
    (PLAIN, "extraLabels", {"team": "a"}),
    (PLAIN, "imagePullSecrets", [{"name": "registry"}]),
    (PLAIN, "model", "org/another"),
    (PLAIN, "modelParameters.gpuMemoryUtilization", 0.8),
    (PLAIN, "modelParameters.maxModelLen", 8192),
    (PLAIN, "modelParameters.maxNumSeqs", 4),
    (PLAIN, "modelParameters.maxNumBatchedTokens", 8192),
    (PLAIN, "modelParameters.tokenizerPoolSize", 4),
    (PLAIN, "modelParameters.maxParallelLoadingWorkers", 2),
    (PLAIN, "modelParameters.pipelineParallelSize", 1),
    (PLAIN, "modelParameters.tensorParallelSize", 1),
    (PLAIN, "modelParameters.enablePrefixCaching", True),
    (IMAGES, "modelParameters.pipeline", "flux"),
    (COPY, "s3ModelCopy.model", "org/another"),
    (COPY, "s3ModelCopy.s3Bucket", "others"),
    (COPY, "s3ModelCopy.s3Prefix", "team/a"),
    ({"s3ModelCopy": {"model": "org/model"}}, "s3ModelCopy.s3Path", "my-bucket/models/"),
]
"""Parameters of the chart's tables, 0.2.1 to 0.2.7, that change what comes out."""

NEEDLESS: list[tuple[dict[str, Any], str, Any]] = [
    (PLAIN, "modelPath", "s3://models/org/model/"),
    (PLAIN, "global.image.pullPolicy", "Always"),
    (PLAIN, "global.resources", {"limits": {"nvidia.com/gpu": 1}, "requests": {"cpu": 1}}),
    (PLAIN, f"{DEPLOYMENT}.nim.shm.enabled", False),
    (PLAIN, f"{DEPLOYMENT}.topologySpreadConstraints.enabled", False),
    (PLAIN, f"{DEPLOYMENT}.topologySpreadConstraints.constraints", [{"maxSkew": 1}]),
    (PLAIN, f"{DEPLOYMENT}.podAffinity.enabled", False),
    (PLAIN, f"{DEPLOYMENT}.livenessProbe", PROBE),
    (PLAIN, f"{DEPLOYMENT}.readinessProbe", PROBE),
    (RAY, f"{SERVER}.pythonVersion", "3.11"),
    (PLAIN, "vllm.logLevel", "info"),
    (PLAIN, "vllm.port", 8004),
    (RAY, "fluentbit.image.repository", "fluent/fluent-bit"),
    (RAY, "fluentbit.image.tag", "3.2.2"),
    *((COPY, f"s3ModelCopy.parameters.{name}", value) for name, value in {
        "mode": "stream",
        "transferClient": "crt",
        "fileWorkers": 35,
        "uploadWorkers": 16,
        "downloadWorkers": 16,
        "downloadChunkSize": 16,
        "partSize": 64,
        "progressInterval": 10,
        "tempDir": "/tmp/hf_sync",
        "force": True,
    }.items()),
    *((COPY, f"s3ModelCopy.{name}", value) for name, value in {
        "namespace": "team",
        "serviceAccountName": "copier",
        "storageSize": 200,
        "requireLocalNvme": True,
        "fileWorkers": 35,
        "requireNetworkBandwidth": 25000,
        "hfTokenSecret.name": "hf-token-secret",
        "hfTokenSecret.key": "token",
        "hfTokenSecret.envFrom": True,
        "resources": {"requests": {"cpu": 4, "memory": "64Gi"}},
        "nodeSelector": {"karpenter.sh/nodepool": "b"},
        "tolerations": [{"key": "a"}],
        "affinity": {"nodeAffinity": {"a": "b"}},
        "terminationGracePeriodSeconds": 120,
    }.items()),
]  # fmt: skip
"""Those that need no counterpart."""

WITHOUT: list[tuple[dict[str, Any], str, Any, str]] = [
    (PLAIN, "service.type", "LoadBalancer", "put a load balancer or a gateway of your own in front of it"),
    (PLAIN, "service.port", 80, "endpoints answer on port 8000"),
    (PLAIN, "ingress.hosts", ["a.b"], "an Ingress of your own can point to the endpoint's Service"),
    (PLAIN, f"{DEPLOYMENT}.lifecycle.postStart.exec.command", ["a"], "pod.drain_seconds and pod.termination_seconds"),
    (PLAIN, f"{DEPLOYMENT}.lifecycle.preStop.exec.command", ["kill", "1"], "pod.drain_seconds"),
    (PLAIN, f"{DEPLOYMENT}.resources.gpu.limits", {"example.com/nic": 1}, "only accelerators, cpu and memory"),
    (
        COPY,
        "s3ModelCopy.env",
        [{"name": "HTTP_PROXY", "value": "http://p"}],
        "environment of a copy is the work pool's",
    ),
    (PLAIN, "hfTokenSecret.key", "HF_TOKEN", "the token's Secret has the key token"),
    (IMAGES, "modelParameters.steps", 4, "the image server's options are those of diffusers"),
    (PLAIN, "inference.modelServer.replica", 2, "the chart has no such parameter"),
]
"""Those that have none, and what is said."""


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(json.dumps(document))
    part = result
    *parents, last = path.split(".")
    for name in parents:
        part = part.setdefault(name, {})
    part[last] = value
    return result


def ids(parameters: list[Any]) -> list[str]:
    return [f"{number}-{one[1]}" for number, one in enumerate(parameters)]


@pytest.mark.parametrize(("document", "path", "value"), UNDERSTOOD, ids=ids(UNDERSTOOD))
def test_a_parameter_of_the_charts_tables_is_understood(document: dict[str, Any], path: str, value: Any) -> None:
    before, after = read_values(document, "mine"), read_values(changed(document, path, value), "mine")
    assert after.not_understood == before.not_understood == []
    assert (after.preset, after.copy) != (before.preset, before.copy)


@pytest.mark.parametrize(("document", "path", "value"), NEEDLESS, ids=ids(NEEDLESS))
def test_a_parameter_that_needs_no_counterpart_is_named_with_the_reason(
    document: dict[str, Any], path: str, value: Any
) -> None:
    before, after = read_values(document, "mine"), read_values(changed(document, path, value), "mine")
    assert after.not_understood == []
    assert (after.preset, after.copy) == (before.preset, before.copy)
    (note,) = after.notes
    named, _, why = note.partition(" is not needed: ")
    assert path.startswith(named)
    assert len(why) > 20


@pytest.mark.parametrize(("document", "path", "value", "said"), WITHOUT, ids=ids(WITHOUT))
def test_a_parameter_without_a_counterpart_is_named_with_its_value_and_what_to_do(
    document: dict[str, Any], path: str, value: Any, said: str
) -> None:
    (named,) = read_values(changed(document, path, value), "mine").not_understood
    assert named.startswith(path)
    assert repr(next(iter(value.values())) if isinstance(value, dict) else value) in named
    assert said in named


def test_a_group_of_pods_gets_its_fabric_adapters() -> None:
    resources = {"nvidia.com/gpu": 8, "vpc.amazonaws.com/efa": 32, "hugepages-2Mi": "5120Mi"}
    document = changed(PLAIN, "inference.framework", "lws-vllm")
    document = changed(document, f"{DEPLOYMENT}.resources.gpu", {"requests": resources, "limits": resources})
    result = read_values(document, "mine")
    assert result.not_understood == []
    assert result.preset is not None
    assert result.preset.lws is not None
    assert result.preset.lws.efa == 32
    assert result.preset.resources.accelerators == 8


@pytest.mark.parametrize("section", ["nim", "nimContainer"])
def test_a_nims_section_is_understood_under_both_of_its_names(section: str) -> None:
    nim = {
        "env": {"NIM_MAX_MODEL_LEN": "4096"},
        "podSecurityContext": {"runAsUser": 1000},
        "shm": {"enabled": True, "medium": "Memory", "sizeLimit": "4Gi"},
        "livenessProbe": PROBE,
        "readinessProbe": PROBE,
        "secrets": {"ngcApiKey": {"name": "ngc-api", "key": "NGC_API_KEY"}},
    }
    document = changed(PLAIN, "inference.framework", "nim-container")
    document = changed(document, f"{SERVER}.image", {"repository": "nvcr.io/nim/meta/llama3-8b-instruct", "tag": "1.0"})
    result = read_values(changed(document, f"{DEPLOYMENT}.{section}", nim), "mine")
    assert result.not_understood == []
    assert result.preset is not None
    assert result.preset.env == {"NIM_MAX_MODEL_LEN": "4096"}
    assert result.preset.shared_memory == "4Gi"
    assert len(result.notes) == 4


def test_rays_redis_and_dashboards_are_understood() -> None:
    options = {
        "autoscaling": {"enabled": True, "upscalingMode": "Aggressive", "idleTimeoutSeconds": 9},
        "gcs": {
            "highAvailability": {
                "enabled": True,
                "redis": {"address": "redis.x", "port": 1234, "secretName": "s", "secretPasswordKey": "p"},
            }
        },
        "observability": {"rayPrometheusHost": "http://p"},
    }
    facts = FACTS["llama-32-1b-ray-vllm"]
    document = values_of(facts)
    document["inference"]["rayOptions"] |= options
    result = read_values(document, "mine")
    assert result.not_understood == []
    assert result.preset is not None
    assert result.preset.ray is not None
    assert result.preset.ray.redis_address == "redis.x:1234"
    assert (result.preset.ray.redis_secret, result.preset.ray.redis_secret_key) == ("s", "p")
    assert result.preset.ray.prometheus_host == "http://p"
    assert result.preset.ray.upscaling_mode == "Aggressive"


def test_a_model_copy_becomes_a_staging_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "values-s3-copy.yaml"
    path.write_text(
        "s3ModelCopy: {namespace: default, model: org/name, s3Path: my-bucket/models/}\nserviceAccountName: copier\n"
    )
    assert main(["import-values", str(path), "--strict"]) == 0
    assert "python -m staging copy org/name s3://my-bucket/models/" in capsys.readouterr().out


def test_the_command_prints_a_preset_that_can_be_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "values-mine.yaml"
    path.write_text(yaml.safe_dump(MAIN_PARAMETERS, sort_keys=False))
    assert main(["import-values", str(path)]) == 0
    shown = capsys.readouterr()
    assert "not understood: inference.modelServer.deployment.resources.gpu.requests.vpc.amazonaws.com/efa" in shown.err
    from serving.catalog import load_presets

    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "mine.yaml").write_text(shown.out)
    assert load_presets(tmp_path / "presets")["mine"] == read_values(MAIN_PARAMETERS, "mine").preset
    assert main(["import-values", str(path), "--strict"]) == 2


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="framework is 'sglang'"):
        read_values({"inference": {"framework": "sglang"}}, "mine")
    path = tmp_path / "list.yaml"
    path.write_text("- a\n")
    assert main(["import-values", str(path)]) == 2


def rendered(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the chart's values come to: workload and endpoint Service."""
    from serving.catalog import resolve
    from serving.models import PinnedModel, StagedFile, StagedModel
    from serving.release import release_of
    from serving.rendering import render, render_endpoint

    preset = read_values(values, "mine").preset
    assert preset is not None
    spec = resolve(preset)
    pinned = PinnedModel(repo_id=spec.model.repo_id, revision="main", commit="a" * 40)
    files = (StagedFile(path="model.safetensors", size=10, sha256="0" * 64),)
    staged = StagedModel(model=pinned, uri=f"s3://bucket/{'a' * 40}/", files=files)
    release = release_of(spec, pinned, staged)
    workload = next(m for m in render(spec, staged, release) if m["kind"] in ("Deployment", "LeaderWorkerSet"))
    return workload, render_endpoint(spec, release)


def with_values(**changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The chart's documented example, one parameter changed; dots lead into the document, as in its table."""
    document: dict[str, Any] = {
        "model": "NousResearch/Llama-3.2-1B",
        "modelParameters": {"gpuMemoryUtilization": 0.8, "maxModelLen": 8192, "tensorParallelSize": 1},
        "inference": {
            "accelerator": "gpu",
            "framework": "vllm",
            "serviceName": "my-inference",
            "modelServer": {"deployment": {"replicas": 1, "instanceType": "g5.2xlarge"}},
        },
    }
    for path, value in changes.items():
        part = document
        *parents, last = path.split("__")
        for name in parents:
            part = part.setdefault(name, {})
        part[last] = value
    return rendered(document)


def container(workload: dict[str, Any]) -> dict[str, Any]:
    return dict(workload["spec"]["template"]["spec"]["containers"][0])


def flag_of(workload: dict[str, Any], flag: str) -> str:
    command = container(workload)["command"]
    return str(command[command.index(flag) + 1])


def test_each_main_parameter_of_the_charts_table_changes_the_manifest_as_documented() -> None:
    _, service = with_values(inference__serviceName="another")
    assert service["metadata"]["name"] == "another"
    assert with_values(inference__modelServer__deployment__replicas=3)[0]["spec"]["replicas"] == 3
    other, _ = with_values(model="org/other")
    assert flag_of(other, "--served-model-name") == "org/other"
    for name, flag, value in (
        ("gpuMemoryUtilization", "--gpu-memory-utilization", 0.7),
        ("maxModelLen", "--max-model-len", 4096),
        ("pipelineParallelSize", "--pipeline-parallel-size", 1),
    ):
        changed, _ = with_values(**{f"modelParameters__{name}": value})
        assert flag_of(changed, flag) == str(value)
    four = {"gpu": {"requests": {"nvidia.com/gpu": 4}, "limits": {"nvidia.com/gpu": 4}}}
    wide, _ = with_values(
        modelParameters__tensorParallelSize=4,
        inference__modelServer__deployment__resources=four,
        inference__modelServer__deployment__instanceType="g5.12xlarge",
    )
    assert flag_of(wide, "--tensor-parallel-size") == "4"
    assert container(wide)["resources"]["limits"]["nvidia.com/gpu"] == "4"
    reader, _ = with_values(serviceAccountName="reader")
    assert reader["spec"]["template"]["spec"]["serviceAccountName"] == "reader"
    placed, _ = with_values(inference__modelServer__deployment__instanceType="g5.4xlarge")
    assert placed["spec"]["template"]["spec"]["nodeSelector"] == {"node.kubernetes.io/instance-type": "g5.4xlarge"}
    neuron, _ = with_values(
        inference__accelerator="neuron",
        inference__modelServer__image={"repository": "public.ecr.aws/x/vllm-neuron", "tag": "v0.9.1"},
        inference__modelServer__deployment__instanceType="inf2.xlarge",
    )
    assert container(neuron)["resources"]["limits"] == {"aws.amazon.com/neuron": "1"}
    triton, _ = with_values(
        inference__framework="triton-vllm",
        inference__modelServer__image={"repository": "nvcr.io/nvidia/tritonserver", "tag": "25.06-vllm-python-py3"},
    )
    assert container(triton)["command"][0] == "tritonserver"
