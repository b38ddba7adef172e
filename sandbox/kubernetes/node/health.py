"""Whether one run of a container has started, is ready and lives: its probes, and what follows from them."""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from sandbox.kubernetes.node.probes import FIRST_DELAY, Pace, Prober, Target
from sandbox.kubernetes.node.status import ContainerState


class Owner(Protocol):
    """Who runs the container."""

    def changed(self) -> None:
        """The container's state has changed."""

    def unhealthy(self, kind: str, text: str) -> None:
        """A probe failed once."""

    def failed(self, kind: str, probe: Mapping[str, Any]) -> None:
        """A startup or liveness probe failed for good: the run has to end."""


class Health:
    """The probes of one run; without any, a running container is ready."""

    def __init__(self, state: ContainerState, target: Target, owner: Owner, glance: float) -> None:
        self._state, self._target, self._owner, self._glance = state, target, owner, glance
        self._tasks: list[asyncio.Task[None]] = []
        self.started = asyncio.Event()

    def begin(self) -> None:
        """The container runs."""
        probe = self._state.spec.get("startupProbe")
        if probe is None:
            self._has_started(FIRST_DELAY)
        else:
            self._repeat("startup", probe, initially=False, first_delay=FIRST_DELAY)

    async def end(self) -> None:
        """The container has ended: so do its probes, and what they have started."""
        self._state.ready = self._state.started = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _has_started(self, first_delay: float) -> None:
        spec = self._state.spec
        self._state.started = True
        self._state.ready = "readinessProbe" not in spec
        self.started.set()
        for kind in ("readiness", "liveness"):
            if f"{kind}Probe" in spec:
                self._repeat(kind, spec[f"{kind}Probe"], initially=kind == "liveness", first_delay=first_delay)

    def _repeat(self, kind: str, probe: Mapping[str, Any], *, initially: bool, first_delay: float) -> None:
        pace = Pace(first_delay, self._glance)
        prober = Prober(probe, self._target, initially=initially, pace=pace)

        def turned(good: bool) -> bool:
            return self._turned(kind, probe, good=good)

        def failed(text: str) -> None:
            self._owner.unhealthy(kind, text)

        self._tasks.append(asyncio.create_task(prober.run(failed, turned)))

    def _turned(self, kind: str, probe: Mapping[str, Any], *, good: bool) -> bool:
        """Act on a probe's result; False ends the probe."""
        if kind == "readiness":
            if self._state.ready != good:
                self._state.ready = good
                self._owner.changed()
            return True
        if not good:
            self._owner.failed(kind, probe)
            return False
        if kind == "startup":
            self._has_started(0.0)
            self._owner.changed()
            return False
        return True
