"""Deploy an image model with Diffusers."""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.framework import deploy_framework
from flows.parameters import (
    AcceleratorChoice,
    ClusterBlock,
    DryRun,
    Endpoint,
    HubBlock,
    Image,
    Model,
    StoreBlock,
    TimeoutMinutes,
    WaitMinutes,
    WorkloadOptions,
    group,
)
from flows.pipeline import DeployReport
from flows.target import Target
from serving.spec import Accelerator, DiffusersOptions, Framework, SmokeOptions


@flow(name="deploy-diffusers", flow_run_name="deploy {endpoint} ({accelerator})")
async def deploy_diffusers(
    endpoint: Endpoint,
    model: Model,
    cluster: ClusterBlock,
    hub: HubBlock,
    store: StoreBlock,
    accelerator: AcceleratorChoice = Accelerator.GPU,
    image: Image = "",
    diffusers: Annotated[DiffusersOptions, group("Image server")] = DiffusersOptions(),
    workload: Annotated[WorkloadOptions, group("Workload")] = WorkloadOptions(),
    smoke: Annotated[SmokeOptions, group("Smoke test")] = SmokeOptions(),
    timeout_minutes: TimeoutMinutes = 60,
    wait_minutes: WaitMinutes = 60,
    dry_run: DryRun = False,
) -> DeployReport | State[Any]:
    """Takes an image model to a live, verified endpoint served by Hugging Face Diffusers.

    Args:
        endpoint: Its name: the Service that clients call. Lower-case letters, digits and dashes, at most 40.
        model: Hub repository and revision.
        cluster: Cluster and namespace to deploy to.
        hub: Token and address of the Hub.
        store: Bucket and prefix that hold staged models.
        accelerator: What the engine computes on.
        image: Container image; by default the project's choice for framework and accelerator.
        diffusers: Pipeline, and the defaults of a picture.
        workload: Pods, machines, weights, identity, autoscaling.
        smoke: The question that proves it, and bounds for the answer.
        timeout_minutes: How long the workload may take to become ready.
        wait_minutes: How long to wait for another run that changes this endpoint; 0 refuses at once.
        dry_run: Show what would change and change nothing.
    """
    return await deploy_framework(
        Framework.DIFFUSERS,
        accelerator,
        Target(cluster=cluster, hub=hub, store=store),
        endpoint=endpoint,
        model=model,
        image=image,
        options={"diffusers": diffusers},
        workload=workload,
        smoke=smoke,
        timeout_minutes=timeout_minutes,
        wait_minutes=wait_minutes,
        dry_run=dry_run,
    )
