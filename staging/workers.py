"""Who moves the parts of large files: this process, or the workers of a Dask or Ray cluster.

The clusters are used as they are, not through Prefect's task runners: those send the flow's parameters with each task,
and with them the blocks' keys and tokens. What a worker gets here is a `WorkItem`, which holds signed addresses alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from importlib import import_module

from serving.errors import InferenceError, InputError, StagingError
from staging.spread import Submit
from staging.worker import ItemOutcome, WorkItem, execute

CONNECT_SECONDS = 30
"""How long a cluster may take to answer, and to have its first worker."""


class Runner(StrEnum):
    """Kinds of workers."""

    THREADS = "threads"
    DASK = "dask"
    RAY = "ray"


@dataclass(frozen=True)
class Workers:
    """Workers that are ready.

    Attributes:
        submit: Gives an item to one of them.
        count: How many items they can work on at a time.
    """

    submit: Submit
    count: int


def check_runner(runner: Runner, address: str = "") -> None:
    """Find out whether a kind of workers can be used here at all, before anything else is done.

    Raises:
        InputError: ``input.runner_missing`` or ``input.runner_address``.
    """
    if runner is Runner.THREADS:
        if address:
            raise InputError(
                f"The address {address} is of a cluster, but the transfer is to run in threads of this process.",
                fix="Choose the runner dask or ray, or leave the address empty.",
                code="input.runner_address",
            )
        return
    try:
        import_module(_MODULES[runner])
    except ImportError:
        raise InputError(
            f"Workers of {runner.value} cannot be used: its package is not installed here.",
            fix=f"Install it where this runs, and the project on every worker: "
            f"pip install 'inference-flows[{runner.value}]'. Or choose the runner threads.",
            code="input.runner_missing",
        ) from None


@contextmanager
def workers(runner: Runner, address: str = "", count: int = 0, *, memory_budget: int = 0) -> Iterator[Workers | None]:
    """Workers for as long as the context is open; None where this process itself moves everything.

    Args:
        runner: Their kind.
        address: Of the cluster; empty starts worker processes on this machine, which end with the context.
        count: How many items may be with them at a time; 0 for as many as the cluster has processors.
        memory_budget: Bytes of file contents that each item may hold; 0 for the engine's default.

    Raises:
        InputError: See `check_runner`.
        StagingError: ``staging.workers_unreachable``.
    """
    check_runner(runner, address)
    if runner is Runner.THREADS:
        yield None
        return
    move = partial(execute, memory_budget=memory_budget) if memory_budget else execute
    with _CLUSTERS[runner](move, address, count) as found:
        yield found


@contextmanager
def _dask(move: Callable[[WorkItem], ItemOutcome], address: str, count: int) -> Iterator[Workers]:
    from distributed import Client

    try:
        if address:
            client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        else:
            # A nanny watches each process, so that one that dies is replaced.
            client = Client(
                n_workers=count or os.cpu_count(),
                threads_per_worker=1,
                dashboard_address="127.0.0.1:0",
                set_as_default=False,
            )
    except (OSError, ValueError) as error:
        raise _unreachable("Dask scheduler", address, error) from None
    try:
        try:
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except TimeoutError as error:
            raise _without_workers("Dask", address, error) from None
        executor = client.get_executor(pure=False)

        def submit(item: WorkItem) -> Future[ItemOutcome]:
            future: Future[ItemOutcome] = executor.submit(move, item)
            return future

        yield Workers(submit, count or sum(client.nthreads().values()))
    finally:
        client.close()


@contextmanager
def _ray(move: Callable[[WorkItem], ItemOutcome], address: str, count: int) -> Iterator[Workers]:
    import ray  # type: ignore[import-not-found]

    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            # "local": never a cluster that happens to be announced in the environment.
            ray.init(address="local", num_cpus=count or os.cpu_count(), include_dashboard=False, **quiet)
    except Exception as error:  # Ray's own start has no class for what can go wrong
        raise _unreachable("Ray cluster", address, error) from None
    try:
        processors = int(ray.cluster_resources().get("CPU", 0))
        if processors < 1:
            raise _without_workers("Ray", address, None)
        remote = ray.remote(max_retries=3)(_called(move))

        yield Workers(lambda item: _unwrapped(remote.remote(item).future()), count or processors)
    finally:
        ray.shutdown()


def _called(move: Callable[[WorkItem], ItemOutcome]) -> Callable[[WorkItem], ItemOutcome]:
    """As a plain function, which is all that Ray takes."""

    def move_parts(item: WorkItem) -> ItemOutcome:
        return move(item)

    return move_parts


def _unwrapped(future: Future[ItemOutcome]) -> Future[ItemOutcome]:
    """The same outcome, with the worker's own error: Ray wraps it into one whose text is a traceback."""
    own: Future[ItemOutcome] = Future()

    def pass_on(done: Future[ItemOutcome]) -> None:
        error = done.exception()
        if not own.set_running_or_notify_cancel():
            return
        wrapped = getattr(error, "cause", None)
        if error is None:
            own.set_result(done.result())
        else:
            own.set_exception(wrapped if isinstance(wrapped, InferenceError) else error)

    future.add_done_callback(pass_on)
    return own


def _unreachable(what: str, address: str, error: BaseException) -> StagingError:
    return StagingError(
        f"The {what} at {address or 'this machine'} could not be reached: "
        f"{(str(error) or type(error).__name__).splitlines()[0]}",
        cause="It is not running, not reachable from here, or of another version.",
        fix="Correct the address, or leave it empty for worker processes on this machine. Nothing was moved.",
        code="staging.workers_unreachable",
    )


def _without_workers(kind: str, address: str, error: BaseException | None) -> StagingError:
    return StagingError(
        f"The {kind} cluster at {address or 'this machine'} has no worker"
        + (f" after {CONNECT_SECONDS} s." if error else "."),
        cause="Its workers have not started, or have all gone.",
        fix="Start workers that have this project installed, then start the run again. Nothing was moved.",
        code="staging.workers_unreachable",
    )


_MODULES = {Runner.DASK: "distributed", Runner.RAY: "ray"}
_CLUSTERS = {Runner.DASK: _dask, Runner.RAY: _ray}
