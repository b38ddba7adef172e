"""All deployments on a single machine, without a work pool: `python -m deployments.serve`.

Registers the deployments and runs their runs in processes of this machine until Ctrl-C. The blocks must be there
(python -m deployments.bootstrap makes them).
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from prefect import aserve
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments.runner import RunnerDeployment
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType

from deployments.pools import HEARTBEAT_SECONDS, HEARTBEAT_VARIABLE
from deployments.register import Wanted, existing, load, read, with_block_ids
from deployments.server import check_server
from serving.errors import InferenceError, InputError

AT_ONCE = 4
"""Runs at the same time."""


async def served(wanted: Wanted, there: DeploymentResponse | None) -> RunnerDeployment:
    """The deployment for a process that serves it.

    Args:
        wanted: What prefect.yaml says.
        there: What the server has: a schedule that a person switched on stays on.
    """
    entry = wanted.entry
    limit = ConcurrencyLimitConfig(limit=wanted.limit) if wanted.limit else None
    if limit and wanted.collisions:
        limit.collision_strategy = ConcurrencyLimitStrategy(wanted.collisions.collision_strategy)
    switched_on = {one.slug for one in there.schedules if one.active} if there else set()
    schedules = [
        Cron(
            one["cron"],
            timezone=one["timezone"],
            active=one["active"] or one["slug"] in switched_on,
            slug=one["slug"],
            parameters=one.get("parameters", {}),
        )
        for one in entry.get("schedules", ())
    ]
    return await wanted.flow.ato_deployment(
        name=entry["name"],
        description=entry["description"],
        tags=entry["tags"],
        parameters=entry["parameters"],
        concurrency_limit=limit,
        schedules=schedules,
        # The path of a file would put its folder first among those that modules are looked for in.
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


async def serve(only: Sequence[str] = (), *, at_once: int = AT_ONCE) -> None:
    """Serves the deployments until the process is told to end.

    Args:
        only: Their names; empty: all.
        at_once: Runs at the same time.

    Raises:
        InputError: There is no deployment of that name, or no server is named.
        InferenceError: The server cannot be reached.
    """
    entries = read()
    if unknown := set(only) - {entry["name"] for entry in entries}:
        names = ", ".join(sorted(unknown))
        raise InputError(f"There is no deployment {names}.", fix="prefect.yaml lists them.", code="deployment.unknown")
    await check_server()
    os.environ.setdefault(HEARTBEAT_VARIABLE, str(HEARTBEAT_SECONDS))  # as the automations expect it of our runs
    async with get_client() as client:
        chosen = [entry for entry in entries if not only or entry["name"] in only]
        wanted = load(await with_block_ids(client, chosen))
        there = await existing(client, wanted)
    # Paused deployments would stay so, even for a worker: there is nothing that starts them again.
    await aserve(*[await served(one, there.get(one.name)) for one in wanted], limit=at_once, pause_on_shutdown=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        0 after Ctrl-C, 1 if it could not start.
    """
    parser = argparse.ArgumentParser(
        prog="python -m deployments.serve", description="Serve all deployments from this machine, without a work pool."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="deployments to serve (default: all)")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, metavar="N", help="runs at the same time (%(default)s)")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        asyncio.run(serve(options.names, at_once=options.at_once))
    except InferenceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
