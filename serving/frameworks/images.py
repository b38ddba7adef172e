"""What is known of the container images that serve, from their names: for which accelerator, which engine version.

Sources: the images' Dockerfiles (vllm-project/vllm ``docker/Dockerfile``, ``docker/Dockerfile.cpu``;
aws/deep-learning-containers ``docker/vllm``; ray-project/ray ``docker``; ggml-org/llama.cpp ``.devops``), the
packages of vLLM 0.9 to 0.27 and Ray 2.46 to 2.59, NVIDIA's NGC catalogue and the AWS Neuron documentation.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from serving.spec import Accelerator

Version = tuple[int, ...]

STREAMER_SINCE: Version = (0, 9, 0)
"""First vllm-openai release taken for granted to carry ``runai-model-streamer[s3]`` and S3 model paths."""

AWS_STREAMER_SINCE: Version = (0, 13, 0)
"""From here on AWS builds its vLLM images on vllm-openai, and they bring what that brings."""

DEVICE_FLAG_BEFORE: Version = (0, 10, 0)
"""vLLM finds its device by itself; ``--device`` was deprecated in 0.9 and is gone since 0.10."""

MULTI_NODE_SINCE: Version = (0, 12, 0)
"""From here on vLLM spans nodes by itself (``--nnodes``); before it needs Ray, which its images carried until 0.18."""

SHUTDOWN_TIMEOUT_SINCE: Version = (0, 18, 0)
"""From here on vLLM aborts requests in flight when told to stop, unless ``--shutdown-timeout`` gives them time."""

CACHE_METRIC_SINCE: Version = (0, 9, 2)
"""From here on vLLM has ``vllm:kv_cache_usage_perc``; ``vllm:gpu_cache_usage_perc`` is gone since 0.11."""

RAY_STREAMS: tuple[tuple[Version, Version], ...] = (((2, 52), (2, 57)), ((2, 59), (1000,)))
"""Versions of Ray, first and end, whose LLM application hands ``s3://`` addresses to a streaming engine. Earlier ones
take them for a Hub repository, 2.57 and 2.58 drop them (ray-project/ray issue 65477)."""


class Family(StrEnum):
    """What an image holds, and who built it."""

    UPSTREAM = "vllm-openai"
    AWS = "aws-vllm"
    NEURON = "neuron"
    CPU = "cpu"
    RAY = "ray"
    RAY_LLM = "ray-llm"
    TRITON = "triton"
    DIFFUSERS = "diffusers"
    NIM = "nim"
    LLAMA_CPP = "llama.cpp"
    OTHER = "other"


@dataclass(frozen=True)
class EngineImage:
    """An image.

    Attributes:
        accelerator: What it was built for; None if it is not known or does not matter.
        version: Version in its tag; empty if the tag does not say it.
    """

    name: str
    family: Family
    accelerator: Accelerator | None
    version: Version

    @property
    def streams(self) -> bool:
        """Whether the image is known to read weights from S3 by itself."""
        if self.family is Family.AWS:
            return self.version >= AWS_STREAMER_SINCE
        return self.family is Family.UPSTREAM and (not self.version or self.version >= STREAMER_SINCE)

    @property
    def cannot_stream(self) -> bool:
        """Whether the image is known to be unable to read weights from S3 by itself."""
        if self.accelerator is Accelerator.NEURON:
            return True
        return self.family is Family.UPSTREAM and not self.streams

    @property
    def takes_device_flag(self) -> bool:
        """Whether vLLM of this version still has ``--device``."""
        return bool(self.version) and self.version < DEVICE_FLAG_BEFORE

    @property
    def takes_shutdown_timeout(self) -> bool:
        """Whether vLLM of this image is known to have ``--shutdown-timeout``."""
        if self.family in (Family.UPSTREAM, Family.CPU):
            return not self.version or self.version >= SHUTDOWN_TIMEOUT_SINCE
        return self.family is Family.AWS and self.version >= SHUTDOWN_TIMEOUT_SINCE

    @property
    def cache_metric(self) -> str:
        """What vLLM of this version calls the share of its cache that is used; an unknown version counts as new."""
        old = bool(self.version) and self.version < CACHE_METRIC_SINCE
        return "vllm:gpu_cache_usage_perc" if old else "vllm:kv_cache_usage_perc"

    @property
    def spans_nodes(self) -> bool:
        """Whether vLLM of this version spans nodes without Ray; an unknown version counts as new."""
        return not self.version or self.version >= MULTI_NODE_SINCE


def ray_streams(version: Version) -> bool:
    """Tells whether Ray's LLM application of this version streams weights from S3; an unknown one counts as new."""
    return not version or any(first <= version < end for first, end in RAY_STREAMS)


def split_reference(image: str) -> tuple[str, str]:
    """Splits an image reference into repository and tag (empty if it has none; a digest is left out)."""
    reference = image.partition("@")[0]
    repository, colon, tag = reference.rpartition(":")
    if not colon or "/" in tag:
        return reference, ""
    return repository, tag


def engine_image(image: str) -> EngineImage:
    """Tells what is known of an image from its name."""
    repository, tag = split_reference(image)
    family, accelerator = _family(repository.lower(), tag.lower())
    return EngineImage(name=image, family=family, accelerator=accelerator, version=_version(tag))


# (family, accelerator, pattern of "repository:tag"); the first that matches counts.
_FAMILIES: tuple[tuple[Family, Accelerator | None, str], ...] = (
    (Family.NEURON, Accelerator.NEURON, r"[^/]*neuron[^/]*$"),
    (Family.NIM, Accelerator.GPU, r"^nvcr\.io/nim/"),
    (Family.TRITON, Accelerator.GPU, r"^nvcr\.io/nvidia/tritonserver:"),
    (Family.LLAMA_CPP, Accelerator.GPU, r"/llama\.cpp:[^/]*cuda"),
    (Family.LLAMA_CPP, Accelerator.CPU, r"/llama\.cpp:"),
    (Family.DIFFUSERS, Accelerator.CPU, r"/diffusers-[^/]*cpu[^/]*$"),
    (Family.DIFFUSERS, Accelerator.GPU, r"/diffusers-[^/]*cuda[^/]*$"),
    (Family.CPU, Accelerator.CPU, r"(/[^/:]*cpu[^/:]*:|:([^/]*-)?cpu(-[^/]*)?$)"),
    (Family.RAY_LLM, Accelerator.GPU, r"(^|/)rayproject/ray-llm:"),
    (Family.RAY, None, r"(^|/)rayproject/ray(-ml)?:"),
    (Family.AWS, Accelerator.GPU, r"(deep-learning-containers|\.dkr\.ecr\.[^/]*)/vllm:"),
    (Family.UPSTREAM, Accelerator.GPU, r"(^|^docker\.io/)vllm/vllm-openai:"),
)


def _family(repository: str, tag: str) -> tuple[Family, Accelerator | None]:
    reference = f"{repository}:{tag}"
    for family, accelerator, pattern in _FAMILIES:
        if re.search(pattern, reference):
            return family, accelerator
    return Family.OTHER, None


def _version(tag: str) -> Version:
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?(?:\D|$)", tag)
    return tuple(int(part) for part in match.groups() if part is not None) if match else ()
