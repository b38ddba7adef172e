"""LeaderWorkerSets: groups of one leader and its workers, as LWS 0.10 runs them, without the StatefulSets between."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.controllers.deployments.revisions import template_hash
from sandbox.kubernetes.controllers.deployments.rolling import scaled
from sandbox.kubernetes.controllers.meta import Obj, is_terminating, owner_reference, timestamp
from sandbox.kubernetes.controllers.pods import is_finished, is_ready
from sandbox.kubernetes.controllers.recorder import SeriesRecorder
from sandbox.kubernetes.controllers.workqueue import Key, own_key, run_controller
from sandbox.kubernetes.resources import PODS, SERVICES, Resource

MANAGER = "lws"
PREFIX = "leaderworkerset.sigs.k8s.io"
NAME, GROUP, WORKER = f"{PREFIX}/name", f"{PREFIX}/group-index", f"{PREFIX}/worker-index"
REVISION, GROUP_KEY = f"{PREFIX}/template-revision-hash", f"{PREFIX}/group-key"
SIZE, LEADER = f"{PREFIX}/size", f"{PREFIX}/leader-name"

TEXTS = {
    "Progressing": ("GroupsProgressing", "Replicas are progressing"),
    "Available": ("AllGroupsReady", "All replicas are ready"),
    "UpdateInProgress": ("GroupsUpdating", "Rolling Upgrade is in progress"),
}


@dataclass
class Group:
    """The pods of one group that exist.

    Attributes:
        leader: The leader, if it is there.
        workers: The workers by their index.
    """

    leader: Obj | None = None
    workers: dict[int, Obj] = field(default_factory=dict)

    @property
    def pods(self) -> list[Obj]:
        """All of them, the leader first."""
        return [*([self.leader] if self.leader else []), *self.workers.values()]

    def is_ready(self, size: int) -> bool:
        """Whether every pod is there and ready."""
        return len(self.pods) == size and all(is_ready(pod) and not is_terminating(pod) for pod in self.pods)

    @property
    def revision(self) -> str:
        """Which template the group is made of."""
        return self.leader["metadata"]["labels"].get(REVISION, "") if self.leader else ""


class LeaderWorkerSets:
    """The LeaderWorkerSet controller."""

    def __init__(self, cluster: Cluster, resource: Resource) -> None:
        self._cluster, self._resource = cluster, resource
        self._recorder = SeriesRecorder(cluster, "leaderworkerset", "leaderworkerset-lws-controller-manager")

    async def run(self) -> None:
        """Reconcile until cancelled."""
        sources = {self._resource: own_key, PODS: _keys_of_pod}
        await run_controller(self._cluster, sources, self.reconcile)

    def reconcile(self, key: Key) -> None:
        """Bring one set's groups and status to where they should be."""
        lws = self._cluster.get(self._resource, *key)
        if lws is None or is_terminating(lws):
            return
        if not lws.get("status"):
            text = f"Created leader statefulset {key[1]}"
            self._recorder.record(lws, "Normal", "GroupsProgressing", "Create", text)
        self._ensure_service(lws)
        revision = revision_of(lws)
        groups = self._groups(lws)
        for index, group in groups.items():
            if index >= _count(lws):
                self._delete(group)
            else:
                self._tend(lws, index, group, revision)
        self._update(lws, groups, revision)
        self._write_status(lws, self._groups(lws), revision)

    def _groups(self, lws: Obj) -> dict[int, Group]:
        meta = lws["metadata"]
        groups = {index: Group() for index in range(_count(lws))}
        for pod in self._cluster.list(PODS, meta["namespace"], {NAME: meta["name"]}):
            labels = pod["metadata"]["labels"]
            group = groups.setdefault(int(labels[GROUP]), Group())
            if labels[WORKER] == "0":
                group.leader = pod
            else:
                group.workers[int(labels[WORKER])] = pod
        return groups

    def _tend(self, lws: Obj, index: int, group: Group, revision: str) -> None:
        """Create what one group misses; delete it whole where it has to start over."""
        leader = group.leader
        if leader is None:
            if group.workers:
                self._delete(group)
            else:
                self._create(lws, index, 0, revision, owner_reference(lws))
        elif is_terminating(leader) or is_finished(leader) or _must_restart(lws, group):
            if not is_terminating(leader):
                name = leader["metadata"]["name"]
                text = f"Worker pod {_failed(group)} failed, deleted leader pod {name} to recreate group {index}"
                self._recorder.record(lws, "Normal", "RecreateGroupOnPodRestart", "Delete", text)
            self._delete(group)
        elif group.revision == revision and (lws["spec"].get("startupPolicy") != "LeaderReady" or is_ready(leader)):
            for worker in range(1, _size(lws)):
                if worker not in group.workers:
                    self._create(lws, index, worker, revision, owner_reference(leader))

    def _create(self, lws: Obj, group: int, worker: int, revision: str, owner: Obj) -> None:
        pod = group_pod(lws, group, worker, revision)
        pod["metadata"]["ownerReferences"] = [owner]
        self._cluster.create(PODS, pod, manager=MANAGER)

    def _delete(self, group: Group) -> None:
        for pod in group.pods:
            if not is_terminating(pod):
                self._cluster.delete(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])

    def _update(self, lws: Obj, groups: dict[int, Group], revision: str) -> None:
        """Replace outdated groups, the last one first, as far as enough others are ready."""
        rolling = (lws["spec"].get("rolloutStrategy") or {}).get("rollingUpdateConfiguration") or {}
        count: int = _count(lws)
        unready = sum(not group.is_ready(_size(lws)) for index, group in groups.items() if index < count)
        room = max(scaled(rolling.get("maxUnavailable", 1), count, up=False), 1) - unready
        for index in sorted(groups, reverse=True):
            group = groups[index]
            outdated = group.leader is not None and group.revision != revision
            if not rolling.get("partition", 0) <= index < count or not outdated:
                continue
            if not group.is_ready(_size(lws)):
                self._delete(group)
            elif room > 0:
                self._delete(group)
                room -= 1

    def _ensure_service(self, lws: Obj) -> None:
        """The headless Service that gives the group's pods their names."""
        meta = lws["metadata"]
        if self._cluster.get(SERVICES, meta["namespace"], meta["name"]) is not None:
            return
        spec = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {NAME: meta["name"]}}
        owned = {"name": meta["name"], "namespace": meta["namespace"], "ownerReferences": [owner_reference(lws)]}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": owned, "spec": spec}
        self._cluster.create(SERVICES, service, manager=MANAGER)

    def _write_status(self, lws: Obj, groups: dict[int, Group], revision: str) -> None:
        status = set_status(lws, groups, revision)
        meta = lws["metadata"]

        def change(one: Obj) -> None:
            one["status"] = status

        self._cluster.update(
            self._resource, meta["namespace"], meta["name"], change, manager=MANAGER, subresource="status"
        )


