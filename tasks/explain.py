"""Failures that we can explain reach people as one paragraph, not as a traceback."""

import logging
from collections.abc import Awaitable
from typing import Any, TypeVar

from prefect.client.schemas.objects import State
from prefect.states import Failed

from serving.errors import InferenceError


class _NoTraceback(logging.Filter):
    """Takes the traceback off records about an `InferenceError`: its text says all that a person needs."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, InferenceError):
            record.exc_info = None
            record.exc_text = None
            record.msg = "%s"
            record.args = (str(error),)
        return True


def install() -> None:
    """Makes Prefect's run loggers print explained failures without a traceback."""
    for name in ("prefect.task_runs", "prefect.flow_runs"):
        logger = logging.getLogger(name)
        if not any(isinstance(existing, _NoTraceback) for existing in logger.filters):
            logger.addFilter(_NoTraceback())


T = TypeVar("T")


async def explained(work: Awaitable[T]) -> T | State[Any]:
    """Awaits a flow's work; a failure that explains itself becomes the run's failed state.

    The state carries the error as its data, so that a parent flow can read it.
    """
    try:
        return await work
    except InferenceError as error:
        return Failed(message=str(error), data=error)


# Every flow imports this module, in whichever process its run lives.
install()
