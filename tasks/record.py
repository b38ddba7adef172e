"""The endpoint's record in the cluster, and the lease that lets one run at a time change it. No Prefect tasks here."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from prefect import get_run_logger, runtime

from blocks.cluster import InferenceCluster
from kube.connect import Cluster
from kube.lease import HeldLease, LeaseTerms, held
from kube.read import get, list_
from serving.errors import InputError
from serving.record import ENDPOINT_LABEL, RECORD_LABEL, EndpointRecord, from_manifest, record_name


def lease_name(endpoint: str) -> str:
    """Name of the Lease that the run holds which changes an endpoint."""
    return f"{endpoint}-writer"


def load_lease_name(endpoint: str) -> str:
    """Name of the Lease that the run holds which puts an endpoint under load."""
    return f"{endpoint}-load"


def read_record(namespace: str, endpoint: str, cluster: Cluster) -> EndpointRecord | None:
    """The endpoint's record; None if it was never deployed.

    Raises:
        ClusterError: The record cannot be read.
    """
    manifest = get(cluster, "v1", "ConfigMap", record_name(endpoint), namespace)
    return from_manifest(manifest) if manifest else None


def read_records(namespace: str, cluster: Cluster) -> list[EndpointRecord]:
    """All endpoints' records in a namespace (``*``: everywhere), sorted by name.

    Raises:
        ClusterError: A record cannot be read.
    """
    manifests = list_(cluster, "v1", "ConfigMap", namespace, labels=f"{RECORD_LABEL}=true")
    return sorted((from_manifest(one) for one in manifests), key=lambda one: (one.spec.namespace, one.spec.name))


@asynccontextmanager
async def one_writer(
    namespace: str, endpoint: str, cluster: Cluster, *, wait_seconds: float, lease: str = ""
) -> AsyncIterator[HeldLease]:
    """Holds the endpoint's lease, waiting for another run that has it.

    Args:
        namespace: The endpoint's namespace.
        endpoint: Its name.
        cluster: Where it is.
        wait_seconds: Longest wait.
        lease: Another lease of the endpoint than that of the run which changes it.

    Raises:
        ClusterError: ``lease.held`` by another for longer than that.
    """
    log = get_run_logger()
    terms = LeaseTerms(
        namespace=namespace,
        name=lease or lease_name(endpoint),
        holder=str(runtime.flow_run.id or f"{socket.gethostname()}-{os.getpid()}"),
        wait_seconds=wait_seconds,
        labels={"app.kubernetes.io/managed-by": "inference-flows", ENDPOINT_LABEL: endpoint},
    )

    def waiting(holder: str) -> None:
        log.warning("Another run (%s) has lease %s/%s: waiting for it", holder, namespace, terms.name)

    stack = ExitStack()
    mine = await asyncio.to_thread(stack.enter_context, held(cluster, terms, waiting=waiting))
    try:
        yield mine
    finally:
        await asyncio.to_thread(stack.close)


async def load_record(namespace: str, endpoint: str, block: InferenceCluster) -> EndpointRecord:
    """Connects, reads an endpoint's record and closes again.

    Raises:
        InputError: It was never deployed here.
        ClusterError: The cluster cannot be asked, or the record cannot be read.
    """

    def work() -> EndpointRecord | None:
        with block.connect() as cluster:
            return read_record(namespace, endpoint, cluster)

    record = await asyncio.to_thread(work)
    if record is None:
        raise InputError(
            f"There is no endpoint {endpoint} in namespace {namespace}.",
            fix="List the endpoints (list-endpoints) and check name and namespace.",
            code="endpoint.unknown",
        )
    return record
