"""Deploy a preset of the catalogue, with overrides."""

from typing import Annotated, Any

from prefect import flow, runtime, tags
from prefect.blocks.core import Block
from prefect.client.schemas.objects import State

from blocks.cluster import InferenceCluster
from flows.deploy_aibrix import deploy_aibrix
from flows.deploy_diffusers import deploy_diffusers
from flows.deploy_llama_cpp import deploy_llama_cpp
from flows.deploy_lws_vllm import deploy_lws_vllm
from flows.deploy_nim import deploy_nim
from flows.deploy_ray_vllm import deploy_ray_vllm
from flows.deploy_triton_vllm import deploy_triton_vllm
from flows.deploy_vllm import deploy_vllm
from flows.parameters import (
    ClusterBlock,
    DryRun,
    HubBlock,
    PresetChoice,
    SmokeOverrides,
    StoreBlock,
    TimeoutMinutes,
    WaitMinutes,
    flow_parameters,
    group,
)
from flows.pipeline import DeployReport
from serving.catalog import Overrides, get_preset, resolve
from serving.spec import Framework
from tasks.explain import explained
from tasks.runs import describe_run, short, tags_of

SUBFLOWS: dict[Framework, Any] = {
    Framework.VLLM: deploy_vllm,
    Framework.RAY_VLLM: deploy_ray_vllm,
    Framework.TRITON_VLLM: deploy_triton_vllm,
    Framework.AIBRIX: deploy_aibrix,
    Framework.LWS_VLLM: deploy_lws_vllm,
    Framework.DIFFUSERS: deploy_diffusers,
    Framework.NIM: deploy_nim,
    Framework.LLAMA_CPP: deploy_llama_cpp,
}
"""The flow of each framework."""


@flow(name="deploy-model", flow_run_name="deploy {preset}")
async def deploy_model(
    preset: PresetChoice,
    cluster: ClusterBlock,
    hub: HubBlock,
    store: StoreBlock,
    overrides: Annotated[Overrides, group("Overrides")] = Overrides(),
    smoke: SmokeOverrides = {},
    timeout_minutes: TimeoutMinutes = 60,
    wait_minutes: WaitMinutes = 60,
    dry_run: DryRun = False,
) -> DeployReport | State[Any]:
    """Takes a preset of the catalogue to a live, verified endpoint.

    Args:
        preset: Catalogue entry: a model with all that is known to serve it well.
        cluster: Cluster and namespace to deploy to.
        hub: Token and address of the Hub.
        store: Bucket and prefix that hold staged models.
        overrides: What differs from the preset; empty fields keep its values.
        smoke: The question that proves it, and bounds for the answer; empty fields keep the preset's.
        timeout_minutes: How long the workload may take to become ready.
        wait_minutes: How long to wait for another run that changes this endpoint; 0 refuses at once.
        dry_run: Show what would change and change nothing.
    """
    target = {"cluster": cluster, "hub": hub, "store": store}
    shared = {
        "timeout_minutes": timeout_minutes,
        "wait_minutes": wait_minutes,
        "dry_run": dry_run,
    }
    return await explained(_deploy(preset, overrides, smoke, target, shared))


async def _deploy(
    preset: str, overrides: Overrides, smoke: dict[str, Any], target: dict[str, Block], shared: dict[str, Any]
) -> DeployReport:
    cluster = target["cluster"]
    if overrides.namespace is None and isinstance(cluster, InferenceCluster):
        overrides = overrides.model_copy(update={"namespace": cluster.namespace})
    spec = resolve(get_preset(preset), overrides, smoke)
    name = f"deploy {spec.name} ({preset})"
    await describe_run(name=name, tags=tags_of(spec))
    parameters = flow_parameters(spec) | target
    subflow = SUBFLOWS[spec.framework]
    with tags(*runtime.flow_run.tags):  # a subflow's run does not have its parent's by itself
        state = await subflow(**parameters, **shared, return_state=True)
    outcome: Any = await state.aresult(raise_on_failure=False)
    if isinstance(outcome, BaseException):
        raise outcome
    report = DeployReport.model_validate(outcome)
    if report.record is not None:
        await describe_run(name=f"{name}: {short(report.record.serving.model)}", tags=tags_of(spec))
    return report
