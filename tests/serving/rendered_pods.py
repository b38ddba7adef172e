"""What decides whether a release's pods stay as they are: digests of what renders them, per number of `RENDERING`.

``python -m tests.serving.rendered_pods`` writes those of the present number that are missing.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serving.build import build_spec
from serving.errors import InputError
from serving.models import PinnedModel, StagedFile, StagedModel
from serving.release import RENDERING, Release
from serving.rendering import render
from serving.spec import Accelerator, EndpointSpec, Framework, WeightsSource

PATH = Path(__file__).parents[1] / "data" / "serving" / "rendered_pods.json"
COMMIT = "0123456789abcdef0123456789abcdef01234567"

# Another default image is another spec, and so another release by itself: it is no matter of rendering.
IMAGES: dict[tuple[Framework, Accelerator], str] = {
    (Framework.VLLM, Accelerator.GPU): "vllm/vllm-openai:v0.18.0",
    (Framework.RAY_VLLM, Accelerator.GPU): "rayproject/ray-llm:2.52.0-py311-cu128",
    (Framework.AIBRIX, Accelerator.GPU): "vllm/vllm-openai:v0.11.0",
    (Framework.LWS_VLLM, Accelerator.GPU): "vllm/vllm-openai:v0.17.0",
    (Framework.TRITON_VLLM, Accelerator.GPU): "nvcr.io/nvidia/tritonserver:25.06-vllm-python-py3",
    (Framework.NIM, Accelerator.GPU): "nvcr.io/nim/meta/llama3-8b-instruct:1.0",
}
OTHER_IMAGE = "registry.example.com/engine:1"

COMMON: dict[str, Any] = {
    "service_account": "reader",
    "store_secret": "store",
    "shared_memory": "8Gi",
    "env": {"WHICH": "one"},
    "instance_type": "g6e.12xlarge",
    "resources": {"accelerators": 2, "cpu": "4", "memory": "16Gi", "memory_limit": "32Gi"},
    "engine": {"max_model_len": 4096, "tensor_parallel_size": 2, "extra_args": ["--seed", "7"]},
    "pod": {
        "labels": {"team": "a"},
        "annotations": {"note": "b"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "image_pull_secrets": ["registry"],
        "architecture": "amd64",
    },
}
FURTHER: dict[str, tuple[Framework, Accelerator, dict[str, Any]]] = {
    "vllm with everything": (Framework.VLLM, Accelerator.GPU, COMMON),
    "ray-vllm with workers": (Framework.RAY_VLLM, Accelerator.GPU, {"ray": {"max_workers": 3, "fluent_bit": True}}),
    "lws-vllm over three pods": (
        Framework.LWS_VLLM,
        Accelerator.GPU,
        {"lws": {"size": 3, "efa": 4}, "engine": {"pipeline_parallel_size": 3}},
    ),
    "lws-vllm over Ray": (
        Framework.LWS_VLLM,
        Accelerator.GPU,
        {"lws": {"multi_node": "ray"}, "engine": {"pipeline_parallel_size": 2}},
    ),
    "nim by its operator": (Framework.NIM, Accelerator.GPU, {"nim": {"operator": True, "storage_class": "gp3"}}),
}
"""Specs besides the plain one of each framework, accelerator and source of weights."""

_NOT_PODS = frozenset(
    {"Service", "HorizontalPodAutoscaler", "ScaledObject", "PodAutoscaler", "PodDisruptionBudget", "PodMonitor"}
)


def specs() -> Iterator[tuple[str, EndpointSpec]]:
    """Endpoints whose pods are looked at, with their names."""
    for framework, accelerator, weights in itertools.product(Framework, Accelerator, WeightsSource):
        try:
            spec = _spec(framework, accelerator, {"weights": weights})
        except InputError:
            continue  # a cell of the table that cannot be
        yield f"{framework.value} {accelerator.value} {weights.value}", spec
    for name, (framework, accelerator, fields) in FURTHER.items():
        yield name, _spec(framework, accelerator, fields)


def _spec(framework: Framework, accelerator: Accelerator, fields: dict[str, Any]) -> EndpointSpec:
    given = {"name": "chat", "model": {"repo_id": "org/name"}, "image": IMAGES.get((framework, accelerator), "")}
    return build_spec(framework, accelerator, given | {"image": given["image"] or OTHER_IMAGE} | fields)


def digest(spec: EndpointSpec) -> str:
    """Of everything that a release's pods are made of, whatever its name: another digest, other pods."""
    paths = ("model.safetensors", "config.json", "model-Q8_0.gguf")
    model = PinnedModel(repo_id=spec.model.repo_id, revision="main", commit=COMMIT)
    staged = StagedModel(
        model=model,
        uri=f"s3://models/org/name/{COMMIT}/",
        files=tuple(StagedFile(path=path, size=10**9, sha256=f"{n:064x}") for n, path in enumerate(paths)),
        region="us-west-2",
    )
    release = Release(endpoint=spec.name, id="0123456789", model=model)
    manifests = render(spec, None if spec.weights is WeightsSource.HUB else staged, release)
    parts = [[one["kind"], _pods(one)] for one in manifests if one["kind"] not in _NOT_PODS]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _pods(manifest: dict[str, Any]) -> Any:
    match manifest["kind"]:
        case "Deployment":
            return manifest["spec"]["template"]
        case "LeaderWorkerSet":
            return manifest["spec"]["leaderWorkerTemplate"]
        case "ConfigMap":
            return manifest["data"]
        case _:
            return manifest["spec"]


def held() -> dict[str, dict[str, str]]:
    """Digests by number of rendering and name of the spec."""
    found: dict[str, dict[str, str]] = json.loads(PATH.read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    known = held() if PATH.exists() else {}
    known[str(RENDERING)] = {name: digest(spec) for name, spec in specs()} | known.get(str(RENDERING), {})
    PATH.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
