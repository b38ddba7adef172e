"""The chart's sections, each turned into the part of a preset that says the same."""

import re
from typing import Any

from serving.chart.values import DEPLOYMENT, SERVER, Values, flag, number, snake, text_of, unquoted
from serving.options import LlamaCppOptions, VllmOptions
from serving.spec import Accelerator, Framework

_EFA = "vpc.amazonaws.com/efa"
_SLEEP = re.compile(r"^(?:/bin/)?(?:sh -c )?(?:/bin/)?sleep (\d+)$")


def image(values: Values, path: str, default: str) -> str:
    """Returns an image reference from its repository and tag."""
    repository, tag = values.take(f"{path}.repository", default), values.take(f"{path}.tag", "latest")
    return f"{repository}:{tag}"


def resources(values: Values, accelerator: str, chart_accelerator: str) -> dict[str, Any]:
    """The chart has one section per accelerator; only the chosen one counts, the other is its default."""
    section = f"{DEPLOYMENT}.resources.{chart_accelerator}"
    if operators := values.take("nimService.resources"):
        values.put_back(section, operators)
    requests, limits = values.take(f"{section}.requests", {}), values.take(f"{section}.limits", {})
    for other in ("gpu", "neuron", "graviton"):
        if other != chart_accelerator:
            values.take(f"{DEPLOYMENT}.resources.{other}")
    device = Accelerator(accelerator).resource if accelerator in ("gpu", "neuron") else ""
    count = requests.pop(device, None) or limits.pop(device, None)
    limits.pop(device, None)
    found: dict[str, Any] = {"accelerators": int(count or 1) if device else 0}
    for source, ending in ((requests, ""), (limits, "_limit")):
        for name in ("cpu", "memory"):
            if name in source:
                found[f"{name}{ending}"] = source.pop(name)
    for kind, entries in (("requests", requests), ("limits", limits)):
        if entries:
            values.put_back(f"{section}.{kind}", entries)
    return found


def environment(values: Values, framework: str) -> dict[str, str]:
    """Returns the engine's environment."""
    env = dict(values.take(f"{SERVER}.env", {}))
    env |= dict(values.take("inference.env", {}))
    if framework == Framework.NIM:
        for section in ("nim", "nimContainer"):
            env |= dict(values.take(f"{DEPLOYMENT}.{section}.env", {}))
        env |= {entry["name"]: entry["value"] for entry in values.take("nimService.env", []) if "value" in entry}
    if framework == Framework.RAY_VLLM and (level := values.take("vllm.logLevel")):
        env["VLLM_LOGGING_LEVEL"] = str(level).upper()
    return {str(key): text_of(value) for key, value in env.items() if value not in (None, "")}


def pod(values: Values, graviton: bool) -> dict[str, Any]:
    """Returns where pods run."""
    tolerations = values.take(f"{DEPLOYMENT}.tolerations", []) + values.take("nimService.tolerations", [])
    given = {
        "node_selector": {
            **values.take(f"{DEPLOYMENT}.nodeSelector", {}),
            **values.take("nimService.nodeSelector", {}),
        },
        "tolerations": [
            entry for entry in tolerations if entry.get("key") not in ("nvidia.com/gpu", "aws.amazon.com/neuron")
        ],
        "image_pull_secrets": [entry["name"] for entry in values.take("imagePullSecrets", [])],
        "annotations": values.take(f"{DEPLOYMENT}.annotations", {}),
        "labels": values.take("extraLabels", {}),
        "service_annotations": values.take("service.annotations", {}),
        "architecture": "arm64" if graviton else "",
        **_ending(values),
    }
    return {key: value for key, value in given.items() if value}


def _ending(values: Values) -> dict[str, int]:
    """How pods end: a hook that only sleeps is what ours do, too."""
    found: dict[str, int] = {}
    if grace := values.take(f"{DEPLOYMENT}.terminationGracePeriodSeconds"):
        found["termination_seconds"] = int(grace)
    hook = f"{DEPLOYMENT}.lifecycle.preStop"
    asked = values.take(f"{hook}.sleep.seconds")
    if asked is None and (command := values.take(f"{hook}.exec.command")):
        slept = _SLEEP.search(" ".join(str(word) for word in command))
        asked = slept[1] if slept else None
        if slept is None:
            values.put_back(f"{hook}.exec.command", command)
    if asked is not None:
        found["drain_seconds"] = int(asked)
    return found


def shared_memory(values: Values) -> str:
    """Returns the size of shared memory; empty where the chart's own default stands, which suits no model."""
    found = values.take(f"{DEPLOYMENT}.sharedMemory", "")
    for section in ("nim", "nimContainer"):
        found = found or values.take(f"{DEPLOYMENT}.{section}.shm.sizeLimit", "")
    return str(found)


