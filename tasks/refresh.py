"""Which endpoints are behind the branches that they follow."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from blocks.cluster import InferenceCluster
from blocks.hub import HuggingFaceHub
from kube.apply import apply
from kube.read import ALL_NAMESPACES
from serving.errors import InferenceError
from serving.models import COMMIT, ModelSource, PinnedModel
from serving.record import EndpointRecord, Rejected, to_manifest
from serving.spec import EndpointSpec, Framework
from staging.hub import HubAccess, pin
from tasks.record import read_record, read_records

AT_ONCE = 8
"""Repositories asked about at the same time."""


@dataclass(frozen=True)
class Outdated:
    """What a look at all endpoints found; endpoints by ``namespace/name``.

    Attributes:
        current: Those that serve what they should, or follow no branch.
        outdated: Those to refresh, with the commit of their branch.
        unknown: Those whose branch could not be read, with the reason.
    """

    current: list[str] = field(default_factory=list)
    outdated: list[tuple[EndpointRecord, PinnedModel]] = field(default_factory=list)
    unknown: dict[str, str] = field(default_factory=dict)


@task(name="find-outdated", task_run_name="find-outdated", cache_policy=NO_CACHE)
async def find_outdated(namespace: str, cluster: InferenceCluster, hub: HuggingFaceHub, repo_id: str = "") -> Outdated:
    """Compares all endpoints' commits with their branches: one request per repository and branch.

    Args:
        namespace: Where the endpoints are; empty: everywhere.
        cluster: Cluster of the endpoints.
        hub: Token and address of the Hub.
        repo_id: Only endpoints of this repository; empty: all.
    """

    def read() -> list[EndpointRecord]:
        with cluster.connect() as connection:
            return read_records(namespace or ALL_NAMESPACES, connection)

    records = [one for one in await asyncio.to_thread(read) if repo_id in ("", one.spec.model.repo_id)]
    followed = {record.spec.model for record in records if follows_a_branch(record.spec)}
    newest = await newest_commits(sorted(followed, key=str), hub.access())
    found = compare(records, newest)
    get_run_logger().info(
        "%d endpoints: %d up to date, %d behind, %d unknown",
        len(records),
        len(found.current),
        len(found.outdated),
        len(found.unknown),
    )
    return found


async def newest_commits(
    sources: Sequence[ModelSource], hub: HubAccess
) -> dict[ModelSource, PinnedModel | InferenceError]:
    """Asks the Hub for the commit of each branch; a failure stands in its place."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def ask(source: ModelSource) -> PinnedModel | InferenceError:
        async with gate:
            try:
                return await asyncio.to_thread(pin, source, hub)
            except InferenceError as error:
                return error

    return dict(zip(sources, await asyncio.gather(*map(ask, sources)), strict=True))


def compare(records: Sequence[EndpointRecord], newest: dict[ModelSource, PinnedModel | InferenceError]) -> Outdated:
    """Sorts the endpoints by what their branch says. A rejected commit counts as no news."""
    found = Outdated()
    for record in records:
        name = f"{record.spec.namespace}/{record.spec.name}"
        known = newest.get(record.spec.model) if follows_a_branch(record.spec) else None
        if isinstance(known, InferenceError):
            found.unknown[name] = str(known)
        elif (
            known is None
            or record.current is None
            or known.commit == record.current.model.commit
            or (record.rejected is not None and record.rejected.commit == known.commit)
        ):
            found.current.append(name)
        else:
            found.outdated.append((record, known))
    return found


def follows_a_branch(spec: EndpointSpec) -> bool:
    """Whether new commits of its model's repository concern the endpoint: a NIM's model is its image's."""
    return spec.framework is not Framework.NIM and not COMMIT.match(spec.model.revision)


@task(name="reject-commit", task_run_name="reject-commit", cache_policy=NO_CACHE)
async def reject(record: EndpointRecord, commit: PinnedModel, reason: str, cluster: InferenceCluster) -> None:
    """Notes in the record that this commit could not be proved, so that refreshes pass over it."""

    def work() -> None:
        with cluster.connect() as connection:
            now = read_record(record.spec.namespace, record.spec.name, connection) or record
            moment = datetime.now(UTC).isoformat(timespec="seconds")
            rejected = Rejected(commit=commit.commit, reason=reason, at=moment)
            apply(connection, to_manifest(now.model_copy(update={"rejected": rejected})))

    await asyncio.to_thread(work)
