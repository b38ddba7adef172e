"""From JSON to the form in which the server keeps an object of a built-in kind.

A real server decodes JSON into Go structs: unknown fields are dropped (and reported), a wrong type is an error,
quantities become canonical, and what is empty or zero is left out where the struct says `omitempty`, or written
where it does not. The tables below hold those of the structs' tags that make a difference to clients.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from sandbox.kubernetes.objects.schemas import Schema
from sandbox.kubernetes.quantities import canonical

Manifest = dict[str, Any]

ALWAYS: Mapping[str, Mapping[str, Any]] = {
    "Container": {"resources": {}},
    "ContainerStatus": {"state": {}, "lastState": {}, "ready": False, "restartCount": 0, "image": "", "imageID": ""},
    "CustomResourceDefinition": {"spec": {}, "status": {}},
    "CustomResourceDefinitionNames": {"plural": "", "kind": ""},
    "CustomResourceDefinitionSpec": {"group": "", "names": {}, "scope": "", "versions": None},
    "CustomResourceDefinitionStatus": {"conditions": None, "acceptedNames": {}, "storedVersions": None},
    "Deployment": {"spec": {}, "status": {}},
    "DeploymentCondition": {"lastUpdateTime": None, "lastTransitionTime": None},
    "DeploymentSpec": {"selector": None, "template": {}, "strategy": {}},
    "EndpointSlice": {"addressType": "", "endpoints": None, "ports": None},
    "Endpoint": {"conditions": {}},
    "Event": {
        "involvedObject": {},
        "source": {},
        "firstTimestamp": None,
        "lastTimestamp": None,
        "eventTime": None,
        "reportingComponent": "",
        "reportingInstance": "",
    },
    "HorizontalPodAutoscaler": {"spec": {}, "status": {}},
    "HorizontalPodAutoscalerCondition": {"lastTransitionTime": None},
    "HorizontalPodAutoscalerSpec": {"scaleTargetRef": {}},
    "HorizontalPodAutoscalerStatus": {"desiredReplicas": 0, "currentMetrics": None},
    "Job": {"spec": {}, "status": {}},
    "JobSpec": {"template": {}},
    "Lease": {"spec": {}},
    "Namespace": {"spec": {}, "status": {}},
    "Node": {"spec": {}, "status": {}},
    "NodeCondition": {"lastHeartbeatTime": None, "lastTransitionTime": None},
    "NodeStatus": {"daemonEndpoints": {}, "nodeInfo": {}},
    "DaemonEndpoints": {},
    "PersistentVolume": {"spec": {}, "status": {}},
    "PersistentVolumeClaim": {"spec": {}, "status": {}},
    "PersistentVolumeClaimSpec": {"resources": {}},
    "Pod": {"spec": {}, "status": {}},
    "PodCondition": {"lastProbeTime": None, "lastTransitionTime": None},
    "PodDisruptionBudget": {"spec": {}, "status": {}},
    "PodDisruptionBudgetStatus": {
        "disruptionsAllowed": 0,
        "currentHealthy": 0,
        "desiredHealthy": 0,
        "expectedPods": 0,
    },
    "PodSpec": {"containers": None},
    "PodTemplateSpec": {"metadata": {}, "spec": {}},
    "PriorityClass": {"value": 0},
    "ReplicaSet": {"spec": {}, "status": {}},
    "ReplicaSetCondition": {"lastTransitionTime": None},
    "ReplicaSetSpec": {"selector": None, "template": {}},
    "ReplicaSetStatus": {"replicas": 0},
    "ResourceQuota": {"spec": {}, "status": {}},
    "Role": {"rules": None},
    "RoleBinding": {"roleRef": {}},
    "ClusterRole": {"rules": None},
    "ClusterRoleBinding": {"roleRef": {}},
    "Service": {"spec": {}, "status": {}},
    "ServicePort": {"targetPort": 0},
    "ServiceStatus": {"loadBalancer": {}},
    "StorageClass": {"provisioner": ""},
}
"""What each struct writes even when nobody set it."""

_OMIT_ZERO: Mapping[str, str] = {
    "ConfigMapKeySelector": "name",
    "ConfigMapVolumeSource": "name",
    "Container": "image workingDir stdin stdinOnce tty terminationMessagePath terminationMessagePolicy imagePullPolicy",
    "ContainerPort": "name hostPort protocol hostIP",
    "CSIPersistentVolumeSource": "readOnly fsType",
    "DeploymentSpec": "minReadySeconds paused",
    "DeploymentStatus": "observedGeneration replicas updatedReplicas readyReplicas availableReplicas "
    "unavailableReplicas",
    "EmptyDirVolumeSource": "medium",
    "EnvFromSource": "prefix",
    "EnvVar": "value",
    "Event": "reason message type count action",
    "HTTPGetAction": "path host scheme",
    "HorizontalPodAutoscalerStatus": "currentReplicas",
    "JobStatus": "active succeeded failed completedIndexes",
    "LocalObjectReference": "name",
    "NodeSpec": "unschedulable podCIDR providerID",
    "ObjectMeta": "generateName namespace generation resourceVersion uid selfLink",
    "PersistentVolumeClaimSpec": "volumeName",
    "PersistentVolumeClaimVolumeSource": "readOnly",
    "PersistentVolumeSpec": "storageClassName persistentVolumeReclaimPolicy",
    "PodSpec": "hostNetwork hostPID hostIPC nodeName serviceAccountName serviceAccount hostname subdomain "
    "schedulerName priorityClassName restartPolicy dnsPolicy",
    "PodStatus": "phase message reason hostIP podIP qosClass nominatedNodeName observedGeneration",
    "PodCondition": "reason message observedGeneration",
    "Probe": "initialDelaySeconds timeoutSeconds periodSeconds successThreshold failureThreshold",
    "ReplicaSetSpec": "minReadySeconds",
    "ReplicaSetStatus": "fullyLabeledReplicas readyReplicas availableReplicas observedGeneration",
    "SecretKeySelector": "name",
    "SecretVolumeSource": "secretName",
    "ServicePort": "name protocol nodePort",
    "ServiceSpec": "clusterIP type externalName loadBalancerIP sessionAffinity healthCheckNodePort "
    "publishNotReadyAddresses externalTrafficPolicy",
    "Toleration": "key operator value effect",
    "VolumeMount": "readOnly subPath subPathExpr",
}
_OMITTED = {struct: frozenset(names.split()) for struct, names in _OMIT_ZERO.items()}
_GO_TYPES = {"boolean": "bool", "string": "string", "number": "float64", "map": "map[string]string"}
_NOTHING: Mapping[str, Any] = {}


class DecodeError(ValueError):
    """The JSON does not fit the Go type."""


def decode(schema: Schema, obj: Mapping[str, Any], unknown: list[str]) -> Manifest:
    """`obj` in the server's own form; the paths of fields that it does not know are added to `unknown`.

    Raises:
        DecodeError: a value has the wrong type.
    """
    decoded: Manifest = _Decoder(unknown).struct(schema, obj, "", "")
    return decoded


def blank(schema: Schema) -> Manifest:
    """An object of the kind with nothing set: what a new object is compared with."""
    return decode(schema, {"metadata": {}}, [])


def _json_type(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, dict):
        return "object"
    if isinstance(value, list):
        return "array"
    return "string" if isinstance(value, str) else "number"


class _Decoder:
    """One pass over one object; the current place is told by the Go path (no indices) and by the JSON path."""

    def __init__(self, unknown: list[str]) -> None:
        self._unknown = unknown

    def value(self, schema: Schema, value: Any, owner: str, go: str, at: str) -> Any:
        kind = schema.kind
        match kind:
            case "struct" if isinstance(value, dict):
                return self.struct(schema, value, go, at)
            case "map" if isinstance(value, dict) and schema.values:
                inner, values = schema.values, value.items()
                return {
                    name: self.value(inner, one, owner, go, f"{at}.{name}") for name, one in values if one is not None
                }
            case "list" if isinstance(value, list) and schema.items:
                item = schema.items
                return [self.value(item, one, owner, go, f"{at}[{index}]") for index, one in enumerate(value)]
            case "any":
                return value
            case "struct" | "map" | "list":
                raise self._mismatch(schema, value, owner, go)
            case _:
                return self._scalar(schema, value, owner, go)

    def struct(self, schema: Schema, value: Mapping[str, Any], go: str, at: str) -> Manifest:
        result: Manifest = {}
        omitted = _OMITTED.get(schema.name, ())
        always = ALWAYS.get(schema.name, _NOTHING)
        for name, child in value.items():
            child_schema = schema.fields.get(name)
            where = f"{at}.{name}" if at else name
            if child_schema is None:
                self._unknown.append(where)
                continue
            if child is None:
                continue
            decoded = self.value(child_schema, child, schema.name, f"{go}.{name}" if go else name, where)
            if not decoded and name not in always:
                if child_schema.kind in ("map", "list"):
                    continue
                if name in omitted and decoded in (0, "", False):
                    continue
            result[name] = decoded
        for name, default in always.items():
            if name not in result:
                child_schema = schema.fields[name]
                result[name] = self.struct(child_schema, {}, "", "") if default == {} else default
        return result

    def _scalar(self, schema: Schema, value: Any, owner: str, go: str) -> Any:
        match schema.kind:
            case "string" if isinstance(value, str):
                return _checked_bytes(value) if schema.format == "byte" else value
            case "boolean" if isinstance(value, bool):
                return value
            case "integer" if isinstance(value, int) and not isinstance(value, bool):
                return value
            case "integer" if isinstance(value, float) and value.is_integer():
                return int(value)
            case "number" if isinstance(value, int | float) and not isinstance(value, bool):
                return value
            case "int-or-string" if isinstance(value, int | str) and not isinstance(value, bool):
                return value
            case "quantity" if isinstance(value, int | float | str) and not isinstance(value, bool):
                try:
                    return canonical(value)
                except ValueError as error:
                    raise DecodeError(str(error)) from None
        raise self._mismatch(schema, value, owner, go)

    def _mismatch(self, schema: Schema, value: object, owner: str, go: str) -> DecodeError:
        wanted = _GO_TYPES.get(schema.kind) or schema.format or schema.kind
        if schema.kind == "struct":
            wanted = f"v1.{schema.name}"
        elif schema.kind == "list":
            item = schema.items
            wanted = "[]" + (f"v1.{item.name}" if item and item.kind == "struct" else "string")
        where = f"Go struct field {owner}.{go}" if owner else "Go value"
        return DecodeError(f"json: cannot unmarshal {_json_type(value)} into {where} of type {wanted}")


def _checked_bytes(value: str) -> str:
    try:
        base64.b64decode(value, validate=True)
    except binascii.Error:
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
        bad = next((index for index, char in enumerate(value) if char not in alphabet), len(value))
        raise DecodeError(f"illegal base64 data at input byte {bad}") from None
    return value
