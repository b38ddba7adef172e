"""Which framework runs on which accelerator, and where its weights can come from: the table of what is possible.

It is read off the rules themselves (`serving.combinations`), so that it cannot say anything else than they do.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from serving.combinations import impossibilities, not_on
from serving.frameworks.defaults import default_image, default_weights
from serving.frameworks.images import engine_image
from serving.models import ModelSource
from serving.spec import Accelerator, EndpointSpec, Framework, WeightsSource

OTHER_IMAGES = {
    Framework.VLLM: "vllm/vllm-openai:v0.11.0",
    Framework.AIBRIX: "vllm/vllm-openai:v0.11.0",
    Framework.LWS_VLLM: "vllm/vllm-openai:v0.18.0",
    Framework.RAY_VLLM: "rayproject/ray-llm:2.52.0-py311-cu128",
}
"""On GPU, images that stream, where the default one does not."""

OWN_IMAGES = {
    (Framework.NIM, Accelerator.GPU): "nvcr.io/nim/ORG/MODEL:TAG",
    (Framework.TRITON_VLLM, Accelerator.NEURON): "REGISTRY/triton-vllm-neuron:TAG",
}
"""Where there is no default image: what a user's looks like."""


@dataclass(frozen=True)
class Cell:
    """One place of the table.

    Attributes:
        default: Whether it is what a deploy does unless it is told otherwise.
        image: The image that it takes, where the default one cannot or is not known to.
        unsure: Whether nothing is known of the image's ability to stream.
        why: Why it is impossible; empty if it is possible.
    """

    framework: Framework
    accelerator: Accelerator
    weights: WeightsSource
    default: bool = False
    image: str = ""
    unsure: bool = False
    why: str = ""


def cells() -> list[Cell]:
    """Returns every combination, in the order of the enumerations."""
    return [
        _cell(framework, accelerator, weights)
        for framework in Framework
        for accelerator in Accelerator
        for weights in WeightsSource
    ]


def _cell(framework: Framework, accelerator: Accelerator, weights: WeightsSource) -> Cell:
    if why := not_on(framework, accelerator):
        return Cell(framework, accelerator, weights, why=why)
    image = default_image(framework, accelerator)
    standard = image or OWN_IMAGES[framework, accelerator]
    why = _why(framework, accelerator, weights, standard)
    other = OTHER_IMAGES.get(framework, "") if accelerator is Accelerator.GPU else ""
    unsure = weights is WeightsSource.STREAM and not engine_image(standard).streams
    if other and (why or unsure) and not _why(framework, accelerator, weights, other):
        return Cell(framework, accelerator, weights, image=other)
    if why:
        return Cell(framework, accelerator, weights, why=why)
    default = weights is default_weights(framework, accelerator, standard)
    return Cell(framework, accelerator, weights, default, "" if image else standard, unsure)


def _why(framework: Framework, accelerator: Accelerator, weights: WeightsSource, image: str) -> str:
    spec = EndpointSpec(
        name="chat",
        model=ModelSource(repo_id="org/name"),
        framework=framework,
        accelerator=accelerator,
        image=image,
        weights=weights,
        served_model_name="chat",
    )
    if accelerator is Accelerator.CPU:
        spec = spec.model_copy(update={"resources": spec.resources.model_copy(update={"accelerators": 0})})
    return " ".join(impossibilities(spec))


def to_markdown() -> str:
    """Returns the table, and below it one sentence for each thing that is impossible."""
    lines = ["| framework | accelerator | image | stream | sync | mount | hub |", "| --- " * 7 + "|"]
    every = cells()
    for _, group in groupby(every, key=lambda cell: (cell.framework, cell.accelerator)):
        row = list(group)
        if any(not cell.why for cell in row):
            lines.append(_line(row))
    lines += ["", *(f"- {sentence}" for sentence in _sentences(every))]
    return "\n".join(lines) + "\n"


def _line(row: list[Cell]) -> str:
    first = row[0]
    image = default_image(first.framework, first.accelerator)
    shown = [_shown(cell, image) for cell in row]
    named = f"`{image}`" if image else f"your own: `{OWN_IMAGES[first.framework, first.accelerator]}`"
    return f"| {' | '.join([first.framework, first.accelerator, named, *shown])} |"


def _shown(cell: Cell, image: str) -> str:
    if cell.why:
        return "no"
    if cell.default:
        return "**default**"
    if cell.unsure:
        return "if the image brings `vllm[runai]`"
    return f"with `{cell.image}`" if cell.image and image else "yes"


def _sentences(every: Iterable[Cell]) -> list[str]:
    return list(dict.fromkeys(cell.why for cell in every if cell.why))
