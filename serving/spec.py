"""What an endpoint is to be: validated once, frozen, and all that a renderer needs besides the staged model."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from serving.forms import FormGroup
from serving.models import ModelSource
from serving.options import (
    Autoscaling,
    DiffusersOptions,
    LlamaCppOptions,
    LwsOptions,
    NimOptions,
    ObjectName,
    PodOptions,
    RayOptions,
    RolloutOptions,
    SmokeOptions,
    VllmOptions,
)
from serving.policy import RefreshPolicy
from serving.quantities import Quantity, parse

__all__ = [
    "DEPLOYMENT_BASED",
    "SECTIONS",
    "VLLM_BASED",
    "WEIGHTS",
    "Accelerator",
    "Autoscaling",
    "DiffusersOptions",
    "DnsLabel",
    "EndpointName",
    "EndpointSpec",
    "EnvName",
    "Framework",
    "LabelValue",
    "LlamaCppOptions",
    "LwsOptions",
    "NimOptions",
    "ObjectName",
    "PodOptions",
    "RayOptions",
    "RefreshPolicy",
    "Resources",
    "RolloutOptions",
    "SmokeOptions",
    "VllmOptions",
    "WeightsSource",
]


class Framework(StrEnum):
    """The serving stack that runs the engine."""

    VLLM = "vllm"
    RAY_VLLM = "ray-vllm"
    TRITON_VLLM = "triton-vllm"
    AIBRIX = "aibrix"
    LWS_VLLM = "lws-vllm"
    DIFFUSERS = "diffusers"
    NIM = "nim"
    LLAMA_CPP = "llama-cpp"


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


WEIGHTS = (
    "Where pods get the weights. stream: the engine reads S3 itself; sync: a verified copy on the node; "
    "mount: Mountpoint for S3; hub: the pod downloads. By default what suits framework and image"
)
"""What a form says about the choice."""

DnsLabel = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$", min_length=1, max_length=63)]
"""A DNS-1035 label, as Service names must be."""

EndpointName = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$", min_length=1, max_length=40)]
"""Short enough that every name derived from it stays a DNS-1035 label (RayService allows 47 characters)."""

EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256)]
"""Name of an environment variable."""

LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([\w.-]*[A-Za-z0-9])?)?$", max_length=63)]
"""What a Kubernetes label may hold; may be empty."""


class Resources(FormGroup):
    """What one pod asks for. Quantities as Kubernetes writes them.

    Attributes:
        accelerators: Devices (GPUs, Neuron chips) per pod.
    """

    accelerators: int = Field(default=1, ge=0, le=64, description="GPUs or Neuron chips per pod, none on cpu")
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
        ray: For ray-vllm only; so are the following for the framework that they are called after.
        autoscaling: None: `replicas` pods, always.
        refresh: How refreshes treat the endpoint; changes no pod.
        smoke: The question that proves it, and bounds for the answer; changes no pod.
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
    ray: RayOptions | None = None
    lws: LwsOptions | None = None
    diffusers: DiffusersOptions | None = None
    nim: NimOptions | None = None
    llama_cpp: LlamaCppOptions | None = None
    autoscaling: Autoscaling | None = None
    pod: PodOptions = PodOptions()
    rollout: RolloutOptions = RolloutOptions()
    refresh: RefreshPolicy = RefreshPolicy()
    smoke: SmokeOptions = SmokeOptions()
    preset: LabelValue = ""


SECTIONS: dict[Framework, str] = {
    Framework.RAY_VLLM: "ray",
    Framework.LWS_VLLM: "lws",
    Framework.DIFFUSERS: "diffusers",
    Framework.NIM: "nim",
    Framework.LLAMA_CPP: "llama_cpp",
}
"""The part of a spec that belongs to one framework alone."""

VLLM_BASED = frozenset(
    {Framework.VLLM, Framework.RAY_VLLM, Framework.TRITON_VLLM, Framework.AIBRIX, Framework.LWS_VLLM}
)
"""Frameworks whose engine is vLLM, and takes `EndpointSpec.engine`."""

DEPLOYMENT_BASED = frozenset(
    {Framework.VLLM, Framework.TRITON_VLLM, Framework.AIBRIX, Framework.DIFFUSERS, Framework.NIM, Framework.LLAMA_CPP}
)
"""Frameworks whose workload is a Deployment: these can be scaled by an autoscaler of Kubernetes."""
