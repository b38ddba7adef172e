"""Faults that a test orders from the engine, by environment variables of its image.

SANDBOX_ENGINE_LOAD_SECONDS=30      loading takes this long
SANDBOX_ENGINE_FAIL=NAME[=VALUE],…  any of
cuda-oom            loading ends as on a GPU that is too small: exit 1
never-ready         loading never ends
crash-after=S       S seconds after it is ready the engine's core dies: exit 1
unhealthy-after=S   from S seconds after it is ready /health answers 503
wrong-model-name    it serves under another name than it was told
empty-text          answers are empty
error-body          answers have status 200 and an error in their body
no-answer           requests for text are never answered
SANDBOX_ENGINE_SERIES=0.10          the release series whose command line it has (0.9, 0.10 or 0.32)
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sandbox.engine.errors import EngineError

_NAMES = frozenset(
    {
        "cuda-oom",
        "never-ready",
        "crash-after",
        "unhealthy-after",
        "wrong-model-name",
        "empty-text",
        "error-body",
        "no-answer",
    }
)
_TIMED = frozenset({"crash-after", "unhealthy-after"})


@dataclass(frozen=True)
class Faults:
    """What is to go wrong.

    Attributes:
        load_seconds: How long loading takes at least.
        ordered: Seconds by fault's name; 0 for one that has none.
        series: Release series whose arguments are known.
    """

    load_seconds: float
    ordered: Mapping[str, float]
    series: str

    def __contains__(self, name: str) -> bool:
        return name in self.ordered

    def seconds(self, name: str) -> float | None:
        """The seconds of a timed fault; None if it was not ordered."""
        return self.ordered.get(name)


def read_faults(environ: Mapping[str, str]) -> Faults:
    """Read the variables.

    Raises:
        ValueError: A name is unknown or a number is none.
    """
    ordered: dict[str, float] = {}
    for item in filter(None, (part.strip() for part in environ.get("SANDBOX_ENGINE_FAIL", "").split(","))):
        name, equals, value = item.partition("=")
        if name not in _NAMES or (name in _TIMED) != bool(equals):
            raise ValueError(f"SANDBOX_ENGINE_FAIL has {item!r}; known are {', '.join(sorted(_NAMES))}")
        ordered[name] = float(value) if value else 0.0
    return Faults(
        load_seconds=float(environ.get("SANDBOX_ENGINE_LOAD_SECONDS") or 0),
        ordered=ordered,
        series=environ.get("SANDBOX_ENGINE_SERIES") or "0.32",
    )


def out_of_memory() -> EngineError:
    """What a GPU says that is too small for the weights."""
    return EngineError(
        "torch.OutOfMemoryError",
        "CUDA out of memory. Tried to allocate 1.06 GiB. GPU 0 has a total capacity of 21.98 GiB of which 424.44 MiB is"
        " free. Including non-PyTorch memory, this process has 21.55 GiB memory in use. Of the allocated memory 21.28"
        " GiB is allocated by PyTorch, and 25.53 MiB is reserved by PyTorch but unallocated. If reserved but"
        " unallocated memory is large try setting PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid"
        " fragmentation.",
        in_core=True,
        frames=(
            ("vllm/v1/engine/core.py", "run_engine_core"),
            ("vllm/v1/worker/gpu_model_runner.py", "load_model"),
        ),
    )
