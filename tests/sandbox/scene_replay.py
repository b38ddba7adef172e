"""Plays a recorded scene on the sandbox's cluster, and tells what of the recording it did not show."""

import asyncio
import contextlib
import copy
import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cluster_harness import IMAGE, NAMESPACE, QUICK, Harness, resource_of, running_cluster

from sandbox.kubernetes.node import ImageConfig, NodeConfig
from sandbox.kubernetes.resources import (
    DEPLOYMENTS,
    ENDPOINTSLICES,
    EVENTS,
    JOBS,
    PODS,
    PVCS,
    REPLICASETS,
    RESOURCEQUOTAS,
)

DATA = Path(__file__).parents[1] / "data"
ENGINE = ImageConfig(IMAGE, path=DATA / "engine_image")
KINDS = {
    "deployments": DEPLOYMENTS,
    "replicasets": REPLICASETS,
    "jobs": JOBS,
    "endpointslices": ENDPOINTSLICES,
    "persistentvolumeclaims": PVCS,
    "resourcequotas": RESOURCEQUOTAS,
    "pods": PODS,
}
DROPPED = {
    "lastTransitionTime lastUpdateTime lastProbeTime lastHeartbeatTime startTime completionTime startedAt finishedAt "
    "containerID imageID restartCount uid allocatedResources resources managedFields timeAdded"
}
TEXTS = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID"),
    (r"\b(?:\d{1,3}\.){3}\d{1,3}\b", "ADDRESS"),
    (r"\b(chat|kv-cache)-[456789bcdf]{5,10}\b", r"\1-HASH"),
    (r"-HASH-[a-z0-9]{5}(?![a-z0-9])", "-HASH-POD"),
    (r"\bstage-weights-[a-z0-9]{5}(?![a-z0-9])", "stage-weights-POD"),
    (r"kube-api-access-[a-z0-9]{5}", "kube-api-access"),
    (r"back-off \S+ restarting", "back-off TIME restarting"),
)


def normalized(value: Any) -> Any:
    """What of an object is the same in every cluster."""
    if isinstance(value, dict):
        dropped = " ".join(DROPPED).split()
        return {key: normalized(one) for key, one in sorted(value.items()) if key not in dropped}
    if isinstance(value, list):
        return [normalized(one) for one in value]
    if isinstance(value, str):
        for pattern, replacement in TEXTS:
            value = re.sub(pattern, replacement, value)
    return value


def shown(kind: str, obj: dict[str, Any]) -> str:
    """What is compared of an object: its status, or an EndpointSlice's content."""
    if kind == "endpointslices":
        return json.dumps(
            normalized({key: obj.get(key) for key in ("addressType", "endpoints", "ports")}), sort_keys=True
        )
    status = dict(obj.get("status", {}))
    if "observedGeneration" in status:  # how far behind it is, whatever the numbers are
        status["observedGeneration"] -= obj["metadata"]["generation"]
    return json.dumps(normalized(status), sort_keys=True)


def told(event: dict[str, Any]) -> str:
    """What is compared of an event."""
    about = event["involvedObject"]
    component = event["source"].get("component") or event.get("reportingComponent")
    parts = (about["kind"], about.get("fieldPath", ""), event["type"], event["reason"], event["message"], component)
    return " | ".join(str(normalized(part)) for part in parts)


@dataclass
class Seen:
    """Everything that a cluster showed."""

    objects: dict[str, set[str]] = field(default_factory=lambda: {kind: set() for kind in KINDS})
    events: set[str] = field(default_factory=set)


@dataclass
class Outcome:
    """How a replay compares with its recording.

    Attributes:
        missing: Recorded states and events that did not come.
        surplus: Events that came and are not in the recording.
        seen: All that came.
    """

    missing: list[str]
    surplus: list[str]
    seen: Seen


def scene(name: str) -> dict[str, Any]:
    """A recorded scene."""
    found: dict[str, Any] = json.loads((DATA / "scenes" / f"{name}.json").read_text())
    return found


