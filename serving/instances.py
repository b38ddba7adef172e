"""EC2 instance types: what each offers. The data and its source stand in ``catalog/instance_types.yaml``."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.explain import input_error, problems
from serving.spec import Accelerator

INSTANCE_TYPES = Path(__file__).parents[1] / "catalog" / "instance_types.yaml"
MIB = 2**20


class InstanceType(BaseModel):
    """One instance type.

    Attributes:
        memory: GiB.
        nvme: Local disks, GB in all.
        accelerator_memory: MiB per accelerator.
        cores: NeuronCores per chip; 0 for GPUs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    vcpu: int = Field(gt=0)
    memory: float = Field(gt=0)
    nvme: int = Field(ge=0)
    architecture: Literal["amd64", "arm64"]
    accelerator: Accelerator = Accelerator.CPU
    chip: str = ""
    accelerators: int = Field(default=0, ge=0)
    accelerator_memory: int = Field(default=0, ge=0)
    cores: int = Field(default=0, ge=0)

    @property
    def accelerator_bytes(self) -> int:
        """Memory of one accelerator, bytes."""
        return self.accelerator_memory * MIB


def instance_types(path: Path = INSTANCE_TYPES) -> Mapping[str, InstanceType]:
    """Returns all known instance types by name, in the table's order: by family, then by size.

    Raises:
        InputError: The table does not hold what it should; names every entry and field.
    """
    return _load(path)


@functools.cache
def _load(path: Path) -> Mapping[str, InstanceType]:
    found: list[str] = []
    table: dict[str, InstanceType] = {}
    for name, entry in yaml.safe_load(path.read_text(encoding="utf-8")).items():
        try:
            table[name] = InstanceType.model_validate({"name": name, **entry})
        except ValidationError as error:
            found += [f"{name}: {problem}" for problem in problems(error, InstanceType)]
    if found:
        raise input_error(f"The table {path.name}", found, code="catalogue.invalid")
    return table
