"""Names of runs that work on a whole namespace."""

from collections.abc import Callable

from prefect import runtime


def in_namespace(what: str) -> Callable[[], str]:
    """Returns what names a run: ``refresh endpoints in inference``, or ``… in all namespaces``."""

    def name() -> str:
        return f"{what} in {runtime.flow_run.parameters.get('namespace') or 'all namespaces'}"

    return name
