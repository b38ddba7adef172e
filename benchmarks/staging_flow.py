"""What a flow run adds to a staging: the engine by itself and `stage-model` in turns, on a Prefect server of its own.

    python -m benchmarks.staging_flow --hub http://127.0.0.1:8100 --s3 http://127.0.0.1:8300 [--repo org/synth]

Both run in this process, Python's start left out; a first flow run, which imports and connects, does not count.
"""

import argparse
import asyncio
import logging
import os
import statistics
import tempfile
import time
import uuid
from pathlib import Path

from benchmarks.staging import add_servers, variables
from sandbox.prefect_server import serve_prefect, wait_until_healthy


async def compare(options: argparse.Namespace) -> list[tuple[float, float]]:
    """Seconds of the engine and of the flow run, round by round."""
    # Prefect reads its settings as it is imported: after it is known which server.
    from blocks.hub import HuggingFaceHub
    from blocks.store import ModelStore
    from flows.stage_model import stage_model
    from serving.models import ModelSource
    from staging.engine import stage
    from staging.hub import pin
    from staging.plan import plan
    from staging.store import check_store

    source, hub = ModelSource(repo_id=options.repo), HuggingFaceHub(endpoint=options.hub)

    def store() -> ModelStore:
        return ModelStore(
            bucket=options.bucket,
            prefix=f"flow-{uuid.uuid4().hex[:8]}",
            endpoint_url=options.s3,
            region="us-east-1",
        )

    async def flow_run() -> float:
        started = time.perf_counter()
        await stage_model(source, hub, store())
        return time.perf_counter() - started

    def engine() -> float:
        started = time.perf_counter()
        access = store().access()
        check_store(access)
        stage(plan(pin(source, hub.access()), hub.access(), access))
        return time.perf_counter() - started

    logging.disable(logging.INFO)
    await flow_run()
    rows = []
    for _ in range(options.rounds):
        rows.append((await asyncio.to_thread(engine), await flow_run()))
        print(f"engine {rows[-1][0]:.2f} s, flow run {rows[-1][1]:.2f} s", flush=True)
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_servers(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, serve_prefect(Path(home)) as server:
        wait_until_healthy(server)
        os.environ.update({name: value for name, value in server.env.items() if name.startswith("PREFECT_")})
        os.environ.update(variables(options))
        rows = asyncio.run(compare(options))
    engine, flow = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"medians: engine {engine:.2f} s, flow run {flow:.2f} s, {flow - engine:+.2f} s")


if __name__ == "__main__":
    main()
