"""Which images a node can run, and which it has."""

import asyncio
import hashlib
import time
from collections.abc import Sequence

from sandbox.kubernetes.node.config import ImageConfig

NEVER_PULL = "ErrImageNeverPull"
PULL_FAILED = "ErrImagePull"
BACK_OFF = "ImagePullBackOff"


class ImageError(Exception):
    """An image cannot be had.

    Args:
        reason: The container's waiting reason.
        message: Its message, in a kubelet's or containerd's words.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


class ImageStore:
    """The images of one node. Those that take no time to pull are there from the start."""

    def __init__(self, known: Sequence[ImageConfig]) -> None:
        self._known = known
        self._present: set[str] = set()

    def find(self, reference: str) -> ImageConfig | None:
        """The image that the reference names; the first pattern that matches counts."""
        return next((one for one in self._known if one.matches(reference)), None)

    def is_present(self, reference: str) -> bool:
        """Whether the node has the image."""
        image = self.find(reference)
        return image is not None and (image.pull_seconds == 0 or reference in self._present)

    async def pull(self, reference: str) -> str:
        """Fetch an image; what the event says about it.

        Raises:
            ImageError: no registry has it.
        """
        image = self.find(reference)
        if image is None:
            raise ImageError(PULL_FAILED, not_found_message(reference))
        began = time.monotonic()
        if reference not in self._present:
            await asyncio.sleep(image.pull_seconds)
            self._present.add(reference)
        took = f"{(time.monotonic() - began) * 1000:.0f}ms"
        return f'Successfully pulled image "{reference}" in {took} ({took} including waiting). Image size: 0 bytes.'


def present_message(reference: str) -> str:
    """What the event says about an image that need not be pulled."""
    return f'Container image "{reference}" already present on machine and can be accessed by the pod'


def never_pull_message(reference: str) -> str:
    """What the event says when the image is missing and must not be pulled."""
    return f'Container image "{reference}" is not present with pull policy of Never'


def not_found_message(reference: str) -> str:
    """Containerd's words for a reference that no registry knows."""
    return (
        f'rpc error: code = NotFound desc = failed to pull and unpack image "{reference}": '
        f'failed to resolve reference "{reference}": {reference}: not found'
    )


def image_id(reference: str) -> str:
    """An identifier of the image, always the same for one reference."""
    return f"sha256:{hashlib.sha256(reference.encode()).hexdigest()}"