def _keys_of_pod(pod: Obj) -> list[Key]:
    name = (pod["metadata"].get("labels") or {}).get(NAME)
    return [(pod["metadata"]["namespace"], name)] if name else []


def _count(lws: Obj) -> int:
    count: int = lws["spec"].get("replicas", 1)
    return count


def _size(lws: Obj) -> int:
    size: int = lws["spec"]["leaderWorkerTemplate"].get("size", 1)
    return size


def _must_restart(lws: Obj, group: Group) -> bool:
    """Whether the restart of one pod takes the whole group along."""
    policy = lws["spec"]["leaderWorkerTemplate"].get("restartPolicy", "RecreateGroupOnPodRestart")
    if policy not in ("RecreateGroupOnPodRestart", "RecreateGroupAfterStart"):
        return False
    gone = any(is_terminating(pod) or is_finished(pod) for pod in group.workers.values())
    return gone or any(_started_again(pod) for pod in group.pods)


def _started_again(pod: Obj) -> bool:
    kinds = ("initContainerStatuses", "containerStatuses")
    statuses = [one for kind in kinds for one in pod.get("status", {}).get(kind) or []]
    return any(one.get("restartCount", 0) > 0 for one in statuses)


def _failed(group: Group) -> str:
    """Name of the pod for which the group begins anew."""
    failed = [pod for pod in group.pods if _started_again(pod) or is_terminating(pod) or is_finished(pod)]
    return str((failed or group.pods)[0]["metadata"]["name"])


