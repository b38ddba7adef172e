"""Lifecycle hooks of containers: what runs right after the start and before the end."""

import asyncio
from collections.abc import Mapping
from typing import Any

from sandbox.kubernetes.node.probes import Target, http_get

HOOK_REQUEST_SECONDS = 30.0


async def run_hook(hook: Mapping[str, Any], target: Target) -> str | None:
    """Run a hook: None for success, else why it failed. The caller limits its time."""
    if "exec" in hook:
        code, output = await target.run(hook["exec"]["command"], float("inf"))
        return None if code == 0 else f"command exited with {code}: {output.strip()}"
    if "httpGet" in hook:
        return await http_get(hook["httpGet"], target, HOOK_REQUEST_SECONDS)
    if "sleep" in hook:
        await asyncio.sleep(float(hook["sleep"]["seconds"]))
        return None
    return "the sandbox's node knows exec, httpGet and sleep hooks"
