"""Time budgets and probes: a slow load is waited for, a dead server is not."""

import math
from dataclasses import dataclass
from typing import Any

from serving.spec import Accelerator, EndpointSpec, WeightsSource

STARTUP_PERIOD = 2
"""Seconds between startup probes: also how late a finished load is noticed at most."""

NODE_AND_IMAGE = 1800
"""Seconds for a node to be provisioned and a serving image (10 GB and more) to be pulled."""

_UNKNOWN_BYTES_BUDGET = 7200
_MB = 10**6


@dataclass(frozen=True)
class _Pace:
    """How slow a start may be before something must be wrong."""

    base_seconds: int
    seconds_per_gb: float


# Loading reads at 100 MB/s at the very least (an EBS gp3 volume gives 125, S3 far more); a GPU engine then compiles
# and captures graphs for some minutes.
# Neuron: compiling takes as long as a model's graphs are many, not as its weights are large: AWS gives 15 minutes for
# 8 billion parameters, reports name 40 for 60 layers; an hour and a half is the budget. Cutting the weights for the
# cores and loading them took AWS 1,857 s and 108 s for the 810 GB of Llama 3.1 405B on NVMe (NxD Inference Weights
# Sharding Guide): 2.4 s a GB. A volume may be read and written at 100 MB/s: 20 s.
_LOAD = {
    Accelerator.GPU: _Pace(600, 10),
    Accelerator.NEURON: _Pace(5400, 20),
    Accelerator.CPU: _Pace(600, 20),
}
_FETCH = _Pace(300, 20)


def load_seconds(spec: EndpointSpec, total_bytes: int | None) -> int:
    """Returns the longest time from the engine's start to its first healthy answer.

    Args:
        spec: The endpoint; its `startup_seconds` wins.
        total_bytes: Bytes of the model; None if they are not known.
    """
    if spec.startup_seconds is not None:
        return spec.startup_seconds
    pace = _LOAD[spec.accelerator]
    if total_bytes is None:
        return pace.base_seconds + _UNKNOWN_BYTES_BUDGET
    return pace.base_seconds + math.ceil(total_bytes / (1000 * _MB) * pace.seconds_per_gb)


def fetch_seconds(spec: EndpointSpec, total_bytes: int | None) -> int:
    """Returns the longest time that filling a volume with the weights may take; 0 where nothing is filled."""
    if spec.weights is not WeightsSource.SYNC:
        return 0
    return _FETCH.base_seconds + math.ceil((total_bytes or 0) / (1000 * _MB) * _FETCH.seconds_per_gb)


def progress_deadline(spec: EndpointSpec, total_bytes: int | None) -> int:
    """Returns the time within which one new pod must become ready, its node and image included."""
    return NODE_AND_IMAGE + fetch_seconds(spec, total_bytes) + load_seconds(spec, total_bytes)


def http_probes(
    budget_seconds: int, *, ready: str, live: str | None = None, port: str | int = "http", startup: str | None = None
) -> dict[str, Any]:
    """Returns startup, readiness and liveness probes.

    The liveness probe begins only after the startup probe passed, and gives up after a minute without an answer: it
    cannot end a load, nor a server that is merely busy.

    Args:
        budget_seconds: How long the load may take.
        ready: Path that answers 200 when the model answers requests.
        live: Path that answers 200 as long as the process is well; by default the same.
        port: Name or number of the container's port.
        startup: Path of the startup probe; by default the readiness path.
    """
    return {
        "startupProbe": {
            "httpGet": {"path": startup or ready, "port": port},
            "periodSeconds": STARTUP_PERIOD,
            "timeoutSeconds": 5,
            "failureThreshold": math.ceil(budget_seconds / STARTUP_PERIOD),
        },
        "readinessProbe": {
            "httpGet": {"path": ready, "port": port},
            "periodSeconds": 5,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
        "livenessProbe": {
            "httpGet": {"path": live or ready, "port": port},
            "periodSeconds": 10,
            "timeoutSeconds": 10,
            "failureThreshold": 6,
        },
    }


def drain(seconds: int) -> dict[str, Any]:
    """Returns the lifecycle hook that lets connections move away before the server is told to stop.

    Args:
        seconds: Time until every proxy has learned that the pod goes; 0 for none.
    """
    return {"preStop": {"sleep": {"seconds": seconds}}} if seconds else {}
