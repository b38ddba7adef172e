"""What makes objects of built-in kinds invalid: HTTP 422 and its causes.

Not every rule of a real server is here: those that manifests for serving models can run into are.
"""

import difflib
import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from sandbox.kubernetes.objects import causes, names
from sandbox.kubernetes.objects.causes import Cause
from sandbox.kubernetes.objects.pod_validation import pod_spec
from sandbox.kubernetes.objects.strategies import SERVICE_RANGE

Manifest = dict[str, Any]
_NEGATIVE = "must be greater than or equal to 0"


def _selects(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    wanted: Mapping[str, str] = (selector or {}).get("matchLabels", {})
    return wanted.items() <= labels.items()


def _workload(obj: Manifest, old: Manifest | None) -> list[Cause]:
    """Deployments and ReplicaSets."""
    spec = obj["spec"]
    found: list[Cause] = []
    labels = spec["template"]["metadata"].get("labels", {})
    if spec["replicas"] < 0:
        found.append(causes.invalid("spec.replicas", spec["replicas"], _NEGATIVE))
    if not spec.get("selector"):
        found.append(causes.required("spec.selector"))
    elif not _selects(spec["selector"], labels):
        detail = "`selector` does not match template `labels`"
        found.append(causes.invalid("spec.template.metadata.labels", labels, detail))
    found += names.labels("spec.template.labels", labels)
    found += pod_spec(spec["template"]["spec"], "spec.template.spec", restart=("Always",))
    if old and old["spec"]["selector"] != spec["selector"]:
        found.append(causes.invalid("spec.selector", spec["selector"], "field is immutable"))
    return found


def _deployment(obj: Manifest, old: Manifest | None) -> list[Cause]:
    found = _workload(obj, old)
    spec, strategy = obj["spec"], obj["spec"]["strategy"]
    if strategy["type"] not in ("Recreate", "RollingUpdate"):
        found.append(causes.not_supported("spec.strategy.type", strategy["type"], ("Recreate", "RollingUpdate")))
    rolling = strategy.get("rollingUpdate")
    if strategy["type"] == "Recreate" and rolling is not None:
        detail = "may not be specified when strategy `type` is 'Recreate'"
        found.append(causes.forbidden("spec.strategy.rollingUpdate", detail))
    elif rolling and all(str(rolling[name]).rstrip("%") == "0" for name in ("maxUnavailable", "maxSurge")):
        detail = "may not be 0 when `maxSurge` is 0"
        where = "spec.strategy.rollingUpdate.maxUnavailable"
        found.append(causes.invalid(where, rolling["maxUnavailable"], detail))
    deadline = spec["progressDeadlineSeconds"]
    if deadline <= spec.get("minReadySeconds", 0):
        found.append(causes.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return found


def _job(obj: Manifest, old: Manifest | None) -> list[Cause]:
    spec = obj["spec"]
    found: list[Cause] = []
    for name in ("parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"):
        if spec.get(name, 0) < 0:
            found.append(causes.invalid(f"spec.{name}", spec[name], _NEGATIVE))
    policy = spec["template"]["spec"].get("restartPolicy")
    found += pod_spec(spec["template"]["spec"], "spec.template.spec")
    if policy not in ("OnFailure", "Never"):
        where = "spec.template.spec.restartPolicy"
        found.append(
            causes.required(where, 'valid values: "OnFailure", "Never"')
            if policy == "Always"
            else causes.not_supported(where, policy, ("OnFailure", "Never"))
        )
    if old:
        for name in ("selector", "template", "completionMode"):
            if name == "template" and old["spec"].get("suspend") and "startTime" not in old.get("status", {}):
                before, after = (_without_scheduling(one["spec"]["template"]) for one in (old, obj))
                if before == after:
                    continue
            if old["spec"].get(name) != spec.get(name):
                found.append(causes.invalid(f"spec.{name}", spec.get(name), "field is immutable"))
    return found


def _without_scheduling(template: Mapping[str, Any]) -> Manifest:
    """A template without what may change while its Job is suspended."""
    free = ("nodeSelector", "tolerations", "affinity", "schedulingGates")
    meta = {name: value for name, value in template["metadata"].items() if name not in ("labels", "annotations")}
    spec = {name: value for name, value in template["spec"].items() if name not in free}
    return {"metadata": meta, "spec": spec}


def _pod(obj: Manifest, old: Manifest | None) -> list[Cause]:
    found = pod_spec(obj["spec"], "spec", restart=("Always", "OnFailure", "Never"))
    if old and _fixed_pod_spec(old) != _fixed_pod_spec(obj):
        detail = (
            "pod updates may not change fields other than `spec.containers[*].image`,"
            "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
            "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously "
            "negative)"
        )
        found.append(causes.forbidden("spec", detail))
    return found


def _fixed_pod_spec(pod: Manifest) -> Manifest:
    spec = {k: v for k, v in pod["spec"].items() if k not in ("activeDeadlineSeconds", "tolerations", "nodeName")}
    for kind in ("containers", "initContainers"):
        if kind in spec:
            spec[kind] = [{k: v for k, v in one.items() if k != "image"} for one in spec[kind] or ()]
    return spec


def _service(obj: Manifest, old: Manifest | None) -> list[Cause]:
    spec = obj["spec"]
    found: list[Cause] = []
    types = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
    if spec["type"] not in types:
        found.append(causes.not_supported("spec.type", spec["type"], types))
    headless = spec.get("clusterIP") == "None"
    ports = spec.get("ports", [])
    if not ports and not headless and spec["type"] != "ExternalName":
        found.append(causes.required("spec.ports"))
    seen: set[str] = set()
    for index, port in enumerate(ports):
        where = f"spec.ports[{index}]"
        name = port.get("name", "")
        if not name and len(ports) > 1:
            found.append(causes.required(f"{where}.name"))
        elif name:
            found += names.dns_label(f"{where}.name", name)
        if name and name in seen:
            found.append(causes.duplicate(f"{where}.name", name))
        seen.add(name)
        if not 1 <= port.get("port", 0) <= 65535:
            found.append(causes.invalid(f"{where}.port", port.get("port", 0), "must be between 1 and 65535, inclusive"))
    return found + names.labels("spec.selector", spec.get("selector", {})) + _cluster_ip(spec, old)


def _cluster_ip(spec: Mapping[str, Any], old: Manifest | None) -> list[Cause]:
    address = spec.get("clusterIP", "")
    before = old["spec"].get("clusterIP") if old and old["spec"]["type"] != "ExternalName" else None
    if before and address != before and spec["type"] != "ExternalName":
        return [causes.invalid("spec.clusterIPs[0]", [address], "may not change once set")]
    if not address or address == "None" or before:
        return []
    try:
        allowed = ipaddress.ip_address(address) in SERVICE_RANGE
    except ValueError:
        return [causes.invalid("spec.clusterIPs[0]", [address], "must be a valid IP address")]
    if allowed:
        return []
    detail = f"failed to allocate IP {address}: the provided network does not match the current range"
    return [causes.invalid("spec.clusterIPs", [address], detail)]


def _data(obj: Manifest, old: Manifest | None) -> list[Cause]:
    """ConfigMaps and Secrets."""
    found = names.data_keys("data", obj.get("data", {}))
    size = sum(len(value) for field in ("data", "binaryData") for value in obj.get(field, {}).values())
    if size > 1024 * 1024:
        found.append(causes.too_long("", 1024 * 1024) if obj["kind"] == "ConfigMap" else causes.too_long("data", 2**20))
    if old and old.get("type") != obj.get("type"):
        found.append(causes.invalid("type", obj.get("type"), "field is immutable"))
    if old and old.get("immutable"):
        changed = [name for name in ("data", "binaryData") if old.get(name) != obj.get(name)]
        found += [causes.forbidden(name, "field is immutable when `immutable` is set") for name in changed]
    return found


def _claim(obj: Manifest, old: Manifest | None) -> list[Cause]:
    spec = obj["spec"]
    found: list[Cause] = []
    if not spec.get("accessModes"):
        found.append(causes.required("spec.accessModes", "at least 1 access mode is required"))
    if "storage" not in spec["resources"].get("requests", {}):
        found.append(causes.required("spec.resources[storage]"))
    if old and old["spec"] != spec and not _binding(old["spec"], spec):
        detail = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        )
        found.append(causes.forbidden("spec", f"{detail}\n{_claim_difference(old['spec'], spec)}"))
    return found


def _binding(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether the only change is the volume that a controller binds."""
    return "volumeName" not in old and {**old, "volumeName": new.get("volumeName")} == new


def _claim_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The difference as the server shows it: a unified diff of its internal form."""
    lines = list(difflib.unified_diff(_claim_lines(old), _claim_lines(new), lineterm="", n=3))[2:]
    return "".join(f"{line}\n" for line in lines)


def _claim_lines(spec: Mapping[str, Any]) -> list[str]:
    form = {
        "AccessModes": spec.get("accessModes"),
        "Selector": spec.get("selector"),
        "Resources": {name.title(): spec["resources"].get(name) for name in ("limits", "requests")},
        "VolumeName": spec.get("volumeName", ""),
        "StorageClassName": spec.get("storageClassName"),
        "VolumeMode": spec.get("volumeMode"),
        "DataSource": spec.get("dataSource"),
        "DataSourceRef": spec.get("dataSourceRef"),
        "VolumeAttributesClassName": spec.get("volumeAttributesClassName"),
    }
    indented = orjson.dumps(form, option=orjson.OPT_INDENT_2).decode().splitlines()
    return [" " * ((len(line) - len(line.lstrip())) // 2) + line.lstrip() for line in indented]


def _autoscaler(obj: Manifest, old: Manifest | None) -> list[Cause]:
    _ = old
    spec = obj["spec"]
    least, most = spec["minReplicas"], spec.get("maxReplicas", 0)
    found: list[Cause] = []
    if least < 1:
        found.append(causes.invalid("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        found.append(causes.invalid("spec.maxReplicas", most, "must be greater than 0"))
    if most < least:
        found.append(causes.invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    for name in ("kind", "name"):
        if not spec["scaleTargetRef"].get(name):
            found.append(causes.required(f"spec.scaleTargetRef.{name}"))
    return found


def _role_binding(obj: Manifest, old: Manifest | None) -> list[Cause]:
    reference = obj["roleRef"]
    found: list[Cause] = []
    kinds = ("ClusterRole",) if obj["kind"] == "ClusterRoleBinding" else ("Role", "ClusterRole")
    if reference.get("kind") not in kinds:
        found.append(causes.not_supported("roleRef.kind", reference.get("kind", ""), kinds))
    if not reference.get("name"):
        found.append(causes.required("roleRef.name"))
    if old and old["roleRef"] != reference:
        found.append(causes.invalid("roleRef", reference, "cannot change roleRef"))
    return found


_RULES: Mapping[str, Callable[[Manifest, Manifest | None], list[Cause]]] = {
    "Deployment": _deployment,
    "ReplicaSet": _workload,
    "Job": _job,
    "Pod": _pod,
    "Service": _service,
    "ConfigMap": _data,
    "Secret": _data,
    "PersistentVolumeClaim": _claim,
    "HorizontalPodAutoscaler": _autoscaler,
    "RoleBinding": _role_binding,
    "ClusterRoleBinding": _role_binding,
}


def validate(kind: str, obj: Manifest, old: Manifest | None) -> list[Cause]:
    """Why a decoded and defaulted object cannot be created, or cannot replace `old`; empty when it can."""
    found = names.metadata(obj["metadata"], kind, custom=False)
    rule = _RULES.get(kind)
    return found + (rule(obj, old) if rule else [])
