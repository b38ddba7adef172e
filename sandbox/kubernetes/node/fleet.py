"""All nodes of the sandbox: they register, run the pods that the scheduler gives them, and show their logs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.controllers.meta import Obj
from sandbox.kubernetes.errors import ApiError
from sandbox.kubernetes.node import registration
from sandbox.kubernetes.node.config import ImageConfig, NodeConfig, NodeTimings
from sandbox.kubernetes.node.context import NodeContext
from sandbox.kubernetes.node.images import ImageStore
from sandbox.kubernetes.node.logs import read_log
from sandbox.kubernetes.node.names import NameService
from sandbox.kubernetes.node.network import KUBELET_PORT, Subnet
from sandbox.kubernetes.node.pod import PodAgent
from sandbox.kubernetes.resources import CONFIGMAPS, NODES, PODS, PVCS, SECRETS
from sandbox.kubernetes.runtime import LogOptions

KUBELET = "sandbox/kubelet"
"""Annotation of a Node: `stopped` makes it a lost node, `running` brings it back; a Node that a client creates with
`running` gets a kubelet."""

log = logging.getLogger(__name__)


@dataclass
class _Running:
    agent: PodAgent
    task: asyncio.Task[None]


class Fleet:
    """The nodes of one cluster; to the API server, its `NodeRuntime`.

    Args:
        cluster: The cluster that the nodes belong to.
        nodes: The nodes to begin with.
        images: What their registry holds, first match first.
        state_dir: Directory for the pods' files; one folder per pod, gone when the pod is.
        timings: How long the nodes wait for what.
    """

    def __init__(
        self,
        cluster: Cluster,
        nodes: Sequence[NodeConfig],
        images: Sequence[ImageConfig],
        state_dir: Path,
        timings: NodeTimings | None = None,
    ) -> None:
        self._cluster, self._configs, self._images = cluster, list(nodes), list(images)
        self._state_dir, self._timings = state_dir, timings or NodeTimings()
        self._names = NameService(cluster, state_dir / "names.json")
        self._nodes: dict[str, NodeContext] = {}
        self._pods: dict[str, _Running] = {}
        self._subnet: Subnet | None = None
        self._session: aiohttp.ClientSession | None = None
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Run the nodes until cancelled; then no process of any pod is left."""
        self._subnet = Subnet()
        try:
            async with aiohttp.ClientSession(auto_decompress=False) as self._session:
                for config in self._configs:
                    self.add_node(config)
                events = self._cluster.subscribe(NODES, PODS, SECRETS, CONFIGMAPS, PVCS)
                async with asyncio.TaskGroup() as self._tasks:
                    self._tasks.create_task(self._names.run())
                    async for kind, resource, obj in events:
                        if resource is PODS:
                            self._pod_changed(kind, obj)
                        elif resource is NODES:
                            self._node_changed(kind, obj)
                        else:
                            self._kick(obj["metadata"]["namespace"])
        finally:
            self._subnet.close()

    # --- what tests and people can do to the nodes -----------------------------------------------------------

    def add_node(self, config: NodeConfig) -> None:
        """Register one more node; the fleet must be running."""
        if self._subnet is None or self._session is None:
            raise RuntimeError("nodes can be added while the fleet runs")
        address = self._subnet.node_address()
        self._nodes[config.name] = NodeContext(
            config=config,
            address=address,
            directory=self._state_dir / config.name,
            cluster=self._cluster,
            images=ImageStore(self._images),
            subnet=self._subnet,
            timings=self._timings,
            session=self._session,
            names=self._names.path,
            reporting=config.ready,
        )
        registration.register(self._cluster, config, address)

    def remove_node(self, name: str) -> None:
        """Take a node away with everything on it, as a terminated instance."""
        self._cluster.delete(NODES, "", name)

    def lose_node(self, name: str) -> None:
        """Cut a node off: its containers go on, its kubelet is not heard any more."""
        self._annotate(name, "stopped")

    def restore_node(self, name: str) -> None:
        """Let a lost node report again."""
        self._annotate(name, "running")

    def signal_container(self, namespace: str, pod: str, container: str, number: int = 9) -> bool:
        """Send a container's main process a signal (9 ends all its processes); False when it does not run."""
        for running in self._pods.values():
            meta = running.agent.pod["metadata"]
            if (meta["namespace"], meta["name"]) == (namespace, pod):
                return any(one.signal(number) for one in running.agent.runners if one.state.name == container)
        return False

    def _annotate(self, name: str, value: str) -> None:
        def change(one: Obj) -> None:
            one["metadata"].setdefault("annotations", {})[KUBELET] = value

        self._cluster.update(NODES, "", name, change, manager="sandbox")

    # --- what the API server asks ----------------------------------------------------------------------------

    def logs(self, pod: dict[str, Any], container: str, options: LogOptions) -> AsyncIterator[bytes]:
        """Yield the log of a container that has started.

        Raises:
            ApiError: the node is lost, or has no log of this run.
        """
        meta = pod["metadata"]
        node = self._nodes.get(pod["spec"]["nodeName"])
        if node is None or not node.reporting:
            raise _unreachable(node.address if node else "0.0.0.0", pod, container, options)
        running = self._pods.get(meta["uid"])
        run = log_of(pod, container, previous=options.previous)
        if running is None or run is None:
            text = f'unable to retrieve container logs for pod "{meta["name"]}": its files are gone'
            raise ApiError(500, "InternalError", text)
        states = {one.name: one for one in running.agent.states}

        def ended() -> bool:
            state = states[container]
            return state.container_id != run or not state.is_running

        return read_log(running.agent.log_path(run), options, ended)

    def pod_address(self, pod: dict[str, Any], port: int) -> tuple[str, int]:
        """Where the pod's port can be connected to from here: on its own loopback address."""
        return pod["status"]["podIP"], port

    # --- what the cluster says -------------------------------------------------------------------------------

    def _pod_changed(self, kind: str, pod: Obj) -> None:
        uid = pod["metadata"]["uid"]
        running = self._pods.get(uid)
        if kind == "DELETED":
            if running:
                running.agent.remove()
            return
        if running is None:
            running = self._start(pod)
        if running is not None:
            running.agent.update(pod)

    def _start(self, pod: Obj) -> _Running | None:
        node = self._nodes.get(pod["spec"].get("nodeName", ""))
        if node is None or not node.reporting or self._tasks is None:
            return None
        agent = PodAgent(node, pod)
        running = _Running(agent, self._tasks.create_task(self._run_agent(agent)))
        self._pods[pod["metadata"]["uid"]] = running
        return running

    async def _run_agent(self, agent: PodAgent) -> None:
        try:
            await agent.run()
        except Exception:  # one pod's trouble must not end the node
            log.exception("pod %s", agent.title)
        finally:
            await agent.clean_up()
            self._pods.pop(agent.pod["metadata"]["uid"], None)

    def _node_changed(self, kind: str, node: Obj) -> None:
        name = node["metadata"]["name"]
        wish = (node["metadata"].get("annotations") or {}).get(KUBELET, "")
        known = self._nodes.get(name)
        if kind == "DELETED":
            if known:
                del self._nodes[name]
                for running in self._on(name):
                    running.agent.remove()
        elif known is None:
            if wish == "running":
                self.add_node(_config_of(node))
        elif wish == "stopped" and known.reporting:
            known.reporting = False
            registration.report(self._cluster, known.config, known.address, ready=False)
        elif wish == "running" and not known.reporting:
            self._come_back(known)

    def _come_back(self, node: NodeContext) -> None:
        node.reporting = True
        registration.report(self._cluster, node.config, node.address, ready=True)
        for pod in self._cluster.list(PODS):
            if pod["spec"].get("nodeName") == node.config.name:
                self._pod_changed("MODIFIED", pod)
        for running in self._on(node.config.name):
            running.agent.publish()

    def _on(self, node: str) -> list[_Running]:
        return [one for one in self._pods.values() if one.agent.pod["spec"]["nodeName"] == node]

    def _kick(self, namespace: str) -> None:
        for running in self._pods.values():
            if running.agent.pod["metadata"]["namespace"] == namespace:
                running.agent.kick()