def fabric(values: Values, accelerator: str) -> dict[str, int] | None:
    """Returns the group's Elastic Fabric Adapters, which the chart's values list among the resources."""
    section = f"{DEPLOYMENT}.resources.{accelerator}"
    counts = []
    for kind in ("requests", "limits"):
        part = values.take(f"{section}.{kind}", {})
        counts.append(int(part.pop(_EFA, 0)))
        # Huge pages come with the adapters.
        if counts[-1]:
            part.pop("hugepages-2Mi", None)
        if part:
            values.put_back(f"{section}.{kind}", part)
    return {"efa": max(counts)} if any(counts) else None


def startup(values: Values) -> int | None:
    """The chart's startup budget; its default of ten minutes is left to our own, which knows the model's size."""
    probe = values.take(f"{DEPLOYMENT}.startupProbe")
    if not probe:
        return None
    seconds = int(probe.get("failureThreshold", 3)) * int(probe.get("periodSeconds", 10))
    seconds += int(probe.get("initialDelaySeconds", 0))
    return seconds if seconds > 600 else None


def parameters(values: Values, framework: str) -> dict[str, Any]:
    """``modelParameters``: camelCase names of engine arguments."""
    parameters = dict(values.take("modelParameters", {}))
    if framework == Framework.DIFFUSERS:
        pipeline = str(parameters.pop("pipeline", "diffusion")).replace("stable-diffusion", "diffusion")
        for key, value in parameters.items():
            values.put_back(f"modelParameters.{key}", value)
        return {"diffusers": {"pipeline": pipeline}}
    parameters.pop("numGpus", None)
    options = LlamaCppOptions if framework == Framework.LLAMA_CPP else VllmOptions
    known: dict[str, Any] = {}
    extra: list[str] = []
    for key, value in parameters.items():
        name = snake(key)
        if name in options.model_fields and name != "extra_args":
            known[name] = number(value)
        elif isinstance(value, bool):
            extra.append(flag(key) if value else f"--no-{flag(key)[2:]}")
        else:
            extra.append(f"{flag(key)}={unquoted(text_of(value))}")
    if extra:
        known["extra_args"] = extra
    if framework == Framework.LLAMA_CPP:
        values.take("llamaCpp.command")
    return {("llama_cpp" if framework == Framework.LLAMA_CPP else "engine"): known} if known else {}


def ray(values: Values) -> dict[str, Any]:
    """Returns the settings of Ray."""
    options = "inference.rayOptions"
    scaling, high = f"{options}.autoscaling", f"{options}.gcs.highAvailability"
    seen = f"{options}.observability"
    redis = f"{high}.redis"
    address, port = values.take(f"{redis}.address", "redis.redis"), values.take(f"{redis}.port", 6379)
    with_redis = bool(values.take(f"{high}.enabled", False))
    found = {
        "version": text_of(values.take(f"{options}.rayVersion", "2.47.0")),
        "vllm_version": text_of(values.take(f"{SERVER}.vllmVersion", "")),
        "min_workers": values.take(f"{DEPLOYMENT}.minReplicas", 1),
        "max_workers": values.take(f"{DEPLOYMENT}.maxReplicas", 2),
        "autoscaling": values.take(f"{scaling}.enabled"),
        "upscaling_mode": values.take(f"{scaling}.upscalingMode"),
        "idle_timeout_seconds": values.take(f"{scaling}.idleTimeoutSeconds"),
        "min_replicas": values.take(f"{scaling}.actorAutoscaling.minActors"),
        "max_replicas": values.take(f"{scaling}.actorAutoscaling.maxActors"),
        "redis_address": f"{address}:{port}" if with_redis else None,
        "redis_secret": values.take(f"{redis}.secretName"),
        "redis_secret_key": values.take(f"{redis}.secretPasswordKey"),
        "prometheus_host": values.take(f"{seen}.rayPrometheusHost"),
        "grafana_host": values.take(f"{seen}.rayGrafanaHost"),
        "grafana_iframe_host": values.take(f"{seen}.rayGrafanaIframeHost"),
        "fluent_bit": True,
    }
    return {key: value for key, value in found.items() if value is not None}


def nim(values: Values, chart_framework: str, document: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings of NIM; the operator has an image of its own, which goes into the document."""
    found: dict[str, Any] = {"operator": True} if chart_framework == "nim-operator" else {}
    if "diffusion" in document["model"] or "flux" in document["model"].lower():
        found["kind"] = "image"
    if chart_framework == "nim-operator":
        document["image"] = image(values, "nimService.image", document["image"].rpartition(":")[0])
        model = "nimCache.source.ngc.model"
        found["cache_engine"] = values.take(f"{model}.engine", "")
        parallel = values.take(f"{model}.tensorParallelism")
        found["cache_tensor_parallelism"] = int(parallel) if parallel else None
        found["cache_size"] = values.take("nimCache.storage.pvc.size")
        found["storage_class"] = values.take("nimCache.storage.pvc.storageClass", "")
        for needless in ("nimCache.enabled", "nimService.enabled", "nimCache.source.ngc.modelPuller"):
            values.take(needless)
    return {key: value for key, value in found.items() if value not in (None, "")}
