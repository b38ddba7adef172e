"""prefect.yaml and prefect.kubernetes.yaml, written from `deployments.declared`: the same deployments for two pools.

python -m deployments.prefect_yaml          writes the files
python -m deployments.prefect_yaml --check  says whether they are as they should be
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.declared import ALL_BLOCKS, BLOCK_NAME, BLOCK_SLUGS, TAG, Declared, Schedule, Size, declared

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Pool:
    """A work pool that deployments are for.

    Attributes:
        name: Its name.
        type: Prefect's word for who runs its runs.
        path: The file that declares its deployments.
        job_variables: What its runs get, by their size.
    """

    name: str
    type: str
    path: Path
    job_variables: Mapping[Size, Mapping[str, str]]

    @property
    def option(self) -> str:
        """What tells `prefect deploy` to read the pool's file."""
        return "" if self.path.name == "prefect.yaml" else f" --prefect-file {self.path.name}"


PROCESS = Pool("inference", "process", ROOT / "prefect.yaml", {})

KUBERNETES = Pool(
    "inference-kubernetes",
    "kubernetes",
    ROOT / "prefect.kubernetes.yaml",
    {
        Size.LIGHT: {"cpu_request": "250m", "memory_request": "512Mi", "memory_limit": "1Gi"},
        Size.TRANSFER: {"cpu_request": "2", "memory_request": "1Gi", "memory_limit": "2Gi"},
    },
)
"""Image, namespace and service account of its runs stand in the pool itself (python -m deployments.bootstrap)."""

POOLS = {pool.type: pool for pool in (PROCESS, KUBERNETES)}

HEADER = """\
# Written by `python -m deployments.prefect_yaml` from the catalogue and deployments/declared.py: change these instead.
# Register with `prefect --no-prompt deploy{option} --all`. Start one with
#   prefect deployment run 'deploy-model/qwen3-1.7b-vllm' --watch
# Blocks named "{block}" are used unless a run names others.
name: inference-flows

# The flows are importable wherever the project is installed: nothing is pulled at run time.
pull: []

definitions:
  pool:
{pools}  blocks:
{blocks}
deployments:
"""

ENTRY = """\
  - name: {name}
    description: {description}
    tags: [{tags}]
    entrypoint: {flow}
    work_pool: *{size}
    parameters: {parameters}
"""


def text(pool: Pool = PROCESS) -> str:
    """What the pool's file must hold."""
    all_ = list(declared())
    subsets = dict.fromkeys(one.blocks for one in all_ if one.blocks)
    header = HEADER.format(
        option=pool.option,
        block=BLOCK_NAME,
        pools="".join(f"    {size}: &{size} {_pool(pool, size)}\n" for size in Size),
        blocks="".join(f"    {_anchor(blocks)}: &{_anchor(blocks)}\n{_blocks(blocks)}" for blocks in subsets),
    )
    return header + "\n".join(map(_entry, all_))


def _pool(pool: Pool, size: Size) -> str:
    variables = pool.job_variables.get(size)
    return _yaml({"name": pool.name} | ({"job_variables": dict(variables)} if variables else {}))


def _anchor(blocks: tuple[str, ...]) -> str:
    return "all_blocks" if blocks == ALL_BLOCKS else "_".join(blocks)


def _blocks(blocks: tuple[str, ...]) -> str:
    return "".join(
        f"      {name}: {{$ref: {{block_document_slug: {BLOCK_SLUGS[name]}/{BLOCK_NAME}}}}}\n" for name in blocks
    )


def _entry(one: Declared) -> str:
    anchor = f"*{_anchor(one.blocks)}" if one.blocks else ""
    others = ", ".join(f"{name}: {_yaml(value)}" for name, value in one.parameters.items())
    both = f"{{<<: {anchor}, {others}}}" if anchor else f"{{{others}}}"
    entry = ENTRY.format(
        name=one.name,
        description=_yaml(one.description),
        tags=", ".join((TAG, *one.tags)),
        flow=one.flow,
        size=one.size,
        parameters=both if others or not anchor else anchor,
    )
    if one.one_at_a_time:
        entry += "    concurrency_limit: {limit: 1, collision_strategy: ENQUEUE}\n"
    if one.schedules:
        entry += "    schedules:\n" + "".join(f"      - {_yaml(_schedule(schedule))}\n" for schedule in one.schedules)
    return entry


def _schedule(schedule: Schedule) -> dict[str, Any]:
    found = {"slug": schedule.slug, "cron": schedule.cron, "timezone": "UTC", "active": schedule.active}
    return found | ({"parameters": dict(schedule.parameters)} if schedule.parameters else {})


def _yaml(value: Any) -> str:
    """A value on one line, quoted where YAML would read something else."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_yaml(one)}" for name, one in value.items()) + "}"
    if isinstance(value, str) and not _plain(value):
        return json.dumps(value, ensure_ascii=False)
    return value if isinstance(value, str) else json.dumps(value)


def _plain(value: str) -> bool:
    harmless = value.replace(" ", "").replace("-", "").replace("_", "").replace("/", "").replace(".", "")
    return harmless.isalnum() and not harmless.isdigit() and value[0].isalpha() and value.lower() not in _WORDS


_WORDS = {"true", "false", "yes", "no", "on", "off", "null"}


def main(arguments: Sequence[str] | None = None, pools: Iterable[Pool] = POOLS.values()) -> int:
    """Writes or checks the files.

    Returns:
        The exit code: 1 if a check found a difference.
    """
    if "--check" not in (sys.argv[1:] if arguments is None else arguments):
        for pool in pools:
            pool.path.write_text(text(pool), encoding="utf-8")
        return 0
    stale = [pool.path.name for pool in pools if _written(pool) != text(pool)]
    if stale:
        wrong = " and ".join(stale)
        print(f"{wrong} not as the catalogue says: run python -m deployments.prefect_yaml", file=sys.stderr)
    return 1 if stale else 0


def _written(pool: Pool) -> str:
    return pool.path.read_text(encoding="utf-8") if pool.path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
