"""What the operator makes of a NIMService: an account, a Service and a Deployment, all of its own name."""

import hashlib
import json

from sandbox.kubernetes.controllers.meta import Obj, owner_reference
from sandbox.kubernetes.controllers.operators.nim.caches import GROUP, MODEL_STORE, USER

PORT_NAME = "api"
HASH = "nvidia.com/parent-spec-hash"
READY, LIVE = "/v1/health/ready", "/v1/health/live"


def port_of(service: Obj) -> int:
    """The port of Service and container."""
    port: int = ((service["spec"].get("expose") or {}).get("service") or {}).get("port", 8000)
    return port


def spec_hash(service: Obj) -> str:
    """What tells whether the made objects are those of the present spec."""
    return hashlib.sha256(json.dumps(service["spec"], sort_keys=True).encode()).hexdigest()[:10]


def account(service: Obj) -> Obj:
    """The ServiceAccount of the pods."""
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata(service)}


def kubernetes_service(service: Obj) -> Obj:
    """The Service."""
    exposed = (service["spec"].get("expose") or {}).get("service") or {}
    port = {"name": PORT_NAME, "port": port_of(service), "targetPort": PORT_NAME, "protocol": "TCP"}
    metadata = _metadata(service)
    metadata["labels"] |= exposed.get("labels") or {}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": exposed.get("type") or "ClusterIP",
            "selector": {"app": service["metadata"]["name"]},
            "ports": [port],
        },
    }


def deployment(service: Obj, claim: str) -> Obj:
    """The Deployment, whose pods read the model from the cache's claim."""
    metadata, spec = _metadata(service), service["spec"]
    annotations = {key: value for key, value in metadata["annotations"].items() if key != HASH}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            **({"replicas": spec["replicas"]} if "replicas" in spec else {}),
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": 0}},
            "selector": {"matchLabels": {"app": service["metadata"]["name"]}},
            "template": {
                "metadata": {
                    "labels": {"app": service["metadata"]["name"], **metadata["labels"]},
                    "annotations": annotations,
                },
                "spec": _pod(service, claim),
            },
        },
    }


def _pod(service: Obj, claim: str) -> Obj:
    spec, image = service["spec"], service["spec"]["image"]
    shared: Obj = {"medium": "Memory"}
    if limit := (spec.get("storage") or {}).get("sharedMemorySizeLimit"):
        shared["sizeLimit"] = limit
    pod: Obj = {
        "serviceAccountName": service["metadata"]["name"],
        "securityContext": {
            "runAsUser": spec.get("userID", USER),
            "runAsGroup": spec.get("groupID", GROUP),
            "fsGroup": spec.get("groupID", GROUP),
        },
        "containers": [_container(service)],
        "volumes": [
            {"name": "dshm", "emptyDir": shared},
            {"name": "model-store", "persistentVolumeClaim": {"claimName": claim}},
        ],
    }
    if image.get("pullSecrets"):
        pod["imagePullSecrets"] = [{"name": name} for name in image["pullSecrets"]]
    for field in ("nodeSelector", "tolerations", "priorityClassName", "schedulerName"):
        if spec.get(field):
            pod[field] = spec[field]
    return pod


def _container(service: Obj) -> Obj:
    spec, image = service["spec"], service["spec"]["image"]
    found: Obj = {
        "name": f"{service['metadata']['name']}-ctr",
        "image": f"{image['repository']}:{image['tag']}",
        "env": _environment(service),
        "ports": [{"name": PORT_NAME, "containerPort": port_of(service), "protocol": "TCP"}],
        "volumeMounts": [
            {"name": "model-store", "mountPath": MODEL_STORE},
            {"name": "dshm", "mountPath": "/dev/shm"},  # noqa: S108 - a path of the container
        ],
        **_probes(spec),
    }
    if image.get("pullPolicy"):
        found["imagePullPolicy"] = image["pullPolicy"]
    for field in ("command", "args", "resources"):
        if spec.get(field):
            found[field] = spec[field]
    return found


def _environment(service: Obj) -> list[Obj]:
    """The operator's own variables, then the user's, which win."""
    port, secret = str(port_of(service)), service["spec"].get("authSecret")
    own: list[Obj] = [
        {"name": "NIM_CACHE_PATH", "value": MODEL_STORE},
        {"name": "OUTLINES_CACHE_DIR", "value": "/tmp/outlines"},  # noqa: S108 - a path of the container
        {"name": "NIM_SERVER_PORT", "value": port},
        {"name": "NIM_HTTP_API_PORT", "value": port},
        {"name": "NIM_JSONL_LOGGING", "value": "1"},
        {"name": "NIM_LOG_LEVEL", "value": "INFO"},
    ]
    if secret:
        own.append({"name": "NGC_API_KEY", "valueFrom": {"secretKeyRef": {"name": secret, "key": "NGC_API_KEY"}}})
    given = service["spec"].get("env") or []
    names = {one["name"] for one in given}
    return [*(one for one in own if one["name"] not in names), *given]


def _probes(spec: Obj) -> Obj:
    """The probes that the spec gives, else the operator's own; none where the spec switches one off."""
    own = {
        "livenessProbe": _probe(LIVE, 15, 3),
        "readinessProbe": _probe(READY, 15, 3),
        "startupProbe": _probe(READY, 30, 120),
    }
    found = {}
    for name, default in own.items():
        given = spec.get(name) or {}
        if given.get("enabled", True):
            found[name] = given.get("probe") or default
    return found


def _probe(path: str, delay: int, failures: int) -> Obj:
    return {
        "httpGet": {"path": path, "port": PORT_NAME},
        "initialDelaySeconds": delay,
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "failureThreshold": failures,
    }


def _metadata(service: Obj) -> Obj:
    meta, spec = service["metadata"], service["spec"]
    labels = {
        "app.kubernetes.io/name": meta["name"],
        "app.kubernetes.io/instance": meta["name"],
        "app.kubernetes.io/part-of": "nim-service",
        "app.kubernetes.io/managed-by": "k8s-nim-operator",
        **(spec.get("labels") or {}),
    }
    annotations = {"openshift.io/required-scc": "nonroot", HASH: spec_hash(service), **(spec.get("annotations") or {})}
    return {
        "name": meta["name"],
        "namespace": meta["namespace"],
        "labels": labels,
        "annotations": annotations,
        "ownerReferences": [owner_reference(service)],
    }
