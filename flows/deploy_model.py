"""Deploy a preset of the catalogue, with overrides."""

from importlib import import_module
from typing import Annotated, Any

from prefect import flow, runtime, tags
from prefect.blocks.core import Block
from prefect.client.schemas.objects import State

from blocks.cluster import InferenceCluster
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


def subflow_of(framework: Framework) -> Any:
    """The flow of a framework, ``deploy_NAME`` of ``flows/deploy_NAME.py``.

    It is imported as it is asked for: Prefect works out the form of each flow that a process imports, and those of all
    frameworks were a fifth of the time in which a run starts (measured, Prefect 3.8).
    """
    name = f"deploy_{framework.value.replace('-', '_')}"
    return getattr(import_module(f"flows.{name}"), name)


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
    subflow = subflow_of(spec.framework)
    with tags(*runtime.flow_run.tags):  # a subflow's run does not have its parent's by itself
        state = await subflow(**parameters, **shared, return_state=True)
    outcome: Any = await state.aresult(raise_on_failure=False)
    if isinstance(outcome, BaseException):
        raise outcome
    report = DeployReport.model_validate(outcome)
    if report.record is not None:
        await describe_run(name=f"{name}: {short(report.record.serving.model)}", tags=tags_of(spec))
    return report
