"""What each serving stack can be told, besides what all have in common. The names are the engines' own."""

import re
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from serving.forms import FormGroup
from serving.quantities import Quantity

ObjectName = Annotated[str, StringConstraints(pattern=r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$", max_length=253)]
"""Name of a Kubernetes object, or empty."""

PackageSpec = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9,._-]+\])?[=<>!~0-9A-Za-z.,*+-]*$")
]
"""A Python requirement such as ``diffusers==0.34.0``."""


class VllmOptions(FormGroup):
    """Engine arguments of vLLM; the names are vLLM's own. What is None is left to the engine."""

    max_model_len: int | None = Field(default=None, gt=0, description="Longest prompt plus answer, tokens")
    gpu_memory_utilization: float | None = Field(
        default=None, gt=0, le=1, description="Share of the accelerator's memory that the engine may use"
    )
    tensor_parallel_size: int | None = Field(default=None, gt=0, description="Accelerators that share each layer")
    pipeline_parallel_size: int | None = Field(default=None, gt=0, description="Groups of layers one after the other")
    max_num_seqs: int | None = Field(default=None, gt=0, description="Requests computed at the same time")
    max_num_batched_tokens: int | None = Field(default=None, gt=0, description="Tokens in one engine step")
    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] | None = Field(
        default=None, description="Number format of weights and activations; auto: the model's own"
    )
    quantization: str | None = Field(default=None, description="For example fp8 or awq; by default what the model says")
    kv_cache_dtype: str | None = Field(default=None, description="For example fp8; by default the model's own type")
    enable_prefix_caching: bool | None = Field(default=None, description="Reuse the cache of shared prompt beginnings")
    enable_auto_tool_choice: bool | None = Field(default=None, description="Let the model decide to call tools")
    tool_call_parser: str | None = Field(
        default=None, description="How the model writes tool calls, for example hermes"
    )
    reasoning_parser: str | None = Field(default=None, description="How the model writes its thoughts")
    tokenizer_pool_size: int | None = Field(default=None, ge=0, description="Neuron images up to vLLM 0.9 only")
    max_parallel_loading_workers: int | None = Field(default=None, gt=0, description="Neuron images up to 0.9 only")
    trust_remote_code: bool = Field(default=False, description="Run Python code that the model's repository brings")
    extra_args: tuple[str, ...] = Field(default=(), description="Further arguments, passed on as they are")


class RayOptions(FormGroup):
    """Ray around the engine.

    Attributes:
        vllm_version: Installed when Ray starts; empty where the image brings vLLM (rayproject/ray-llm).
    """

    version: str = Field(default="", description="Ray's version; by default from the image's tag")
    vllm_version: str = Field(default="", description="vLLM to install at start; empty: the image brings it")
    min_workers: int = Field(default=1, ge=0, le=1000, description="Fewest worker pods")
    max_workers: int = Field(default=1, ge=1, le=1000, description="Most worker pods")
    autoscaling: bool = Field(default=False, description="Ray adds and removes workers and replicas with the load")
    min_replicas: int = Field(default=1, ge=0, le=1000, description="Fewest engine replicas when autoscaling")
    max_replicas: int = Field(default=1, ge=1, le=1000, description="Most engine replicas when autoscaling")
    target_ongoing_requests: int = Field(default=16, ge=1, description="Requests per replica that autoscaling aims at")
    upscaling_mode: Literal["Default", "Aggressive", "Conservative"] = Field(
        default="Default", description="How fast workers are added"
    )
    idle_timeout_seconds: int = Field(default=60, ge=1, description="Seconds until an idle worker goes")
    redis_address: str = Field(default="", description="host:port of a Redis that keeps Ray's state; empty: none")
    redis_secret: ObjectName = Field(default="", description="Secret with that Redis' password")
    redis_secret_key: str = Field(default="password", min_length=1, description="Key of the password in that Secret")
    prometheus_host: str = Field(default="", description="Prometheus URL for the dashboard")
    grafana_host: str = Field(default="", description="Grafana URL for the dashboard, as Ray reaches it")
    grafana_iframe_host: str = Field(default="", description="Grafana URL for the dashboard, as the browser reaches it")
    fluent_bit: bool = Field(default=False, description="Side-car that writes Ray's log files to its standard output")
    head_cpu: Quantity = Field(default="2", description="Cores of the head pod")
    head_memory: Quantity = Field(default="8Gi", description="Memory of the head pod")

    @model_validator(mode="after")
    def _ranges(self) -> "RayOptions":
        if self.min_workers > self.max_workers:
            raise ValueError(f"min_workers {self.min_workers} is above max_workers {self.max_workers}")
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}")
        return self


