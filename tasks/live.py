"""What is live of many endpoints, with a handful of requests: workloads, pods, Services, and who changes what."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from typing import Any

from kube.connect import Cluster
from kube.discovery import has_kind
from kube.read import list_
from serving.errors import ClusterError
from serving.frameworks.labels import RELEASE_LABEL, STAGED_ANNOTATION
from serving.readiness import Readiness, judge
from serving.record import ENDPOINT_LABEL, EndpointRecord
from serving.release import Release
from tasks.kinds import WORKLOADS, Kind, workload_kind
from tasks.record import lease_name

Object = dict[str, Any]
LEASE = ("coordination.k8s.io/v1", "Lease")


@dataclass(frozen=True)
class Live:
    """What stands in the cluster.

    Attributes:
        workloads: By kind, namespace and name.
        pods: By namespace, endpoint and release.
        served: Release that each endpoint's own Service points at, by namespace and endpoint.
        holders: Run that holds the endpoint's lease now, by namespace and endpoint.
    """

    workloads: Mapping[tuple[str, str, str], Object]
    pods: Mapping[tuple[str, str, str], list[Object]]
    served: Mapping[tuple[str, str], str]
    holders: Mapping[tuple[str, str], str]

    def readiness(self, record: EndpointRecord) -> Readiness | None:
        """How the release that serves is doing; None if its workload is not there."""
        spec, release = record.spec, record.current
        if release is None:
            return None
        name = Release(endpoint=spec.name, id=release.id, model=release.model).name
        workload = self.workloads.get((workload_kind(release.spec)[1], spec.namespace, name))
        if workload is None:
            return None
        return judge(workload, self.pods.get((spec.namespace, spec.name, release.id), []))

    def release(self, record: EndpointRecord) -> str:
        """Id of the release that clients get to; empty if the endpoint's Service is not there."""
        return self.served.get((record.spec.namespace, record.spec.name), "")

    def holder(self, record: EndpointRecord) -> str:
        """The run that changes the endpoint now; empty if none does."""
        return self.holders.get((record.spec.namespace, record.spec.name), "")


def find_live(cluster: Cluster, records: Iterable[EndpointRecord]) -> Live:
    """Reads what is live of these endpoints: one list per kind in each of their namespaces, whatever their number.

    Raises:
        ClusterError: The API cannot be reached or refuses.
    """
    named = list(records)
    workloads: dict[tuple[str, str, str], Object] = {}
    pods: dict[tuple[str, str, str], list[Object]] = {}
    served: dict[tuple[str, str], str] = {}
    running: dict[tuple[str, str], str] = {}
    kinds = {(one.spec.namespace, workload_kind(one.current.spec)) for one in named if one.current is not None}
    for namespace, kind in sorted(kinds):
        if has_kind(cluster, *kind):
            for one in list_(cluster, *kind, namespace, labels=ENDPOINT_LABEL):
                workloads[kind[1], namespace, one["metadata"]["name"]] = one
    for namespace in sorted({one.spec.namespace for one in named}):
        for pod in list_(cluster, "v1", "Pod", namespace, labels=ENDPOINT_LABEL):
            labels = pod["metadata"]["labels"]
            pods.setdefault((namespace, labels[ENDPOINT_LABEL], labels.get(RELEASE_LABEL, "")), []).append(pod)
        for service in list_(cluster, "v1", "Service", namespace, labels=ENDPOINT_LABEL):
            metadata, spec = service["metadata"], service.get("spec") or {}
            if metadata["name"] == metadata["labels"][ENDPOINT_LABEL]:
                served[namespace, metadata["name"]] = str((spec.get("selector") or {}).get(RELEASE_LABEL, ""))
        running |= holders(cluster, namespace)
    return Live(workloads, pods, served, running)


def holders(cluster: Cluster, namespace: str) -> dict[tuple[str, str], str]:
    """Runs that change an endpoint now, by namespace and endpoint. Leases that have expired count no more.

    Raises:
        ClusterError: The API cannot be reached or refuses.
    """
    found: dict[tuple[str, str], str] = {}
    for lease in list_(cluster, *LEASE, namespace, labels=ENDPOINT_LABEL):
        metadata, spec = lease["metadata"], lease.get("spec") or {}
        endpoint = metadata["labels"][ENDPOINT_LABEL]
        if metadata["name"] == lease_name(endpoint) and spec.get("holderIdentity") and not _expired(spec):
            found[namespace, endpoint] = str(spec["holderIdentity"])
    return found


def _expired(spec: Mapping[str, Any]) -> bool:
    try:
        renewed = datetime.fromisoformat(str(spec.get("renewTime")))
    except ValueError:
        return True
    return (datetime.now(UTC) - renewed).total_seconds() > float(spec.get("leaseDurationSeconds") or 30)


def staged_by_workloads(
    cluster: Cluster, namespaces: Iterable[str], used_kinds: Collection[Kind]
) -> dict[str, set[str]]:
    """Where the weights of live workloads stand, and whose they are, as ``namespace/endpoint``.

    Args:
        cluster: Where they are.
        namespaces: Where they are looked for.
        used_kinds: Kinds that must be looked at. Of others those count that these credentials may list.

    Raises:
        ClusterError: The API cannot be reached or refuses.
    """
    found: dict[str, set[str]] = {}
    for namespace, kind in product(sorted(set(namespaces)), WORKLOADS):
        try:
            objects = list_(cluster, *kind, namespace, labels=ENDPOINT_LABEL) if has_kind(cluster, *kind) else []
        except ClusterError as error:
            if error.code != "cluster.forbidden" or kind in used_kinds:
                raise
            continue
        for one in objects:
            metadata = one["metadata"]
            if uri := (metadata.get("annotations") or {}).get(STAGED_ANNOTATION):
                found.setdefault(uri, set()).add(f"{namespace}/{metadata['labels'][ENDPOINT_LABEL]}")
    return found
