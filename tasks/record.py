"""The endpoint's record in the cluster, and the lease that lets one run at a time change it. No Prefect tasks here."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from prefect import get_run_logger, runtime

from blocks.cluster import InferenceCluster
from kube.apply import apply
from kube.connect import Cluster
from kube.delete import delete
from kube.lease import HeldLease, LeaseTerms, held
from kube.read import get, list_
from serving.errors import ClusterError, InputError
from serving.record import ENDPOINT_LABEL, RECORD_LABEL, EndpointRecord, from_manifest, record_name, to_manifest

LEASE_SECONDS_VARIABLE = "INFERENCE_LEASE_SECONDS"
"""Environment variable: after how many seconds without renewal another run may take over from one that died."""

LEASE_SECONDS = 30


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


class HeldRecord:
    """An endpoint's record in the hands of the run that holds the endpoint's lease: it alone writes it.

    Each writing proves that the lease is held still, and that nobody else wrote meanwhile: the API server compares
    versions. A run that was stopped for a while and goes on after another took over changes nothing any more.
    """

    def __init__(self, namespace: str, endpoint: str, cluster: Cluster, lease: HeldLease) -> None:
        self.namespace, self.endpoint = namespace, endpoint
        self.cluster, self.lease = cluster, lease
        self._record: EndpointRecord | None = None
        self._version = ""

    @property
    def record(self) -> EndpointRecord | None:
        """The record as it stands in the cluster; None if there is none."""
        return self._record

    @property
    def current_record(self) -> EndpointRecord:
        """The record, where there must be one.

        Raises:
            ValueError: There is none.
        """
        if self._record is None:
            raise ValueError(f"endpoint {self.namespace}/{self.endpoint} has no record")
        return self._record

    def check(self) -> None:
        """Call before each step that changes something.

        Raises:
            ClusterError: ``lease.lost``.
        """
        self.lease.check()

    async def read(self) -> None:
        """Reads the record. Where there is none, the Lease goes when it is given back, unless one is written.

        Raises:
            ClusterError: It cannot be read.
        """
        name = record_name(self.endpoint)
        manifest = await asyncio.to_thread(get, self.cluster, "v1", "ConfigMap", name, self.namespace)
        self._record = from_manifest(manifest) if manifest else None
        self._version = str(manifest["metadata"]["resourceVersion"]) if manifest else ""
        self.lease.discarded = self._record is None

    async def write(self, record: EndpointRecord | None) -> None:
        """Puts a record in the place of the present one; None deletes it, and the lease with it when that is over.

        Raises:
            ClusterError: ``lease.lost``; the record cannot be written.
        """
        self.lease.check()
        if record is None:
            await asyncio.to_thread(
                delete, self.cluster, "v1", "ConfigMap", record_name(self.endpoint), namespace=self.namespace
            )
            self._record, self._version = None, ""
            self.lease.discarded = True
            return
        manifest = to_manifest(record)
        if self._version:
            manifest["metadata"]["resourceVersion"] = self._version
        try:
            applied = await asyncio.to_thread(apply, self.cluster, manifest)
        except ClusterError as error:
            if error.code == "cluster.conflict":
                self.lease.lose()
                self.lease.check()
            raise
        self._record, self._version = record, str(applied.object["metadata"]["resourceVersion"])
        self.lease.discarded = False


def lease_seconds() -> int:
    """After how many seconds without renewal a run counts as dead.

    Raises:
        InputError: The environment variable holds no number of seconds.
    """
    given = os.environ.get(LEASE_SECONDS_VARIABLE, "") or str(LEASE_SECONDS)
    if not given.isdecimal() or int(given) < 1:
        raise InputError(
            f"{LEASE_SECONDS_VARIABLE} is {given!r}, which is no number of seconds.",
            fix=f"Set it to a whole number above 0, or leave it out: {LEASE_SECONDS} is the default.",
        )
    return int(given)


@asynccontextmanager
async def one_writer(
    namespace: str, endpoint: str, cluster: Cluster, *, wait_seconds: float, lease: str = ""
) -> AsyncIterator[HeldLease]:
    """Holds the endpoint's lease, waiting for another run that has it.

    Args:
        namespace: The endpoint's namespace.
        endpoint: Its name.
        cluster: Where it is.
        wait_seconds: Longest wait; 0 refuses at once.
        lease: Name of the Lease; by default the one of the run that changes the endpoint.

    Raises:
        BusyError: ``lease.held`` by another for longer than that.
    """
    log = get_run_logger()
    terms = LeaseTerms(
        namespace=namespace,
        name=lease or lease_name(endpoint),
        holder=str(runtime.flow_run.id or f"{socket.gethostname()}-{os.getpid()}"),
        seconds=lease_seconds(),
        wait_seconds=wait_seconds,
        labels={"app.kubernetes.io/managed-by": "inference-flows", ENDPOINT_LABEL: endpoint},
    )

    def waiting(holder: str) -> None:
        log.warning("Another run (%s) is working on %s/%s: waiting for it", holder, namespace, endpoint)

    stack = ExitStack()
    found = await asyncio.to_thread(stack.enter_context, held(cluster, terms, waiting=waiting))
    try:
        yield found
    finally:
        await asyncio.to_thread(stack.close)


@asynccontextmanager
async def held_record(
    namespace: str, endpoint: str, cluster: Cluster, *, wait_seconds: float
) -> AsyncIterator[HeldRecord]:
    """Holds the endpoint's lease and has its record, waiting for another run that has it.

    Args:
        namespace: The endpoint's namespace.
        endpoint: Its name.
        cluster: Where it is.
        wait_seconds: Longest wait; 0 refuses at once.

    Raises:
        BusyError: ``lease.held`` by another for longer than that.
        ClusterError: The record cannot be read.
    """
    async with one_writer(namespace, endpoint, cluster, wait_seconds=wait_seconds) as lease:
        found = HeldRecord(namespace, endpoint, cluster, lease)
        await found.read()
        yield found


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
        raise unknown_endpoint(namespace, endpoint)
    return record


def unknown_endpoint(namespace: str, endpoint: str) -> InputError:
    """The failure of a run on an endpoint that is not there."""
    return InputError(
        f"There is no endpoint {endpoint} in namespace {namespace}.",
        fix="List the endpoints (list-endpoints) and check name and namespace.",
        code="endpoint.unknown",
    )
