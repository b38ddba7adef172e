import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.catalog import Overrides, get_preset, load_presets, resolve
from serving.errors import InputError
from serving.frameworks.arguments import literal
from serving.frameworks.probes import load_seconds
from serving.models import PinnedModel, StagedFile, StagedModel
from serving.release import release_of
from serving.rendering import render, render_endpoint
from serving.spec import Accelerator, EndpointSpec, Framework, VllmOptions, WeightsSource
from tests.serving.manifest_schemas import check

COMMIT = "0123456789abcdef0123456789abcdef01234567"
STREAMING = "vllm/vllm-openai:v0.11.0"
NEURON = "public.ecr.aws/q9t5s3a7/vllm-neuron-release-repo:v0.9.1"
CPU = "public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo:v0.17.1"
Manifests = dict[str, dict[str, Any]]


def rendered(spec: EndpointSpec, staged: StagedModel | None, *, run: str = "") -> list[dict[str, Any]]:
    model = staged.model if staged else PinnedModel(repo_id=spec.model.repo_id, revision="main", commit=COMMIT)
    return render(spec, staged, release_of(spec, model, staged, run=run))


def by_kind(manifests: list[dict[str, Any]]) -> Manifests:
    return {manifest["kind"]: manifest for manifest in manifests}


def spec_of(preset: str = "qwen3-1.7b-vllm", **overrides: Any) -> EndpointSpec:
    return resolve(get_preset(preset), Overrides.read(overrides))


