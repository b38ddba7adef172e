"""The pods and Services of one Ray cluster."""

from collections.abc import Mapping
from typing import Any

from sandbox.kubernetes.controllers.meta import Obj, owner_reference, random_suffix, safe_encode
from sandbox.kubernetes.trees import compact_json

CLUSTER, GROUP, NODE_TYPE, SERVE = "ray.io/cluster", "ray.io/group", "ray.io/node-type", "ray.io/serve"
HASH = "ray.io/hash-without-replicas-and-workers-to-delete"
HEAD_GROUP = "headgroup"
GCS_PORT, DASHBOARD_PORT, SERVE_PORT = 6379, 8265, 8000
_DEFAULT_PORTS = {"gcs-server": GCS_PORT, "dashboard": DASHBOARD_PORT, "client": 10001, "serve": SERVE_PORT}


def config_hash(service: Obj) -> str:
    """The hash of a cluster's configuration; how many workers there are does not count."""
    config = service["spec"]["rayClusterConfig"]
    counts = ("replicas", "minReplicas", "maxReplicas", "scaleStrategy")
    groups = [{k: v for k, v in one.items() if k not in counts} for one in config.get("workerGroupSpecs") or []]
    value = 0
    for byte in compact_json({**config, "workerGroupSpecs": groups}, sort=True).encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return safe_encode(str(value))


def start_command(params: Mapping[str, str], container: Obj, *, head_address: str = "") -> str:
    """The `ray start` line of a node; the head's when there is no head to go to."""
    words = ["ray", "start", *(["--head"] if not head_address else [f"--address={head_address}:{GCS_PORT}"])]
    given = {"block": "true", "dashboard-agent-listen-port": "52365", "metrics-export-port": "8080", **params}
    limits = (container.get("resources") or {}).get("limits") or {}
    if "nvidia.com/gpu" in limits:
        given.setdefault("num-gpus", limits["nvidia.com/gpu"])
    for name, value in sorted(given.items()):
        words.append(f"--{name}" if str(value) == "true" else f"--{name}={value}")
    return " ".join(words)


def head_pod(service: Obj, cluster: str) -> Obj:
    """The head of a Ray cluster."""
    group = service["spec"]["rayClusterConfig"]["headGroupSpec"]
    labels = {**_labels(cluster, HEAD_GROUP, "head"), SERVE: "false"}
    pod = _pod(service, f"{cluster}-head-{random_suffix()}", group["template"], labels)
    pod["metadata"]["annotations"][HASH] = config_hash(service)
    ray = pod["spec"]["containers"][0]
    env = {"RAY_IP": "127.0.0.1", "RAY_ADDRESS": f"127.0.0.1:{GCS_PORT}"}
    _start(ray, start_command(group.get("rayStartParams") or {}, ray), cluster, HEAD_GROUP, env)
    return pod


def worker_pod(service: Obj, cluster: str, group: Obj) -> Obj:
    """A worker of a group."""
    name, namespace = group["groupName"], service["metadata"]["namespace"]
    labels = {**_labels(cluster, name, "worker"), SERVE: "true"}
    pod = _pod(service, f"{cluster}-{name}-worker-{random_suffix()}", group["template"], labels)
    address = f"{cluster}-head-svc.{namespace}.svc.cluster.local"
    ray = pod["spec"]["containers"][0]
    env = {"FQ_RAY_IP": address, "RAY_IP": f"{cluster}-head-svc", "RAY_ADDRESS": f"{address}:{GCS_PORT}"}
    line = start_command(group.get("rayStartParams") or {}, ray, head_address=address)
    _start(ray, line, cluster, name, env)
    return pod


def _pod(service: Obj, name: str, template: Obj, labels: dict[str, str]) -> Obj:
    meta = template.get("metadata") or {}
    spec = {**template["spec"], "containers": [dict(one) for one in template["spec"]["containers"]]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": service["metadata"]["namespace"],
            "labels": {**(meta.get("labels") or {}), **labels},
            "annotations": dict(meta.get("annotations") or {}),
            "ownerReferences": [owner_reference(service)],
        },
        "spec": spec,
    }


def _labels(cluster: str, group: str, kind: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/created-by": "kuberay-operator",
        "app.kubernetes.io/name": "kuberay",
        CLUSTER: cluster,
        GROUP: group,
        "ray.io/identifier": f"{cluster}-{kind}",
        "ray.io/is-ray-node": "yes",
        NODE_TYPE: kind,
    }


def _start(container: Obj, line: str, cluster: str, group: str, env: dict[str, str]) -> None:
    """Let the container start Ray, after whatever command of its own it has."""
    own = " ".join([*(container.get("command") or []), *(container.get("args") or [])])
    generated = f"ulimit -n 65536; {line}"
    container["command"] = ["/bin/bash", "-c", "--"]
    container["args"] = [f"{own} && {generated}" if own else generated]
    added = {
        "RAY_CLUSTER_NAME": cluster,
        "RAY_NODE_TYPE_NAME": group,
        "RAY_PORT": str(GCS_PORT),
        "KUBERAY_GEN_RAY_START_CMD": line,
        **env,
    }
    given = container.get("env") or []
    names = {one["name"] for one in given}
    container["env"] = [*given, *({"name": k, "value": v} for k, v in added.items() if k not in names)]


def head_service(service: Obj, cluster: str, name: str) -> Obj:
    """A headless Service of a cluster's head."""
    head = service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    named = {port["name"]: port["containerPort"] for port in head.get("ports") or [] if port.get("name")}
    ports = [{"name": key, "port": number} for key, number in {**_DEFAULT_PORTS, **named}.items()]
    selector = {CLUSTER: cluster, NODE_TYPE: "head"}
    return _service(service, name, {"clusterIP": "None", "selector": selector, "ports": ports})


def serve_service(service: Obj, cluster: str) -> Obj:
    """The Service that clients call: the nodes of the active cluster whose proxy is healthy."""
    template: dict[str, Any] = service["spec"].get("serveService") or {}
    spec = template.get("spec") or {}
    ports = spec.get("ports") or [{"name": "serve", "port": SERVE_PORT, "targetPort": SERVE_PORT}]
    made = _service(service, f"{service['metadata']['name']}-serve-svc", {**spec, "ports": ports})
    made["spec"]["selector"] = {CLUSTER: cluster, SERVE: "true"}
    given = template.get("metadata") or {}
    made["metadata"] |= {key: given[key] for key in ("labels", "annotations") if given.get(key)}
    if given.get("name"):
        made["metadata"]["name"] = given["name"]
    return made


def _service(service: Obj, name: str, spec: Obj) -> Obj:
    meta = {"name": name, "namespace": service["metadata"]["namespace"]}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {**meta, "ownerReferences": [owner_reference(service)]},
        "spec": spec,
    }
