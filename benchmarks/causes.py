"""Ways in which a deploy fails in the sandbox, and from when on each can no longer heal: by the API objects' own times.

A state that heals by itself is final with its own deadline and not before: a probe that ended a load lets the next try
be quicker, an unknown crash may have been the last one, a node may become free.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from serving.snapshot import condition, first_time, parse_time

Object = Mapping[str, Any]

STREAMING = "vllm/vllm-openai:v0.11.0"
STREAMED: dict[str, Any] = {"image": STREAMING, "weights": "stream"}
VLLM, RAY, LWS, TRITON = (
    "qwen3-1.7b-vllm",
    "llama-32-1b-ray-vllm",
    "llama-4-scout-17b-lws-vllm",
    "qwen3-1.7b-triton",
)
PRESETS = (VLLM, RAY, LWS, TRITON)

DENIED_KEYS, HALF_KEYS = "denied-keys", "half-keys"
"""Secrets that the benchmark makes: with keys that may not read the bucket; without the secret key."""


QUOTA = 4
"""Accelerators that the namespace may have."""


@dataclass
class History:
    """Every state of an endpoint's objects that a watch has shown, in order.

    Attributes:
        services: RayServices.
        waiting_since: When the run's wait began; None if it did not.
        timeout: The run's own deadline from then on.
    """

    pods: list[Object] = field(default_factory=list)
    events: list[Object] = field(default_factory=list)
    services: list[Object] = field(default_factory=list)
    waiting_since: datetime | None = None
    timeout: timedelta = timedelta()


Moment = Callable[[History], datetime | None]


def ended(times: int) -> Moment:
    """When a container had ended badly so often."""

    def moment(seen: History) -> datetime | None:
        ends: dict[tuple[str, str], set[datetime]] = {}
        for pod in seen.pods:
            for name, status in _statuses(pod):
                for state in ("state", "lastState"):
                    over = (status.get(state) or {}).get("terminated") or {}
                    at = parse_time(str(over.get("finishedAt")))
                    if at and over.get("exitCode") != 0:
                        ends.setdefault((pod["metadata"]["uid"], name), set()).add(at)
        reached = [sorted(at)[times - 1] for at in ends.values() if len(at) >= times]
        return min(reached, default=None)

    return moment


def told(reason: str, *words: str) -> Moment:
    """When an event said so first."""

    def moment(seen: History) -> datetime | None:
        found = [
            parse_time(first_time(event))
            for event in seen.events
            if event.get("reason") == reason and all(word in str(event.get("message")) for word in words)
        ]
        return min((at for at in found if at), default=None)

    return moment


def became_ready(seen: History) -> datetime | None:
    """When a pod's Ready condition became true: from then on it could be asked."""
    found = [
        parse_time(str(condition(pod, "Ready").get("lastTransitionTime")))
        for pod in seen.pods
        if condition(pod, "Ready").get("status") == "True"
    ]
    return min((at for at in found if at), default=None)


def application_failed(seen: History) -> datetime | None:
    """When a RayService told first that Ray Serve gave the application up."""
    found = [
        parse_time(str(service["status"].get("lastUpdateTime")))
        for service in seen.services
        if '"DEPLOY_FAILED"' in json.dumps(service.get("status"))
    ]
    return min((at for at in found if at), default=None)


def unseen_for(seconds: float) -> Moment:
    """When a pod had existed for so long."""

    def moment(seen: History) -> datetime | None:
        born = min((at for pod in seen.pods if (at := parse_time(pod["metadata"]["creationTimestamp"]))), default=None)
        return born + timedelta(seconds=seconds) if born else None

    return moment


def deadline(seen: History) -> datetime | None:
    """When the time was over that the run gives the workload (`timeout_minutes`)."""
    return seen.waiting_since + seen.timeout if seen.waiting_since else None


def _statuses(pod: Object) -> Iterator[tuple[str, Object]]:
    for kind in ("initContainerStatuses", "containerStatuses"):
        for status in (pod.get("status") or {}).get(kind) or ():
            yield status["name"], status


@dataclass(frozen=True)
class Cause:
    """One way to fail.

    Attributes:
        overrides: What differs from the preset.
        final_when: For people: what the state's end is.
        final: The same from the objects.
        preset: Catalogue entry.
        timeout_minutes: What the run gives the workload.
    """

    overrides: Mapping[str, Any]
    final_when: str
    final: Moment
    preset: str = VLLM
    timeout_minutes: int = 30


