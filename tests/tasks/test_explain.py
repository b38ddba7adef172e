"""Explained failures reach the log as one paragraph; anything else keeps its traceback."""

import asyncio
import logging

import pytest
from prefect.client.schemas.objects import State

from serving.errors import HubError
from tasks.explain import explained

ERROR = HubError("org/model is gated.", cause="The licence was not accepted.", fix="Accept it.", code="hub.gated")


def logged(error: Exception, caplog: pytest.LogCaptureFixture) -> str:
    logger = logging.getLogger("prefect.task_runs")
    logger.addHandler(caplog.handler)
    try:
        try:
            raise error
        except Exception:
            logger.exception("Task run failed with exception: %r", error)
    finally:
        logger.removeHandler(caplog.handler)
    return caplog.text


def test_no_traceback_for_an_explained_failure(caplog: pytest.LogCaptureFixture) -> None:
    text = logged(ERROR, caplog)
    assert "Traceback" not in text
    assert "org/model is gated. The licence was not accepted. Accept it." in text


def test_a_bug_keeps_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    assert "Traceback" in logged(ZeroDivisionError("oops"), caplog)


def test_a_flow_ends_failed_with_the_error_as_data() -> None:
    async def work() -> int:
        raise ERROR

    state = asyncio.run(explained(work()))
    assert isinstance(state, State)
    assert state.is_failed()
    assert state.message == str(ERROR)


def test_a_result_passes_through() -> None:
    async def work() -> int:
        return 7

    assert asyncio.run(explained(work())) == 7
