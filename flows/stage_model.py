"""Copy one commit of a Hub repository into the model store."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import BaseModel

from blocks.hub import HuggingFaceHub
from blocks.store import ModelStore
from flows.parameters import HubBlock, Model, StoreBlock
from flows.staging_options import Selected, SelectionOptions, TransferOptions, Transferred
from serving.models import ModelSource, StagedModel
from tasks.explain import explained
from tasks.runs import describe_run, short
from tasks.stage import check_model_store, pin_model, plan_staging, stage_planned
from tasks.together import all_of


class StageReport(BaseModel):
    """What a staging run did.

    Attributes:
        staged: The staged model.
        moved_bytes: Bytes read from the Hub; 0 if it was staged before.
        seconds: Seconds that the transfer took.
    """

    staged: StagedModel
    moved_bytes: int
    seconds: float


@flow(name="stage-model", flow_run_name="stage {model.repo_id}")
async def stage_model(
    model: Model,
    hub: HubBlock,
    store: StoreBlock,
    selection: Selected = SelectionOptions(),
    transfer: Transferred = TransferOptions(),
) -> StageReport | State[Any]:
    """Copies one commit of a Hub repository into the model store, every byte verified.

    A second run of the same commit moves nothing. Nothing becomes visible before all of it was verified.

    Args:
        model: Hub repository and revision.
        hub: Token and address of the Hub.
        store: Bucket and prefix that receive the model.
        selection: Which files of the repository.
        transfer: Who moves them, and how.
    """
    return await explained(_stage(model, hub, store, selection, transfer))


async def _stage(
    model: ModelSource, hub: HuggingFaceHub, store: ModelStore, selection: SelectionOptions, transfer: TransferOptions
) -> StageReport:
    how = transfer.how()
    pinned, _ = await all_of(pin_model(model, hub), check_model_store(store))
    await describe_run(name=f"stage {short(pinned)}", tags=[f"model:{model.repo_id}", f"commit:{pinned.commit[:12]}"])
    result = await stage_planned(await plan_staging(pinned, hub, store, selection.wanted()), how)
    return StageReport(staged=result.staged, moved_bytes=result.moved_bytes, seconds=result.seconds)
