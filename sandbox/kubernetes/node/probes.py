"""Startup, readiness and liveness probes, made for real against the pod's processes."""

import asyncio
import errno
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from sandbox.kubernetes.controllers.endpoints import port_number
from sandbox.kubernetes.controllers.meta import Obj

Exec = Callable[[list[str], float], Awaitable[tuple[int, str]]]
"""Runs a command in the container within a time; its exit code and output. Raises TimeoutError."""

FIRST_DELAY = 0.3
"""Seconds from a container's start to its first probe; in a real kubelet anything up to a period."""
USER_AGENT = "kube-probe/1.36"
LONGEST_OUTPUT = 10 * 1024


@dataclass(frozen=True)
class Target:
    """What probes are aimed at.

    Attributes:
        pod: The pod, for the names of its ports.
        address: Its address.
        session: HTTP client.
        run: Runs a command in the container.
    """

    pod: Obj
    address: str
    session: aiohttp.ClientSession
    run: Exec


async def attempt(probe: Mapping[str, Any], target: Target) -> str | None:
    """Probe once: None for success, else why it failed, in a kubelet's words."""
    timeout = float(probe.get("timeoutSeconds", 1))
    if "httpGet" in probe:
        return await http_get(probe["httpGet"], target, timeout)
    if "tcpSocket" in probe:
        return await _tcp(probe["tcpSocket"], target, timeout)
    if "exec" in probe:
        return await _exec(probe["exec"]["command"], target, timeout)
    return "the sandbox's node knows httpGet, tcpSocket and exec probes, and no grpc"


async def http_get(action: Mapping[str, Any], target: Target, timeout: float) -> str | None:
    """One HTTP request of a probe or a hook: None for success, else why it failed."""
    port = port_number(target.pod, action["port"])
    if port is None:
        return f"couldn't find port: {action['port']}"
    scheme, host = action.get("scheme", "HTTP").lower(), action.get("host") or target.address
    path = action.get("path", "/")
    url = f"{scheme}://{host}:{port}{path if path.startswith('/') else '/' + path}"
    headers = {"User-Agent": USER_AGENT, "Accept": "*/*", "Connection": "close"}
    headers |= {one["name"]: one["value"] for one in action.get("httpHeaders") or []}
    limit = aiohttp.ClientTimeout(total=timeout)
    try:
        async with target.session.get(url, headers=headers, timeout=limit, ssl=False) as answer:
            if 200 <= answer.status < 400:
                return None
            return f"HTTP probe failed with statuscode: {answer.status}"
    except TimeoutError:
        return f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
    except aiohttp.ClientConnectorError as error:
        return f'Get "{url}": dial tcp {host}:{port}: connect: {_system_text(error.os_error)}'
    except aiohttp.ServerDisconnectedError:
        return f'Get "{url}": EOF'
    except (aiohttp.ClientError, OSError) as error:
        return f'Get "{url}": {error}'


async def _tcp(action: Mapping[str, Any], target: Target, timeout: float) -> str | None:
    port = port_number(target.pod, action["port"])
    if port is None:
        return f"couldn't find port: {action['port']}"
    host = action.get("host") or target.address
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return f"dial tcp {host}:{port}: i/o timeout"
    except OSError as error:
        return f"dial tcp {host}:{port}: connect: {_system_text(error)}"
    writer.close()
    return None


async def _exec(command: list[str], target: Target, timeout: float) -> str | None:
    try:
        code, output = await target.run(command, timeout)
    except TimeoutError:
        return f'command timed out: "{" ".join(command)}" timed out after {timeout:g}s'
    return None if code == 0 else output[:LONGEST_OUTPUT]


def _system_text(error: OSError) -> str:
    texts = {
        errno.ECONNREFUSED: "connection refused",
        errno.EHOSTUNREACH: "no route to host",
        errno.ENETUNREACH: "network is unreachable",
        errno.ETIMEDOUT: "connection timed out",
        errno.ECONNRESET: "connection reset by peer",
    }
    return texts.get(error.errno or 0, str(error))


@dataclass(frozen=True)
class Pace:
    """When a probe is made, in seconds.

    Attributes:
        first: From the container's start to the first attempt, where the probe names no delay.
        glance: Between attempts that do not count, while the result is bad.
    """

    first: float = FIRST_DELAY
    glance: float = float("inf")


class Prober:
    """Repeats one probe of a running container, and tells when its result turns.

    Args:
        probe: The probe.
        target: What it is aimed at.
        initially: The result that counts until the probe says otherwise.
        pace: When to probe.
    """

    def __init__(self, probe: Mapping[str, Any], target: Target, *, initially: bool, pace: Pace = Pace()) -> None:
        self._probe, self._target, self._pace = probe, target, pace
        self._period = float(probe.get("periodSeconds", 10))
        self._result = initially

    async def run(self, failed: Callable[[str], None], turned: Callable[[bool], bool]) -> None:
        """Probe until `turned` says that it is enough, or until cancelled.

        Args:
            failed: Called with the text of every failed attempt that counts.
            turned: Called with the result whenever it turns, and for every failure beyond the threshold.
        """
        streak, last = 0, None
        await asyncio.sleep(float(self._probe.get("initialDelaySeconds", 0)) or min(self._pace.first, self._period))
        problem = await attempt(self._probe, self._target)
        while True:
            good = problem is None
            streak = streak + 1 if good is last else 1
            last = good
            if problem is not None:
                failed(problem)
            needed = self._probe.get("successThreshold", 1) if good else self._probe.get("failureThreshold", 3)
            if streak >= needed and (good != self._result or not good):
                self._result = good
                if not turned(good):
                    return
            problem = await self._next()

    async def _next(self) -> str | None:
        """What the next attempt that counts says: the one after a period, or a good one before that."""
        left = self._period
        while not self._result and left > self._pace.glance:
            await asyncio.sleep(self._pace.glance)
            left -= self._pace.glance
            if await attempt(self._probe, self._target) is None:
                return None
        await asyncio.sleep(left)
        return await attempt(self._probe, self._target)
