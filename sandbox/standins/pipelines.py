"""Pipelines of diffusers and optimum-neuron: they read every file that a pipeline is made of, and paint.

The sandbox's Diffusers images have a `diffusers` and an `optimum.neuron` that come from here, so that our own image
server runs in them unchanged.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sandbox.standins.pictures import Pixels, paint, png
from sandbox.standins.staged import check, digest, digests

_WEIGHTS = ("diffusion_pytorch_model.safetensors", "model.safetensors")


@dataclass
class Image:
    """A picture."""

    pixels: Pixels

    def save(self, target: BinaryIO, format: str = "PNG") -> None:
        """Writes it."""
        if format != "PNG":
            raise ValueError(f"the sandbox's stand-in paints PNG, not {format}")
        target.write(png(self.pixels))


@dataclass
class Output:
    """What a pipeline returns."""

    images: list[Image]


class Pipeline:
    """Any pipeline; classes of a kind take only models of their kind."""

    def __init__(self, weights: str, size: tuple[int, int] | None = None, home: str = "") -> None:
        self._weights, self._size, self._home = weights, size, home

    @classmethod
    def from_pretrained(cls, model: str, *, revision: str | None = None, **given: Any) -> "Pipeline":
        """Reads the pipeline's index and every component's files.

        Raises:
            OSError: Something is missing, or is not what the manifest says.
            ValueError: The model is of another kind.
        """
        folder = _local(model, revision)
        index = _index(folder, model)
        wanted = _KINDS.get(cls.__name__)
        if wanted and index.get("_class_name") != wanted:
            raise ValueError(f"{cls.__name__} expected a {wanted}, {model} is a {index.get('_class_name')}")
        manifest = digests(folder)
        total = hashlib.sha256()
        for name, component in sorted(index.items()):
            if isinstance(component, list) and component[0]:
                total.update(_read_component(folder, name, manifest))
        size = (int(given["width"]), int(given["height"])) if "width" in given else None
        return cls(total.hexdigest(), size, str(folder))

    def to(self, _device: str) -> "Pipeline":
        """Moves nothing."""
        return self

    def set_progress_bar_config(self, **_: Any) -> None:
        """Has no progress bar."""

    def save_pretrained(self, folder: str) -> None:
        """Keeps what would have been compiled: the pipeline's files."""
        shutil.copytree(self._home, folder, dirs_exist_ok=True)

    def __call__(self, prompt: str, width: int = 0, height: int = 0, generator: Any = None, **_: Any) -> Output:
        """Paints."""
        if self._size:
            width, height = self._size
        seed = getattr(generator, "seed", 0)
        pixels = paint(prompt, width=width or 512, height=height or 512, seed=seed, weights=self._weights)
        return Output([Image(pixels)])


_KINDS = {
    "FluxPipeline": "FluxPipeline",
    "StableDiffusion3Pipeline": "StableDiffusion3Pipeline",
    "StableDiffusionXLPipeline": "StableDiffusionXLPipeline",
    "KolorsPipeline": "KolorsPipeline",
    "OmniGenPipeline": "OmniGenPipeline",
    "NeuronFluxPipeline": "FluxPipeline",
    "NeuronStableDiffusionXLPipeline": "StableDiffusionXLPipeline",
    "NeuronStableDiffusionPipeline": "StableDiffusionPipeline",
}


def kind(name: str) -> type[Pipeline]:
    """The class of a name."""
    return type(name, (Pipeline,), {})


def _local(model: str, revision: str | None) -> Path:
    if Path(model).is_dir():
        return Path(model)
    if model.startswith("/"):
        raise OSError(f"Error no file named model_index.json found in directory {model}.")
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(model, revision=revision))


def _index(folder: Path, model: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / "model_index.json").read_text())
    except FileNotFoundError:
        raise OSError(f"Error no file named model_index.json found in directory {model}.") from None
    return found


def _read_component(folder: Path, name: str, manifest: Mapping[str, str]) -> bytes:
    """The digest of a component's files, each held against the manifest if that lists it."""
    files = sorted(path for path in (folder / name).glob("*") if path.is_file())
    if not files:
        raise OSError(f"Error no file named config.json found in directory {folder / name}.")
    weighted = (folder / name / "config.json").is_file()
    if weighted and not any(path.name in _WEIGHTS for path in files):
        raise OSError(f"Error no file named {_WEIGHTS[0]} found in directory {folder / name}.")
    total = hashlib.sha256()
    for path in files:
        wanted = manifest.get(f"{name}/{path.name}")
        found = digest(path) if wanted is None else check(path, wanted)
        total.update(found.encode())
    return total.digest()
