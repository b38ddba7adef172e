"""Runs one container of a pod: starts it, watches over it, restarts it, ends it."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sandbox.kubernetes.controllers.meta import timestamp
from sandbox.kubernetes.node.backoff import Backoff, go_duration
from sandbox.kubernetes.node.context import PodContext
from sandbox.kubernetes.node.health import Health
from sandbox.kubernetes.node.hooks import run_hook
from sandbox.kubernetes.node.images import image_id
from sandbox.kubernetes.node.logs import last_lines
from sandbox.kubernetes.node.preparation import SHOWN_SECONDS, Preparation, Prepared, message_path
from sandbox.kubernetes.node.probes import Target
from sandbox.kubernetes.node.process import Exit, Process, StartError
from sandbox.kubernetes.node.status import ContainerState, terminated, waiting

EPOCH = "1970-01-01T00:00:00Z"
LONGEST_MESSAGE = 4096
BACKOFF_EVENT_SECONDS = 10.0
EXEC_FAILED = 126
KEPT_LOGS = 2


class Run:
    """One run of a container: its process and its health.

    Attributes:
        process: The process.
        log: Where its output goes.
        end: The attempt to end it, once there is one.
    """

    def __init__(self, process: Process, prepared: Prepared, log: Path, health: Health) -> None:
        self.process, self.prepared, self.log, self.health = process, prepared, log, health
        self.end: asyncio.Task[None] | None = None


class ContainerRunner:
    """One container, from its first start to its end."""

    def __init__(self, state: ContainerState, pod: PodContext) -> None:
        self.state, self._pod = state, pod
        kind = "containers" if state.role == "main" else "initContainers"
        self._path = f"spec.{kind}{{{state.name}}}"
        timings = pod.node.timings
        self._backoff = Backoff(timings.crash_backoff, timings.crash_backoff_max)
        self._preparation = Preparation(state, pod, self._path)
        self._prepared: Prepared | None = None
        self._current: Run | None = None
        self._logs: list[Path] = []
        self.started = asyncio.Event()
        """Set once the container has started for the first time, as its startup probe says."""

    async def run(self) -> None:
        """Run and restart the container until it has ended for good."""
        previous_end: float | None = None
        while not self._pod.ending.is_set():
            self._prepared = await self._preparation.ready()
            if self._prepared is None:
                return
            began = time.monotonic()
            demanded = await self._run_once(self._prepared)
            ended = time.monotonic()
            if self._pod.ending.is_set() or not self._restarts():
                return
            # A restart that a probe demanded is counted from the end of the run before, as a kubelet does.
            since = previous_end if demanded else ended
            await self._back_off(since)
            self._backoff.restarted(since, ended - began)
            previous_end = ended

    async def stop(self, grace_seconds: float) -> None:
        """End the container's present run within its time; nothing happens when there is none."""
        run = self._current
        if run is not None and run.process.running:
            await self._end(run, grace_seconds, f"Stopping container {self.state.name}")

    def signal(self, number: int) -> bool:
        """Send the present run's main process a signal, or with 9 end all of it; False when there is none."""
        if self._current is None or not self._current.process.running:
            return False
        if number == 9:
            self._current.process.kill()
        else:
            self._current.process.signal(number)
        return True

    async def gone(self) -> None:
        """Wait until no process of the container is left, nor any of its hooks."""
        if self._current is not None:
            await self._current.process.wait()
            if self._current.end is not None:
                self._current.end.cancel()
                await asyncio.gather(self._current.end, return_exceptions=True)

    # --- one run ---------------------------------------------------------------------------------------------

    async def _run_once(self, prepared: Prepared) -> bool:
        """Run to the end; True when a probe demanded that end."""
        state, container_id = self.state, secrets.token_hex(32)
        if state.container_id:
            state.restarts += 1
        if "terminated" in state.state:
            state.last = state.state
        state.container_id, state.image_id = container_id, image_id(state.spec["image"])
        self._pod.note("Created", "Container created", self._path)
        log = self._new_log(container_id)
        try:
            process = await Process.start(replace(prepared.command, log=log))
        except StartError as error:
            self._not_started(str(error), container_id)
            return False
        health = Health(state, self._target(), self, self._pod.node.timings.glance)
        run = self._current = Run(process, prepared, log, health)
        started_at = timestamp()
        (self._pod.directory / f"{state.name}.pid").write_text(str(process.pid))
        state.state = {"running": {"startedAt": started_at}}
        self._pod.note("Started", "Container started", self._path)
        hook = asyncio.create_task(self._post_start(run))
        try:
            run.health.begin()
            self.changed()
            ended = await process.wait()
        finally:
            hook.cancel()
            await run.health.end()
            await asyncio.gather(hook, return_exceptions=True)
        message = self._message(ended, run)
        state.state = terminated(ended.code, started_at, container_id, message=message)
        self._pod.publish()
        return run.end is not None and not self._pod.ending.is_set()

    def _new_log(self, container_id: str) -> Path:
        log = self._pod.log_path(container_id)
        log.parent.mkdir(parents=True, exist_ok=True)
        self._logs.append(log)
        while len(self._logs) > KEPT_LOGS:
            self._logs.pop(0).unlink(missing_ok=True)
        return log

    def _not_started(self, text: str, container_id: str) -> None:
        state = self.state
        ended = terminated(128, EPOCH, container_id, reason="StartError", message=text)
        self._pod.warn("Failed", f"Error: {text}", self._path)
        if self._restarts_after(128):
            state.state, state.last = waiting("RunContainerError", text), ended
        else:
            state.state = ended
        self._pod.publish()

    def _message(self, ended: Exit, run: Run) -> str:
        """What the container left as its last words."""
        with contextlib.suppress(OSError):
            path = run.prepared.mounts.folder(message_path(self.state.spec))
            words = path.read_bytes()[:LONGEST_MESSAGE]
            if words:
                return words.decode(errors="replace")
        if ended.code and self.state.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            return last_lines(run.log)
        return ""

    async def _end(self, run: Run, grace_seconds: float, why: str) -> None:
        """End a run once, whoever asks first; others wait for the same end."""
        if run.end is None:
            self._pod.note("Killing", why, self._path)
            run.end = asyncio.create_task(self._end_within(run, grace_seconds))
        await asyncio.shield(run.end)

    async def _end_within(self, run: Run, grace_seconds: float) -> None:
        deadline = time.monotonic() + grace_seconds
        hook = (self.state.spec.get("lifecycle") or {}).get("preStop")
        if hook and grace_seconds > 0:
            try:
                async with asyncio.timeout(grace_seconds):
                    problem = await run_hook(hook, self._target())
            except TimeoutError:
                problem = "the grace period is over"
            if problem:
                self._pod.warn("FailedPreStopHook", f"PreStopHook failed: {problem}", self._path)
            deadline = max(deadline, time.monotonic() + 2.0)  # the least that a kubelet leaves after a hook
        await run.process.end(deadline - time.monotonic() if grace_seconds > 0 else 0.0)

    async def _post_start(self, run: Run) -> None:
        hook = (self.state.spec.get("lifecycle") or {}).get("postStart")
        problem = await run_hook(hook, self._target()) if hook else None
        if problem:
            self._pod.warn("FailedPostStartHook", f"PostStartHook failed: {problem}", self._path)
            await self._end(run, self._grace({}), "FailedPostStartHook")

    # --- what health says ------------------------------------------------------------------------------------

    def changed(self) -> None:
        """The container started, or became ready or not."""
        if self.state.started:
            self.started.set()
        self._pod.publish()

    def unhealthy(self, kind: str, text: str) -> None:
        """A probe failed; while the pod ends, only readiness still matters."""
        if kind == "readiness" or not self._pod.ending.is_set():
            self._pod.warn("Unhealthy", f"{kind.capitalize()} probe failed: {text}", self._path)

    def failed(self, kind: str, probe: Mapping[str, Any]) -> None:
        """A startup or liveness probe gave up: end this run."""
        if self._current is None or self._current.end is not None or self._pod.ending.is_set():
            return
        why = f"Container {self.state.name} failed {kind} probe"
        if self._restarts_after(137):
            why += ", will be restarted"
        run = self._current
        run.end = asyncio.create_task(self._end_within(run, self._grace(probe)))
        self._pod.note("Killing", why, self._path)

    def _grace(self, probe: Mapping[str, Any]) -> float:
        whole = self._pod.pod["spec"].get("terminationGracePeriodSeconds", 30)
        return float(probe.get("terminationGracePeriodSeconds", whole))

    def _target(self) -> Target:
        return Target(self._pod.pod, self._pod.address, self._pod.node.session, self._exec)

    async def _exec(self, command: list[str], timeout: float) -> tuple[int, str]:
        prepared = self._prepared
        assert prepared is not None  # probes and hooks run beside the container
        words = [prepared.mounts.rewrite(word) for word in command]
        try:
            process = await Process.start(replace(prepared.command, argv=words, log=None, belongings=()))
        except StartError as error:
            return EXEC_FAILED, str(error)
        try:
            ended = await asyncio.wait_for(process.wait(), None if timeout == float("inf") else timeout)
        finally:
            process.kill()
            await process.wait()
        return ended.code, ended.output

    # --- restarts --------------------------------------------------------------------------------------------

    def _restarts(self) -> bool:
        ended = self.state.state.get("terminated") or self.state.last.get("terminated") or {}
        return self._restarts_after(ended.get("exitCode", 0))

    def _restarts_after(self, code: int) -> bool:
        policy = self._pod.pod["spec"].get("restartPolicy", "Always")
        if self.state.role == "sidecar":
            return True
        if self.state.role == "init":
            return code != 0 and policy != "Never"
        return policy == "Always" or (policy == "OnFailure" and code != 0)

    async def _back_off(self, since: float | None) -> None:
        """Wait before a restart, and say so."""
        left = self._backoff.remaining(since)
        if left <= 0:
            return
        state, title = self.state, self._pod.title
        text = f"Back-off restarting failed container {state.name} in pod {title}"
        self._pod.warn("BackOff", text, self._path)
        await self._pod.pause(min(SHOWN_SECONDS, left / 2), kickable=False)
        if "terminated" in state.state:
            state.last = state.state
        delay = go_duration(self._backoff.delay or 0.0)
        state.state = waiting(
            "CrashLoopBackOff", f"back-off {delay} restarting failed container={state.name} pod={title}"
        )
        self._pod.publish()
        while not self._pod.ending.is_set() and (left := self._backoff.remaining(since)) > 0:
            await self._pod.pause(min(left, BACKOFF_EVENT_SECONDS), kickable=False)
            if self._backoff.remaining(since) > 0 and not self._pod.ending.is_set():
                self._pod.warn("BackOff", text, self._path)
