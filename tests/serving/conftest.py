import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.models import PinnedModel, StagedFile, StagedModel

DATA = Path(__file__).parents[1] / "data"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def load_scene(name: str) -> dict[str, Any]:
    (path,) = (DATA / "scenes").glob(f"{name}-*.json")
    scene: dict[str, Any] = json.loads(path.read_text())
    return scene


@pytest.fixture
def make_staged() -> Callable[..., StagedModel]:
    def make(
        repo_id: str = "Qwen/Qwen3-1.7B",
        *,
        total_bytes: int = 4 * 10**9,
        region: str = "us-west-2",
        endpoint_url: str = "",
        paths: tuple[str, ...] = ("model.safetensors", "config.json"),
    ) -> StagedModel:
        sizes = [total_bytes - 100 * (len(paths) - 1), *[100] * (len(paths) - 1)]
        return StagedModel(
            model=PinnedModel(repo_id=repo_id, revision="main", commit=COMMIT),
            uri=f"s3://models/{repo_id}/{COMMIT}/",
            files=tuple(
                StagedFile(path=path, size=size, sha256=f"{number:064x}")
                for number, (path, size) in enumerate(zip(paths, sizes, strict=True))
            ),
            region=region,
            endpoint_url=endpoint_url,
        )

    return make
