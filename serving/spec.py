"""What an endpoint is to be: validated once, frozen, and all that a renderer needs besides the staged model."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from serving.models import ModelSource
from serving.quantities import Quantity, parse


class Framework(StrEnum):
    """The serving stack that runs the engine."""

    VLLM = "vllm"
    RAY_VLLM = "ray-vllm"
    TRITON_VLLM = "triton-vllm"
    AIBRIX = "aibrix"
    LWS_VLLM = "lws-vllm"
    DIFFUSERS = "diffusers"
    NIM = "nim"


class Accelerator(StrEnum):
    """What the engine computes on; cpu is for trying out."""

    GPU = "gpu"
    NEURON = "neuron"
    CPU = "cpu"

    @property
    def resource(self) -> str:
        """The extended resource that a pod asks for; empty for cpu."""
        return {"gpu": "nvidia.com/gpu", "neuron": "aws.amazon.com/neuron", "cpu": ""}[self.value]


class WeightsSource(StrEnum):
    """Where a container gets its weights from.

    stream: the engine itself reads ``s3://``. sync: an init container fills a volume on the node, verified.
    mount: Mountpoint for S3 (CSI). hub: the pod downloads from the Hub.
    """

    STREAM = "stream"
    SYNC = "sync"
    MOUNT = "mount"
    HUB = "hub"


DnsLabel = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$", min_length=1, max_length=63)]
"""A DNS-1035 label, as Service names must be."""

EndpointName = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$", min_length=1, max_length=40)]
"""Short enough that every name derived from it stays a DNS-1035 label (RayService allows 47 characters)."""

EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256)]
"""Name of an environment variable."""

ObjectName = Annotated[str, StringConstraints(pattern=r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$", max_length=253)]
"""Name of a Kubernetes object, or empty."""

LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([\w.-]*[A-Za-z0-9])?)?$", max_length=63)]
"""What a Kubernetes label may hold; may be empty."""


class VllmOptions(BaseModel):
    """Engine arguments of vLLM; the names are vLLM's own. What is None is left to the engine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_model_len: int | None = Field(default=None, gt=0, description="Longest prompt plus answer, tokens")
    gpu_memory_utilization: float | None = Field(
        default=None, gt=0, le=1, description="Share of the accelerator's memory that the engine may use"
    )
    tensor_parallel_size: int | None = Field(default=None, gt=0, description="Accelerators that share each layer")
    pipeline_parallel_size: int | None = Field(default=None, gt=0, description="Groups of layers one after the other")
    max_num_seqs: int | None = Field(default=None, gt=0, description="Requests computed at the same time")
    max_num_batched_tokens: int | None = Field(default=None, gt=0, description="Tokens in one engine step")
    dtype: str | None = Field(default=None, description="auto, bfloat16, float16 or float32")
    quantization: str | None = Field(default=None, description="For example fp8 or awq; by default what the model says")
    enable_prefix_caching: bool | None = Field(default=None, description="Reuse the cache of shared prompt beginnings")
    tokenizer_pool_size: int | None = Field(default=None, ge=0, description="Neuron images up to vLLM 0.9 only")
    max_parallel_loading_workers: int | None = Field(default=None, gt=0, description="Neuron images up to 0.9 only")
    trust_remote_code: bool = Field(default=False, description="Run Python code that the model's repository brings")
    extra_args: tuple[str, ...] = Field(default=(), description="Further arguments, passed on as they are")


class Resources(BaseModel):
    """What one pod asks for. Quantities as Kubernetes writes them.

    Attributes:
        accelerators: Devices (GPUs, Neuron chips) per pod.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    accelerators: int = Field(default=1, ge=0, le=64, description="GPUs or Neuron chips per pod")
    cpu: Quantity = Field(default="", description="Cores that are kept free for the pod, for example 4")
    memory: Quantity = Field(default="", description="Memory that is kept free for the pod, for example 16Gi")
    cpu_limit: Quantity = Field(default="", description="Most cores that the pod may use; empty: no limit")
    memory_limit: Quantity = Field(default="", description="Memory above which the pod is killed; empty: no limit")

    @model_validator(mode="after")
    def _request_within_limit(self) -> "Resources":
        for name, request, limit in (("cpu", self.cpu, self.cpu_limit), ("memory", self.memory, self.memory_limit)):
            if request and limit and parse(request) > parse(limit):
                raise ValueError(f"{name} {request} is above {name}_limit {limit}")
        return self


class EndpointSpec(BaseModel):
    """One endpoint, complete: nothing is looked up or defaulted after this was validated.

    Attributes:
        served_model_name: The model's name in the endpoint's API.
        env: Environment of the engine; wins over what the renderer sets. Values arrive as written.
        service_account: Pods read S3 with its identity (EKS Pod Identity or IRSA); empty: the namespace's default.
        token_secret: Secret whose key ``token`` holds the Hub token; read by pods only when they load from the Hub.
        store_secret: Secret with ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY`` for pods that cannot have an
            identity (S3-compatible stores); empty: none.
        shared_memory: Size of ``/dev/shm``; empty: 2Gi per accelerator.
        startup_seconds: Longest load; None: computed from the model's bytes.
        preset: Catalogue entry that this came from; empty: none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: EndpointName
    namespace: DnsLabel = "default"
    model: ModelSource
    framework: Framework
    accelerator: Accelerator
    image: Annotated[str, StringConstraints(pattern=r"^[^\s]+$")]
    engine: VllmOptions = VllmOptions()
    weights: WeightsSource
    served_model_name: str = Field(min_length=1)
    replicas: int = Field(default=1, ge=1, le=1000)
    resources: Resources = Resources()
    instance_type: LabelValue = ""
    env: dict[EnvName, str] = {}
    service_account: ObjectName = ""
    token_secret: ObjectName = "hf-token"
    store_secret: ObjectName = ""
    shared_memory: Quantity = ""
    startup_seconds: int | None = Field(default=None, ge=1, le=7 * 24 * 3600)
    preset: LabelValue = ""
