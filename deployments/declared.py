"""Every deployment that there is, as data: one per operation, per framework and per preset.

A new operation is one more `Declared` in `OPERATIONS`; a preset of the catalogue has its deployment by itself.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from serving.catalog import Preset, load_presets
from serving.spec import Framework

TAG = "inference"
"""Carried by every deployment, and so by every run: what automations and filters of the UI find them by."""

BLOCK_NAME = "default"
"""Name of the blocks that the deployments refer to."""

BLOCK_SLUGS = {"cluster": "inference-cluster", "hub": "hugging-face-hub", "store": "model-store"}
"""Type of the block that each block parameter takes, by the parameter's name."""

ALL_BLOCKS = ("cluster", "hub", "store")


class Size(StrEnum):
    """What a run needs of the machine that it runs on."""

    LIGHT = "light"  # asks and waits
    TRANSFER = "transfer"  # moves weights


@dataclass(frozen=True)
class Schedule:
    """When a deployment runs by itself.

    Attributes:
        slug: Its name within the deployment: what a person switches on stays on when deployments are registered again.
        cron: Five fields, in UTC.
        active: Whether it is on from the start.
        parameters: What its runs differ in.
    """

    slug: str
    cron: str
    active: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Declared:
    """A deployment.

    Attributes:
        name: Its name; the flow's name goes before it.
        flow: Import path of the flow, ``module.function``.
        description: One line for the list of deployments.
        tags: Besides `TAG`.
        blocks: Block parameters that get the block named `BLOCK_NAME`.
        parameters: Other parameters with a value of their own.
        size: What its runs need.
        one_at_a_time: Whether a second run waits for the first.
        schedules: When it runs by itself.
    """

    name: str
    flow: str
    description: str
    tags: tuple[str, ...]
    blocks: tuple[str, ...] = ALL_BLOCKS
    parameters: Mapping[str, Any] = field(default_factory=dict)
    size: Size = Size.LIGHT
    one_at_a_time: bool = False
    schedules: tuple[Schedule, ...] = ()


DEPLOY_MODEL = "flows.deploy_model.deploy_model"

OPERATIONS = (
    Declared(
        "stage-model",
        "flows.stage_model.stage_model",
        "Copy one commit of a Hub repository into the model store, every byte verified.",
        ("stage",),
        blocks=("hub", "store"),
        size=Size.TRANSFER,
    ),
    Declared(
        "refresh-models",
        "flows.refresh_models.refresh_models",
        "Bring endpoints up to date with the branches that they follow; turn its schedule on to do so hourly.",
        ("operate",),
        size=Size.TRANSFER,
        one_at_a_time=True,
        schedules=(Schedule("hourly", "0 * * * *"),),
    ),
    Declared(
        "refresh-endpoint",
        "flows.refresh_endpoint.refresh_endpoint",
        "Bring one endpoint to its branch's commit, after asking a person where its policy says so.",
        ("operate",),
        size=Size.TRANSFER,
    ),
    Declared(
        "rollback-endpoint",
        "flows.rollback_endpoint.rollback_endpoint",
        "Bring an endpoint back to a release that it served before; nothing is downloaded.",
        ("operate",),
    ),
    Declared(
        "list-endpoints",
        "flows.list_endpoints.list_endpoints",
        "What is deployed, in one table: how far behind, how many ready, the last test.",
        ("operate",),
        blocks=("cluster", "hub"),
    ),
    Declared(
        "remove-endpoint",
        "flows.remove_endpoint.remove_endpoint",
        "Take an endpoint away with everything that belongs to it; staged models only when asked to.",
        ("operate",),
        blocks=("cluster", "store"),
    ),
    Declared(
        "check-endpoints",
        "flows.check_endpoints.check_endpoints",
        "Ask every live endpoint a question, count its pods, look for drift; turn its schedule on to do so hourly.",
        ("operate",),
        blocks=("cluster", "store"),
        one_at_a_time=True,
        schedules=(Schedule("hourly", "30 * * * *"),),
    ),
    Declared(
        "prune-models",
        "flows.prune_models.prune_models",
        "Show, and remove when asked to, staged commits that no release uses.",
        ("operate",),
        blocks=("cluster", "store"),
        one_at_a_time=True,
    ),
    Declared(
        "benchmark-endpoint",
        "flows.benchmark_endpoint.benchmark_endpoint",
        "Put an endpoint under load: throughput and latency by rate, beside the result before.",
        ("operate",),
        blocks=("cluster", "store"),
    ),
    Declared(
        "any-preset",
        DEPLOY_MODEL,
        "Deploy a preset of the catalogue, named when the run is started.",
        ("deploy",),
        size=Size.TRANSFER,
    ),
)
"""Deployments that the catalogue does not name."""


def declared() -> Iterator[Declared]:
    """All deployments: operations, frameworks, presets."""
    yield from OPERATIONS
    yield from map(of_framework, Framework)
    yield from map(of_preset, load_presets().values())


def of_framework(framework: Framework) -> Declared:
    """The deployment that takes any model to a framework."""
    function = f"deploy_{framework.value.replace('-', '_')}"
    return Declared(
        f"deploy-{framework.value}",
        f"flows.{function}.{function}",
        f"Deploy any model with {framework.value}, parameter by parameter.",
        ("deploy", framework.value),
        size=Size.TRANSFER,
    )


def of_preset(preset: Preset) -> Declared:
    """The deployment of a preset."""
    return Declared(
        preset.name,
        DEPLOY_MODEL,
        preset.title,
        ("deploy", preset.framework.value, preset.accelerator.value),
        parameters={"preset": preset.name},
        size=Size.TRANSFER,
    )