class LwsOptions(FormGroup):
    """A group of pods that together run one engine."""

    size: int | None = Field(
        default=None, ge=1, le=256, description="Pods per group; by default pipeline_parallel_size"
    )
    multi_node: Literal["auto", "native", "ray"] = Field(
        default="auto", description="How vLLM spans pods: by itself (from 0.12 on) or over Ray; auto: by the image"
    )
    efa: int = Field(default=0, ge=0, le=32, description="Elastic Fabric Adapters per pod, for traffic between pods")


class DiffusersOptions(FormGroup):
    """The image server.

    Attributes:
        packages: Installed once per pod into a volume, before those of the image and without what they depend on:
            that is the image's. The images of the Diffusers project bring all that their pipelines need since July
            2026.
    """

    pipeline: Literal["flux", "stablediffusion3", "stablediffusionxl", "kolors", "omnigen", "diffusion"] = Field(
        default="diffusion", description="Pipeline class; diffusion: what the model's own index says"
    )
    dtype: Literal["", "bfloat16", "float16", "float32"] = Field(
        default="", description="By default the pipeline's own"
    )
    width: int = Field(default=1024, ge=64, le=4096, multiple_of=8, description="Default width, pixels")
    height: int = Field(default=1024, ge=64, le=4096, multiple_of=8, description="Default height, pixels")
    steps: int | None = Field(default=None, ge=1, le=1000, description="Default denoising steps; None: the pipeline's")
    guidance_scale: float | None = Field(default=None, ge=0, description="Default guidance; None: the pipeline's")
    packages: tuple[PackageSpec, ...] = Field(
        default=(), description="Python packages that the image lacks, for example diffusers==0.39.0"
    )


class NimOptions(FormGroup):
    """NVIDIA NIM: a container that brings engine and model profile."""

    operator: bool = Field(default=False, description="Let the NIM operator run it (NIMCache and NIMService)")
    kind: Literal["llm", "image"] = Field(default="llm", description="What it answers: text or pictures")
    key_secret: ObjectName = Field(default="ngc-api", description="Secret with NGC_API_KEY")
    pull_secret: ObjectName = Field(default="ngc-secret", description="Image pull secret for nvcr.io")
    cache_size: Quantity = Field(default="100Gi", description="Disk for downloaded and built engines")
    storage_class: ObjectName = Field(
        default="", description="Keeps the cache on a volume of this class; empty: node disk"
    )
    cache_engine: str = Field(default="", description="Profile for the operator's cache, for example tensorrt_llm")
    cache_tensor_parallelism: int | None = Field(default=None, ge=1, description="Profile for the operator's cache")


class LlamaCppOptions(FormGroup):
    """llama.cpp's server.

    Attributes:
        model_file: GGUF file inside the repository; empty: the only one, or the first part of the only split one.
    """

    model_file: str = Field(default="", description="GGUF file in the repository")
    ctx_size: int | None = Field(default=None, ge=0, description="Longest prompt plus answer, tokens")
    parallel: int | None = Field(default=None, ge=1, description="Requests computed at the same time")
    threads: int | None = Field(default=None, ge=1, description="CPU threads")
    n_gpu_layers: int | None = Field(default=None, ge=0, description="Layers on the GPU; by default all")
    extra_args: tuple[str, ...] = Field(default=(), description="Further arguments, passed on as they are")


