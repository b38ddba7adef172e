"""Steps that run at the same time; all of their failures are told, not just the first."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from serving.errors import InferenceError, PreflightError


async def all_of(*work: Awaitable[Any]) -> list[Any]:
    """Awaits everything and returns the results in order.

    Raises:
        InferenceError: The one explained failure.
        PreflightError: Several explained failures, each told once.
        BaseException: Anything else that went wrong, which comes before the explained ones.
    """
    results = await asyncio.gather(*work, return_exceptions=True)
    failures = [result for result in results if isinstance(result, BaseException)]
    for failure in failures:
        if not isinstance(failure, InferenceError):
            raise failure
    problems: dict[str, InferenceError] = {}
    for failure in failures:
        if isinstance(failure, PreflightError):
            problems.update({str(problem): problem for problem in failure.problems})
        elif isinstance(failure, InferenceError):
            problems.setdefault(str(failure), failure)
    if len(problems) == 1:
        raise next(iter(problems.values()))
    if problems:
        raise PreflightError(list(problems.values()))
    return results
