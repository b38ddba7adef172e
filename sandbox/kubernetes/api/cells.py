"""The contents of table cells, kind by kind."""

from collections.abc import Callable, Mapping
from typing import Any

from sandbox.kubernetes.api.printing import joined, selector_text, since

Manifest = Mapping[str, Any]


def name(obj: Manifest) -> str:
    """The object's name."""
    return str(obj["metadata"]["name"])


def conditions(obj: Manifest) -> dict[str, str]:
    """Condition types and their states."""
    return {one["type"]: one["status"] for one in obj.get("status", {}).get("conditions") or ()}


def containers(obj: Manifest, field: str) -> str:
    """One field of every container of the template."""
    return ",".join(one.get(field, "") for one in obj["spec"]["template"]["spec"]["containers"] or ())


def selector(obj: Manifest) -> str:
    """The selector of a workload."""
    return selector_text(obj["spec"].get("selector"))


def ready_of_desired(obj: Manifest) -> str:
    """Ready and wanted replicas."""
    return f"{obj['status'].get('readyReplicas', 0)}/{obj['spec'].get('replicas', 1)}"


def job_status(job: Manifest) -> str:
    """How a Job is doing."""
    states = conditions(job)
    for kind, shown in (("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended")):
        if states.get(kind) == "True":
            return shown
    if "deletionTimestamp" in job["metadata"]:
        return "Terminating"
    return "FailureTarget" if states.get("FailureTarget") == "True" else "Running"


def job_completions(job: Manifest) -> str:
    """Finished and wanted pods of a Job."""
    done = job["status"].get("succeeded", 0)
    if "completions" in job["spec"]:
        return f"{done}/{job['spec']['completions']}"
    parallelism = job["spec"].get("parallelism", 1)
    return f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"


def job_duration(job: Manifest) -> str:
    """How long a Job has run."""
    status = job["status"]
    if "startTime" not in status:
        return ""
    return since(status["startTime"], status.get("completionTime"))


def ports(service: Manifest) -> str:
    """A Service's ports."""
    texts = []
    for port in service["spec"].get("ports", ()):
        node_port = f":{port['nodePort']}" if "nodePort" in port else ""
        texts.append(f"{port['port']}{node_port}/{port['protocol']}")
    return ",".join(texts) or "<none>"


def external_ip(service: Manifest) -> str:
    """Where a Service can be reached from outside."""
    spec = service["spec"]
    if spec["type"] == "ExternalName":
        return str(spec.get("externalName", "<none>"))
    if spec["type"] == "LoadBalancer":
        ingress = service["status"].get("loadBalancer", {}).get("ingress", ())
        return ",".join(one.get("ip") or one.get("hostname", "") for one in ingress) or "<pending>"
    return ",".join(spec.get("externalIPs", ())) or "<none>"


def node_status(node: Manifest) -> str:
    """Whether a node is ready."""
    ready = conditions(node).get("Ready")
    text = {"True": "Ready", "False": "NotReady"}.get(ready or "", "Unknown" if ready is None else "NotReady")
    return f"{text},SchedulingDisabled" if node["spec"].get("unschedulable") else text


def node_roles(node: Manifest) -> str:
    """A node's roles."""
    prefix = "node-role.kubernetes.io/"
    return joined(key.removeprefix(prefix) for key in node["metadata"].get("labels", {}) if key.startswith(prefix))


def node_info(field: str) -> Callable[[Manifest], str]:
    """One field of a node's info."""
    return lambda node: node["status"].get("nodeInfo", {}).get(field) or "<unknown>"


def node_address(kind: str) -> Callable[[Manifest], str]:
    """A node's address of one kind."""
    return lambda node: next(
        (one["address"] for one in node["status"].get("addresses", ()) if one["type"] == kind), "<none>"
    )


def event_last_seen(event: Manifest) -> str:
    """When an event was last seen, and how often."""
    first = event.get("firstTimestamp") or event.get("eventTime")
    last = event.get("lastTimestamp") or first
    count = event.get("count", 1) or 1
    series = event.get("series")
    if series:
        last, count = series.get("lastObservedTime", last), series.get("count", count)
    seen = since(last) if last else "<unknown>"
    return f"{seen} (x{count} over {since(first)})" if count > 1 and first else seen


def event_object(event: Manifest) -> str:
    """What an event is about."""
    involved = event["involvedObject"]
    return f"{involved.get('kind', '').lower()}/{involved.get('name', '')}"


def endpoint_addresses(endpoints: Manifest) -> str:
    """The first addresses of Endpoints."""
    texts = []
    for subset in endpoints.get("subsets") or ():
        for address in subset.get("addresses", ()):
            ports = subset.get("ports") or [{}]
            texts += [f"{address['ip']}:{port['port']}" if port else address["ip"] for port in ports]
    shown = ",".join(texts[:3])
    return (f"{shown} + {len(texts) - 3} more..." if len(texts) > 3 else shown) or "<none>"


def slice_ports(one: Manifest) -> str:
    """The ports of an EndpointSlice."""
    return joined((str(port.get("port", "")) for port in one.get("ports") or ()), "<unset>")


def slice_endpoints(one: Manifest) -> str:
    """The addresses of an EndpointSlice."""
    return joined((ip for endpoint in one.get("endpoints") or () for ip in endpoint["addresses"]), "<unset>")


def hpa_reference(hpa: Manifest) -> str:
    """What an autoscaler scales."""
    target = hpa["spec"]["scaleTargetRef"]
    return f"{target['kind']}/{target['name']}"


def hpa_targets(hpa: Manifest) -> str:
    """An autoscaler's targets; nothing measures them here."""
    texts = []
    for metric in hpa["spec"].get("metrics", ()):
        source = metric.get(metric["type"][0].lower() + metric["type"][1:], {})
        target = source.get("target", {})
        wanted = target.get("averageUtilization")
        value = f"{wanted}%" if wanted is not None else target.get("averageValue") or target.get("value", "")
        texts.append(f"{source.get('name', metric['type'])}: <unknown>/{value}")
    return ", ".join(texts) or "<none>"


def quota_amounts(kind: str) -> Callable[[Manifest], str]:
    """A quota's used and allowed amounts, requests or limits."""

    def cell(quota: Manifest) -> str:
        hard, used = (quota.get("status", {}).get(name, {}) for name in ("hard", "used"))
        names = [name for name in sorted(hard) if name.startswith("limits.") is (kind == "limits")]
        return ", ".join(f"{name}: {used.get(name, 0)}/{hard[name]}" for name in names)

    return cell


def claim_capacity(claim: Manifest) -> str:
    """The size of a bound claim."""
    return str(claim["status"].get("capacity", {}).get("storage", ""))


def claim_modes(obj: Manifest) -> str:
    """The access modes of a bound claim."""
    short = {
        "ReadWriteOnce": "RWO",
        "ReadOnlyMany": "ROX",
        "ReadWriteMany": "RWX",
        "ReadWriteOncePod": "RWOP",
    }
    return ",".join(short.get(mode, mode) for mode in obj["status"].get("accessModes", ()))


def terminating_or(obj: Manifest, phase: str) -> str:
    """A phase, unless the object is terminating."""
    return "Terminating" if "deletionTimestamp" in obj["metadata"] else phase


def created(obj: Manifest) -> str:
    """The creation time, for kinds that show it instead of an age."""
    return str(obj["metadata"]["creationTimestamp"])