def log_of(pod: Obj, container: str, *, previous: bool) -> str | None:
    """Which run's log is meant, as the pod's status names it; None when there is no such run."""
    status = pod["status"]
    entries = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    entry = next((one for one in entries if one["name"] == container), None)
    if entry is None:
        return None
    last = (entry.get("lastState") or {}).get("terminated") or {}
    state = entry.get("state") or {}
    if previous or "waiting" in state:
        found = last.get("containerID", "")
    else:
        found = (state.get("terminated") or {}).get("containerID") or entry.get("containerID", "")
    return found.removeprefix("containerd://") or None


def _unreachable(address: str, pod: Obj, container: str, options: LogOptions) -> ApiError:
    meta = pod["metadata"]
    asked = {
        "follow": "true" if options.follow else None,
        "previous": "true" if options.previous else None,
        "tailLines": options.tail_lines,
        "timestamps": "true" if options.timestamps else None,
    }
    query = "&".join(f"{key}={value}" for key, value in asked.items() if value is not None)
    host = f"{address}:{KUBELET_PORT}"
    path = f"containerLogs/{meta['namespace']}/{meta['name']}/{container}" + (f"?{query}" if query else "")
    return ApiError(500, "", f'Get "https://{host}/{path}": dial tcp {host}: connect: connection refused')


def _config_of(node: Obj) -> NodeConfig:
    """What a Node that a client created says of itself."""
    return NodeConfig(
        name=node["metadata"]["name"],
        labels=node["metadata"].get("labels") or {},
        capacity=node.get("status", {}).get("capacity") or NodeConfig().capacity,
        taints=tuple(node["spec"].get("taints") or ()),
    )
