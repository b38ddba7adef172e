"""The Dockerfile's steps, run as scripts below a directory: no container engine, no network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deployments" / "worker" / "Dockerfile"
pytestmark = pytest.mark.long


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined, comments left out."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines()) if word]


def context(folder: Path) -> None:
    """What the builder would get: `Dockerfile.dockerignore` starts from nothing."""
    wanted = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
    for name in (line[1:] for line in wanted if line.startswith("!")):
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)


def test_the_steps_of_the_image_work_without_a_network(tmp_path: Path) -> None:
    builder, image = tmp_path / "context", tmp_path / "root"
    context(builder)
    (image / "app").mkdir(parents=True)
    (image / "etc").mkdir()
    env = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": os.environ["HOME"],
        "UV_OFFLINE": "1",
        "EXTRAS": "",
        "UV_PYTHON": sys.executable,
    }
    ran = []
    for word, rest in instructions():
        placed = (
            rest.replace("/app", f"{image}/app")
            .replace("/etc/", f"{image}/etc/")
            .replace("/home/flows", f"{image}/home/flows")
        )
        if word == "ENV" and "UV_" in rest:
            env |= dict(pair.split("=", 1) for pair in placed.split()) | {"UV_COMPILE_BYTECODE": "0"}
        elif word == "COPY" and not rest.startswith("--from"):
            *sources, _ = rest.split()
            for source in sources:
                origin = builder / source
                if origin.is_dir():
                    shutil.copytree(origin, image / "app", dirs_exist_ok=True)
                else:
                    shutil.copy(origin, image / "app")
        elif word == "RUN" and "pip install" not in rest and "chown" not in rest:
            done = subprocess.run(
                ["bash", "-euc", placed],
                check=False,
                cwd=image / "app",
                env=env,
                capture_output=True,
                text=True,
                timeout=600,
            )
            assert done.returncode == 0, f"{rest}\n{done.stdout}\n{done.stderr}"
            ran.append(done.stdout)
    assert any(" installed: " in printed for printed in ran), ran
    packages = image / "app" / ".venv" / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    for shipped in ("deployments/rbac/flows.yaml", "catalog/instance_types.yaml"):
        assert (packages / shipped).is_file(), f"{shipped} is not installed"
    # Nothing that only tests and the sandbox need.
    for absent in ("moto", "pytest", "awscli", "kubernetes/aio"):
        assert not (packages / absent).exists(), absent
