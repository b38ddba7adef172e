"""Deploy an NVIDIA NIM."""

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
from serving.spec import Accelerator, Framework, NimOptions, SmokeOptions


@flow(name="deploy-nim", flow_run_name="deploy {endpoint} ({accelerator})")
async def deploy_nim(
    endpoint: Endpoint,
    model: Model,
    cluster: ClusterBlock,
    hub: HubBlock,
    store: StoreBlock,
    accelerator: AcceleratorChoice = Accelerator.GPU,
    image: Image = "",
    nim: Annotated[NimOptions, group("NVIDIA NIM")] = NimOptions(),
    workload: Annotated[WorkloadOptions, group("Workload")] = WorkloadOptions(),
    smoke: Annotated[SmokeOptions, group("Smoke test")] = SmokeOptions(),
    timeout_minutes: TimeoutMinutes = 60,
    wait_minutes: WaitMinutes = 60,
    dry_run: DryRun = False,
) -> DeployReport | State[Any]:
    """Takes an NVIDIA NIM to a live, verified endpoint; its container fetches its own weights.

    Args:
        endpoint: Its name: the Service that clients call. Lower-case letters, digits and dashes, at most 40.
        model: Hub repository and revision.
        cluster: Cluster and namespace to deploy to.
        hub: Token and address of the Hub.
        store: Bucket and prefix that hold staged models.
        accelerator: What the engine computes on.
        image: Container image; by default the project's choice for framework and accelerator.
        nim: Secrets, cache, and whether the NIM operator runs it.
        workload: Pods, machines, weights, identity, autoscaling.
        smoke: The question that proves it, and bounds for the answer.
        timeout_minutes: How long the workload may take to become ready.
        wait_minutes: How long to wait for another run that changes this endpoint; 0 refuses at once.
        dry_run: Show what would change and change nothing.
    """
    return await deploy_framework(
        Framework.NIM,
        accelerator,
        Target(cluster=cluster, hub=hub, store=store),
        endpoint=endpoint,
        model=model,
        image=image,
        options={"nim": nim},
        workload=workload,
        smoke=smoke,
        timeout_minutes=timeout_minutes,
        wait_minutes=wait_minutes,
        dry_run=dry_run,
    )
