"""What the sandbox's Prefect server does with writers that meet: one waits for the other, nobody is refused."""

import asyncio
from collections import Counter

import httpx
import pytest

pytestmark = pytest.mark.server


async def ask_all_at_once(api: str, rounds: int) -> Counter[int]:
    """Statuses of requests that read and then write, among others that write."""
    async with httpx.AsyncClient(base_url=api, timeout=60) as client:
        flow = (await client.post("/flows/", json={"name": "meeting-writers"})).json()["id"]
        slots = {"names": ["tag:nobody-made-it"], "slots": 1, "mode": "concurrency", "lease_duration": 60}
        statuses: Counter[int] = Counter()
        for _ in range(rounds):
            answers = await asyncio.gather(
                *(client.post("/v2/concurrency_limits/increment-with-lease", json=slots) for _ in range(4)),
                *(client.post("/flow_runs/", json={"flow_id": flow, "state": {"type": "PENDING"}}) for _ in range(4)),
            )
            statuses.update(answer.status_code for answer in answers)
        await client.delete(f"/flows/{flow}")
    return statuses


def test_no_writer_is_refused(prefect_server: str) -> None:
    statuses = asyncio.run(ask_all_at_once(prefect_server, rounds=15))
    assert set(statuses) <= {200, 201}, statuses
