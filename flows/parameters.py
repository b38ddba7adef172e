"""What all deploy flows ask for besides the model: one group of fields in the run form."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field

from blocks.cluster import InferenceCluster
from blocks.hub import HuggingFaceHub
from blocks.store import ModelStore
from serving.build import build_spec
from serving.catalog import preset_names
from serving.forms import FormGroup
from serving.models import ModelSource
from serving.partial import Partly
from serving.policy import RefreshPolicy
from serving.spec import (
    SECTIONS,
    WEIGHTS,
    Accelerator,
    Autoscaling,
    EndpointName,
    EndpointSpec,
    Framework,
    PodOptions,
    Resources,
    RolloutOptions,
    SmokeOptions,
    WeightsSource,
)


def titled(title: str) -> Any:
    """Heads a parameter in the run form; Prefect would take its name."""
    return Field(json_schema_extra={"title": title})


def group(title: str) -> Any:
    """Heads a group of fields. Each shows its own default: nothing is sent for the group that nobody filled in."""
    return Field(json_schema_extra={"title": title, "default": {}})


# What the flows' signatures say, with its heading. The description of each is in the flow's own docstring.
ClusterBlock = Annotated[InferenceCluster, titled("Cluster")]
HubBlock = Annotated[HuggingFaceHub, titled("Hugging Face Hub")]
StoreBlock = Annotated[ModelStore, titled("Model store")]
PresetChoice = Annotated[str, Field(json_schema_extra={"title": "Preset", "enum": preset_names()})]
Endpoint = Annotated[EndpointName, titled("Endpoint")]
NamedEndpoint = Annotated[str, titled("Endpoint")]
Namespace = Annotated[str, titled("Namespace")]
Model = Annotated[ModelSource, titled("Model")]
AcceleratorChoice = Annotated[Accelerator, titled("Accelerator")]
Image = Annotated[str, titled("Container image")]
TimeoutMinutes = Annotated[int, Field(gt=0, le=1440, json_schema_extra={"title": "Timeout (minutes)"})]
WaitMinutes = Annotated[int, Field(ge=0, le=1440, json_schema_extra={"title": "Wait for another run (minutes)"})]
DryRun = Annotated[bool, titled("Dry run")]
SmokeOverrides = Annotated[dict[str, Any], Partly(SmokeOptions), group("Smoke test")]


class WorkloadOptions(FormGroup):
    """How many pods, on which machines, with which weights and identity. Empty fields get the project's choice."""

    replicas: int = Field(default=1, ge=1, le=1000, description="Pods that serve at the same time")
    resources: Annotated[dict[str, Any], Partly(Resources, defaults=True)] = Field(
        default={}, description="What one pod asks for"
    )
    instance_type: str = Field(default="", description="EC2 instance type, for example g6e.2xlarge; empty: any")
    weights: WeightsSource | None = Field(default=None, description=WEIGHTS)
    env: dict[str, str] = Field(default={}, description="Environment of the engine. Not for secrets")
    namespace: str = Field(default="", description="Kubernetes namespace; by default the cluster block's")
    service_account: str = Field(default="", description="Service account of the pods, which reads the model store")
    served_model_name: str = Field(default="", description="The model's name in the API; by default its repository")
    token_secret: str = Field(default="hf-token", description="Secret that the Hub token goes to, under the key token")
    store_secret: str = Field(default="", description="Secret with AWS keys, for S3-compatible stores only")
    shared_memory: str = Field(default="", description="Size of /dev/shm; by default 2Gi per accelerator")
    startup_seconds: int | None = Field(
        default=None, ge=1, description="Longest load, seconds; by default from the model's size"
    )
    autoscaling: Annotated[dict[str, Any], Partly(Autoscaling, defaults=True)] = Field(
        default={}, description="Pods follow the load; any field turns it on"
    )
    pod: PodOptions = Field(default=PodOptions(), description="Scheduling, labels and draining of the pods")
    rollout: RolloutOptions = Field(
        default=RolloutOptions(), description="How a new release takes over from the old one"
    )
    refresh: RefreshPolicy = Field(default=RefreshPolicy(), description="When it moves with the model's branch")
    preset: str = Field(default="", description="Catalogue entry that this came from; for the record only")


def make_spec(
    framework: Framework,
    accelerator: Accelerator,
    cluster: InferenceCluster,
    *,
    endpoint: str,
    model: ModelSource,
    image: str,
    workload: WorkloadOptions,
    options: Mapping[str, BaseModel],
    smoke: SmokeOptions,
) -> EndpointSpec:
    """Returns the endpoint that a deploy flow's parameters describe.

    Args:
        framework: The flow's own.
        accelerator: What the engine computes on.
        cluster: Gives the namespace where the parameters name none.
        endpoint: Name of the endpoint.
        model: What it serves.
        image: Container image; empty: the project's choice.
        workload: The common group.
        options: The framework's own groups, by their name in the spec.
        smoke: The question that proves it.

    Raises:
        InputError: A value is out of range or a combination cannot work.
    """
    parameters: dict[str, Any] = {name: getattr(workload, name) for name in WorkloadOptions.model_fields}
    parameters |= {"name": endpoint, "model": model, "image": image, "smoke": smoke, **options}
    parameters["namespace"] = workload.namespace or cluster.namespace
    none = {"accelerators": 0} if accelerator is Accelerator.CPU else {}
    parameters["resources"] = none | workload.resources
    parameters["autoscaling"] = workload.autoscaling or None
    return build_spec(framework, accelerator, parameters)


def flow_parameters(spec: EndpointSpec) -> dict[str, Any]:
    """The parameters with which the framework's deploy flow describes this very spec."""
    workload = WorkloadOptions(**{name: getattr(spec, name) for name in WorkloadOptions.model_fields})
    parameters: dict[str, Any] = {
        "endpoint": spec.name,
        "model": spec.model,
        "accelerator": spec.accelerator,
        "image": spec.image,
        "workload": workload,
        "smoke": spec.smoke,
    }
    return parameters | {name: value for name in OPTIONS[spec.framework] if (value := getattr(spec, name)) is not None}


OPTIONS: dict[Framework, tuple[str, ...]] = {
    framework: tuple(
        name
        for name in ("engine", SECTIONS.get(framework, ""))
        if name and (name != "engine" or framework not in (Framework.DIFFUSERS, Framework.NIM, Framework.LLAMA_CPP))
    )
    for framework in Framework
}
"""The option groups that each framework's flow takes, by their name in the spec."""
