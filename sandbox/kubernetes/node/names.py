"""Cluster DNS and Service addresses for the pods' Python processes: a file that says what is where.

`podsite` reads it in the pods. Services have the names and the cluster IPs that they have in the API, though nothing
listens there: a connection goes to a ready endpoint and its target port instead.
"""

import asyncio
import os
from pathlib import Path

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.controllers.endpoints import SERVICE_NAME, port_number
from sandbox.kubernetes.controllers.meta import Obj
from sandbox.kubernetes.controllers.pods import is_finished
from sandbox.kubernetes.resources import ENDPOINTSLICES, PODS, SERVICES
from sandbox.kubernetes.trees import compact_json

PAUSE = 0.02
"""Seconds in which several changes become one file."""


class NameService:
    """Keeps the file up to date.

    Args:
        cluster: Whose Services and pods have names.
        path: The file.
    """

    def __init__(self, cluster: Cluster, path: Path) -> None:
        self._cluster, self.path = cluster, path
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Write the file whenever something with a name has changed, until cancelled."""
        events = self._cluster.subscribe(SERVICES, ENDPOINTSLICES, PODS)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write())
            async for _, resource, obj in events:
                if resource is not PODS or obj["spec"].get("subdomain"):
                    self._changed.set()

    async def _write(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(PAUSE)
            self._changed.clear()
            new = self.path.with_suffix(".new")
            new.parent.mkdir(parents=True, exist_ok=True)
            new.write_text(compact_json(directory(self._cluster)))
            os.replace(new, self.path)


def directory(cluster: Cluster) -> Obj:
    """Names with their addresses, and for each Service address and port the endpoints behind it."""
    names: dict[str, list[str]] = {}
    routes: dict[str, dict[str, list[list[object]]]] = {}
    for service in cluster.list(SERVICES):
        meta = service["metadata"]
        ready = _ready_pods(cluster, service)
        address, title = service["spec"].get("clusterIP"), f"{meta['name']}.{meta['namespace']}"
        if address in (None, "None"):
            names[title] = [pod["status"]["podIP"] for pod in ready]
            continue
        names[title] = [address]
        routes[address] = {str(port["port"]): _targets(port, ready) for port in service["spec"].get("ports") or []}
    for pod in cluster.list(PODS):
        spec, found = pod["spec"], pod.get("status", {}).get("podIP")
        if found and spec.get("hostname") and spec.get("subdomain") and not is_finished(pod):
            names[f"{spec['hostname']}.{spec['subdomain']}.{pod['metadata']['namespace']}"] = [found]
    return {"names": names, "routes": routes}


def _ready_pods(cluster: Cluster, service: Obj) -> list[Obj]:
    namespace = service["metadata"]["namespace"]
    slices = cluster.list(ENDPOINTSLICES, namespace, {SERVICE_NAME: service["metadata"]["name"]})
    endpoints = [one for each in slices for one in each.get("endpoints") or [] if one["conditions"]["ready"]]
    pods = [cluster.get(PODS, namespace, one["targetRef"]["name"]) for one in endpoints if one.get("targetRef")]
    return [pod for pod in pods if pod and pod.get("status", {}).get("podIP")]


def _targets(port: Obj, pods: list[Obj]) -> list[list[object]]:
    target = port["targetPort"] if "targetPort" in port else port["port"]
    numbers = [(pod, port_number(pod, target)) for pod in pods]
    return [[pod["status"]["podIP"], number] for pod, number in numbers if number is not None]
