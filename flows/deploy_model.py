"""Deploy a preset of the catalogue, with overrides."""

from typing import Annotated, Any

from prefect import flow
from prefect.blocks.core import Block
from prefect.client.schemas.objects import State
from pydantic import Field

from blocks.cluster import InferenceCluster
from blocks.hub import HuggingFaceHub
from blocks.store import ModelStore
from flows.deploy_vllm import deploy_vllm
from flows.pipeline import DeployReport
from serving.catalog import Overrides, get_preset, resolve
from serving.errors import InputError
from serving.spec import EndpointSpec, Framework
from tasks.explain import explained

SUBFLOWS = {Framework.VLLM: deploy_vllm}


@flow(name="deploy-model", flow_run_name="deploy {preset}")
async def deploy_model(
    preset: str,
    cluster: InferenceCluster,
    hub: HuggingFaceHub,
    store: ModelStore,
    overrides: Overrides = Overrides(),
    timeout_minutes: Annotated[int, Field(gt=0, le=1440, json_schema_extra={"title": "Timeout (minutes)"})] = 60,
    dry_run: bool = False,
) -> DeployReport | State[Any]:
    """Takes a preset of the catalogue to a live, verified endpoint.

    Args:
        preset: Name of a catalogue entry (python -m serving catalog).
        cluster: Cluster and namespace to deploy to.
        hub: Token and address of the Hub.
        store: Bucket and prefix that hold staged models.
        overrides: What differs from the preset; empty fields keep its values.
        timeout_minutes: How long the workload may take to become ready.
        dry_run: Show what would change and change nothing.
    """
    target = {"cluster": cluster, "hub": hub, "store": store}
    return await explained(_deploy(preset, overrides, target, timeout_minutes, dry_run))


async def _deploy(
    preset: str, overrides: Overrides, target: dict[str, Block], timeout_minutes: int, dry_run: bool
) -> DeployReport:
    cluster = target["cluster"]
    if overrides.namespace is None and isinstance(cluster, InferenceCluster):
        overrides = overrides.model_copy(update={"namespace": cluster.namespace})
    spec = resolve(get_preset(preset), overrides)
    subflow = SUBFLOWS.get(spec.framework)
    if subflow is None:
        raise InputError(
            f"Preset {preset} asks for {spec.framework}, which has no flow yet.",
            fix=f"Take a preset of {', '.join(SUBFLOWS)}.",
            code="input.framework",
        )
    parameters = subflow_parameters(spec) | target
    state = await subflow(**parameters, timeout_minutes=timeout_minutes, dry_run=dry_run, return_state=True)
    outcome: Any = await state.aresult(raise_on_failure=False)
    if isinstance(outcome, BaseException):
        raise outcome
    return DeployReport.model_validate(outcome)


def subflow_parameters(spec: EndpointSpec) -> dict[str, Any]:
    """The spec as the framework's flow takes it: flat, without what the flow itself stands for."""
    parameters = {name: getattr(spec, name) for name in EndpointSpec.model_fields}
    parameters["endpoint"] = parameters.pop("name")
    del parameters["framework"]
    return parameters
