"""The catalogue: ready presets, one YAML file each, and what becomes of one with a user's overrides."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from serving.build import build_spec
from serving.errors import InputError
from serving.explain import input_error, problems, unknown
from serving.forms import FormGroup
from serving.models import RepoId
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
from serving.partial import Partly
from serving.policy import RefreshPolicy
from serving.quantities import Quantity
from serving.spec import (
    WEIGHTS,
    Accelerator,
    DnsLabel,
    EndpointName,
    EndpointSpec,
    EnvName,
    Framework,
    LabelValue,
    Resources,
    WeightsSource,
)

_SECTIONS = ("ray", "lws", "diffusers", "nim", "llama_cpp", "autoscaling", "pod", "rollout", "refresh")

PRESETS = Path(__file__).parents[1] / "catalog" / "presets"

PresetName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=63)]


class Preset(BaseModel):
    """A catalogue entry: a model with everything that is known to serve it well.

    Attributes:
        name: File name without ``.yaml``.
        title: One line for people.
        endpoint: Name of the endpoint unless the user gives another.
        weights: Where pods get the weights; None: the default of framework, accelerator and image.
        namespace: Where the endpoint goes unless the user says otherwise; empty: the cluster block's choice.
        smoke: The question that proves this model better than the project's own would.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: PresetName
    title: str = Field(min_length=1)
    model: RepoId
    revision: str = Field(default="main", min_length=1)
    framework: Framework
    accelerator: Accelerator
    endpoint: EndpointName
    image: Annotated[str, StringConstraints(pattern=r"^[^\s]+$")]
    engine: VllmOptions = VllmOptions()
    resources: Resources = Resources()
    instance_type: LabelValue = ""
    replicas: int = Field(default=1, ge=1, le=1000)
    env: dict[EnvName, str] = {}
    weights: WeightsSource | None = None
    shared_memory: Quantity = ""
    startup_seconds: int | None = Field(default=None, ge=1, le=7 * 24 * 3600)
    namespace: DnsLabel | Literal[""] = ""
    service_account: ObjectName = ""
    token_secret: ObjectName = ""
    ray: RayOptions | None = None
    lws: LwsOptions | None = None
    diffusers: DiffusersOptions | None = None
    nim: NimOptions | None = None
    llama_cpp: LlamaCppOptions | None = None
    autoscaling: Autoscaling | None = None
    pod: PodOptions | None = None
    rollout: RolloutOptions | None = None
    refresh: RefreshPolicy | None = None
    smoke: SmokeOptions | None = None


class Overrides(FormGroup):
    """What a user wants otherwise than the preset says; what is left out keeps the preset's."""

    name: EndpointName | None = Field(
        default=None, title="Endpoint", description="Name of the Service that clients call"
    )
    namespace: DnsLabel | None = Field(default=None, description="Kubernetes namespace; by default the cluster block's")
    replicas: int | None = Field(default=None, ge=1, le=1000, description="Pods that serve at the same time")
    model: RepoId | None = Field(default=None, description="Another Hub repository, organization/name")
    revision: str | None = Field(default=None, min_length=1, description="Branch, tag or commit of the model")
    accelerator: Accelerator | None = Field(default=None, description="What the engine computes on")
    image: str | None = Field(default=None, min_length=1, description="Container image of the engine")
    weights: WeightsSource | None = Field(default=None, description=WEIGHTS)
    served_model_name: str | None = Field(default=None, min_length=1, description="The model's name in the API")
    instance_type: LabelValue | None = Field(default=None, description="EC2 instance type, for example g6e.2xlarge")
    resources: Annotated[dict[str, Any], Partly(Resources)] = Field(default={}, description="What one pod asks for")
    engine: Annotated[dict[str, Any], Partly(VllmOptions)] = Field(
        default={}, title="vLLM", description="Arguments of vLLM, where the preset is served by it"
    )
    env: dict[EnvName, str] | None = Field(
        default=None, description="Environment of the engine, added to the preset's. Not for secrets"
    )
    service_account: ObjectName | None = Field(
        default=None, description="Service account of the pods, which reads the model store"
    )
    token_secret: ObjectName | None = Field(
        default=None, description="Secret that the Hub token goes to, under the key token"
    )
    store_secret: ObjectName | None = Field(
        default=None, description="Secret with AWS keys, for S3-compatible stores only"
    )
    shared_memory: Quantity | None = Field(default=None, description="Size of /dev/shm, for example 8Gi")
    startup_seconds: int | None = Field(
        default=None, ge=1, le=7 * 24 * 3600, description="Longest load, seconds; by default from the model's size"
    )
    ray: Annotated[dict[str, Any], Partly(RayOptions)] = Field(
        default={}, description="Ray around the engine, for ray-vllm"
    )
    lws: Annotated[dict[str, Any], Partly(LwsOptions)] = Field(
        default={}, description="Groups of pods over several nodes, for lws-vllm"
    )
    diffusers: Annotated[dict[str, Any], Partly(DiffusersOptions)] = Field(
        default={}, description="The image server, for diffusers"
    )
    nim: Annotated[dict[str, Any], Partly(NimOptions)] = Field(default={}, description="NVIDIA NIM, for nim")
    llama_cpp: Annotated[dict[str, Any], Partly(LlamaCppOptions)] = Field(
        default={}, title="llama.cpp", description="llama.cpp's server, for llama-cpp"
    )
    autoscaling: Annotated[dict[str, Any], Partly(Autoscaling)] = Field(
        default={}, description="Pods follow the load; any field turns it on"
    )
    pod: Annotated[dict[str, Any], Partly(PodOptions)] = Field(
        default={}, description="Scheduling, labels and draining of the pods"
    )
    rollout: Annotated[dict[str, Any], Partly(RolloutOptions)] = Field(
        default={}, description="How a new release takes over from the old one"
    )
    refresh: Annotated[dict[str, Any], Partly(RefreshPolicy)] = Field(
        default={}, description="When it moves with the model's branch"
    )

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Reads overrides from plain data, for example a request or a command line.

        Raises:
            InputError: Names every unknown or unfit field at once.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise input_error("Overrides", problems(error, cls), code="input.overrides") from error


