"""The endpoints as rows of a table. No Prefect tasks here: a terminal shows the same without a run."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from blocks.cluster import InferenceCluster
from blocks.hub import HuggingFaceHub
from kube.read import ALL_NAMESPACES
from serving.errors import InferenceError
from serving.models import ModelSource
from serving.record import EndpointRecord, SmokeResult
from serving.refresh import has_branch
from staging.hub import HubAccess
from staging.upstream import Upstream, upstream
from tasks.live import Live, find_live
from tasks.record import read_records

AT_ONCE = 8
"""Repositories asked about at the same time."""


def list_rows(cluster: InferenceCluster, hub: HuggingFaceHub | None, namespace: str = "") -> list[dict[str, str]]:
    """Returns one row per endpoint, sorted by name.

    Args:
        cluster: Cluster to look at.
        hub: Who knows how far they are behind, with one request per repository and branch; None asks nobody.
        namespace: Empty for all.

    Raises:
        ClusterError: The cluster cannot be asked, or a record cannot be read.
    """
    place = namespace or ALL_NAMESPACES
    with cluster.connect() as connection:
        records = read_records(place, connection)
        live = find_live(connection, records)
    branches = ask_branches(records, hub.access()) if hub else {}
    now = datetime.now(UTC)
    return [row(one, live, branches.get(one.spec.model), now) for one in records]


def ask_branches(records: Sequence[EndpointRecord], hub: HubAccess) -> dict[ModelSource, Upstream | InferenceError]:
    """Asks the Hub for the newest commits of each branch that an endpoint is of; a failure stands in its place."""
    sources = sorted({one.spec.model for one in records if has_branch(one.spec)}, key=str)

    def ask(source: ModelSource) -> Upstream | InferenceError:
        try:
            return upstream(source, hub)
        except InferenceError as error:
            return error

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="branches") as pool:
        return dict(zip(sources, pool.map(ask, sources), strict=True))


def row(record: EndpointRecord, live: Live, branch: Upstream | InferenceError | None, now: datetime) -> dict[str, str]:
    """An endpoint as one row of the table."""
    spec, release = record.spec, record.current or record.candidate
    assert release is not None  # a record has one of them
    readiness = live.readiness(record)
    return {
        "endpoint": f"{spec.namespace}/{spec.name}",
        "state": record.state,
        "framework": spec.framework.value,
        "accelerator": spec.accelerator.value,
        "model": release.model.repo_id,
        "revision": release.model.revision,
        "commit": release.model.commit[:12],
        "behind by": behind(record, branch),
        "release": release.id,
        "age": age(release.deployed_at, now),
        "ready": f"{readiness.ready_replicas}/{readiness.wanted}" if readiness else "none",
        "earlier releases": str(len(record.previous)),
        "smoke test": smoke(release.smoke, release.deployed_at, now),
    }


def behind(record: EndpointRecord, branch: Upstream | InferenceError | None) -> str:
    """How far the endpoint is behind its branch, for people."""
    if not has_branch(record.spec):
        return "follows no branch"
    if branch is None:
        return "not asked"
    if isinstance(branch, InferenceError):
        return f"unknown ({branch.code})"
    return (branch.behind(record.current.model.commit) if record.current else "") or "up to date"


def age(moment: str, now: datetime) -> str:
    """How long ago a moment of a record was; empty for none."""
    if not moment:
        return ""
    passed = max(timedelta(), now - datetime.fromisoformat(moment))
    for seconds, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if passed.total_seconds() >= seconds:
            return f"{int(passed.total_seconds() // seconds)} {unit}"
    return f"{int(passed.total_seconds())} s"


def smoke(result: SmokeResult | None, deployed_at: str, now: datetime) -> str:
    """The last smoke test: how it went, how long the answer took, and how long ago that was."""
    if result is None:
        return ""
    when = age(result.at or deployed_at, now)
    verdict = f"{result.seconds:.2f} s" if result.passed else "failed"
    return f"{verdict}, {when} ago" if when else verdict
