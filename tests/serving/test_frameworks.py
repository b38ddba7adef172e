"""Every framework: what it renders, for each accelerator and weights source."""

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from serving.build import build_spec
from serving.catalog import Overrides, get_preset, load_presets, resolve
from serving.errors import InputError
from serving.frameworks.defaults import default_image
from serving.models import PinnedModel, StagedModel
from serving.release import Release, release_of
from serving.rendering import render, render_aliases, render_endpoint, render_outline
from serving.spec import Accelerator, EndpointSpec, Framework, WeightsSource
from tests.serving.manifest_schemas import check, definitions

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GGUF = ("model-Q8_0.gguf",)
Make = Callable[..., StagedModel]


def spec_for(framework: Framework, accelerator: Accelerator = Accelerator.GPU, **parameters: Any) -> EndpointSpec:
    given = {"name": "chat", "model": {"repo_id": "org/name"}}
    if framework is Framework.NIM:
        given["image"] = "nvcr.io/nim/meta/llama3-8b-instruct:1.0"
    return build_spec(framework, accelerator, given | parameters)


def staged_for(spec: EndpointSpec, make_staged: Make, **settings: Any) -> StagedModel | None:
    if spec.weights is WeightsSource.HUB:
        return None
    if spec.framework is Framework.LLAMA_CPP:
        named = spec.llama_cpp.model_file if spec.llama_cpp else ""
        settings.setdefault("paths", (named,) if named else GGUF)
    return make_staged(spec.model.repo_id, **settings)


def rendered(spec: EndpointSpec, make_staged: Make, **settings: Any) -> tuple[list[dict[str, Any]], Release]:
    staged = staged_for(spec, make_staged, **settings)
    model = staged.model if staged else PinnedModel(repo_id=spec.model.repo_id, revision="main", commit=COMMIT)
    release = release_of(spec, model, staged)
    return render(spec, staged, release), release