def _engine_fails(how: str) -> dict[str, Any]:
    return {**STREAMED, "env": {"SANDBOX_ENGINE_FAIL": how}}


_ONE_GPU = {"tensor_parallel_size": 1}
_FIRST_END, _SECOND_END, _THIRD_END = "container's first end", "container's second end", "container's third end"

CAUSES: dict[str, Cause] = {
    "image does not exist": Cause(
        {"image": "example.com/vllm-typo:v0.11.0", "weights": "hub"}, "event Failed", told("Failed", "not found")
    ),
    "Secret is missing": Cause(
        {**STREAMED, "store_secret": "no-such-keys"}, "event Failed", told("Failed", 'secret "no-such-keys" not found')
    ),
    "Secret lacks a key": Cause(
        {**STREAMED, "store_secret": HALF_KEYS}, "event Failed", told("Failed", "couldn't find key")
    ),
    "program is not in the image": Cause(
        {"image": "sandbox/python:3", "weights": "hub"}, "event Failed", told("Failed", "executable file not found")
    ),
    "engine argument unknown": Cause(
        {**STREAMED, "engine": {"extra_args": ["--no-such-argument", "1"]}}, _FIRST_END, ended(1)
    ),
    "context longer than the model's": Cause(
        {**STREAMED, "engine": {"max_model_len": 1_000_000}}, _FIRST_END, ended(1)
    ),
    "accelerator's memory too small": Cause(_engine_fails("cuda-oom"), _FIRST_END, ended(1)),
    "gated repository, pod has no token": Cause(
        {
            "model": "meta-llama/Llama-3.1-8B-Instruct",
            "image": STREAMING,
            "weights": "hub",
            "env": {"HF_TOKEN": ""},
        },
        _FIRST_END,
        ended(1),
    ),
    "S3 denies the pod": Cause({**STREAMED, "store_secret": DENIED_KEYS}, _THIRD_END, ended(3)),
    "S3 denies the init container": Cause({"weights": "sync", "store_secret": DENIED_KEYS}, _SECOND_END, ended(2)),
    "unknown crash": Cause(_engine_fails("no-such-fault"), _THIRD_END, ended(3)),
    "startup probe ends a slow load": Cause(
        {**_engine_fails("never-ready"), "startup_seconds": 4}, _SECOND_END, ended(2)
    ),
    "still loading at the deadline": Cause(_engine_fails("never-ready"), "run's deadline", deadline, timeout_minutes=1),
    "no accelerator is free": Cause(
        {"replicas": 3, "instance_type": "g6e.2xlarge"}, "run's deadline", deadline, timeout_minutes=1
    ),
    "scheduler is not there": Cause({"pod": {"scheduler": "no-such-scheduler"}}, "60 s of silence", unseen_for(60)),
    "ResourceQuota leaves no room": Cause(
        {"resources": {"accelerators": 2 * QUOTA}}, "event FailedCreate", told("FailedCreate", "exceeded quota")
    ),
    "another model is served": Cause(_engine_fails("wrong-model-name"), "pod became ready", became_ready),
    "answers are empty": Cause(_engine_fails("empty-text"), "pod became ready", became_ready),
    "an error in a 200 body": Cause(_engine_fails("error-body"), "pod became ready", became_ready),
    "Ray: engine out of memory": Cause(
        {
            "image": "rayproject/ray-llm:2.52.0-py311-cu128",
            "weights": "stream",
            "ray": {"version": "", "vllm_version": "", "head_cpu": "1", "head_memory": "1Gi"},
            "env": {"SANDBOX_ENGINE_FAIL": "cuda-oom"},
        },
        "RayService tells DEPLOY_FAILED",
        application_failed,
        preset=RAY,
    ),
    "LWS: leader out of memory": Cause(
        {
            "model": "Qwen/Qwen3-1.7B",
            "image": "vllm/vllm-openai:v0.18.0",
            "weights": "stream",
            "instance_type": "",
            "resources": {"accelerators": 1},
            "engine": _ONE_GPU,
            "env": {"SANDBOX_ENGINE_FAIL": "cuda-oom"},
        },
        _FIRST_END,
        ended(1),
        preset=LWS,
    ),
    "Triton: model does not load": Cause(
        {"env": {"SANDBOX_ENGINE_FAIL": "cuda-oom"}}, _FIRST_END, ended(1), preset=TRITON
    ),
}
