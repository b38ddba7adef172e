"""Runs one pod: its volumes, its init containers in order, its containers together, and its end."""

import asyncio
import contextlib
import logging
import time

from sandbox.kubernetes.controllers.meta import Obj, is_terminating, timestamp
from sandbox.kubernetes.controllers.pods import is_finished
from sandbox.kubernetes.disks import attach, is_disk
from sandbox.kubernetes.errors import ApiError
from sandbox.kubernetes.node.container import ContainerRunner
from sandbox.kubernetes.node.context import MANAGER, NodeContext, PodContext
from sandbox.kubernetes.node.mountpoint import mount_bucket
from sandbox.kubernetes.node.status import ContainerState, PodView, Role, pod_status, waiting
from sandbox.kubernetes.node.volumes import VolumeError, set_up
from sandbox.kubernetes.resources import PODS

log = logging.getLogger(__name__)

FIRST_MOUNT_PAUSE = 0.5
DEADLINE = {
    "phase": "Failed",
    "message": "Pod was active on the node longer than the specified deadline",
    "reason": "DeadlineExceeded",
}


class PodAgent(PodContext):
    """One pod on its node, from its binding to the end of its last process."""

    def __init__(self, node: NodeContext, pod: Obj) -> None:
        super().__init__(node, pod)
        spec = pod["spec"]
        self._start_time = timestamp()
        self._sandbox_ready = False
        self._address_known = False
        self._verdict: Obj | None = None
        self._deleted = asyncio.Event()
        self._removed = False
        self._grace = 0.0
        self._stopping: asyncio.Task[None] | None = None
        first = "PodInitializing" if spec.get("initContainers") else "ContainerCreating"
        self.states = [
            ContainerState(one, _role(one, init=init), waiting(first))
            for init, kind in ((True, "initContainers"), (False, "containers"))
            for one in spec.get(kind) or []
        ]
        self.runners = [ContainerRunner(state, self) for state in self.states]

    # --- what the cluster says -------------------------------------------------------------------------------

    def update(self, pod: Obj) -> None:
        """The pod's object has changed; when it is deleted, end it."""
        self.pod = pod
        if not is_terminating(pod):
            return
        grace = float(pod["metadata"].get("deletionGracePeriodSeconds") or 0)
        if not self._deleted.is_set():
            self._deleted.set()
            self._begin_ending(grace)
        elif grace < self._grace:  # deleted again, with less time
            asyncio.get_running_loop().call_later(grace, self._signal_all, 9)
        self._grace = grace

    def remove(self) -> None:
        """The pod's object is gone: end its processes at once."""
        self._removed = True
        self._deleted.set()
        self.ending.set()
        self._signal_all(9)

    def _signal_all(self, number: int) -> None:
        for runner in self.runners:
            runner.signal(number)

    def publish(self) -> None:
        """Report the pod's status, unless the node is lost."""
        if not self.node.reporting or self._removed:
            return
        meta = self.pod["metadata"]
        view = PodView(
            pod=self.pod,
            host_ip=self.node.address,
            start_time=self._start_time,
            pod_ip=self.address if self._address_known else "",
            sandbox_ready=self._sandbox_ready,
            ending=self.ending.is_set(),
            verdict=self._verdict,
        )

        def change(one: Obj) -> None:
            if one["metadata"]["uid"] == meta["uid"] and not is_finished(one):
                one["status"] = pod_status(view, self.states, one.get("status", {}))

        with contextlib.suppress(ApiError):
            self.node.cluster.update(
                PODS, meta["namespace"], meta["name"], change, manager=MANAGER, subresource="status"
            )

    # --- its life --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run the pod; returns when its object may go and none of its processes is left."""
        if is_finished(self.pod):  # it ended before this node's server started
            await self._leave()
            return
        deadline = asyncio.create_task(self._watch_deadline())
        try:
            await self._live()
        finally:
            deadline.cancel()
            await self._kill_all()
        await self._leave()

    async def _live(self) -> None:
        self.publish()
        if await self._mount():
            self._sandbox_ready = True
            self.publish()
            self._address_known = True
            await self._run_containers()
        if self._stopping is not None:
            await self._stopping
        self.publish()

    async def _mount(self) -> bool:
        """Set the volumes up, again and again until it works; False when the pod ends before that."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)  # secrets are files in it
        (self.directory / "ports").mkdir(exist_ok=True)
        pause = FIRST_MOUNT_PAUSE
        missing = list(self.pod["spec"].get("volumes") or [])
        while not self.ending.is_set():
            missing = [volume for volume in missing if not await self._set_up(volume)]
            if not missing:
                return True
            await self.pause(pause)
            pause = min(pause * 2, 10 * self.node.timings.sync)
        return False

    async def _set_up(self, volume: Obj) -> bool:
        folder = self.directory / "volumes" / volume["name"]
        try:
            persistent = set_up(volume, folder, self.facts, self.node.sources)
            if persistent is not None and is_disk(persistent):
                attach(persistent, folder, self.node.directory.parent / "disks")
            elif persistent is not None:
                await asyncio.to_thread(mount_bucket, persistent, folder, self.facts.node_env)
        except VolumeError as error:
            self.warn("FailedMount", str(error))
            return False
        return True

    async def _run_containers(self) -> None:
        sidecars: list[asyncio.Task[None]] = []
        try:
            for runner in self.runners:
                if self.ending.is_set():
                    break
                if runner.state.role == "main":
                    continue
                if not await self._initialize(runner, sidecars):
                    return  # with restartPolicy Never, one failed init container is the end
            if not self.ending.is_set():
                mains = [runner.run() for runner in self.runners if runner.state.role == "main"]
                await asyncio.gather(*mains)
            await self._stop_sidecars()
        finally:
            for task in sidecars:
                task.cancel()
            await asyncio.gather(*sidecars, return_exceptions=True)

    async def _initialize(self, runner: ContainerRunner, sidecars: list[asyncio.Task[None]]) -> bool:
        if runner.state.role == "init":
            await runner.run()
            return runner.state.exit_code == 0 or self.ending.is_set()
        sidecars.append(asyncio.create_task(runner.run()))
        waits = [asyncio.create_task(event.wait()) for event in (runner.started, self.ending)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for one in waits:
            one.cancel()
        return True

    async def _stop_sidecars(self) -> None:
        """The work is done: end the side-cars, the last one first."""
        if any(runner.state.role == "sidecar" for runner in self.runners):
            self.ending.set()
            grace = float(self.pod["spec"].get("terminationGracePeriodSeconds", 30))
            await self._stop_in_order([one for one in self.runners if one.state.role == "sidecar"], grace)

    # --- its end ---------------------------------------------------------------------------------------------

    def _begin_ending(self, grace_seconds: float) -> None:
        self.ending.set()
        self.publish()
        self._stopping = asyncio.create_task(self._stop(grace_seconds))

    async def _stop(self, grace_seconds: float) -> None:
        began = time.monotonic()
        others = [runner for runner in self.runners if runner.state.role != "sidecar"]
        await asyncio.gather(*(runner.stop(grace_seconds) for runner in others))
        left = max(grace_seconds - (time.monotonic() - began), 0.0)
        await self._stop_in_order([one for one in self.runners if one.state.role == "sidecar"], left)

    async def _stop_in_order(self, runners: list[ContainerRunner], grace_seconds: float) -> None:
        deadline = time.monotonic() + grace_seconds
        for runner in reversed(runners):
            await runner.stop(max(deadline - time.monotonic(), 0.1))

    async def _watch_deadline(self) -> None:
        seconds = self.pod["spec"].get("activeDeadlineSeconds")
        if seconds is None:
            return
        await asyncio.sleep(float(seconds))
        self._verdict = DEADLINE
        self.note("DeadlineExceeded", DEADLINE["message"])
        self._begin_ending(float(self.pod["spec"].get("terminationGracePeriodSeconds", 30)))

    async def _kill_all(self) -> None:
        self._signal_all(9)
        if self._stopping is not None:
            self._stopping.cancel()
        await asyncio.gather(*(runner.gone() for runner in self.runners), return_exceptions=True)

    async def _leave(self) -> None:
        """Wait for the pod's deletion, then let its object go."""
        await self._deleted.wait()
        while not self.node.reporting and not self._removed:
            await asyncio.sleep(self.node.timings.sync)
        if not self._removed:
            self.publish()
            meta = self.pod["metadata"]
            self.node.cluster.finalize(PODS, meta["namespace"], meta["name"])

    async def clean_up(self) -> None:
        """Remove the pod's files, and give its address back."""
        self.node.subnet.give_back(self.address)
        await asyncio.to_thread(self.remove_files)


def _role(container: Obj, *, init: bool) -> Role:
    if not init:
        return "main"
    return "sidecar" if container.get("restartPolicy") == "Always" else "init"
