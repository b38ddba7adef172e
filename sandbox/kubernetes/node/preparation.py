"""What must be there before a container can start: its image and its configuration."""

import contextlib
from dataclasses import dataclass

from sandbox.kubernetes.controllers.meta import Obj
from sandbox.kubernetes.node import images
from sandbox.kubernetes.node.config import ImageConfig
from sandbox.kubernetes.node.context import PodContext
from sandbox.kubernetes.node.environment import ConfigError, argv, container_env, process_env
from sandbox.kubernetes.node.mounts import Mounts
from sandbox.kubernetes.node.process import Command
from sandbox.kubernetes.node.status import ContainerState, waiting
from sandbox.kubernetes.node.volumes import VolumeError, mounts_of

CONFIG_ERROR = "CreateContainerConfigError"
SHOWN_SECONDS = 0.5
"""How long a failure stands before the pause after it does."""


def message_path(spec: Obj) -> str:
    """Where a container may leave its last words."""
    path: str = spec.get("terminationMessagePath") or "/dev/termination-log"
    return path


@dataclass(frozen=True)
class Prepared:
    """A container ready to start.

    Attributes:
        command: What to run, without its log.
        mounts: Where its paths are.
    """

    command: Command
    mounts: Mounts


class Preparation:
    """Gets a container ready, again and again until it is, and says meanwhile what is missing."""

    def __init__(self, state: ContainerState, pod: PodContext, field_path: str) -> None:
        self._state, self._pod, self._path = state, pod, field_path
        self._pull_pause = pod.node.timings.image_backoff

    async def ready(self) -> Prepared | None:
        """What to start; None when the pod is ending before that."""
        pause = self._pod.node.timings.sync
        while not self._pod.ending.is_set():
            try:
                image = await self._image()
                return self._prepare(image)
            except images.ImageError as error:
                await self._show_image_error(error, pause)
            except (ConfigError, VolumeError) as error:
                self._pod.warn("Failed", f"Error: {error}", self._path)
                self._show(CONFIG_ERROR, str(error))
                await self._pod.pause(pause)
            pause = min(pause * 2, 10 * self._pod.node.timings.sync)
        return None

    async def _image(self) -> ImageConfig:
        reference, store = self._state.spec["image"], self._pod.node.images
        policy = self._state.spec.get("imagePullPolicy", "IfNotPresent")
        if policy != "Always" and store.is_present(reference):
            self._pod.note("Pulled", images.present_message(reference), self._path)
        elif policy == "Never":
            raise images.ImageError(images.NEVER_PULL, images.never_pull_message(reference))
        else:
            self._pod.note("Pulling", f'Pulling image "{reference}"', self._path)
            self._pod.note("Pulled", await store.pull(reference), self._path)
        found = store.find(reference)
        assert found is not None  # present, or just pulled
        return found

    async def _show_image_error(self, error: images.ImageError, pause: float) -> None:
        reference = self._state.spec["image"]
        if error.reason == images.NEVER_PULL:
            self._pod.warn(images.NEVER_PULL, error.message, self._path)
            self._pod.warn("Failed", f"Error: {images.NEVER_PULL}", self._path)
            self._show(error.reason, error.message)
            await self._pod.pause(pause)
            return
        self._pod.warn("Failed", f'Failed to pull image "{reference}": {error.message}', self._path)
        self._pod.warn("Failed", f"Error: {error.reason}", self._path)
        self._show(error.reason, error.message)
        shown = min(SHOWN_SECONDS, self._pull_pause / 2)
        await self._pod.pause(shown)
        if self._pod.ending.is_set():
            return
        text = f'Back-off pulling image "{reference}"'
        self._pod.note("BackOff", text, self._path)
        self._pod.warn("Failed", f"Error: {images.BACK_OFF}", self._path)
        self._show(images.BACK_OFF, f"{text}: {error.reason}: {error.message}")
        await self._pod.pause(self._pull_pause - shown)
        self._pull_pause = min(self._pull_pause * 2, self._pod.node.timings.image_backoff_max)

    def _show(self, reason: str, message: str) -> None:
        if "terminated" in self._state.state:
            self._state.last = self._state.state
        self._state.state = waiting(reason, message)
        self._pod.publish()

    def _prepare(self, image: ImageConfig) -> Prepared:
        spec, facts = self._state.spec, self._pod.facts
        scratch = self._pod.directory / "containers" / self._state.name
        scratch.mkdir(parents=True, exist_ok=True)
        mounts = mounts_of(spec, self._pod.directory / "volumes", scratch)
        message = scratch / "termination-log"
        message.write_bytes(b"")
        folders = {**mounts.folders, message_path(spec): message}
        mounts = Mounts(folders, scratch, self._pod.temporary(self._state.name))
        given = container_env(spec, facts, self._pod.node.sources)
        env = process_env(image, given, facts, mounts)
        words = argv(spec, image, {**image.env, **given}, mounts)
        if not words:
            raise ConfigError("no command specified")
        folder = mounts.working_dir(spec.get("workingDir", ""))
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        belongings = (mounts.temporary, self._pod.directory / "volumes")
        return Prepared(Command(words, env, folder, belongings=belongings), mounts)
