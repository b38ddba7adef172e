"""What is used where the user says nothing: images and weights sources per framework and accelerator."""

from serving.frameworks.images import engine_image
from serving.spec import Accelerator, Framework, WeightsSource

_VLLM = {
    Accelerator.GPU: "public.ecr.aws/deep-learning-containers/vllm:0.10.2-gpu-py312-ec2",
    Accelerator.NEURON: "public.ecr.aws/q9t5s3a7/vllm-neuron-release-repo:v0.9.1",
    Accelerator.CPU: "public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo:v0.17.1",
}

DEFAULT_IMAGES: dict[Framework, dict[Accelerator, str]] = {
    Framework.VLLM: _VLLM,
    Framework.AIBRIX: _VLLM,
    Framework.LWS_VLLM: {
        Accelerator.GPU: _VLLM[Accelerator.GPU],
        Accelerator.NEURON: _VLLM[Accelerator.NEURON],
    },
    Framework.RAY_VLLM: {
        Accelerator.GPU: "rayproject/ray-llm:2.46.0-py311-cu124",
        Accelerator.NEURON: "975050295866.dkr.ecr.us-west-2.amazonaws.com/ray-vllm-neuron:2.47.0-0.9.1",
    },
    Framework.TRITON_VLLM: {Accelerator.GPU: "nvcr.io/nvidia/tritonserver:25.06-vllm-python-py3"},
    Framework.DIFFUSERS: {
        Accelerator.GPU: "diffusers/diffusers-pytorch-cuda:latest",
        Accelerator.NEURON: (
            "763104351884.dkr.ecr.us-west-2.amazonaws.com/huggingface-pytorch-inference-neuronx:"
            "2.8.0-transformers4.55.4-neuronx-py310-sdk2.26.0-ubuntu22.04"
        ),
        Accelerator.CPU: "diffusers/diffusers-pytorch-cpu:latest",
    },
    Framework.NIM: {},
    Framework.LLAMA_CPP: {
        Accelerator.GPU: "ghcr.io/ggml-org/llama.cpp:server-cuda",
        Accelerator.CPU: "ghcr.io/ggml-org/llama.cpp:server",
    },
}
"""An image that works for each combination; where one is missing, none is published (NIM: one for each model)."""


def default_image(framework: Framework, accelerator: Accelerator) -> str:
    """Returns the image that is used unless the user names one; empty where there is none."""
    return DEFAULT_IMAGES[framework].get(accelerator, "")


def default_weights(framework: Framework, accelerator: Accelerator, image: str) -> WeightsSource:
    """Returns where a container of this image gets its weights from unless the user says otherwise.

    ``stream`` where the image is known to read S3 by itself; ``sync`` (verified against the manifest, and works with
    every image) elsewhere; ``hub`` for NIM, whose containers fetch their own profile of a model.
    """
    if framework is Framework.NIM:
        return WeightsSource.HUB
    reads_s3 = framework in (Framework.VLLM, Framework.AIBRIX, Framework.LWS_VLLM)
    if reads_s3 and accelerator is Accelerator.GPU and engine_image(image).streams:
        return WeightsSource.STREAM
    return WeightsSource.SYNC
