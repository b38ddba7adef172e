"""What the operator asks the pods of a Ray cluster: Serve's REST interface on the head, the proxies' health."""

from typing import Any

import aiohttp
import yaml

from sandbox.kubernetes.controllers.meta import Obj
from sandbox.kubernetes.controllers.operators.ray.nodes import DASHBOARD_PORT, SERVE_PORT

APPLICATIONS = "/api/serve/applications/"
SECONDS = 10.0
"""Longest wait for an answer. KubeRay gives two; here both sides may wait for a processor longer than that."""


async def put_config(session: aiohttp.ClientSession, head: str, config: str) -> bool:
    """Hand the applications to the head; False when it does not take them (yet)."""
    url = f"http://{head}:{DASHBOARD_PORT}{APPLICATIONS}"
    try:
        async with session.put(url, json=yaml.safe_load(config), timeout=aiohttp.ClientTimeout(SECONDS)) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False


async def get_applications(session: aiohttp.ClientSession, head: str) -> dict[str, Obj] | None:
    """The applications as the RayService's status shows them; None when the head does not answer."""
    url = f"http://{head}:{DASHBOARD_PORT}{APPLICATIONS}"
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(SECONDS)) as answer:
            found: dict[str, Any] = await answer.json()
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return None
    return {name: _application(one) for name, one in (found.get("applications") or {}).items()}


async def is_serving(session: aiohttp.ClientSession, address: str) -> bool:
    """Whether a node's Serve proxy is healthy."""
    url = f"http://{address}:{SERVE_PORT}/-/healthz"
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(SECONDS)) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False


def _application(one: Obj) -> Obj:
    status: Obj = {"message": one.get("message", ""), "status": one.get("status", "NOT_STARTED")}
    deployments = {
        name: {"message": each.get("message", ""), "status": each.get("status", "")}
        for name, each in (one.get("deployments") or {}).items()
    }
    if deployments:
        status["serveDeploymentStatuses"] = deployments
    return status
