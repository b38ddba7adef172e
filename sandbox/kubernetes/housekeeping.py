"""What every cluster keeps by itself: contents of new namespaces, served definitions, the usage of quotas."""

from typing import Any

from sandbox.kubernetes import quotas
from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.naming import now
from sandbox.kubernetes.objects.custom import established, served
from sandbox.kubernetes.resources import (
    CONFIGMAPS,
    CRDS,
    NAMESPACES,
    RESOURCEQUOTAS,
    SERVICEACCOUNTS,
    Registry,
)
from sandbox.kubernetes.store import Store

Manifest = dict[str, Any]

MANAGER = "kube-controller-manager"
INITIAL_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


def fill_namespace(cluster: Cluster, namespace: str, ca_certificate: str) -> None:
    """Give a namespace its default ServiceAccount and the cluster's CA certificate."""
    if cluster.get(SERVICEACCOUNTS, namespace, "default") is None:
        cluster.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": namespace}}, manager=MANAGER)
    if cluster.get(CONFIGMAPS, namespace, "kube-root-ca.crt") is None:
        meta = {"name": "kube-root-ca.crt", "namespace": namespace}
        cluster.create(CONFIGMAPS, {"metadata": meta, "data": {"ca.crt": ca_certificate}}, manager=MANAGER)


def serve_definition(cluster: Cluster, registry: Registry, crd: Manifest) -> None:
    """Serve the resources of a definition, and say so in its status."""
    spec = crd["spec"]
    registry.remove(spec["group"], spec["names"]["plural"])
    for resource in served(crd):
        registry.add(resource)
    status = established(crd, now())
    kept = crd.get("status", {}).get("conditions")
    if kept:
        status["conditions"] = kept
    cluster.update(
        CRDS,
        "",
        crd["metadata"]["name"],
        lambda obj: obj.update(status=status),
        manager="kube-apiserver",
        subresource="status",
    )


class DefinitionKeeper:
    """Serves the resources of definitions as these come, change and go."""

    def __init__(self, store: Store, cluster: Cluster, registry: Registry) -> None:
        self._store, self._cluster, self._registry = store, cluster, registry
        self._subscription = store.subscribe(frozenset({CRDS.key}))

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while (change := await self._subscription.next()) is not None:
                spec = change.object["spec"]
                if change.type == "DELETED":
                    self._withdraw(spec["group"], spec["names"]["plural"])
                elif change.previous is None or change.previous["spec"] != spec:
                    serve_definition(self._cluster, self._registry, change.object)
        finally:
            self._subscription.close()

    def _withdraw(self, group: str, plural: str) -> None:
        for obj in self._store.select((group, plural)):
            meta = obj["metadata"]
            self._store.remove((group, plural), meta.get("namespace", ""), meta["name"])
        self._registry.remove(group, plural)


class QuotaKeeper:
    """Writes what namespaces use into the status of their quotas."""

    def __init__(self, store: Store, cluster: Cluster) -> None:
        self._store, self._cluster = store, cluster
        keys = frozenset(one.key for one in (RESOURCEQUOTAS, *quotas.COUNTED))
        self._subscription = store.subscribe(keys)

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while (change := await self._subscription.next()) is not None:
                self._refresh(change.object["metadata"]["namespace"])
        finally:
            self._subscription.close()

    def _refresh(self, namespace: str) -> None:
        for quota in self._store.select(RESOURCEQUOTAS.key, namespace):
            hard = dict(quota["spec"].get("hard", {}))
            used = {name: quotas.text(amount) for name, amount in quotas.used(self._store, namespace, hard).items()}
            status = {"hard": hard, "used": used}
            if quota.get("status") != status:
                self._cluster.update(
                    RESOURCEQUOTAS,
                    namespace,
                    quota["metadata"]["name"],
                    lambda obj, status=status: obj.update(status=status),  # type: ignore[misc]
                    manager=MANAGER,
                    subresource="status",
                )


class NamespaceKeeper:
    """Fills new namespaces."""

    def __init__(self, store: Store, cluster: Cluster, ca_certificate: str) -> None:
        self._cluster, self._ca = cluster, ca_certificate
        self._subscription = store.subscribe(frozenset({NAMESPACES.key}))

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while (change := await self._subscription.next()) is not None:
                name = change.object["metadata"]["name"]
                current = self._cluster.get(NAMESPACES, "", name)
                if current is not None and "deletionTimestamp" not in current["metadata"]:
                    fill_namespace(self._cluster, name, self._ca)
        finally:
            self._subscription.close()
