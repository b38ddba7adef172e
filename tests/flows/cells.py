"""The table of frameworks, accelerators and weights sources: what a test deploys for each of its cells."""

from itertools import product
from typing import Any

from serving.build import build_spec
from serving.combinations import not_on
from serving.models import ModelSource
from serving.spec import Accelerator, EndpointSpec, Framework, WeightsSource
from tests.flows.conftest import NAMESPACE

Cell = tuple[Framework, Accelerator, WeightsSource]

IMAGES: dict[tuple[Framework, Accelerator] | Cell, str] = {
    (Framework.NIM, Accelerator.GPU): "nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8.3",
    (Framework.TRITON_VLLM, Accelerator.NEURON): "example.com/triton-vllm-neuron:25.06",
    (Framework.RAY_VLLM, Accelerator.GPU, WeightsSource.STREAM): "rayproject/ray-llm:2.52.0-py311-cu128",
    (Framework.VLLM, Accelerator.GPU, WeightsSource.STREAM): "vllm/vllm-openai:v0.11.0",
    (Framework.AIBRIX, Accelerator.GPU, WeightsSource.STREAM): "vllm/vllm-openai:v0.11.0",
    (Framework.LWS_VLLM, Accelerator.GPU, WeightsSource.STREAM): "vllm/vllm-openai:v0.18.0",
}
"""Where the default image cannot do what the cell asks for, or there is none: one that can."""

CELLS: list[Cell] = [
    (framework, accelerator, weights)
    for framework, accelerator, weights in product(Framework, Accelerator, WeightsSource)
    if not not_on(framework, accelerator)
]
"""Frameworks on the accelerators that they run on, with every source of weights."""

IMPOSSIBLE = {
    # On Neuron the engine reads directories; Triton, Diffusers, NIM and llama.cpp take what their servers can load.
    *((framework, Accelerator.NEURON, WeightsSource.STREAM) for framework in Framework),
    *((Framework.TRITON_VLLM, accelerator, WeightsSource.STREAM) for accelerator in Accelerator),
    *((Framework.DIFFUSERS, accelerator, WeightsSource.STREAM) for accelerator in Accelerator),
    *(
        (Framework.NIM, accelerator, weights)
        for accelerator in Accelerator
        for weights in WeightsSource
        if weights is not WeightsSource.HUB
    ),
    *(
        (Framework.LLAMA_CPP, accelerator, weights)
        for accelerator in Accelerator
        for weights in (WeightsSource.STREAM, WeightsSource.HUB)
    ),
}
POSSIBLE = [cell for cell in CELLS if cell not in IMPOSSIBLE]

MODELS = {
    Framework.LLAMA_CPP: ModelSource(repo_id="Qwen/Qwen3-1.7B-GGUF"),
    Framework.DIFFUSERS: ModelSource(repo_id="stabilityai/stable-diffusion-xl-base-1.0"),
    Framework.NIM: ModelSource(repo_id="meta/llama-3.1-8b-instruct"),
}
MODEL = ModelSource(repo_id="Qwen/Qwen3-1.7B")


def cell_name(cell: Cell) -> str:
    return "-".join(part.value for part in cell)


def spec_for(cell: Cell, **fields: Any) -> EndpointSpec:
    """An endpoint for the sandbox: small pods that end at once."""
    framework, accelerator, weights = cell
    given: dict[str, Any] = {
        "name": cell_name(cell)[:40],
        "namespace": NAMESPACE,
        "model": MODELS.get(framework, MODEL),
        "weights": weights,
        "image": IMAGES.get(cell) or IMAGES.get((framework, accelerator)) or "",
        "pod": {"drain_seconds": 0},
    }
    if framework is Framework.DIFFUSERS:
        given["diffusers"] = {"pipeline": "stablediffusionxl", "width": 64, "height": 64}
    if framework is Framework.LWS_VLLM:
        given["engine"] = {"pipeline_parallel_size": 1 if accelerator is Accelerator.NEURON else 2}
    if framework is Framework.RAY_VLLM:
        given["ray"] = {"head_cpu": "1", "head_memory": "1Gi"}
    return build_spec(framework, accelerator, given | fields)
