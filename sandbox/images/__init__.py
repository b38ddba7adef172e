"""The container images that the sandbox's registry holds: a directory of executables each.

| image | what its containers run |
| --- | --- |
| vLLM's (AWS deep learning containers, Neuron, CUDA, CPU) | `vllm`: the stand-in engine, or a real one that was given |
| Ray, Triton, llama.cpp, NIM, Diffusers | their programs, as stand-ins (`sandbox.standins`) |
| AWS CLI | `aws`: the real AWS CLI |
| sandbox/python | `python3`: this project's Python, for what a test needs |

The stand-in has the command line of the image's release, and takes faults from its environment
(`sandbox.engine.faults`).
"""

import sys
from pathlib import Path

from sandbox.kubernetes.node.config import ImageConfig

_HERE = Path(__file__).parent

AWS_CLI = "public.ecr.aws/aws-cli/aws-cli:*"
PYTHON = "sandbox/python:*"
_OPENAI_ENTRYPOINT = ("vllm", "serve")
_VLLM: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    # pattern, release series of the command line, entry point
    ("public.ecr.aws/deep-learning-containers/vllm:0.9*", "0.9", ()),
    ("public.ecr.aws/deep-learning-containers/vllm:0.10*", "0.10", ()),
    ("public.ecr.aws/deep-learning-containers/vllm:*", "0.32", ()),
    ("public.ecr.aws/q9t5s3a7/vllm-neuron-release-repo:v0.9*", "0.9", ()),
    ("public.ecr.aws/q9t5s3a7/vllm-neuron-release-repo:*", "0.10", ()),
    ("vllm/vllm-openai:*", "0.32", _OPENAI_ENTRYPOINT),
    ("vllm/vllm-openai-cpu:*", "0.32", _OPENAI_ENTRYPOINT),
    ("public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo:*", "0.32", _OPENAI_ENTRYPOINT),
    ("public.ecr.aws/q9t5s3a7/vllm-arm64-cpu-release-repo:*", "0.32", _OPENAI_ENTRYPOINT),
    ("public.ecr.aws/neuron/pytorch-inference-vllm-neuronx:0.9*", "0.9", ()),
    ("public.ecr.aws/neuron/pytorch-inference-vllm-neuronx:*", "0.10", ()),
    ("*/huggingface-vllm-inference-neuronx:*", "0.10", ()),
)
_BUILT_AROUND: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    # pattern, directory, entry point, release series of the engine's options
    ("rayproject/*", "ray", (), "0.32"),
    ("*/ray-vllm-neuron:*", "ray", (), "0.9"),
    ("nvcr.io/nvidia/tritonserver:*", "triton", (), "0.9"),
    ("*/triton-vllm-neuron:*", "triton", (), "0.9"),
    ("ghcr.io/ggml-org/llama.cpp:*", "llama_cpp", ("/app/llama-server",), ""),
    ("nvcr.io/nim/stabilityai/*", "nim", ("start-server", "--pictures"), ""),
    ("nvcr.io/nim/black-forest-labs/*", "nim", ("start-server", "--pictures"), ""),
    ("nvcr.io/nim/*", "nim", ("start-server",), ""),
    ("diffusers/diffusers-pytorch-*", "diffusers", (), ""),
    ("*/huggingface-pytorch-inference-neuronx:*", "diffusers", (), ""),
    ("*fluent/fluent-bit:*", "fluent_bit", ("/fluent-bit/bin/fluent-bit",), ""),
)
_CPU_ENGINE = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    # Compiling kernels takes minutes on two cores; a worker of its own costs another interpreter's start.
    "TORCH_COMPILE_DISABLE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    # Each pod has a home of its own; what vLLM found out about an architecture is kept beyond it.
    "VLLM_CACHE_ROOT": str(Path.home() / ".cache" / "vllm"),
}
"""A real vLLM on this machine: 1 GiB for its KV cache, started as fast as it can be, and no word to anybody."""


def default_images(*, vllm: Path | None = None, pull_seconds: float = 0.0) -> tuple[ImageConfig, ...]:
    """The images that presets name.

    Args:
        vllm: A real vllm executable for the vLLM images; None for the stand-in engine.
        pull_seconds: How long a node takes to pull each for the first time.
    """
    python = {"SANDBOX_PYTHON": sys.executable}
    images = []
    for pattern, series, entrypoint in _VLLM:
        if vllm is not None:
            path, env = _HERE / "vllm_given", {"SANDBOX_VLLM": str(vllm.absolute()), **_CPU_ENGINE}
        else:
            path = _HERE / "vllm"
            env = {**python, "SANDBOX_ENGINE_SERIES": series, "OPENBLAS_NUM_THREADS": "1"}
        images.append(ImageConfig(pattern, path, env, entrypoint=entrypoint, pull_seconds=pull_seconds))
    for pattern, directory, entrypoint, series in _BUILT_AROUND:
        env = {**python, "OPENBLAS_NUM_THREADS": "1", **({"SANDBOX_ENGINE_SERIES": series} if series else {})}
        images.append(ImageConfig(pattern, _HERE / directory, env, entrypoint=entrypoint, pull_seconds=pull_seconds))
    images.append(
        ImageConfig(
            AWS_CLI,
            _HERE / "aws_cli",
            python,
            entrypoint=("/usr/local/bin/aws",),
            pull_seconds=pull_seconds,
        )
    )
    images.append(ImageConfig(PYTHON, _HERE / "python", python, cmd=("python3",), pull_seconds=pull_seconds))
    return tuple(images)