def pod(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    return dict(by_kind(manifests)["Deployment"]["spec"]["template"]["spec"])


def engine(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    return dict(pod(manifests)["containers"][0])


def env(container: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


def after(command: list[str], flag: str) -> str:
    return command[command.index(flag) + 1]


@pytest.mark.parametrize("weights", list(WeightsSource))
@pytest.mark.parametrize("name", sorted(name for name, p in load_presets().items() if p.framework == "vllm"))
def test_every_preset_renders_valid_objects_with_every_weights_source(
    name: str, weights: WeightsSource, make_staged: Callable[..., StagedModel]
) -> None:
    overrides: dict[str, Any] = {"weights": weights, "replicas": 2, "service_account": "reader"}
    if weights is WeightsSource.STREAM and get_preset(name).accelerator is Accelerator.NEURON:
        with pytest.raises(InputError, match="weights=stream does not work on neuron"):
            spec_of(name, **overrides)
        return
    spec = spec_of(name, **overrides)
    staged = None if weights is WeightsSource.HUB else make_staged(spec.model.repo_id)
    manifests = rendered(spec, staged)
    for manifest in manifests:
        check(manifest)
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests]
    assert len(names) == len(set(names))
    model = staged.model if staged else PinnedModel(repo_id=spec.model.repo_id, revision="main", commit=COMMIT)
    release = release_of(spec, model, staged)
    assert {("Service", release.name), ("Deployment", release.name)} <= set(names)
    endpoint = render_endpoint(spec, release)
    check(endpoint)
    assert endpoint["metadata"]["name"] == spec.name
    pods = by_kind(manifests)["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for service in (endpoint, by_kind(manifests)["Service"]):
        assert service["spec"]["selector"].items() <= pods.items()
        assert service["spec"]["selector"]["inference-flows/release"] == release.id


def test_the_same_input_renders_the_same_manifests_whatever_run_applies_them(
    make_staged: Callable[..., StagedModel],
) -> None:
    spec, staged = spec_of(), make_staged()
    first, second = rendered(spec, staged, run="run-1"), rendered(spec, staged, run="run-2")
    assert first == rendered(spec, staged, run="run-1")
    for one, other in zip(first, second, strict=True):
        assert one["metadata"].get("annotations") == other["metadata"].get("annotations")
        assert {k: v for k, v in one.items() if k != "metadata"} == {k: v for k, v in other.items() if k != "metadata"}
    assert by_kind(first)["Deployment"]["metadata"]["labels"]["inference-flows/run"] == "run-1"


def test_replicas_and_preset_name_start_no_rollout_and_a_commit_does(make_staged: Callable[..., StagedModel]) -> None:
    spec, staged = spec_of(), make_staged()
    template = by_kind(rendered(spec, staged))["Deployment"]["spec"]["template"]
    more = spec.model_copy(update={"replicas": 5, "preset": "another"})
    assert by_kind(rendered(more, staged))["Deployment"]["spec"]["template"] == template
    model = staged.model.model_copy(update={"commit": "f" * 40})
    moved = by_kind(rendered(spec, staged.model_copy(update={"model": model})))["Deployment"]["spec"]["template"]
    assert moved != template


def test_the_labels_that_users_rely_on(make_staged: Callable[..., StagedModel]) -> None:
    manifests = by_kind(rendered(spec_of(name="chat"), make_staged()))
    for labels in (
        manifests["Deployment"]["metadata"]["labels"],
        manifests["Deployment"]["spec"]["template"]["metadata"]["labels"],
        manifests["Service"]["metadata"]["labels"],
        manifests["ConfigMap"]["metadata"]["labels"],
    ):
        assert labels["app.kubernetes.io/component"] == "chat"
        assert labels["app.kubernetes.io/managed-by"] == "inference-flows"
        assert labels["inference-flows/endpoint"] == "chat"
        assert labels["inference-flows/commit"] == COMMIT
    selector = manifests["Service"]["spec"]["selector"]
    assert selector == manifests["Deployment"]["spec"]["selector"]["matchLabels"]
    assert selector.items() <= manifests["Deployment"]["spec"]["template"]["metadata"]["labels"].items()


def test_gpu_command_environment_and_placement(make_staged: Callable[..., StagedModel]) -> None:
    manifests = rendered(spec_of("gpt-oss-20b-vllm", engine={"enable_prefix_caching": False}), make_staged())
    container = engine(manifests)
    assert container["command"] == [
        *["vllm", "serve", "/staged-model", "--host", "0.0.0.0", "--port", "8000"],
        *["--served-model-name", "openai/gpt-oss-20b", "--max-model-len", "8192", "--no-enable-prefix-caching"],
    ]
    assert "args" not in container
    assert env(container)["VLLM_ATTENTION_BACKEND"] == "TRITON_ATTN_VLLM_V1"
    assert env(container)["HF_HUB_OFFLINE"] == "1"
    assert "HF_TOKEN" not in env(container)
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    assert container["resources"]["requests"]["nvidia.com/gpu"] == "1"
    assert pod(manifests)["nodeSelector"] == {"node.kubernetes.io/instance-type": "g6e.2xlarge"}
    assert pod(manifests)["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_neuron_command_environment_and_placement(make_staged: Callable[..., StagedModel]) -> None:
    manifests = rendered(spec_of("deepseek-r1-distill-llama-8b-vllm-neuron"), make_staged())
    container = engine(manifests)
    assert after(container["command"], "--device") == "neuron"
    assert after(container["command"], "--tensor-parallel-size") == "2"
    assert after(container["command"], "--tokenizer-pool-size") == "4"
    assert env(container)["NEURON_COMPILED_ARTIFACTS"].startswith("/neuron-artifacts")
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert not mounts["/neuron-artifacts"].get("readOnly")
    assert container["resources"]["requests"]["aws.amazon.com/neuron"] == "1"
    assert pod(manifests)["tolerations"][0]["key"] == "aws.amazon.com/neuron"
    assert "schedulerName" not in pod(manifests)


def test_cpu_asks_for_no_device_and_for_memory_that_holds_the_weights(make_staged: Callable[..., StagedModel]) -> None:
    manifests = rendered(spec_of(accelerator="cpu", image=CPU), make_staged())
    container = engine(manifests)
    assert set(container["resources"]["requests"]) == {"cpu", "memory", "ephemeral-storage"}
    assert container["resources"]["requests"]["memory"] == "8Gi"
    assert "tolerations" not in pod(manifests)
    assert "VLLM_CPU_KVCACHE_SPACE" in env(container)
    assert "--device" not in container["command"]


def test_unset_tensor_parallelism_uses_all_devices(make_staged: Callable[..., StagedModel]) -> None:
    four = engine(rendered(spec_of(resources={"accelerators": 4}), make_staged()))
    assert after(four["command"], "--tensor-parallel-size") == "4"
    halves = spec_of(resources={"accelerators": 4}, engine={"pipeline_parallel_size": 2})
    assert after(engine(rendered(halves, make_staged()))["command"], "--tensor-parallel-size") == "2"
    chips = spec_of(accelerator="neuron", image=NEURON, resources={"accelerators": 6}, instance_type="inf2.24xlarge")
    assert after(engine(rendered(chips, make_staged()))["command"], "--tensor-parallel-size") == "12"


def test_streaming_reads_the_staged_prefix_itself(make_staged: Callable[..., StagedModel]) -> None:
    spec = spec_of(image=STREAMING, service_account="reader")
    container = engine(rendered(spec, make_staged()))
    assert container["command"][2] == f"s3://models/Qwen/Qwen3-1.7B/{COMMIT}/"
    assert after(container["command"], "--load-format") == "runai_streamer"
    assert json.loads(after(container["command"], "--model-loader-extra-config")) == {"concurrency": 16}
    assert env(container) == {"HF_HUB_OFFLINE": "1", "AWS_REGION": "us-west-2", "AWS_DEFAULT_REGION": "us-west-2"}
    assert "initContainers" not in pod(rendered(spec, make_staged()))
    assert pod(rendered(spec, make_staged()))["serviceAccountName"] == "reader"


def test_an_s3_compatible_store_reaches_the_engine_and_aws_never_gets_an_endpoint(
    make_staged: Callable[..., StagedModel],
) -> None:
    staged = make_staged(endpoint_url="http://store:9000", region="")
    found = env(engine(rendered(spec_of(image=STREAMING, store_secret="keys"), staged)))
    assert found["AWS_ENDPOINT_URL"] == found["RUNAI_STREAMER_S3_ENDPOINT"] == "http://store:9000"
    assert found["RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING"] == "0"
    assert found["AWS_EC2_METADATA_DISABLED"] == "true"
    assert found["AWS_SECRET_ACCESS_KEY"] == {"secretKeyRef": {"name": "keys", "key": "AWS_SECRET_ACCESS_KEY"}}
    assert "AWS_REGION" not in found


def test_streaming_refuses_a_model_without_safetensors(make_staged: Callable[..., StagedModel]) -> None:
    staged = make_staged(paths=("pytorch_model.bin", "config.json"))
    with pytest.raises(InputError, match="weights=stream reads safetensors"):
        rendered(spec_of(image=STREAMING), staged)


def test_sync_verifies_against_the_manifest_and_reserves_the_disk(make_staged: Callable[..., StagedModel]) -> None:
    staged = make_staged(total_bytes=50 * 2**30)
    manifests = rendered(spec_of(weights="sync"), staged)
    (fetch,) = pod(manifests)["initContainers"]
    assert env(fetch)["MODEL_URI"] == staged.uri
    assert env(fetch)["MODEL_BYTES"] == str(staged.total_bytes)
    assert env(fetch)["AWS_REGION"] == "us-west-2"
    assert fetch["resources"]["requests"]["ephemeral-storage"] == "51Gi"
    assert engine(manifests)["resources"]["requests"]["ephemeral-storage"] == "51Gi"
    lines = by_kind(manifests)["ConfigMap"]["data"]["SHA256SUMS.0"].splitlines()
    assert lines == [f"{file.sha256}  {file.path}" for file in staged.files]
    mounts = {mount["name"]: mount for mount in engine(manifests)["volumeMounts"]}
    assert mounts["model"] == {"name": "model", "mountPath": "/staged-model", "readOnly": True}


def test_checksums_beyond_one_configmap_are_split_and_beyond_eight_refused(
    make_staged: Callable[..., StagedModel],
) -> None:
    def many(count: int) -> StagedModel:
        files = tuple(
            StagedFile(path=f"{'folder/' * 90}{number:06d}.safetensors", size=1, sha256="a" * 64)
            for number in range(count)
        )
        return make_staged().model_copy(update={"files": files})

    manifests = rendered(spec_of(), many(3_000))
    maps = [manifest for manifest in manifests if manifest["kind"] == "ConfigMap"]
    assert len(maps) == 3
    assert all(sum(len(text) for text in entry["data"].values()) < 2**20 for entry in maps)
    lines = "".join(text for entry in maps for key, text in entry["data"].items() if "SHA" in key).splitlines()
    assert len(lines) == 3_000
    keys = [key for entry in maps for key in entry["data"]]
    assert len(keys) == len(set(keys))
    projected = next(volume for volume in pod(manifests)["volumes"] if volume["name"] == "checksums")
    sources = [source["configMap"]["name"] for source in projected["projected"]["sources"]]
    assert sources == [entry["metadata"]["name"] for entry in maps]
    with pytest.raises(InputError, match="their checksums would fill"):
        rendered(spec_of(), many(12_000))


def test_mount_binds_a_static_volume_to_the_commits_prefix(make_staged: Callable[..., StagedModel]) -> None:
    manifests = by_kind(rendered(spec_of(weights="mount", namespace="team", service_account="reader"), make_staged()))
    volume, claim = manifests["PersistentVolume"], manifests["PersistentVolumeClaim"]
    assert volume["spec"]["csi"]["driver"] == "s3.csi.aws.com"
    assert volume["spec"]["csi"]["volumeAttributes"] == {"bucketName": "models", "authenticationSource": "pod"}
    assert volume["spec"]["mountOptions"] == [
        "region us-west-2",
        f"prefix Qwen/Qwen3-1.7B/{COMMIT}/",
        "read-only",
        "allow-other",
    ]
    assert volume["spec"]["storageClassName"] == claim["spec"]["storageClassName"] == ""
    assert volume["spec"]["claimRef"] == {"namespace": "team", "name": claim["metadata"]["name"]}
    assert claim["spec"]["volumeName"] == volume["metadata"]["name"] == volume["spec"]["csi"]["volumeHandle"]
    assert "namespace" not in volume["metadata"]
    elsewhere = by_kind(rendered(spec_of(weights="mount", namespace="other"), make_staged()))
    assert elsewhere["PersistentVolume"]["metadata"]["name"] != volume["metadata"]["name"]


def test_hub_pins_the_commit_and_reads_the_token_from_its_secret() -> None:
    container = engine(rendered(spec_of(weights="hub", engine={"trust_remote_code": True}), None))
    command = container["command"]
    assert command[2] == "Qwen/Qwen3-1.7B"
    for flag in ("--revision", "--tokenizer-revision", "--code-revision"):
        assert after(command, flag) == COMMIT
    assert env(container)["HF_TOKEN"] == {"secretKeyRef": {"name": "hf-token", "key": "token", "optional": True}}
    assert "HF_HUB_OFFLINE" not in env(container)


def test_weights_that_must_be_staged_are_not_rendered_without() -> None:
    with pytest.raises(InputError, match="weights=sync needs a staged model"):
        rendered(spec_of(), None)


@pytest.mark.parametrize(("accelerator", "image"), [("gpu", ""), ("neuron", NEURON), ("cpu", CPU)])
@pytest.mark.parametrize("total", [10**6, 10**10, 7 * 10**11])
def test_no_probe_can_end_a_load_and_the_deadline_outlasts_it(
    accelerator: str, image: str, total: int, make_staged: Callable[..., StagedModel]
) -> None:
    spec = spec_of(accelerator=accelerator, **({"image": image} if image else {}))
    deployment = by_kind(rendered(spec, make_staged(total_bytes=total)))["Deployment"]
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    startup = container["startupProbe"]
    budget = startup["periodSeconds"] * startup["failureThreshold"]
    assert budget >= load_seconds(spec, total) >= total / 10**8
    assert deployment["spec"]["progressDeadlineSeconds"] > budget + total / 10**8
    assert container["livenessProbe"]["httpGet"]["path"] == container["readinessProbe"]["httpGet"]["path"] == "/health"
    grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > container["lifecycle"]["preStop"]["sleep"]["seconds"]


def test_a_neuron_load_gets_time_to_compile(make_staged: Callable[..., StagedModel]) -> None:
    neuron = spec_of("llama-31-8b-vllm-neuron")
    assert load_seconds(neuron, 15 * 10**9) >= 2 * 15 * 60
    # Measured by AWS: half an hour to cut and load 810 GB. A budget of a day would only hide a hang.
    assert 3 * 1965 <= load_seconds(neuron, 810 * 10**9) <= 8 * 3600
    assert load_seconds(neuron.model_copy(update={"startup_seconds": 77}), 15 * 10**9) == 77


def test_a_rollout_never_needs_a_second_device_and_a_budget_protects_only_what_has_replicas(
    make_staged: Callable[..., StagedModel],
) -> None:
    one = by_kind(rendered(spec_of(), make_staged()))
    assert one["Deployment"]["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert "PodDisruptionBudget" not in one
    three = by_kind(rendered(spec_of(replicas=3), make_staged()))
    assert three["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    assert three["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == three["Service"]["spec"]["selector"]


def test_two_endpoints_share_no_object(make_staged: Callable[..., StagedModel]) -> None:
    def names(name: str, weights: str) -> set[tuple[str, str]]:
        spec = spec_of(name=name, weights=weights, replicas=2)
        return {(m["kind"], m["metadata"]["name"]) for m in rendered(spec, make_staged())}

    for weights in ("sync", "mount"):
        assert not names("one", weights) & names("two", weights)


def test_a_users_environment_wins_and_no_name_stands_twice(make_staged: Callable[..., StagedModel]) -> None:
    container = engine(rendered(spec_of(env={"HF_HUB_OFFLINE": "0", "MINE": "$(HOME) $$"}), make_staged()))
    names = [entry["name"] for entry in container["env"]]
    assert len(names) == len(set(names))
    assert env(container)["HF_HUB_OFFLINE"] == "0"
    assert expand(env(container)["MINE"], {"HOME": "/root"}) == "$(HOME) $$"


def expand(text: str, values: dict[str, str]) -> str:
    """Kubernetes' expansion of ``$(NAME)``: ``$$`` is a dollar, an unknown name stays."""
    out, at = "", 0
    while at < len(text):
        if text.startswith("$$", at):
            out, at = out + "$", at + 2
        elif text.startswith("$(", at) and (end := text.find(")", at)) >= 0:
            out += values.get(text[at + 2 : end], text[at : end + 1])
            at = end + 1
        else:
            out, at = out + text[at], at + 1
    return out


@given(st.text(alphabet=st.sampled_from("$()AB\"' \\{}`\n-")))
def test_any_value_survives_kubernetes_expansion(value: str) -> None:
    assert expand(literal(value), {"A": "x", "AB": "y", "": "z"}) == value


TEXT = st.text(min_size=1, max_size=20).filter(lambda text: text.strip() and "\0" not in text)


@settings(max_examples=25, deadline=None)
@given(
    name=st.from_regex(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True),
    namespace=st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True),
    extra=st.lists(TEXT.filter(lambda text: not text.startswith("-")), max_size=3),
    served=TEXT,
    replicas=st.integers(1, 9),
    weights=st.sampled_from(list(WeightsSource)),
    repo=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}/[A-Za-z0-9][A-Za-z0-9_.-]{0,60}", fullmatch=True),
    trust=st.booleans(),
)
def test_whatever_is_asked_renders_valid_objects_with_arguments_as_written(
    name: str,
    namespace: str,
    extra: list[str],
    served: str,
    replicas: int,
    weights: WeightsSource,
    repo: str,
    trust: bool,
) -> None:
    pinned = PinnedModel(repo_id=repo, revision="main", commit=COMMIT)
    spec = EndpointSpec.model_validate(
        {
            "name": name,
            "namespace": namespace,
            "model": {"repo_id": repo},
            "framework": Framework.VLLM,
            "accelerator": Accelerator.GPU,
            "image": STREAMING,
            "engine": VllmOptions(extra_args=tuple(extra), trust_remote_code=trust),
            "weights": weights,
            "served_model_name": served,
            "replicas": replicas,
        }
    )
    staged = StagedModel(
        model=pinned,
        uri=f"s3://bucket/{repo}/{COMMIT}/",
        files=(StagedFile(path="model.safetensors", size=10, sha256="c" * 64),),
    )
    manifests = rendered(spec, None if weights is WeightsSource.HUB else staged)
    for manifest in manifests:
        check(manifest)
        labels = manifest["metadata"]["labels"]
        assert all(len(value) <= 63 and (value == "" or value[0].isalnum()) for value in labels.values())
    command = [expand(part, {}) for part in engine(manifests)["command"]]
    assert after(command, "--served-model-name") == served
    assert command[len(command) - len(extra) :] == extra
