"""From a values file of the AI on EKS inference chart to a preset of ours.

Every parameter of the chart's tables is understood; what is not is named, nothing is dropped silently.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from serving.catalog import Preset
from serving.chart import sections
from serving.chart.model_copy import NEEDLESS as COPY_NEEDLESS
from serving.chart.model_copy import model_copy
from serving.chart.values import DEPLOYMENT, SERVER, Values, leaves
from serving.errors import InputError
from serving.explain import input_error, problems
from serving.spec import Framework

# What the chart has and needs no counterpart here, with the reason that is shown.
_NEEDLESS = {
    f"{DEPLOYMENT}.topologySpreadConstraints": "pods are always spread over zones and nodes where possible",
    f"{DEPLOYMENT}.podAffinity": "pods of one group always prefer one zone",
    f"{DEPLOYMENT}.livenessProbe": "probes follow from the model's size and cannot end a load",
    f"{DEPLOYMENT}.readinessProbe": "probes follow from the model's size and cannot end a load",
    **{
        f"{DEPLOYMENT}.{section}.{name}": why
        for section in ("nim", "nimContainer")
        for name, why in {
            "livenessProbe": "probes cannot end a load",
            "readinessProbe": "probes cannot end a load",
            "podSecurityContext": "NIM always runs as user 1000",
            "secrets": "NIM reads ngc-api/NGC_API_KEY and hf-token/token",
            "shm": "shared memory is always memory, of 2Gi per GPU unless shared_memory says otherwise",
        }.items()
    },
    f"{SERVER}.pythonVersion": "the image's tag says it",
    "modelPath": "the model is staged, and its pods get the address of its commit (stage-model)",
    "global.image.pullPolicy": "images are pulled if they are not there",
    "global.resources": "the chart itself does not use it",
    "vllm.logLevel": "the chart uses it with Ray only",
    "vllm.port": "the chart's engines do not listen there",
    "fluentbit.resources": "the side-car has its own",
    "fluentbit.image": "the side-car has its own",
}
_SAME = {
    "service.port": 8000,
    "service.type": "ClusterIP",
    "ingress.enabled": False,
    "global.image.pullPolicy": "IfNotPresent",
    **{
        f"{DEPLOYMENT}.{section}.shm.{name}": value
        for section in ("nim", "nimContainer")
        for name, value in {"enabled": True, "medium": "Memory"}.items()
    },
}
"""Values that say what is so here anyway."""

_WITHOUT = {
    "service.type": "the Service is a ClusterIP: put a load balancer or a gateway of your own in front of it",
    "service.port": "endpoints answer on port 8000",
    "ingress": "an Ingress of your own can point to the endpoint's Service, whose name stays the same",
    f"{DEPLOYMENT}.lifecycle": "pod.drain_seconds and pod.termination_seconds say how pods end",
    f"{DEPLOYMENT}.resources": "only accelerators, cpu and memory are asked for; EFA with lws.efa",
    "hfTokenSecret": "the token's Secret has the key token",
    "s3ModelCopy": "environment of a copy is the work pool's",
    "nimService": "the NIM operator's own defaults are kept",
    "nimCache": "the NIM operator's own defaults are kept",
    "modelParameters": "the image server's options are those of diffusers (docs/flows.md)",
}
"""Why what begins so has no counterpart, and what to do instead."""

_UNKNOWN = "the chart has no such parameter, or one that is newer than this project"
_FRAMEWORKS = {"nim-container": "nim", "nim-operator": "nim"}


@dataclass
class ImportedValues:
    """What became of a values file.

    Attributes:
        preset: The preset; None if the file only describes a model copy.
        copy: Model, and bucket and prefix (``target``), of the chart's S3 Model Copy; empty if it has none.
        notes: What needs no counterpart, and why.
        not_understood: Parameters that have none, with their values and the reason.
    """

    preset: Preset | None = None
    copy: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    not_understood: list[str] = field(default_factory=list)


def read_values(document: Mapping[str, Any], name: str) -> ImportedValues:
    """Turns a values document into a preset.

    Args:
        document: The parsed values file.
        name: Name of the preset that comes out.

    Raises:
        InputError: Understood parameters hold values that cannot be.
    """
    values = Values(document)
    result = ImportedValues()
    result.copy = model_copy(values, result.notes)
    if values.take("inference.framework") is not None or not result.copy:
        values.put_back("inference.framework", _framework_of(document))
        result.preset = _preset(values, name)
    else:
        values.take("serviceAccountName")
    _remainder(values, result)
    return result


def _framework_of(document: Mapping[str, Any]) -> str:
    chosen = (document.get("inference") or {}).get("framework") or "vllm"
    return str(chosen)


def _preset(values: Values, name: str) -> Preset:
    chart_framework = str(values.take("inference.framework"))
    framework = _FRAMEWORKS.get(chart_framework, chart_framework)
    graviton = values.take("inference.accelerator", "gpu")
    accelerator = "cpu" if graviton == "graviton" else str(graviton)
    endpoint = str(values.take("inference.serviceName", "inference"))
    model = str(values.take("model", "NousResearch/Llama-3.2-1B"))
    namespace = values.take("inference.serviceNamespace", "default")
    account = values.take("serviceAccountName", "default")
    document: dict[str, Any] = {
        "name": name,
        "title": f"{model} on {framework}, from the inference chart",
        "model": model,
        "framework": framework,
        "accelerator": accelerator,
        "endpoint": endpoint,
        "image": sections.image(values, f"{SERVER}.image", "vllm/vllm-openai"),
        "replicas": values.take(f"{DEPLOYMENT}.replicas", 1),
        "resources": sections.resources(values, accelerator, str(graviton)),
        "namespace": "" if namespace == "default" else namespace,
        "service_account": "" if account == "default" else account,
        "token_secret": values.take("hfTokenSecret.name", ""),
        "env": sections.environment(values, framework),
        "pod": sections.pod(values, graviton == "graviton") or None,
        "shared_memory": sections.shared_memory(values),
        "startup_seconds": sections.startup(values),
    }
    document |= _place(document, values)
    document |= sections.parameters(values, framework)
    load_format = values.take("vllm.loadFormat")
    if load_format == "runai_streamer":
        document["weights"] = "stream"
    else:
        values.put_back("vllm.loadFormat", load_format)
    if framework == Framework.RAY_VLLM:
        document["ray"] = sections.ray(values)
    if framework == Framework.LWS_VLLM:
        document["lws"] = sections.fabric(values, accelerator)
    if framework == Framework.NIM:
        document["nim"] = sections.nim(values, chart_framework, document)
    try:
        return Preset.model_validate({key: value for key, value in document.items() if value not in (None, "", {})})
    except ValidationError as error:
        raise input_error("The values file", problems(error, Preset), code="input.values") from error


def _place(document: dict[str, Any], values: Values) -> dict[str, Any]:
    """An instance type stands in its own field, or as a node selector."""
    chosen = values.take(f"{DEPLOYMENT}.instanceType", "")
    pod = document["pod"] or {}
    selector = pod.get("node_selector", {})
    as_label = selector.pop("node.kubernetes.io/instance-type", "")
    if not selector:
        pod.pop("node_selector", None)
    return {"instance_type": chosen or as_label, "pod": pod or None}


def _remainder(values: Values, result: ImportedValues) -> None:
    for path, why in ((COPY_NEEDLESS if result.copy else {}) | _NEEDLESS).items():
        if any(_SAME.get(key) != value for key, value in leaves(values.take(path), path)):
            result.notes.append(f"{path} is not needed: {why}.")
    for key, value in values.leaves():
        if key in _SAME and _SAME[key] == value:
            continue
        why = next((why for path, why in _WITHOUT.items() if key == path or key.startswith(f"{path}.")), _UNKNOWN)
        result.not_understood.append(f"{key}: {value!r} ({why})")


def require_mapping(document: Any, where: str) -> dict[str, Any]:
    """Returns the document if it is a mapping.

    Raises:
        InputError: It is something else.
    """
    if not isinstance(document, dict):
        raise InputError(f"{where} should hold a YAML mapping, as a chart's values file does.")
    return document