def hurried(manifest: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The manifest with shorter times, which statuses and events do not show."""
    manifest = copy.deepcopy(manifest)
    manifest["metadata"]["namespace"] = NAMESPACE
    spec = manifest.get("spec", {})
    if manifest["kind"] == "Deployment":
        spec["progressDeadlineSeconds"] = changes.get("deadline", 4)
    template = spec.get("template", {}).get("spec", {})
    for container in template.get("containers", []):
        env = {one["name"]: one for one in container.get("env", [])}
        env |= {name: {"name": name, "value": value} for name, value in changes.get("env", {}).items()}
        if env:
            container["env"] = list(env.values())
        for probe in ("startupProbe", "readinessProbe"):
            if probe in container:
                container[probe] |= {"periodSeconds": 1, "timeoutSeconds": 30, **changes.get(probe, {})}
    if template:
        template["terminationGracePeriodSeconds"] = 1
    return manifest


async def watch(harness: Harness, seen: Seen) -> None:
    names = {resource: kind for kind, resource in KINDS.items()}
    async for change, resource, obj in harness.cluster.subscribe(*KINDS.values(), EVENTS):
        if obj["metadata"].get("namespace") != NAMESPACE:
            continue
        if resource is EVENTS:
            seen.events.add(told(obj))
        elif change != "DELETED":
            seen.objects[names[resource]].add(shown(names[resource], obj))


def expected(recording: dict[str, Any]) -> tuple[dict[str, set[str]], set[str]]:
    objects: dict[str, set[str]] = {kind: set() for kind in KINDS}
    events: set[str] = set()
    for snapshot in recording["timeline"]:
        for kind in KINDS:
            objects[kind] |= {shown(kind, obj) for obj in snapshot.get(kind, [])}
        events |= {told(one) for one in snapshot["events"] if one["involvedObject"]["kind"] != "Node"}
    return objects, events


async def replay(name: str, tmp_path: Path, changes: dict[str, Any], seconds: float = 12.0) -> Outcome:
    """Play a scene until everything recorded has been seen, or until `seconds` are over."""
    recording = scene(name)
    nodes = [
        NodeConfig(
            node["metadata"]["name"],
            labels=node["metadata"]["labels"],
            capacity=node["status"]["capacity"],
            taints=tuple(changes.get("taints", node["spec"].get("taints", []))),
        )
        for node in recording["nodes"]
    ]
    objects, events = expected(recording)
    seen, timings = Seen(), replace(QUICK, **changes.get("timings", {}))

    def missing() -> list[str]:
        states = [f"{kind}: {one}" for kind in KINDS for one in sorted(objects[kind] - seen.objects[kind])]
        return states + [f"event: {one}" for one in sorted(events - seen.events)]

    async with running_cluster(tmp_path, nodes=nodes, images=[ENGINE], timings=timings) as harness:
        watching = asyncio.create_task(watch(harness, seen))
        for manifest in recording["manifests"]:
            harness.apply(hurried(manifest, changes))
        steps = asyncio.create_task(act(harness, recording, changes))
        deadline = asyncio.get_running_loop().time() + seconds
        while missing() and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.05)
        watching.cancel()
        steps.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await steps
    return Outcome(missing(), sorted(seen.events - events), seen)


async def act(harness: Harness, recording: dict[str, Any], changes: dict[str, Any]) -> None:
    """What happens later in the scene: other manifests are applied, or the node is lost."""
    later = recording.get("later_manifests", [])
    if not later and not changes.get("lose"):
        return
    while not any("available" in one.lower() and '"availableReplicas": 1' in one for one in states(harness)):
        await asyncio.sleep(0.02)
    for entry in later:
        new = hurried(entry["manifest"], {**changes, "deadline": changes["later_deadline"]})
        resource = resource_of(new)

        def change(obj: dict[str, Any], new: dict[str, Any] = new) -> None:
            obj["spec"] = new["spec"]

        harness.cluster.update(resource, NAMESPACE, new["metadata"]["name"], change, manager="test")
    if changes.get("lose") and harness.fleet:
        harness.fleet.lose_node(changes["lose"])


def states(harness: Harness) -> list[str]:
    return [json.dumps(one.get("status", {})) for one in harness.cluster.list(DEPLOYMENTS, NAMESPACE)]
