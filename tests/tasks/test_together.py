"""Steps at the same time: every explained failure is told, once; anything else comes through as it is."""

import asyncio
import pickle

import pytest

from serving.errors import HubError, InferenceError, PreflightError, StoreError
from tasks.together import all_of


async def gives(value: object) -> object:
    await asyncio.sleep(0)
    return value


async def fails(error: BaseException) -> object:
    await asyncio.sleep(0)
    raise error


def test_results_come_in_order() -> None:
    assert asyncio.run(all_of(gives(1), gives("two"))) == [1, "two"]


def test_one_failure_is_raised_as_it_is() -> None:
    error = HubError("The repo is gated.", code="hub.gated")
    with pytest.raises(HubError) as caught:
        asyncio.run(all_of(gives(1), fails(error)))
    assert caught.value is error


def test_the_same_failure_of_two_steps_is_told_once() -> None:
    with pytest.raises(StoreError):
        asyncio.run(all_of(fails(StoreError("No bucket.")), fails(StoreError("No bucket."))))


def test_several_failures_are_told_together() -> None:
    nested = PreflightError([InferenceError("No namespace."), InferenceError("No GPU.")])
    with pytest.raises(PreflightError) as caught:
        asyncio.run(all_of(fails(HubError("No repo.")), fails(nested)))
    assert [str(problem) for problem in caught.value.problems] == ["No repo.", "No namespace.", "No GPU."]
    assert "3 problems" in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)


def test_a_bug_is_not_hidden_behind_an_explained_failure() -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(all_of(fails(HubError("No repo.")), fails(ZeroDivisionError())))
