"""What `stage-model` asks for besides the model: which files, and who moves them."""

from typing import Annotated

from pydantic import Field

from flows.parameters import group
from serving.forms import FormGroup
from staging.engine import MEMORY_BUDGET
from staging.parts import MIB
from staging.selection import DEFAULT_IGNORE, Selection
from staging.transfer import Transfer
from staging.workers import Runner, check_runner
from staging.xet import Transport


class SelectionOptions(FormGroup):
    """Which files of a repository are staged. Patterns are the Hub's: shell wildcards; * also matches /."""

    allow: list[str] = Field(default=[], description="Only files that match one of these patterns; empty: all")
    ignore: list[str] = Field(default=list(DEFAULT_IGNORE), description="No files that match one of these patterns")
    duplicates: bool = Field(
        default=False, description="Also other formats of weights that lie there as safetensors, such as .bin"
    )

    def wanted(self) -> Selection:
        """As the engine takes it."""
        return Selection(tuple(self.allow), tuple(self.ignore), self.duplicates)


class TransferOptions(FormGroup):
    """Who moves the files, and how."""

    runner: Runner = Field(
        default=Runner.THREADS,
        title="Task runner",
        description="Threads of this run, or the workers of a Dask or Ray cluster for the parts of large files",
    )
    address: str = Field(
        default="",
        title="Cluster address",
        description="Dask: tcp://scheduler:8786, Ray: ray://head:10001; empty: worker processes on this machine",
    )
    workers: int = Field(
        default=0, ge=0, le=4096, description="Ranges under way at a time; 0: as many as the cluster has processors"
    )
    memory: int = Field(
        default=MEMORY_BUDGET // MIB,
        ge=4,
        le=65_536,
        title="Memory (MiB)",
        description="File contents held at a time by each process; more is faster on a wire with a long delay",
    )
    transport: Transport = Field(
        default=Transport.AUTO, description="How files come from the Hub; auto is plain HTTP, which was measured faster"
    )

    def how(self) -> Transfer:
        """As the task takes it.

        Raises:
            InputError: The runner's package is not installed, or its address fits no cluster.
        """
        check_runner(self.runner, self.address)
        return Transfer(self.runner, self.address, self.workers, self.memory * MIB, self.transport)


Selected = Annotated[SelectionOptions, group("Files")]
Transferred = Annotated[TransferOptions, group("Transfer")]