def revision_of(lws: Obj) -> str:
    """The hash of what makes up a group."""
    return template_hash(lws["spec"]["leaderWorkerTemplate"], 0)


def group_pod(lws: Obj, group: int, worker: int, revision: str) -> Obj:
    """The leader (worker 0) or a worker of a group."""
    meta, both = lws["metadata"], lws["spec"]["leaderWorkerTemplate"]
    template = (both.get("leaderTemplate") if worker == 0 else None) or both["workerTemplate"]
    leader = f"{meta['name']}-{group}"
    name = leader if worker == 0 else f"{leader}-{worker}"
    unique = (lws["spec"].get("networkConfig") or {}).get("subdomainPolicy") == "UniquePerReplica"
    subdomain = leader if unique else meta["name"]
    given = template.get("metadata") or {}
    key = hashlib.sha256(f"{meta['namespace']}/{leader}".encode()).hexdigest()[:8]
    labels = {NAME: meta["name"], GROUP: str(group), WORKER: str(worker), GROUP_KEY: key, REVISION: revision}
    annotations = {SIZE: str(_size(lws)), **({LEADER: leader} if worker else {})}
    env = [
        {"name": "LWS_LEADER_ADDRESS", "value": f"{leader}.{subdomain}.{meta['namespace']}"},
        {"name": "LWS_GROUP_SIZE", "value": str(_size(lws))},
        {"name": "LWS_WORKER_INDEX", "value": str(worker)},
    ]
    spec = {**template["spec"], "hostname": name, "subdomain": subdomain}
    for kind in ("initContainers", "containers"):
        if kind in spec:
            spec[kind] = [_with_env(one, env) for one in spec[kind]]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": meta["namespace"],
            "labels": {**(given.get("labels") or {}), **labels},
            "annotations": {**(given.get("annotations") or {}), **annotations},
        },
        "spec": spec,
    }


def _with_env(container: Obj, env: list[Obj]) -> Obj:
    own = container.get("env") or []
    names = {one["name"] for one in own}
    return {**container, "env": [*(one for one in env if one["name"] not in names), *own]}


def set_status(lws: Obj, groups: dict[int, Group], revision: str) -> Obj:
    """The set's status: groups are counted, not pods."""
    count: int = _count(lws)
    mine = [group for index, group in groups.items() if index < count]
    ready = sum(group.is_ready(_size(lws)) for group in mine)
    updated = sum(group.revision == revision for group in mine)
    existing = sum(group.leader is not None for group in groups.values())
    before: list[Obj] = lws.get("status", {}).get("conditions") or []
    updating = any(group.leader and group.revision != revision for group in mine)
    available = ready == count and updated == count and existing == count
    wanted = {"Progressing": not available, "Available": available, "UpdateInProgress": updating}
    known = {one["type"] for one in before}
    conditions = [_condition(lws, kind, value, before) for kind, value in wanted.items() if value or kind in known]
    return {
        "conditions": conditions,
        "hpaPodSelector": f"{NAME}={lws['metadata']['name']},{WORKER}=0",
        "observedGeneration": lws["metadata"]["generation"],
        "readyReplicas": ready,
        "replicas": existing,
        "updatedReplicas": updated,
    }


def _condition(lws: Obj, kind: str, value: bool, before: list[Obj]) -> Obj:
    reason, message = TEXTS[kind]
    old: dict[str, Any] = next((one for one in before if one["type"] == kind), {})
    turned = old["lastTransitionTime"] if old.get("status") == str(value) else timestamp()
    return {
        "lastTransitionTime": turned,
        "message": message,
        "observedGeneration": lws["metadata"]["generation"],
        "reason": reason,
        "status": str(value),
        "type": kind,
    }
