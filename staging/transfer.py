"""Carrying a plan out: by this process, or with the workers of a cluster beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from staging.engine import MEMORY_BUDGET, StageResult, stage
from staging.plan import StagePlan
from staging.progress import StageProgress
from staging.workers import Runner, workers
from staging.xet import Transport


@dataclass(frozen=True)
class Transfer:
    """How a plan is carried out.

    Attributes:
        runner: Who moves the parts of large files.
        address: Of the runner's cluster; empty for worker processes on this machine.
        workers: How many ranges of parts are under way at a time; 0 for as many as the cluster has processors.
        memory_budget: Bytes of file contents that each process holds at a time.
        transport: How files come from the Hub.
    """

    runner: Runner = Runner.THREADS
    address: str = ""
    workers: int = 0
    memory_budget: int = MEMORY_BUDGET
    transport: Transport = Transport.AUTO


def carry_out(
    planned: StagePlan,
    how: Transfer,
    *,
    progress: Callable[[StageProgress], None],
    cancel: threading.Event | None = None,
) -> StageResult:
    """Stage what a plan says; no workers are asked for where nothing is to be moved.

    Args:
        planned: What to move.
        how: By whom.
        progress: Is told how far it is.
        cancel: Ends it when it is set.

    Raises:
        InferenceError: As `staging.engine.stage` and `staging.workers.workers`.
    """
    if planned.staged is not None:
        return stage(planned)
    with workers(how.runner, how.address, how.workers, memory_budget=how.memory_budget) as pool:
        return stage(
            planned,
            progress=progress,
            cancel=cancel,
            memory_budget=how.memory_budget,
            transport=how.transport,
            submit=pool.submit if pool else None,
            workers=pool.count if pool else 1,
        )