def one(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


def env(container: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container.get("env", [])}


def after(command: list[str], flag: str) -> str:
    return command[command.index(flag) + 1]


def templates(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """All pod templates of a workload."""
    spec = manifest.get("spec", {})
    match manifest["kind"]:
        case "Deployment":
            return [spec["template"]]
        case "LeaderWorkerSet":
            return [spec["leaderWorkerTemplate"]["leaderTemplate"], spec["leaderWorkerTemplate"]["workerTemplate"]]
        case "RayService":
            cluster = spec["rayClusterConfig"]
            return [cluster["headGroupSpec"]["template"], *(g["template"] for g in cluster["workerGroupSpecs"])]
        case _:
            return []


def pods(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [template for manifest in manifests for template in templates(manifest)]


IMPOSSIBLE = {
    (Framework.NIM, Accelerator.NEURON),
    (Framework.NIM, Accelerator.CPU),
    (Framework.LLAMA_CPP, Accelerator.NEURON),
    (Framework.RAY_VLLM, Accelerator.CPU),
    (Framework.LWS_VLLM, Accelerator.CPU),
    (Framework.TRITON_VLLM, Accelerator.CPU),
}
"""Refused whatever else is asked."""
NO_STREAM = {Framework.TRITON_VLLM, Framework.DIFFUSERS, Framework.NIM, Framework.LLAMA_CPP}
IMAGES = {
    (Framework.RAY_VLLM, Accelerator.GPU): "rayproject/ray-llm:2.52.0-py311-cu128",
    (Framework.VLLM, Accelerator.GPU): "vllm/vllm-openai:v0.11.0",
    (Framework.AIBRIX, Accelerator.GPU): "vllm/vllm-openai:v0.11.0",
    (Framework.LWS_VLLM, Accelerator.GPU): "vllm/vllm-openai:v0.17.0",
    (Framework.TRITON_VLLM, Accelerator.NEURON): "registry.example.com/triton-neuron:1",
}


def cell_is_possible(framework: Framework, accelerator: Accelerator, weights: WeightsSource) -> bool:
    if (framework, accelerator) in IMPOSSIBLE:
        return False
    if weights is WeightsSource.STREAM:
        return framework not in NO_STREAM and accelerator is not Accelerator.NEURON
    if framework is Framework.NIM:
        return weights is WeightsSource.HUB
    return not (framework is Framework.LLAMA_CPP and weights is WeightsSource.HUB)


@pytest.mark.parametrize(
    ("framework", "accelerator", "weights"),
    [pytest.param(*cell, id="-".join(cell)) for cell in itertools.product(Framework, Accelerator, WeightsSource)],
)
def test_each_cell_of_the_table_renders_valid_objects_or_says_in_a_sentence_why_not(
    framework: Framework, accelerator: Accelerator, weights: WeightsSource, make_staged: Make
) -> None:
    image = IMAGES.get((framework, accelerator)) or default_image(framework, accelerator) or "registry.example.com/x:1"
    parameters = {"weights": weights, "image": image, "service_account": "reader", "replicas": 2}
    if not cell_is_possible(framework, accelerator, weights):
        with pytest.raises(InputError) as caught:
            spec_for(framework, accelerator, **parameters)
        assert f"{weights}" in str(caught.value) or f"{accelerator}" in str(caught.value)
        return
    spec = spec_for(framework, accelerator, **parameters)
    manifests, release = rendered(spec, make_staged)
    holds_together(spec, manifests, release)
    # Before the model was staged, the same objects can be told but for what its files make of their names.
    outline = render_outline(spec, release)
    assert [manifest["kind"] for manifest in outline] == [manifest["kind"] for manifest in manifests]


@pytest.mark.parametrize("name", sorted(load_presets()))
def test_every_preset_renders_valid_objects(name: str, make_staged: Make) -> None:
    spec = resolve(get_preset(name))
    manifests, release = rendered(spec, make_staged)
    holds_together(spec, manifests, release)


def holds_together(spec: EndpointSpec, manifests: list[dict[str, Any]], release: Release) -> None:
    everything = [*manifests, render_endpoint(spec, release), *render_aliases(spec, release)]
    for manifest in everything:
        check(manifest)
        labels = manifest["metadata"]["labels"]
        assert labels["app.kubernetes.io/component"] == spec.name
        assert labels["inference-flows/endpoint"] == spec.name
        assert labels["inference-flows/release"] == release.id
        assert len(manifest["metadata"]["name"]) <= 63 or manifest["kind"] in ("ConfigMap", "PersistentVolume")
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in everything]
    assert len(names) == len(set(names))
    assert len(release.name) <= 47
    device = spec.accelerator.resource
    for template in pods(manifests):
        pod = template["spec"]
        check({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", **template["metadata"]}, "spec": pod})
        if spec.service_account:
            assert pod["serviceAccountName"] == spec.service_account
        assert pod["enableServiceLinks"] is False
        mounted = {m["name"] for c in [*pod["containers"], *pod.get("initContainers", [])] for m in c["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            asked = container["resources"].get("requests", {})
            assert {"cpu", "memory"} <= asked.keys()
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            if device in asked:
                keys = {toleration["key"] for toleration in pod["tolerations"]}
                assert device in keys
        for constraint in pod["topologySpreadConstraints"]:
            assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"
        assert "requiredDuringSchedulingIgnoredDuringExecution" not in json.dumps(pod.get("affinity", {}))
    selectors = [m["spec"]["selector"] for m in everything if m["kind"] == "Service"]
    controllers_add = {"ray.io/serve": "true"}
    for selector in selectors:
        assert any(
            selector.items() <= (template["metadata"]["labels"] | controllers_add).items()
            for template in pods(manifests)
        ) or not pods(manifests)


def test_the_definitions_of_custom_kinds_are_at_hand() -> None:
    if not definitions():
        pytest.skip("no folder kubernetes/crds beside the project: custom kinds were not checked against their schemas")
    kinds = {kind for _, kind in definitions()}
    assert {"RayService", "LeaderWorkerSet", "NIMCache", "NIMService", "PodAutoscaler", "ScaledObject"} <= kinds


# --- Ray


def ray(make_staged: Make, accelerator: Accelerator = Accelerator.GPU, **parameters: Any) -> tuple[dict[str, Any], Any]:
    spec = spec_for(Framework.RAY_VLLM, accelerator, **parameters)
    manifests, _ = rendered(spec, make_staged)
    service = one(manifests, "RayService")
    return service["spec"]["rayClusterConfig"], yaml.safe_load(service["spec"]["serveConfigV2"])


def test_ray_serves_the_model_with_rays_own_application(make_staged: Make) -> None:
    cluster, serve = ray(
        make_staged,
        engine={"max_model_len": 4096, "extra_args": ["--swap-space", "4", "--no-enable-chunked-prefill"]},
        resources={"accelerators": 4},
        replicas=2,
    )
    (application,) = serve["applications"]
    assert application["import_path"] == "ray.serve.llm:build_openai_app"
    assert "runtime_env" not in application
    (model,) = application["args"]["llm_configs"]
    assert model["model_loading_config"] == {"model_id": "org/name", "model_source": "/staged-model"}
    assert model["engine_kwargs"] == {
        "max_model_len": 4096,
        "tensor_parallel_size": 4,
        "swap_space": 4,
        "enable_chunked_prefill": False,
    }
    assert model["deployment_config"] == {"num_replicas": 2}
    assert cluster["rayVersion"] == "2.46.0"
    (workers,) = cluster["workerGroupSpecs"]
    assert (workers["replicas"], workers["minReplicas"]) == (2, 2)
    worker = workers["template"]["spec"]
    assert worker["initContainers"][0]["name"] == "fetch-weights"
    assert worker["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "4"}
    head = cluster["headGroupSpec"]["template"]["spec"]
    assert "initContainers" not in head
    assert "nvidia.com/gpu" not in json.dumps(head)


def test_a_plain_ray_image_gets_vllm_at_start_and_its_gpu_build_for_workers(make_staged: Make) -> None:
    with pytest.raises(InputError, match=r"brings no vLLM; set ray\.vllm_version"):
        spec_for(Framework.RAY_VLLM, image="rayproject/ray:2.47.0-py311")
    cluster, serve = ray(make_staged, image="rayproject/ray:2.47.0-py311", ray={"vllm_version": "0.9.1"})
    assert "vllm==0.9.1" in serve["applications"][0]["runtime_env"]["pip"]
    head = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]
    worker = cluster["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    assert head["image"] == "rayproject/ray:2.47.0-py311"
    assert worker["image"] == "rayproject/ray:2.47.0-py311-gpu"
    assert worker["securityContext"]["runAsNonRoot"] is True


def test_ray_streams_with_credentials_on_head_and_workers(make_staged: Make) -> None:
    image = "rayproject/ray-llm:2.52.0-py311-cu128"
    spec = spec_for(Framework.RAY_VLLM, weights="stream", store_secret="keys", image=image)
    manifests, _ = rendered(spec, make_staged, endpoint_url="http://store:9000")
    service = one(manifests, "RayService")["spec"]
    (model,) = yaml.safe_load(service["serveConfigV2"])["applications"][0]["args"]["llm_configs"]
    assert model["model_loading_config"]["model_source"].startswith("s3://models/org/name/")
    assert model["engine_kwargs"]["load_format"] == "runai_streamer"
    for template in pods(manifests):
        found = env(template["spec"]["containers"][0])
        assert found["AWS_ENDPOINT_URL"] == "http://store:9000"
        assert found["AWS_ACCESS_KEY_ID"]["secretKeyRef"]["name"] == "keys"


@pytest.mark.parametrize(
    ("version", "streams"),
    [
        ("2.46.0", False),
        ("2.51.1", False),
        ("2.52.0", True),
        ("2.56.0", True),
        ("2.57.0", False),
        ("2.58.0", False),
        ("2.59.0", True),
    ],
)
def test_only_versions_of_ray_that_hand_the_address_on_may_stream(version: str, streams: bool) -> None:
    parameters = {"weights": "stream", "image": "registry.example.com/ray:1", "ray": {"version": version}}
    if streams:
        assert spec_for(Framework.RAY_VLLM, **parameters).weights is WeightsSource.STREAM
    else:
        with pytest.raises(InputError, match=f"does not work with Ray {version}.*use sync, or Ray 2.52"):
            spec_for(Framework.RAY_VLLM, **parameters)


def test_rays_settings_reach_their_fields(make_staged: Make) -> None:
    settings = {
        "autoscaling": True,
        "min_workers": 1,
        "max_workers": 3,
        "min_replicas": 2,
        "max_replicas": 6,
        "target_ongoing_requests": 9,
        "upscaling_mode": "Aggressive",
        "idle_timeout_seconds": 33,
        "redis_address": "redis.redis:6379",
        "redis_secret": "redis-auth",
        "redis_secret_key": "pw",
        "prometheus_host": "http://prometheus:9090",
        "fluent_bit": True,
    }
    cluster, serve = ray(make_staged, ray=settings)
    (model,) = serve["applications"][0]["args"]["llm_configs"]
    assert model["deployment_config"]["autoscaling_config"] == {
        "min_replicas": 2,
        "max_replicas": 6,
        "target_ongoing_requests": 9,
    }
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["autoscalerOptions"] == {"upscalingMode": "Aggressive", "idleTimeoutSeconds": 33}
    (workers,) = cluster["workerGroupSpecs"]
    assert (workers["minReplicas"], workers["maxReplicas"]) == (1, 3)
    assert cluster["gcsFaultToleranceOptions"] == {
        "redisAddress": "redis.redis:6379",
        "redisPassword": {"valueFrom": {"secretKeyRef": {"name": "redis-auth", "key": "pw"}}},
    }
    head = cluster["headGroupSpec"]["template"]["spec"]
    assert env(head["containers"][0])["RAY_PROMETHEUS_HOST"] == "http://prometheus:9090"
    # Ray's autoscaler runs in the head pod and talks to the Kubernetes API.
    assert "automountServiceAccountToken" not in head
    for pod in (head, workers["template"]["spec"]):
        assert [container["name"] for container in pod["containers"]][1:] == ["fluent-bit"]


def test_ray_on_neuron_runs_the_engine_behind_our_application(make_staged: Make) -> None:
    spec = resolve(get_preset("llama-3-70b-ray-vllm-neuron"))
    manifests, _ = rendered(spec, make_staged)
    service = one(manifests, "RayService")["spec"]
    (application,) = yaml.safe_load(service["serveConfigV2"])["applications"]
    assert application["import_path"] == "inference_flows_engine:build"
    command = application["args"]["command"]
    assert command[:3] == ["vllm", "serve", "/staged-model"]
    assert after(command, "--tensor-parallel-size") == "16"
    assert application["args"]["deployment"]["ray_actor_options"]["resources"] == {"neuron_cores": 16}
    (files,) = [m for m in manifests if m["kind"] == "ConfigMap" and "inference_flows_engine.py" in m["data"]]
    compile(files["data"]["inference_flows_engine.py"], "inference_flows_engine.py", "exec")
    for template in pods(manifests):
        container = template["spec"]["containers"][0]
        assert env(container)["PYTHONPATH"] == "/serve-app"
        assert "/serve-app" in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_ray_knows_a_workers_neuron_cores_before_the_worker_is_there(make_staged: Make) -> None:
    """KubeRay reads GPUs from the limits by itself, of Neuron only a resource that presets do not ask for."""
    cluster, serve = ray(make_staged, Accelerator.NEURON, resources={"accelerators": 12}, instance_type="inf2.48xlarge")
    (workers,) = cluster["workerGroupSpecs"]
    offered = json.loads(workers["rayStartParams"]["resources"].strip("'"))
    assert offered == {"neuron_cores": 24}
    (application,) = serve["applications"]
    deployment = application["args"]["deployment"]
    assert deployment["ray_actor_options"]["resources"]["neuron_cores"] <= offered["neuron_cores"]
    assert deployment["max_ongoing_requests"] > 256
    gpu, _ = ray(make_staged, resources={"accelerators": 4})
    assert "resources" not in gpu["workerGroupSpecs"][0]["rayStartParams"]


def test_ray_is_reached_through_its_serving_pods_and_the_name_that_chart_users_know(make_staged: Make) -> None:
    spec = spec_for(Framework.RAY_VLLM)
    _, release = rendered(spec, make_staged)
    endpoint, (alias,) = render_endpoint(spec, release), render_aliases(spec, release)
    assert endpoint["spec"]["selector"]["ray.io/serve"] == "true"
    assert alias["metadata"]["name"] == "chat-serve-svc"
    assert alias["spec"]["ports"][0]["port"] == 8000


# --- LeaderWorkerSet


def test_a_group_spans_pods_by_itself_with_new_images(make_staged: Make) -> None:
    spec = spec_for(
        Framework.LWS_VLLM,
        image="vllm/vllm-openai:v0.17.0",
        engine={"pipeline_parallel_size": 2, "extra_args": ["--seed", "$(RANDOM)"]},
        resources={"accelerators": 8},
        lws={"efa": 4},
    )
    manifests, release = rendered(spec, make_staged)
    group = one(manifests, "LeaderWorkerSet")["spec"]
    assert group["leaderWorkerTemplate"]["size"] == 2
    assert group["rolloutStrategy"]["rollingUpdateConfiguration"] == {"maxSurge": 0, "maxUnavailable": 1}
    leader, worker = (template["spec"]["containers"][0] for template in pods(manifests))
    assert after(leader["command"], "--tensor-parallel-size") == "8"
    assert after(leader["command"], "--pipeline-parallel-size") == "2"
    assert after(leader["command"], "--seed") == "$$(RANDOM)"
    assert after(leader["command"], "--nnodes") == "$(LWS_GROUP_SIZE)"
    assert after(leader["command"], "--master-addr") == "$(LWS_LEADER_ADDRESS)"
    assert worker["command"] == [*leader["command"], "--headless"]
    assert "startupProbe" in leader
    assert "startupProbe" not in worker
    for template, role in zip(pods(manifests), ("leader", "worker"), strict=True):
        labels = template["metadata"]["labels"]
        assert labels["leaderworkerset.sigs.k8s.io/role"] == labels["role"] == role
    for container in (leader, worker):
        assert container["resources"]["limits"]["vpc.amazonaws.com/efa"] == "4"
        assert container["securityContext"]["capabilities"]["add"] == ["IPC_LOCK"]
    (alias,) = render_aliases(spec, release)
    assert (alias["metadata"]["name"], alias["spec"]["ports"][0]["port"]) == ("chat-leader", 8080)
    assert render_endpoint(spec, release)["spec"]["ports"][0]["port"] == 8000


def test_older_images_span_pods_over_ray_with_arguments_that_no_shell_reads(make_staged: Make) -> None:
    spec = spec_for(
        Framework.LWS_VLLM,
        engine={"pipeline_parallel_size": 4, "extra_args": ["--seed", "'; rm -rf / #"]},
        resources={"accelerators": 8},
    )
    manifests, _ = rendered(spec, make_staged)
    leader, worker = (template["spec"]["containers"][0]["command"] for template in pods(manifests))
    assert leader[:2] == worker[:2] == ["/bin/sh", "-c"]
    assert "rm -rf" not in leader[2]
    assert "'; rm -rf / #" in leader[4:]
    assert after(leader, "--distributed-executor-backend") == "ray"
    assert "ray start --head" in leader[2]
    assert "ray start --address" in worker[2]
    for template in pods(manifests):
        assert template["spec"]["initContainers"][0]["name"] == "fetch-weights"


def test_a_pipeline_must_share_out_evenly_over_the_group() -> None:
    with pytest.raises(InputError, match=r"pipeline_parallel_size 3 cannot be shared by lws\.size 2 pods"):
        spec_for(
            Framework.LWS_VLLM,
            engine={"pipeline_parallel_size": 3},
            resources={"accelerators": 8},
            lws={"size": 2},
        )


# --- Triton, AIBrix, NIM, llama.cpp, diffusers


def test_triton_loads_the_directory_with_the_engines_options(make_staged: Make) -> None:
    spec = spec_for(Framework.TRITON_VLLM, engine={"gpu_memory_utilization": 0.8, "extra_args": ["--enforce-eager"]})
    manifests, _ = rendered(spec, make_staged)
    (repository,) = [m for m in manifests if m["kind"] == "ConfigMap" and "model.json" in m["data"]]
    assert json.loads(repository["data"]["model.json"]) == {
        "model": "/staged-model",
        "gpu_memory_utilization": 0.8,
        "enforce_eager": True,
    }
    assert 'backend: "vllm"' in repository["data"]["config.pbtxt"]
    (template,) = pods(manifests)
    volume = next(v for v in template["spec"]["volumes"] if v["name"] == "model-repository")
    assert {item["path"] for item in volume["configMap"]["items"]} == {"config.pbtxt", "1/model.json"}
    container = template["spec"]["containers"][0]
    assert container["startupProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    assert [port["port"] for port in one(manifests, "Service")["spec"]["ports"]] == [8000, 8001, 8002]


def test_the_gateway_finds_an_aibrix_model_by_the_endpoints_name(make_staged: Make) -> None:
    spec = resolve(get_preset("llama-32-1b-aibrix"))
    assert spec.served_model_name == spec.name == "llama-32-1b-aibrix"
    manifests, release = rendered(spec, make_staged)
    deployment = one(manifests, "Deployment")
    wanted = {"model.aibrix.ai/name": spec.name, "model.aibrix.ai/port": "8000"}
    for labels in (
        deployment["metadata"]["labels"],
        deployment["spec"]["template"]["metadata"]["labels"],
        render_endpoint(spec, release)["metadata"]["labels"],
    ):
        assert wanted.items() <= labels.items()
    with pytest.raises(InputError, match="AIBrix routes by it and wants the endpoint's own name"):
        resolve(get_preset("llama-32-1b-aibrix"), Overrides(served_model_name="other"))


def test_nim_runs_as_its_user_with_its_secrets_and_its_own_time(make_staged: Make) -> None:
    manifests, _ = rendered(resolve(get_preset("llama-3-8b-instruct-nim")), make_staged)
    (template,) = pods(manifests)
    pod = template["spec"]
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 1000
    assert pod["imagePullSecrets"] == [{"name": "ngc-secret"}]
    container = pod["containers"][0]
    assert "command" not in container
    found = env(container)
    assert found["NGC_API_KEY"] == {"secretKeyRef": {"name": "ngc-api", "key": "NGC_API_KEY"}}
    assert found["HF_TOKEN"]["secretKeyRef"]["key"] == "token"
    assert found["NIM_MAX_MODEL_LEN"] == "4096"
    assert found["NIM_SERVED_MODEL_NAME"] == "meta/llama3-8b-instruct"
    startup = container["startupProbe"]
    assert startup["httpGet"]["path"] == "/v1/health/ready"
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 30 * 60


def test_the_nim_operator_gets_a_cache_and_a_service(make_staged: Make) -> None:
    manifests, release = rendered(resolve(get_preset("llama-32-1b-instruct-nim-operator")), make_staged)
    cache, service = one(manifests, "NIMCache"), one(manifests, "NIMService")
    assert cache["spec"]["source"]["ngc"]["modelPuller"] == "nvcr.io/nim/meta/llama-3.2-1b-instruct:1.12.0"
    assert service["spec"]["storage"]["nimCache"]["name"] == cache["metadata"]["name"]
    assert service["metadata"]["name"] == release.name
    assert service["spec"]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {"name": "NIM_SERVED_MODEL_NAME", "value": "meta/llama-3.2-1b-instruct"} in service["spec"]["env"]
    startup = service["spec"]["startupProbe"]["probe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 30 * 60
    # The operator names its pods' port itself; a Service that asked for another name would have no endpoints.
    front = render_endpoint(resolve(get_preset("llama-32-1b-instruct-nim-operator")), release)["spec"]
    assert [(port["port"], port["targetPort"]) for port in front["ports"]] == [(8000, "api")]
    assert front["selector"].items() <= service["spec"]["labels"].items()


def test_releases_share_the_operators_cache_only_where_many_nodes_can_mount_it(make_staged: Make) -> None:
    def cache(storage_class: str, **parameters: Any) -> dict[str, Any]:
        nim = {"operator": True, "storage_class": storage_class}
        spec = spec_for(Framework.NIM, nim=nim, pod={"priority_class": "high", "scheduler": "mine"}, **parameters)
        manifests, _ = rendered(spec, make_staged)
        service = one(manifests, "NIMService")["spec"]
        assert (service["priorityClassName"], service["schedulerName"]) == ("high", "mine")
        return one(manifests, "NIMCache")

    mine, other = cache(""), cache("", env={"A": "1"})
    assert mine["spec"]["storage"]["pvc"]["volumeAccessMode"] == "ReadWriteOnce"
    assert mine["metadata"]["name"] != other["metadata"]["name"]
    shared, again = cache("efs-sc"), cache("efs-sc", env={"A": "1"})
    assert shared["spec"]["storage"]["pvc"]["volumeAccessMode"] == "ReadWriteMany"
    assert shared["metadata"]["name"] == again["metadata"]["name"]
    with pytest.raises(InputError, match=r"nim\.storage_class is empty and replicas is 2"):
        cache("", replicas=2)


def test_llama_cpp_loads_the_file_that_was_named_or_the_only_one(make_staged: Make) -> None:
    spec = spec_for(Framework.LLAMA_CPP, Accelerator.CPU, llama_cpp={"ctx_size": 4096})
    manifests, _ = rendered(spec, make_staged, paths=("sub/m-00001-of-00002.gguf", "sub/m-00002-of-00002.gguf"))
    command = pods(manifests)[0]["spec"]["containers"][0]["command"]
    assert after(command, "--model") == "/staged-model/sub/m-00001-of-00002.gguf"
    assert after(command, "--ctx-size") == "4096"
    assert after(command, "--alias") == "org/name"
    with pytest.raises(InputError, match=r"2 GGUF files: a\.gguf, b\.gguf"):
        rendered(spec, make_staged, paths=("a.gguf", "b.gguf"))
    with pytest.raises(InputError, match="no GGUF file"):
        rendered(spec, make_staged, paths=("model.safetensors",))
    named = spec_for(Framework.LLAMA_CPP, Accelerator.CPU, llama_cpp={"model_file": "c.gguf"})
    with pytest.raises(InputError, match=r"'c\.gguf' does not exist.*Allowed: a\.gguf, b\.gguf"):
        rendered(named, make_staged, paths=("a.gguf", "b.gguf"))


def test_the_image_server_starts_from_the_directory_and_installs_once_per_pod(make_staged: Make) -> None:
    options = {"pipeline": "flux", "steps": 4, "packages": ["diffusers==0.39.0", "sentencepiece"]}
    spec = spec_for(Framework.DIFFUSERS, diffusers=options, resources={"accelerators": 2})
    manifests, _ = rendered(spec, make_staged)
    pod = pods(manifests)[0]["spec"]
    command = pod["containers"][0]["command"]
    assert after(command, "--model") == "/staged-model"
    assert after(command, "--pipeline") == "flux"
    assert after(command, "--device") == "cuda"
    assert after(command, "--devices") == "2"
    assert after(command, "--steps") == "4"
    fetch, install = pod["initContainers"]
    assert fetch["name"] == "fetch-weights"
    # The image's own packages stay what they are: it has pip everywhere, uv only in some of them.
    assert install["command"][:3] == ["python3", "-m", "pip"]
    assert "--no-deps" in install["command"]
    assert install["command"][-2:] == ["diffusers==0.39.0", "sentencepiece"]
    assert env(pod["containers"][0])["PYTHONPATH"] == "/python-packages"
    bare = spec_for(Framework.DIFFUSERS)
    pod = pods(rendered(bare, make_staged)[0])[0]["spec"]
    assert [c["name"] for c in pod["initContainers"]] == ["fetch-weights"]
    assert "PYTHONPATH" not in env(pod["containers"][0])


def test_a_pipeline_without_a_neuron_build_is_refused() -> None:
    with pytest.raises(InputError, match=r"diffusers\.pipeline kolors does not run on neuron"):
        spec_for(Framework.DIFFUSERS, Accelerator.NEURON, diffusers={"pipeline": "kolors"})


def test_a_neuron_image_server_is_told_its_cores(make_staged: Make) -> None:
    spec = spec_for(
        Framework.DIFFUSERS,
        Accelerator.NEURON,
        diffusers={"pipeline": "flux"},
        resources={"accelerators": 6},
        instance_type="inf2.24xlarge",
    )
    command = pods(rendered(spec, make_staged)[0])[0]["spec"]["containers"][0]["command"]
    assert after(command, "--devices") == "12"
    assert after(command, "--artifacts").startswith("/neuron-artifacts/")


# --- what all share


@pytest.mark.parametrize(
    ("framework", "parameters", "said"),
    [
        (Framework.VLLM, {"ray": {}}, "ray is for framework=ray-vllm only, framework is vllm"),
        (Framework.DIFFUSERS, {"engine": {"max_model_len": 5}}, "engine.max_model_len is an argument of vLLM"),
        (Framework.RAY_VLLM, {"autoscaling": {"max_replicas": 3}}, "use ray.autoscaling"),
        (Framework.LWS_VLLM, {"autoscaling": {"max_replicas": 3}}, "lws-vllm is none here; set replicas"),
        (Framework.VLLM, {"autoscaling": {"max_replicas": 3, "by": "aibrix"}}, "use hpa or keda"),
        (Framework.RAY_VLLM, {"engine": {"extra_args": ["nonsense"]}}, "should be a flag that begins with --"),
        (
            Framework.VLLM,
            {"autoscaling": {"max_replicas": 2, "min_replicas": 3}},
            "min_replicas 3 is above max_replicas",
        ),
        (Framework.VLLM, {"autoscaling": {"max_replicas": 2, "min_replicas": 0}}, "works with by=keda only"),
        (
            Framework.VLLM,
            {"autoscaling": {"max_replicas": 2, "min_replicas": 0, "by": "keda", "prometheus": "http://p"}},
            "min_replicas 0 needs query",
        ),
        (Framework.VLLM, {"pod": {"drain_seconds": 200}}, "drain_seconds 200 is not below termination_seconds 120"),
        (Framework.NIM, {"image": ""}, "image is missing, and none is published for nim on gpu"),
        (Framework.TRITON_VLLM, {"accelerator": "cpu"}, "triton-vllm does not run on cpu"),
    ],
)
def test_what_does_not_belong_together_is_said(framework: Framework, parameters: dict[str, Any], said: str) -> None:
    accelerator = Accelerator(parameters.pop("accelerator", "gpu"))
    with pytest.raises(InputError) as caught:
        spec_for(framework, accelerator, **parameters)
    assert said in str(caught.value)


def test_an_autoscaler_owns_the_replicas(make_staged: Make) -> None:
    def scaled(**scaling: Any) -> list[dict[str, Any]]:
        return rendered(spec_for(Framework.VLLM, autoscaling={"max_replicas": 4, **scaling}), make_staged)[0]

    manifests = scaled()
    assert "replicas" not in one(manifests, "Deployment")["spec"]
    scaler = one(manifests, "HorizontalPodAutoscaler")
    check(scaler)
    assert scaler["spec"]["scaleTargetRef"]["name"] == one(manifests, "Deployment")["metadata"]["name"]
    assert scaler["spec"]["metrics"][0]["pods"]["metric"]["name"] == "vllm_num_requests_waiting"
    assert one(manifests, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    keda = one(scaled(by="keda", prometheus="http://p:9090", metric="requests-running", target=2.5), "ScaledObject")
    check(keda)
    trigger = keda["spec"]["triggers"][0]["metadata"]
    assert trigger["threshold"] == "2.5"
    assert 'vllm:num_requests_running{namespace="default"' in trigger["query"]
    zero = one(scaled(by="keda", prometheus="http://p", min_replicas=0, query="sum(gateway_requests)"), "ScaledObject")
    assert (zero["spec"]["minReplicaCount"], zero["spec"]["triggers"][0]["metadata"]["query"]) == (
        0,
        "sum(gateway_requests)",
    )
    # KEDA would take the first pod away before it has loaded: nobody asks a candidate.
    check(zero)
    first = one(scaled(), "Deployment")["spec"]["progressDeadlineSeconds"]
    assert zero["spec"]["initialCooldownPeriod"] > first
    assert "initialCooldownPeriod" not in keda["spec"]
    # Between one pod and many KEDA leaves the work to an HPA of its own, which has the quiet time from here.
    behavior = keda["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior == scaler["spec"]["behavior"] == {"scaleDown": {"stabilizationWindowSeconds": 300}}
    aibrix = spec_for(Framework.AIBRIX, autoscaling={"max_replicas": 4, "by": "aibrix"})
    check(one(rendered(aibrix, make_staged)[0], "PodAutoscaler"))


@pytest.mark.parametrize(
    ("image", "metric"),
    [
        ("vllm/vllm-openai:v0.9.0", "vllm_gpu_cache_usage_perc"),
        ("public.ecr.aws/deep-learning-containers/vllm:0.10.2-gpu-py312-ec2", "vllm_kv_cache_usage_perc"),
        ("vllm/vllm-openai:v0.24.0", "vllm_kv_cache_usage_perc"),
        ("vllm/vllm-openai:latest", "vllm_kv_cache_usage_perc"),
    ],
)
def test_the_cache_is_scaled_on_by_the_name_that_this_engine_gives_it(
    image: str, metric: str, make_staged: Make
) -> None:
    scaling = {"max_replicas": 4, "metric": "cache-usage", "target": 0.8}
    manifests, _ = rendered(spec_for(Framework.VLLM, image=image, autoscaling=scaling), make_staged)
    pods_metric = one(manifests, "HorizontalPodAutoscaler")["spec"]["metrics"][0]["pods"]
    assert pods_metric["metric"]["name"] == metric
    assert pods_metric["target"]["averageValue"] == "800m"


@pytest.mark.parametrize(
    ("framework", "scaling", "said"),
    [
        (Framework.TRITON_VLLM, {}, "triton-vllm's server does not measure that; use by=keda with a query"),
        (Framework.DIFFUSERS, {"metric": "cache-usage", "target": 0.5}, "one of requests-running, requests-waiting"),
        (Framework.LLAMA_CPP, {"metric": "cache-usage", "target": 0.5}, "one of requests-running, requests-waiting"),
        (Framework.VLLM, {"query": "up"}, "query is for by=keda, by is hpa"),
    ],
)
def test_a_metric_that_nobody_measures_scales_nothing(framework: Framework, scaling: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        spec_for(framework, autoscaling={"max_replicas": 2, **scaling})
    assert said in str(caught.value)
    query = {"by": "keda", "prometheus": "http://p:9090", "query": "sum(rate(nv_inference_request_success[1m]))"}
    assert spec_for(framework, autoscaling={"max_replicas": 2, **scaling, **query}).autoscaling


@pytest.mark.parametrize(
    ("image", "given"),
    [
        ("vllm/vllm-openai:v0.17.1", False),
        ("vllm/vllm-openai:v0.18.0", True),
        ("vllm/vllm-openai:latest", True),
        ("public.ecr.aws/deep-learning-containers/vllm:0.24.0-gpu-py312-ec2", True),
        ("public.ecr.aws/deep-learning-containers/vllm:0.10.2-gpu-py312-ec2", False),
        ("registry.example.com/engine:1", False),
    ],
)
def test_requests_in_flight_have_their_time_with_engines_that_would_abort_them(
    image: str, given: bool, make_staged: Make
) -> None:
    pod = {"drain_seconds": 10, "termination_seconds": 120}
    manifests, _ = rendered(spec_for(Framework.VLLM, image=image, pod=pod), make_staged)
    command = pods(manifests)[0]["spec"]["containers"][0]["command"]
    assert ("--shutdown-timeout" in command) is given
    if given:
        assert after(command, "--shutdown-timeout") == "100"
        own = spec_for(Framework.VLLM, image=image, engine={"extra_args": ["--shutdown-timeout=7"]})
        command = pods(rendered(own, make_staged)[0])[0]["spec"]["containers"][0]["command"]
        assert [part for part in command if "shutdown" in part] == ["--shutdown-timeout=7"]


def test_triton_finishes_its_requests(make_staged: Make) -> None:
    (template,) = pods(rendered(spec_for(Framework.TRITON_VLLM), make_staged)[0])
    assert "--exit-timeout-secs=100" in template["spec"]["containers"][0]["command"]


def test_scaling_changes_no_release(make_staged: Make) -> None:
    fixed, scaled = spec_for(Framework.VLLM), spec_for(Framework.VLLM, autoscaling={"max_replicas": 4})
    assert rendered(fixed, make_staged)[1].id == rendered(scaled, make_staged)[1].id


def test_pod_options_reach_the_pods(make_staged: Make) -> None:
    options = {
        "node_selector": {"pool": "gpu"},
        "tolerations": [{"key": "team", "operator": "Equal", "value": "a", "effect": "NoSchedule"}],
        "architecture": "arm64",
        "image_pull_secrets": ["registry"],
        "priority_class": "high",
        "annotations": {"note": "mine"},
        "labels": {"cost": "42", "app.kubernetes.io/component": "not-yours"},
        "service_annotations": {"balancer": "internal"},
        "drain_seconds": 0,
        "termination_seconds": 33,
    }
    spec = spec_for(Framework.VLLM, pod=options, instance_type="g5g.2xlarge")
    manifests, release = rendered(spec, make_staged)
    (template,) = pods(manifests)
    pod = template["spec"]
    assert pod["nodeSelector"] == {
        "pool": "gpu",
        "node.kubernetes.io/instance-type": "g5g.2xlarge",
        "kubernetes.io/arch": "arm64",
    }
    assert {"key": "team", "value": "a", "effect": "NoSchedule"}.items() <= pod["tolerations"][1].items()
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["priorityClassName"] == "high"
    assert template["metadata"]["annotations"]["note"] == "mine"
    assert template["metadata"]["labels"]["cost"] == "42"
    assert template["metadata"]["labels"]["app.kubernetes.io/component"] == "chat"
    assert render_endpoint(spec, release)["metadata"]["annotations"] == {"balancer": "internal"}
    assert "lifecycle" not in pod["containers"][0]
    assert pod["terminationGracePeriodSeconds"] == 33


def test_endpoints_with_long_names_keep_apart(make_staged: Make) -> None:
    names = [f"{'a' * 39}{letter}" for letter in "bc"]
    first, second = (rendered(spec_for(Framework.RAY_VLLM, name=name), make_staged)[1].name for name in names)
    assert first != second
    assert max(len(first), len(second)) <= 47
