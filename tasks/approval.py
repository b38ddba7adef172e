"""Asking a person whether an endpoint may move to a new commit: a run of its own that waits, with a form in the UI."""

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import Any
from uuid import UUID

from prefect import get_run_logger, runtime, task
from prefect.artifacts import acreate_markdown_artifact
from prefect.blocks.core import Block
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey, FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound
from prefect.flow_runs import asuspend_flow_run
from prefect.input import RunInput
from prefect.settings import PREFECT_UI_URL
from prefect.states import Cancelled
from prefect.utilities.urls import url_for
from pydantic import Field

from blocks.hub import HuggingFaceHub
from blocks.store import ModelStore
from serving.errors import InputError
from serving.models import PinnedModel
from serving.record import EndpointRecord
from serving.refresh import Decision
from serving.spec import WeightsSource
from staging.hub import list_files
from staging.plan import Source, StagePlan, plan
from staging.upstream import ChangedFile, FileChange, card_diff, compare
from tasks.stage import in_bytes

DEPLOYMENT = "refresh-endpoint/refresh-endpoint"
SHOWN_FILES = 50


class Approval(RunInput):
    """What a person answers."""

    approve: bool = Field(
        default=False,
        title="Approve",
        description="Let the endpoint move to the new commit. Off: refreshes pass over it from now on",
    )
    by: str = Field(default="", max_length=100, title="Your name", description="Kept in the endpoint's record")
    note: str = Field(default="", max_length=1000, title="Note", description="Why; kept in the endpoint's record")


@task(name="request-approval", task_run_name="request-approval", cache_policy=NO_CACHE)
async def request_approval(decision: Decision, blocks: dict[str, Block], timeout_minutes: int) -> str:
    """Starts the run that asks, unless it waits already; those that ask about older commits end.

    Args:
        decision: Endpoint and commit.
        blocks: Parameters of the flow that are blocks.
        timeout_minutes: What the run is given.

    Returns:
        Where the run is answered: its page in the UI, else its id.

    Raises:
        InputError: The deployment or a saved block is missing.
    """
    spec, commit = decision.record.spec, decision.newest.commit if decision.newest else ""
    references = {name: _reference(name, block) for name, block in blocks.items()}
    cluster = references["cluster"]["$ref"]["block_document_id"]
    key, tag = f"{cluster}/{decision.name}@{commit}", approval_tag(spec.namespace, spec.name, cluster)
    parameters = {
        "endpoint": spec.name,
        "namespace": spec.namespace,
        "commit": commit,
        "timeout_minutes": timeout_minutes,
        **references,
    }
    await end_requests(tag, keep_commit=commit)
    for attempt in count(1):
        try:
            run: FlowRun = await arun_deployment(
                DEPLOYMENT,
                parameters=parameters,
                timeout=0,
                as_subflow=False,
                idempotency_key=f"{key}#{attempt}",
                tags=[*runtime.flow_run.tags, tag, f"commit:{commit}"],
            )
        except ObjectNotFound:
            raise InputError(
                f"Deployment {DEPLOYMENT} is not registered, and {decision.name} asks for approval.",
                fix="Register the deployments: python -m deployments.register.",
                code="refresh.no_deployment",
            ) from None
        # One that was cancelled, or lapsed, asks again.
        if run.state is None or not run.state.is_final():
            return url_for(run) or str(run.id)
    raise AssertionError("unreachable")


def _reference(name: str, block: Block) -> dict[str, Any]:
    if block._block_document_id is None:
        raise InputError(
            f"The block given as {name} is not saved, and a run that asks for approval refers to it by name.",
            fix="Save it (python -m deployments.bootstrap) and name it in the run.",
            code="refresh.unsaved_block",
        )
    return {"$ref": {"block_document_id": str(block._block_document_id)}}


def approval_tag(namespace: str, endpoint: str, cluster: str) -> str:
    """Returns the tag of the runs that ask about an endpoint."""
    return f"approval:{cluster}/{namespace}/{endpoint}"


async def end_requests(tag: str, *, keep_commit: str = "") -> list[str]:
    """Cancels the runs that wait for an answer about an endpoint; returns their names.

    Args:
        tag: Of these runs.
        keep_commit: Those about this commit go on waiting.
    """
    waiting = [StateType.PAUSED, StateType.SCHEDULED]
    wanted = FlowRunFilter.model_validate({"tags": {"all_": [tag]}, "state": {"type": {"any_": waiting}}})
    ended = []
    async with get_client() as client:
        for run in await client.read_flow_runs(flow_run_filter=wanted):
            if keep_commit and run.parameters.get("commit") == keep_commit:
                continue
            await client.set_flow_run_state(run.id, Cancelled(message="Overtaken: nobody need answer"), force=True)
            ended.append(run.name)
    for name in ended:
        get_run_logger().info("Run %s no longer waits for an answer", name)
    return ended


