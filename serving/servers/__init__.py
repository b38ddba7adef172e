"""Programs that run inside other images: each a single file that imports nothing of ours and is shipped as it is."""

import functools
from pathlib import Path


@functools.cache
def source(name: str) -> str:
    """Returns the text of one program, for example ``diffusion.py``."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