def preset_names(directory: Path = PRESETS) -> list[str]:
    """Returns the names of all presets, sorted; no file is read."""
    return sorted(path.stem for path in directory.glob("*.yaml"))


def load_presets(directory: Path = PRESETS) -> dict[str, Preset]:
    """Reads all presets, sorted by name.

    Raises:
        InputError: A file is not a preset: names file, field, value and what is allowed, all of them at once.
    """
    return dict(_load(directory))


def get_preset(name: str, directory: Path = PRESETS) -> Preset:
    """Returns one preset.

    Raises:
        InputError: There is none of this name; says which are close.
    """
    presets = _load(directory)
    if name not in presets:
        raise InputError(unknown("Preset", name, presets), code="preset.unknown")
    return presets[name]


def resolve(preset: Preset, overrides: Overrides | None = None, smoke: Mapping[str, Any] | None = None) -> EndpointSpec:
    """Returns the complete endpoint: the preset with the user's overrides.

    Args:
        preset: The catalogue entry.
        overrides: What differs from it.
        smoke: Fields of the smoke test that differ from the preset's.

    Raises:
        InputError: A value is out of range or a combination cannot work; names all of them at once.
    """
    wanted = overrides or Overrides()
    accelerator = wanted.accelerator or preset.accelerator
    return build_spec(
        preset.framework,
        accelerator,
        _parameters(preset, wanted, accelerator) | _smoke(preset, smoke or {}),
        where=f"Preset {preset.name} with the given parameters",
    )


def _parameters(preset: Preset, wanted: Overrides, accelerator: Accelerator) -> dict[str, Any]:
    resources = preset.resources.model_dump() | wanted.resources
    if accelerator is Accelerator.CPU and "accelerators" not in wanted.resources:
        resources["accelerators"] = 0
    parameters: dict[str, Any] = {
        "name": preset.endpoint,
        "model": {"repo_id": wanted.model or preset.model, "revision": wanted.revision or preset.revision},
        "image": preset.image,
        "engine": preset.engine.model_dump() | wanted.engine,
        "weights": preset.weights,
        "replicas": preset.replicas,
        "resources": resources,
        "instance_type": preset.instance_type,
        "env": preset.env | (wanted.env or {}),
        "shared_memory": preset.shared_memory,
        "namespace": preset.namespace,
        "service_account": preset.service_account,
        "token_secret": preset.token_secret,
        "startup_seconds": preset.startup_seconds,
        "preset": preset.name,
    }
    for section in _SECTIONS:
        there, given = getattr(preset, section), getattr(wanted, section)
        if there is not None or given:
            parameters[section] = (there.model_dump() if there is not None else {}) | given
    merged_here = {"model", "revision", "accelerator", "engine", "resources", "env", *_SECTIONS}
    return parameters | wanted.model_dump(exclude_none=True, exclude=merged_here)


def _smoke(preset: Preset, wanted: Mapping[str, Any]) -> dict[str, Any]:
    there = preset.smoke.model_dump() if preset.smoke is not None else {}
    return {"smoke": there | dict(wanted)}


@functools.cache
def _load(directory: Path) -> Mapping[str, Preset]:
    presets: dict[str, Preset] = {}
    found: list[str] = []
    for path in sorted(directory.glob("*.yaml")):
        try:
            presets[path.stem] = _read(path)
        except ValidationError as error:
            found += [f"{path.name}: {problem}" for problem in problems(error, Preset)]
        except yaml.YAMLError as error:
            found.append(f"{path.name} is not YAML: {' '.join(str(error).split())}.")
    if not presets and not found:
        found.append(f"{directory} holds no presets.")
    if found:
        raise input_error("The catalogue", found, fix="Correct the file.", code="catalogue.invalid")
    return presets


def _read(path: Path) -> Preset:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict):
        document = {}
    return Preset.model_validate({**document, "name": document.get("name", path.stem)})