async def end_requests_about(namespace: str, endpoint: str, cluster: Block) -> list[str]:
    """Cancels the runs that wait for an answer about an endpoint that is gone; returns their names."""
    block = cluster._block_document_id
    return await end_requests(approval_tag(namespace, endpoint, str(block))) if block else []


async def ask_person(
    record: EndpointRecord, newest: PinnedModel, hub: HuggingFaceHub, store: ModelStore, *, hours: int
) -> Approval:
    """Suspends the run until a person has answered the form; nothing was changed by then.

    A run that goes on runs from its start again: the same commit gets the same answer, another one is asked about anew.
    """
    text = await _question(record, newest, hub, store)
    form = Approval.with_initial_data(description=text)
    return await asuspend_flow_run(wait_for_input=form, timeout=hours * 3600, key=newest.commit)


async def _question(record: EndpointRecord, newest: PinnedModel, hub: HuggingFaceHub, store: ModelStore) -> str:
    old = record.serving.model

    def read() -> tuple[tuple[ChangedFile, ...], StagePlan | None, str]:
        access = hub.access()
        changed = compare(list_files(old, access), list_files(newest, access))
        staged = record.spec.weights is not WeightsSource.HUB
        planned = plan(newest, access, store.access()) if staged else None
        return changed, planned, card_diff(old, newest, access)

    changed, planned, card = await asyncio.to_thread(read)
    link = ""
    if card:
        artifact = await _shown_card(record, newest, card)
        # Prefect's url_for knows no artifacts.
        link = f"{ui.rstrip('/')}/artifacts/artifact/{artifact}" if (ui := PREFECT_UI_URL.value()) else ""
    return question_markdown(record, newest, changed, planned, hub=hub.access().endpoint, card=link)


async def _shown_card(record: EndpointRecord, newest: PinnedModel, card: str) -> UUID:
    """The artifact with the model cards' difference; a run that goes on, and so is here again, has made it before."""
    key, commits = f"model-card-{record.spec.name}", f"{record.serving.model.commit[:12]} → {newest.commit[:12]}"
    run = UUID(str(runtime.flow_run.id))
    mine = ArtifactFilter(key=ArtifactFilterKey(any_=[key]), flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
    async with get_client() as client:
        for made in await client.read_artifacts(artifact_filter=mine):
            if made.description == commits:
                return made.id
    return await acreate_markdown_artifact(
        markdown=f"# Model card of {newest.repo_id}\n\n````diff\n{card}````", key=key, description=commits
    )


def question_markdown(
    record: EndpointRecord,
    newest: PinnedModel,
    changed: Sequence[ChangedFile],
    planned: StagePlan | None,
    *,
    hub: str,
    card: str,
) -> str:
    """Returns what the form says above its fields: both commits, files with their sizes, what must travel, links.

    Args:
        record: What the endpoint serves.
        newest: What it is to serve.
        changed: Files in which the commits differ.
        planned: What staging the new commit would move; None if pods load from the Hub.
        hub: Address of the Hub.
        card: Address of the model cards' difference; empty if they do not differ.
    """
    spec, old = record.spec, record.serving.model
    page = f"{hub}/{newest.repo_id}"
    travels = (
        "Pods load it from the Hub."
        if planned is None
        else f"To move from the Hub: {in_bytes(planned.bytes_from(Source.HUB))} of {in_bytes(planned.total_bytes)}."
    )
    counts = {kind: sum(one.change is kind for one in changed) for kind in FileChange}
    told = ", ".join(f"{number} {kind}" for kind, number in counts.items() if number)
    cards = f"[What changed in the model card]({card})" if card else "The model card is the same, or cannot be read"
    # The form shows a few lines at a time, and a link's text as it stands, backticks and all.
    lines = [
        f"## May {spec.namespace}/{spec.name} move?",
        f"**{newest.repo_id}**, {newest.revision}: it serves [{old.commit[:12]}]({page}/commit/{old.commit}), the "
        f"branch is now [{newest.commit[:12]}]({page}/commit/{newest.commit}).",
        f"Files: {told or 'none differ'}. {travels}",
        f"{cards} · [All commits]({page}/commits/{newest.revision})",
    ]
    table = ["| file | change | before | after |", "| --- | --- | --- | --- |"]
    for one in changed[:SHOWN_FILES]:
        sizes = ["" if size is None else in_bytes(size) for size in (one.before, one.after)]
        table.append(f"| `{one.path}` | {one.change} | {sizes[0]} | {sizes[1]} |")
    if len(changed) > SHOWN_FILES:
        table.append(f"| and {len(changed) - SHOWN_FILES} more | | | |")
    return "\n\n".join([*lines, "\n".join(table) if changed else ""]).rstrip()
