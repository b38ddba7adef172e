"""Flow runs in processes of their own, which may be killed: each is forked from one that has imported everything."""

import asyncio
import multiprocessing
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from prefect.settings import PREFECT_API_URL, PREFECT_HOME, get_current_settings, temporary_settings

from flows.deploy_vllm import deploy_vllm
from flows.refresh_models import refresh_models
from flows.remove_endpoint import remove_endpoint
from flows.rollback_endpoint import rollback_endpoint
from serving.errors import InferenceError

FLOWS = {flow.name: flow for flow in (deploy_vllm, refresh_models, rollback_endpoint, remove_endpoint)}


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        completed: Whether its state is Completed.
        code: Code of its error; empty if it completed.
    """

    completed: bool
    message: str
    code: str = ""


@dataclass(frozen=True)
class Child:
    """A run in its process."""

    process: BaseProcess
    answer: Connection

    def kill(self) -> None:
        """Ends it at once, as a lost node does."""
        self.process.kill()
        self.process.join()

    def wait(self) -> Ended | None:
        """How it ended; None if it was killed."""
        try:
            ended: Ended | None = self.answer.recv()
        except EOFError:
            ended = None
        self.process.join()
        return ended


def start(flow: str, parameters: Mapping[str, Any]) -> Child:
    """Starts a run that reports to the same Prefect server as this process.

    Args:
        flow: Name of the flow.
        parameters: Its parameters.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    settings = get_current_settings()
    mine, theirs = context.Pipe(duplex=False)
    arguments = (flow, dict(parameters), str(settings.api.url), str(settings.home), theirs)
    process = context.Process(target=_work, args=arguments, daemon=True)
    process.start()
    theirs.close()
    return Child(process, mine)


def _work(flow: str, parameters: dict[str, Any], api_url: str, home: str, answer: Connection) -> None:
    with temporary_settings({PREFECT_API_URL: api_url, PREFECT_HOME: home}):
        answer.send(asyncio.run(_run(flow, parameters)))


async def _run(flow: str, parameters: dict[str, Any]) -> Ended:
    state = await FLOWS[flow](**parameters, return_state=True)  # type: ignore[call-overload]
    error = None if state.is_completed() else await state.aresult(raise_on_failure=False)
    return Ended(state.is_completed(), state.message or "", error.code if isinstance(error, InferenceError) else "")
