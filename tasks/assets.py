"""Lineage in Prefect: what a task makes, and what it makes it from.

An asset's key is known at run time only, so the task is wrapped when it is called.
"""

from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from prefect import Task
from prefect.assets import Asset, AssetProperties
from prefect.tasks import MaterializingTask

P = ParamSpec("P")
R = TypeVar("R")


def making(
    step: Task[P, Coroutine[Any, Any, R]], made: str, source: str, *, title: str
) -> Callable[P, Coroutine[Any, Any, R]]:
    """Returns the task as one that materializes an asset; the task itself where there is no key for it.

    Args:
        step: The task.
        made: Key of what it makes; empty: none.
        source: Key of what it makes it from; empty: not known.
        title: What people call the asset.
    """
    if not made:
        return step
    asset = Asset(key=made, properties=AssetProperties(name=title))
    return MaterializingTask(
        fn=step.fn,
        assets=[asset],
        name=step.name,
        task_run_name=step.task_run_name,
        cache_policy=step.cache_policy,
        asset_deps=[source] if source else None,
    )
