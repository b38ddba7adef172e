"""What is known of the container images that serve: for which accelerator, which vLLM, with which loaders.

Sources: the images' Dockerfiles (vllm-project/vllm ``docker/Dockerfile``, ``docker/Dockerfile.cpu``;
aws/deep-learning-containers ``vllm/x86_64/gpu/Dockerfile``) and the AWS Neuron documentation.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from serving.spec import Accelerator, Framework, WeightsSource

Version = tuple[int, ...]

STREAMER_SINCE: Version = (0, 9, 0)
"""First vllm-openai release taken for granted to carry ``runai-model-streamer[s3]`` and S3 model paths."""

DEVICE_FLAG_BEFORE: Version = (0, 10, 0)
"""vLLM finds its device by itself; ``--device`` was deprecated in 0.9 and is gone since 0.10."""


class Family(StrEnum):
    """Who built the image."""

    UPSTREAM = "upstream"
    AWS = "aws"
    NEURON = "neuron"
    CPU = "cpu"
    OTHER = "other"


@dataclass(frozen=True)
class EngineImage:
    """A vLLM image.

    Attributes:
        accelerator: What it was built for; None if that is not known.
        version: vLLM's version; empty if the tag does not say it.
    """

    name: str
    family: Family
    accelerator: Accelerator | None
    version: Version

    @property
    def streams(self) -> bool:
        """Whether the image is known to read weights from S3 by itself."""
        return self.family is Family.UPSTREAM and (not self.version or self.version >= STREAMER_SINCE)

    @property
    def cannot_stream(self) -> bool:
        """Whether the image is known to be unable to read weights from S3 by itself."""
        if self.family is Family.NEURON or self.accelerator is Accelerator.NEURON:
            return True
        return self.family is Family.UPSTREAM and not self.streams

    @property
    def takes_device_flag(self) -> bool:
        """Whether vLLM of this version still has ``--device``."""
        return bool(self.version) and self.version < DEVICE_FLAG_BEFORE


EXAMPLES = {
    Accelerator.GPU: "public.ecr.aws/deep-learning-containers/vllm:0.10.2-gpu-py312-ec2 or vllm/vllm-openai:v0.11.0",
    Accelerator.NEURON: "public.ecr.aws/q9t5s3a7/vllm-neuron-release-repo:v0.9.1",
    Accelerator.CPU: "public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo:v0.17.1",
}
"""An image that works, for the sentence that refuses one that does not."""


def split_reference(image: str) -> tuple[str, str]:
    """Splits an image reference into repository and tag (empty if it has none; a digest is left out)."""
    reference = image.partition("@")[0]
    repository, colon, tag = reference.rpartition(":")
    if not colon or "/" in tag:
        return reference, ""
    return repository, tag


def engine_image(image: str) -> EngineImage:
    """Tells what is known of a vLLM image from its name."""
    repository, tag = split_reference(image)
    family, accelerator = _family(repository.lower(), tag.lower())
    return EngineImage(name=image, family=family, accelerator=accelerator, version=_version(tag))


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


def _family(repository: str, tag: str) -> tuple[Family, Accelerator | None]:
    last = repository.rsplit("/", 1)[-1]
    if "neuron" in last or "neuron" in tag:
        return Family.NEURON, Accelerator.NEURON
    if "cpu" in last or re.search(r"(^|-)cpu(-|$)", tag):
        return Family.CPU, Accelerator.CPU
    if re.search(r"(^|/)deep-learning-containers/vllm$", repository) or re.search(r"\.dkr\.ecr\..*/vllm$", repository):
        return Family.AWS, Accelerator.GPU
    if repository in ("vllm/vllm-openai", "docker.io/vllm/vllm-openai"):
        return Family.UPSTREAM, Accelerator.GPU
    return Family.OTHER, None


def _version(tag: str) -> Version:
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?(?:\D|$)", tag)
    return tuple(int(part) for part in match.groups() if part is not None) if match else ()
