"""Looks at an installation from both sides and says what is missing: `python -m deployments.doctor`.

Prefect's side: server, work pool and its worker, blocks, limit, deployments, automations. The other side, with what the
blocks hold: the Hub's token, the bucket, the cluster with its permissions, operators, accelerators and drivers. Run it
where flows run (the same environment, or a pod with their service account): it sees what they see. It changes nothing
but for an upload to the bucket that is begun and ended to prove that one may.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from deployments.findings import Check, Health, guarded
from deployments.look_at_cluster import cluster_side
from deployments.look_at_prefect import Blocks, prefect_side, read_blocks
from deployments.look_at_stores import hub_side, store_side
from deployments.prefect_yaml import POOLS, Pool
from deployments.server import check_server

_SIGNS = {Health.OK: "ok  ", Health.WARNING: "note", Health.FAILED: "FAIL"}


async def examine(pool: Pool | None = None) -> list[Check]:
    """Looks at everything; what cannot be looked at is a finding too.

    Args:
        pool: The work pool; by default the one that has the deployments.
    """
    reached = await guarded("server", _server)
    if any(one.health is Health.FAILED for one in reached):
        return reached
    blocks, found = await read_blocks()
    return [*reached, *found, *await prefect_side(pool), *await _other_side(blocks)]


async def _server() -> list[Check]:
    return [Check("server", Health.OK, f"The Prefect server answers (version {await check_server()}).")]


async def _other_side(blocks: Blocks) -> list[Check]:
    looks = []
    if blocks.hub is not None:
        looks.append(hub_side(blocks.hub))
    if blocks.store is not None:
        looks.append(store_side(blocks.store))
    if blocks.cluster is not None:
        looks.append(cluster_side(blocks.cluster))
    return [check for checks in await asyncio.gather(*looks) for check in checks]


def show(checks: Sequence[Check]) -> str:
    """The findings as text, one line each and its fix below."""
    lines = []
    for one in checks:
        lines.append(f"{_SIGNS[one.health]}  {one.name}: {one.what}")
        if one.fix:
            lines.append(f"      -> {one.fix}")
    counted = Counter(one.health for one in checks)
    lines.append(f"\n{counted[Health.OK]} ok, {counted[Health.WARNING]} notes, {counted[Health.FAILED]} failed")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        0 if nothing failed, 1 if something did.
    """
    parser = argparse.ArgumentParser(
        prog="python -m deployments.doctor", description="Look at an installation and say what is missing."
    )
    parser.add_argument("--pool", choices=POOLS, help="type of the work pool (default: the one with the deployments)")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    options = parser.parse_args(arguments)
    checks = asyncio.run(examine(POOLS[options.pool] if options.pool else None))
    print(json.dumps([asdict(one) for one in checks], indent=1) if options.json else show(checks))
    return 1 if any(one.health is Health.FAILED for one in checks) else 0


if __name__ == "__main__":
    sys.exit(main())
