"""Deploy a model with vLLM over several nodes."""

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
from serving.spec import Accelerator, Framework, LwsOptions, SmokeOptions, VllmOptions


@flow(name="deploy-lws-vllm", flow_run_name="deploy {endpoint} ({accelerator})")
async def deploy_lws_vllm(
    endpoint: Endpoint,
    model: Model,
    cluster: ClusterBlock,
    hub: HubBlock,
    store: StoreBlock,
    accelerator: AcceleratorChoice = Accelerator.GPU,
    image: Image = "",
    engine: Annotated[VllmOptions, group("vLLM")] = VllmOptions(),
    lws: Annotated[LwsOptions, group("Groups of pods")] = LwsOptions(),
    workload: Annotated[WorkloadOptions, group("Workload")] = WorkloadOptions(),
    smoke: Annotated[SmokeOptions, group("Smoke test")] = SmokeOptions(),
    timeout_minutes: TimeoutMinutes = 60,
    wait_minutes: WaitMinutes = 60,
    dry_run: DryRun = False,
) -> DeployReport | State[Any]:
    """Takes a model to a live, verified endpoint served by vLLM over several nodes (a LeaderWorkerSet).

    Args:
        endpoint: Its name: the Service that clients call. Lower-case letters, digits and dashes, at most 40.
        model: Hub repository and revision.
        cluster: Cluster and namespace to deploy to.
        hub: Token and address of the Hub.
        store: Bucket and prefix that hold staged models.
        accelerator: What the engine computes on.
        image: Container image; by default the project's choice for framework and accelerator.
        engine: Arguments of vLLM. What is left empty is vLLM's own default.
        lws: Size of a group of pods, and how vLLM spans it.
        workload: Pods, machines, weights, identity, autoscaling.
        smoke: The question that proves it, and bounds for the answer.
        timeout_minutes: How long the workload may take to become ready.
        wait_minutes: How long to wait for another run that changes this endpoint; 0 refuses at once.
        dry_run: Show what would change and change nothing.
    """
    return await deploy_framework(
        Framework.LWS_VLLM,
        accelerator,
        Target(cluster=cluster, hub=hub, store=store),
        endpoint=endpoint,
        model=model,
        image=image,
        options={"engine": engine, "lws": lws},
        workload=workload,
        smoke=smoke,
        timeout_minutes=timeout_minutes,
        wait_minutes=wait_minutes,
        dry_run=dry_run,
    )
