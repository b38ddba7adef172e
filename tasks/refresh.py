"""Which endpoints are behind the branches that they follow, and what a person said about a commit."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from blocks.cluster import InferenceCluster
from blocks.hub import HuggingFaceHub
from kube.connect import Cluster
from kube.read import ALL_NAMESPACES
from serving.errors import InferenceError, InputError
from serving.lifecycle import now
from serving.models import ModelSource, PinnedModel
from serving.record import Approved, EndpointRecord, Rejected
from serving.refresh import Decision, Step, decide, follows
from staging.hub import HubAccess, pin, pin_branches
from tasks.live import holders
from tasks.record import held_record, read_records

AT_ONCE = 8
"""Repositories asked about at the same time."""

WAIT_SECONDS = 600.0
"""Longest wait for another run that changes the endpoint, before a note goes into its record."""


@task(name="find-outdated", task_run_name="find-outdated", cache_policy=NO_CACHE)
async def find_outdated(
    cluster: InferenceCluster,
    hub: HuggingFaceHub,
    *,
    namespace: str = "",
    endpoint: str = "",
    repo_id: str = "",
    ignore_windows: bool = False,
) -> list[Decision]:
    """Says what a refresh does with each endpoint: one request to the Hub per repository.

    An endpoint that a run left half way when it died is taken up before anything is decided about it.

    Args:
        cluster: Cluster of the endpoints.
        hub: Token and address of the Hub.
        namespace: Where the endpoints are; empty: everywhere.
        endpoint: Only endpoints of this name; empty: all.
        repo_id: Only endpoints of this repository; empty: all.
        ignore_windows: Whether they may move at any hour.

    Raises:
        InputError: There is no endpoint of the name that was given.
        ClusterError: The records cannot be read.
    """

    def read() -> tuple[list[EndpointRecord], set[tuple[str, str]]]:
        with cluster.connect() as connection:
            found = chosen(read_records(namespace or ALL_NAMESPACES, connection), endpoint=endpoint, repo_id=repo_id)
            return found, abandoned(found, connection)

    records, left = await asyncio.to_thread(read)
    followed = {record.spec.model for record in records if follows(record)}
    newest = await newest_commits(sorted(followed, key=str), hub.access())
    at = datetime.now(UTC)
    found = [decide(one, newest.get(one.spec.model), at, ignore_windows=ignore_windows) for one in records]
    found = [replace(one, step=Step.LEFT) if _place(one.record) in left else one for one in found]
    counts = {step: sum(one.step is step for one in found) for step in Step}
    told = ", ".join(f"{count} {step}" for step, count in counts.items() if count)
    get_run_logger().info("%d endpoints%s", len(found), f": {told}" if told else "")
    return found


def abandoned(records: Sequence[EndpointRecord], cluster: Cluster) -> set[tuple[str, str]]:
    """Endpoints, by namespace and name, that a run left half way: it holds their lease no more.

    Raises:
        ClusterError: The leases cannot be read.
    """
    unsettled = {_place(one) for one in records if not one.settled}
    held: set[tuple[str, str]] = set()
    for namespace in {namespace for namespace, _ in unsettled}:
        held.update(holders(cluster, namespace))
    return unsettled - held


def _place(record: EndpointRecord) -> tuple[str, str]:
    return record.spec.namespace, record.spec.name


def chosen(records: Sequence[EndpointRecord], *, endpoint: str, repo_id: str) -> list[EndpointRecord]:
    """The records of one endpoint or repository; the Hub takes names of repositories in any case.

    Raises:
        InputError: There is no endpoint of this name.
    """
    named = [one for one in records if endpoint in ("", one.spec.name)]
    if endpoint and not named:
        raise InputError(
            f"There is no endpoint {endpoint}.",
            fix="List the endpoints (list-endpoints) and check name and namespace.",
            code="endpoint.unknown",
        )
    return [one for one in named if not repo_id or one.spec.model.repo_id.casefold() == repo_id.strip().casefold()]


async def newest_commits(
    sources: Sequence[ModelSource], hub: HubAccess
) -> dict[ModelSource, PinnedModel | InferenceError]:
    """Asks the Hub for the commit of each branch, once per repository; a failure stands in its place."""
    gate = asyncio.Semaphore(AT_ONCE)
    by_repository: dict[str, list[ModelSource]] = {}
    for source in sources:
        by_repository.setdefault(source.repo_id, []).append(source)

    async def ask(mine: list[ModelSource]) -> dict[ModelSource, PinnedModel | InferenceError]:
        async with gate:
            return await asyncio.to_thread(_commits_of, mine, hub)

    answers = await asyncio.gather(*map(ask, by_repository.values()))
    return {source: commit for answer in answers for source, commit in answer.items()}


def _commits_of(sources: list[ModelSource], hub: HubAccess) -> dict[ModelSource, PinnedModel | InferenceError]:
    """Commits of one repository; tags, and what is not there any more, cost a request more each."""
    found: dict[ModelSource, PinnedModel | InferenceError] = {}
    known: dict[str, PinnedModel] = {}
    try:
        if len(sources) > 1:
            known = pin_branches(sources[0].repo_id, {one.revision for one in sources}, hub)
    except InferenceError as error:
        return dict.fromkeys(sources, error)
    for source in sources:
        try:
            found[source] = known.get(source.revision) or pin(source, hub)
        except InferenceError as error:
            found[source] = error
    return found


async def decide_again(record: EndpointRecord, hub: HuggingFaceHub, *, ignore_windows: bool = False) -> Decision:
    """Decides about an endpoint that a run has changed meanwhile: its branch may be another, and is asked for anew."""
    source = record.spec.model
    newest = (await newest_commits([source], hub.access()))[source] if follows(record) else None
    return decide(record, newest, datetime.now(UTC), ignore_windows=ignore_windows)


@task(name="reject-commit", task_run_name="reject-commit", cache_policy=NO_CACHE)
async def reject(record: EndpointRecord, commit: PinnedModel, reason: str, cluster: InferenceCluster) -> None:
    """Notes in the record that this commit must not be served, so that refreshes pass over it."""
    await _note(record, cluster, {"rejected": Rejected(commit=commit.commit, reason=reason, at=now())})


@task(name="approve-commit", task_run_name="approve-commit", cache_policy=NO_CACHE)
async def approve(record: EndpointRecord, commit: PinnedModel, by: str, note: str, cluster: InferenceCluster) -> None:
    """Notes in the record that a person let refreshes move to this commit."""
    await _note(record, cluster, {"approved": Approved(commit=commit.commit, by=by, note=note, at=now())})


async def _note(record: EndpointRecord, block: InferenceCluster, update: dict[str, object]) -> None:
    """Adds to the record as it is now, with no other run writing it; an endpoint that is gone needs no note."""
    spec = record.spec
    connection = await asyncio.to_thread(block.connect)
    try:
        async with held_record(spec.namespace, spec.name, connection, wait_seconds=WAIT_SECONDS) as held:
            if held.record is not None:
                await held.write(held.record.model_copy(update=update))
    finally:
        await asyncio.to_thread(connection.close)