class Autoscaling(FormGroup):
    """Replicas that follow the load."""

    by: Literal["hpa", "keda", "aibrix"] = Field(
        default="hpa", title="Scaled by", description="Who scales: must be installed"
    )
    min_replicas: int = Field(default=1, ge=0, le=1000, description="Fewest pods; 0 with keda only")
    max_replicas: int = Field(ge=1, le=1000, description="Most pods")
    metric: Literal["requests-waiting", "requests-running", "cache-usage"] = Field(
        default="requests-waiting", description="What is measured per pod"
    )
    target: float = Field(default=5, gt=0, description="Value per pod that is aimed at; cache-usage: share of 1")
    prometheus: str = Field(default="", description="Prometheus URL, for keda")
    query: str = Field(default="", description="PromQL instead of the metric, for keda: for example a gateway's")
    cooldown_seconds: int = Field(default=300, ge=0, description="Quiet time before pods are taken away")

    @model_validator(mode="after")
    def _consistent(self) -> "Autoscaling":
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}")
        if self.min_replicas == 0 and self.by != "keda":
            raise ValueError(f"min_replicas 0 works with by=keda only, by is {self.by}")
        if self.by == "keda" and not self.prometheus:
            raise ValueError("by=keda needs prometheus, the URL of the Prometheus that has the engine's metrics")
        if self.query and self.by != "keda":
            raise ValueError(f"query is for by=keda, by is {self.by}")
        if self.min_replicas == 0 and not self.query:
            raise ValueError(
                "min_replicas 0 needs query, PromQL over something that lives without pods (a gateway): the engine's "
                "own metrics end with the last pod, and nothing would start another"
            )
        if self.metric == "cache-usage" and self.target > 1:
            raise ValueError(f"target {self.target} is above 1, cache-usage is a share")
        return self


class Toleration(FormGroup):
    """A node taint that pods put up with, as Kubernetes writes it."""

    key: str = Field(default="", description="Key of the taint; empty with Exists: every taint")
    operator: Literal["Exists", "Equal"] = Field(default="Equal", description="Exists: whatever its value")
    value: str = Field(default="", description="Value of the taint, with Equal")
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(default="", description="Empty: all")


class PodOptions(FormGroup):
    """Where pods run and how they end."""

    node_selector: dict[str, str] = Field(default={}, description="Node labels that pods insist on")
    tolerations: tuple[Toleration, ...] = Field(default=(), description="Further taints that pods put up with")
    architecture: Literal["", "amd64", "arm64"] = Field(default="", description="Processor of the nodes; empty: any")
    image_pull_secrets: tuple[ObjectName, ...] = Field(default=(), description="Secrets for private registries")
    priority_class: ObjectName = Field(default="", description="Kubernetes priority class")
    scheduler: ObjectName = Field(
        default="", description="Scheduler of the pods, for example Neuron's scheduler extension; empty: the default"
    )
    annotations: dict[str, str] = Field(default={}, description="Further annotations of the pods")
    labels: dict[str, str] = Field(default={}, description="Further labels of the pods")
    service_annotations: dict[str, str] = Field(default={}, description="Annotations of the Service")
    monitor: bool = Field(default=False, description="PodMonitor for the Prometheus operator, which must be installed")
    monitor_labels: dict[str, str] = Field(
        default={}, description="Labels by which Prometheus chooses PodMonitors, for example release: prometheus"
    )
    monitor_seconds: int = Field(default=30, ge=1, le=3600, description="Seconds between two scrapes")
    drain_seconds: int = Field(default=10, ge=0, le=600, description="A terminating pod still answers so long")
    termination_seconds: int = Field(default=120, ge=1, le=3600, description="Time for requests in flight, in all")

    @model_validator(mode="after")
    def _drains_before_it_ends(self) -> "PodOptions":
        if self.drain_seconds >= self.termination_seconds:
            raise ValueError(
                f"drain_seconds {self.drain_seconds} is not below termination_seconds {self.termination_seconds}"
            )
        return self


class RolloutOptions(FormGroup):
    """How a new release takes over from the old one. Changes no pod, and so no release."""

    strategy: Literal["blue-green", "recreate"] = Field(
        default="blue-green",
        description="blue-green: beside the old release, on spare accelerators; recreate: on the old release's own",
    )
    retire_after: int = Field(
        default=30, ge=0, le=3600, description="Seconds that the old release stays after the switch, for open requests"
    )


class SmokeOptions(FormGroup):
    """The question that proves an endpoint before clients get to it. Empty fields get the project's choice.

    Kept with each release: whatever brings it up, or asks it later, asks the same. Changes no pod.
    """

    prompt: str = Field(
        default="", max_length=10_000, title="Question", description="Question, or what the picture shall show"
    )
    expect: str = Field(
        default="",
        max_length=2_000,
        title="Expected answer",
        description="Regular expression that the answer must contain; empty: any text",
    )
    max_tokens: int = Field(default=64, ge=1, le=32_768, description="Longest answer, tokens")
    max_seconds: float | None = Field(default=None, gt=0, description="Longest time for one answer, seconds")
    min_tokens_per_second: float | None = Field(default=None, gt=0, description="Slowest stream, tokens per second")

    @field_validator("expect")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from error
        return value
